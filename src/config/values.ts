// What single values of the configuration may be. Each reader takes a value of the TOML document and says what it is, or
// what is wrong with it.

import {
  isIpv6Text,
  notIpv4,
  type Prefix,
  type Prefix6,
  parseAddress,
  parseAddress6,
  parseMac,
  parsePrefix,
  parsePrefix6,
} from "../base/address.ts";
import {
  firstOf,
  formatIpPrefix,
  hostPrefix,
  type IpAddress,
  type IpPrefix,
  isHost,
  overlapIp,
  parseIpPrefix,
  sameIp,
} from "../base/ip.ts";
import { formatRate, parseRate } from "../base/rate.ts";
import type { Client6Settings, ClientSettings } from "../dataplane/settings.ts";
import { type Policy, type PortRange, parsePorts } from "../rules/parse.ts";
import { bad, good, isTable, type Reading, type TomlTable, type TomlValue } from "./toml-table.ts";

/** Who may send to a mapping: those it was used with, or anyone (RFC 4787 section 5). */
export type Filtering = "address-and-port-dependent" | "endpoint-independent";

export type Transport = "tcp" | "udp";

/** What a packet that the rules refuse is answered with. */
export type Refusal = ClientSettings["refuse"];

/** An interface's name or, in lower case, its MAC address. */
export interface InterfaceName {
  readonly text: string;
  readonly mac: Uint8Array | undefined;
}

/** Letters, digits and `_.-`, at most 31, as in the names of qubes. */
const CLIENT_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,30}$/;
/** What Linux takes as an interface's name (dev_valid_name in net/core/dev.c), as far as it is printable ASCII. */
const INTERFACE_NAME = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

/** Of a line, in bits a second: below the one a full frame takes more than a tenth of a second, above the other nobody has one. */
const RATE = { least: 100_000, most: 100_000_000_000 };

/** Where no host's address is (RFC 6890, RFC 4291). */
export const NO_HOSTS: readonly NamedRange[] = [
  { address: 0, prefix: 8, name: '"this network", 0.0.0.0/8' },
  { address: 0x7f000000, prefix: 8, name: "the loopback network, 127.0.0.0/8" },
  { address: 0xe0000000, prefix: 4, name: "the multicast range, 224.0.0.0/4" },
  { address: 0xf0000000, prefix: 4, name: "the reserved and broadcast range, 240.0.0.0/4" },
  range6("::/128", "the unspecified address, ::"),
  range6("::1/128", "the loopback address, ::1"),
  range6("::ffff:0:0/96", "the range of IPv4-mapped addresses, ::ffff:0:0/96"),
  range6("ff00::/8", "the multicast range, ff00::/8"),
];

/** Addresses that mean something on one link only (RFC 4291 section 2.5.6), where a router's may be one. */
export const LINK_LOCAL_6 = range6("fe80::/10", "the link-local network, fe80::/10");
/** Those that no router of the internet knows the way to (RFC 4193). */
export const UNIQUE_LOCAL = range6("fc00::/7", "the unique local range, fc00::/7");

export type NamedRange = IpPrefix & { readonly name: string };

/** Hoisted: the tables above are made of it. */
function range6(text: string, name: string): NamedRange & Prefix6 {
  const prefix = parsePrefix6(text);
  if (prefix === undefined) throw new TypeError(`not a prefix: ${text}`);
  return { ...prefix, name };
}

export function readClientName(value: TomlValue): Reading<string> {
  if (typeof value === "string" && CLIENT_NAME.test(value)) return good(value);
  return bad("is not a name of 1 to 31 letters, digits and _.- that begins with a letter or digit");
}

export function readInterface(value: TomlValue): Reading<InterfaceName> {
  if (typeof value !== "string") return bad("is neither an interface's name nor a MAC address");
  if (INTERFACE_NAME.test(value)) return good({ text: value, mac: undefined });
  const mac = readMac(value);
  if (mac.ok) return good({ text: value.toLowerCase(), mac: mac.value });
  return parseMac(value) ? mac : bad("is neither an interface's name nor a MAC address");
}

export function readHost(value: TomlValue): Reading<number> {
  const address = typeof value === "string" ? parseAddress(value) : undefined;
  if (address === undefined) return bad(notIpv4(value, "an IPv4 address"));
  return unlessNoHosts(address, hostPrefix(address));
}

export function readHost6(value: TomlValue): Reading<Uint8Array> {
  const router = readRouter6(value);
  return router.ok ? unless([LINK_LOCAL_6], router.value, hostPrefix(router.value)) : router;
}

/** As `readHost6`, where the address may be link-local: that of the next router often is. */
export function readRouter6(value: TomlValue): Reading<Uint8Array> {
  const address = typeof value === "string" ? parseAddress6(value) : undefined;
  if (address === undefined) return bad(notIpv6(value, "an IPv6 address"));
  return unlessNoHosts(address, hostPrefix(address));
}

/** An address of either family. */
export function readEitherHost(value: TomlValue): Reading<IpAddress> {
  if (isIpv6Text(value)) return readHost6(value);
  const isIpv4 = typeof value === "string" && parseAddress(value) !== undefined;
  return isIpv4 ? readHost(value) : bad("is not an IPv4 or IPv6 address");
}

/** A host's address together with the length of the prefix that is its network. */
export function readHostInNetwork(value: TomlValue): Reading<Prefix> {
  const host = typeof value === "string" ? parsePrefix(value) : undefined;
  if (host === undefined) return bad(notIpv4(value, "an IPv4 address with the length of its network's prefix"));
  return unlessNoHosts(host, hostPrefix(host.address));
}

/** As `readHostInNetwork`, of IPv6. */
export function readHostInNetwork6(value: TomlValue): Reading<Prefix6> {
  const host = typeof value === "string" ? parsePrefix6(value) : undefined;
  if (host === undefined) return bad(notIpv6(value, "an IPv6 address with the length of its network's prefix"));
  return unless([...NO_HOSTS, LINK_LOCAL_6], host, hostPrefix(host.address));
}

/** The network of many hosts, one of which we are. */
export function readNetwork(value: TomlValue): Reading<Prefix> {
  const network = typeof value === "string" ? parsePrefix(value) : undefined;
  if (network === undefined) return bad(notIpv4(value, "an IPv4 network"));
  if (network.prefix === 32) return bad("has no room for our address beside a host's");
  const clean = withoutHostBits(network);
  return clean.ok ? unlessNoHosts(network, network) : clean;
}

/** As `readNetwork`, of IPv6. */
export function readNetwork6(value: TomlValue): Reading<Prefix6> {
  const network = typeof value === "string" ? parsePrefix6(value) : undefined;
  if (network === undefined) return bad(notIpv6(value, "an IPv6 network"));
  if (network.prefix === 128) return bad("has no room for our address beside a host's");
  const clean = withoutHostBits(network);
  return clean.ok ? unless([...NO_HOSTS, LINK_LOCAL_6], network, network) : clean;
}

export function readMac(value: TomlValue): Reading<Uint8Array> {
  const mac = typeof value === "string" ? parseMac(value) : undefined;
  if (mac === undefined) return bad("is not a MAC address");
  if (mac.every((byte) => byte === 0)) return bad("is no interface's MAC address, but all zero");
  if ((mac[0] ?? 0) & 1) return bad("is no interface's MAC address, but a multicast or broadcast one");
  return good(mac);
}

export function readPolicy(value: TomlValue): Reading<Policy> {
  return value === "accept" || value === "drop" ? good(value) : bad("is neither accept nor drop");
}

export function readFiltering(value: TomlValue): Reading<Filtering> {
  if (value === "address-and-port-dependent" || value === "endpoint-independent") return good(value);
  return bad("is neither address-and-port-dependent nor endpoint-independent");
}

export function readRefusal(value: TomlValue): Reading<Refusal> {
  if (value === "icmp" || value === "reset" || value === "drop") return good(value);
  return bad("is none of icmp, reset and drop");
}

/** What out of the uplink a client's packets come from: our address, or their own. */
export function readNat6(value: TomlValue): Reading<Client6Settings["nat"]> {
  return value === "masquerade" || value === "route" ? good(value) : bad("is neither masquerade nor route");
}

export function readTransport(value: TomlValue): Reading<Transport> {
  return value === "tcp" || value === "udp" ? good(value) : bad("is neither tcp nor udp");
}

/** One port, or a range of them as text. */
export function readPorts(value: TomlValue): Reading<PortRange> {
  const ports = typeof value === "string" || typeof value === "bigint" ? parsePorts(String(value)) : undefined;
  return ports && ports.low > 0 ? good(ports) : bad("is not a port from 1 to 65535, nor a range of them");
}

/** Whom something is open to: a prefix of either family, or one address. */
export function readSource(value: TomlValue): Reading<IpPrefix> {
  const bits = isIpv6Text(value) ? 128 : 32;
  const source =
    typeof value === "string" ? parseIpPrefix(value.includes("/") ? value : `${value}/${bits}`) : undefined;
  return source === undefined ? bad("is not a prefix or address") : withoutHostBits(source);
}

export function readTable(value: TomlValue): Reading<TomlTable> {
  return isTable(value) ? good(value) : bad("is not a table");
}

export function readBoolean(value: TomlValue): Reading<boolean> {
  return typeof value === "boolean" ? good(value) : bad("is neither true nor false");
}

/** @returns whole bits a second */
export function readRate(value: TomlValue): Reading<number> {
  const rate = typeof value === "string" ? parseRate(value) : undefined;
  if (rate === undefined) return bad("is not a number of kbit, Mbit or Gbit a second");
  if (rate >= RATE.least && rate <= RATE.most) return good(rate);
  return bad(`is not from ${formatRate(RATE.least)} to ${formatRate(RATE.most)}`);
}

/** @returns a reader of integers from `least` to `most`. */
export function integerReader(least: number, most: number): (value: TomlValue) => Reading<number> {
  return (value) => {
    if (typeof value === "bigint" && value >= least && value <= most) return good(Number(value));
    return bad(`is not a whole number from ${least} to ${most}`);
  };
}

function withoutHostBits<T extends IpPrefix>(network: T): Reading<T> {
  const first = firstOf(network);
  if (sameIp(first, network.address)) return good(network);
  return bad(`has bits set behind its prefix; the network is ${formatIpPrefix({ ...network, address: first })}`);
}

function unlessNoHosts<T>(value: T, hosts: IpPrefix): Reading<T> {
  return unless(NO_HOSTS, value, hosts);
}

function unless<T>(ranges: readonly NamedRange[], value: T, hosts: IpPrefix): Reading<T> {
  const range = ranges.find((noHosts) => overlapIp(noHosts, hosts));
  if (range === undefined) return good(value);
  const verb = !isHost(hosts) ? "overlaps" : isHost(range) ? "is" : "lies in";
  return bad(`${verb} ${range.name}`);
}

/** @returns how an error goes on about a text that is not `what`: that it is IPv4, where it is */
function notIpv6(value: TomlValue, what: string): string {
  const [address = ""] = typeof value === "string" ? value.split("/") : [];
  return parseAddress(address) === undefined ? `is not ${what}` : `is IPv4, and not ${what}`;
}
