// What single values of the configuration may be. Each reader takes a value of the TOML document and says what it is, or
// what is wrong with it.

import {
  formatPrefix,
  networkOf,
  notIpv4,
  overlap,
  type Prefix,
  parseAddress,
  parseMac,
  parsePrefix,
} from "../base/address.ts";
import { formatRate, parseRate } from "../base/rate.ts";
import type { ClientSettings } from "../dataplane/settings.ts";
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

/** Where no host's address is (RFC 6890). */
export const NO_HOSTS: readonly (Prefix & { readonly name: string })[] = [
  { address: 0, prefix: 8, name: '"this network", 0.0.0.0/8' },
  { address: 0x7f000000, prefix: 8, name: "the loopback network, 127.0.0.0/8" },
  { address: 0xe0000000, prefix: 4, name: "the multicast range, 224.0.0.0/4" },
  { address: 0xf0000000, prefix: 4, name: "the reserved and broadcast range, 240.0.0.0/4" },
];

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
  return unlessNoHosts(address, { address, prefix: 32 });
}

/** A host's address together with the length of the prefix that is its network. */
export function readHostInNetwork(value: TomlValue): Reading<Prefix> {
  const host = typeof value === "string" ? parsePrefix(value) : undefined;
  if (host === undefined) return bad(notIpv4(value, "an IPv4 address with the length of its network's prefix"));
  return unlessNoHosts(host, { address: host.address, prefix: 32 });
}

/** The network of many hosts, one of which we are. */
export function readNetwork(value: TomlValue): Reading<Prefix> {
  const network = typeof value === "string" ? parsePrefix(value) : undefined;
  if (network === undefined) return bad(notIpv4(value, "an IPv4 network"));
  if (network.prefix === 32) return bad("has no room for our address beside a host's");
  const clean = withoutHostBits(network);
  return clean.ok ? unlessNoHosts(network, network) : clean;
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

export function readTransport(value: TomlValue): Reading<Transport> {
  return value === "tcp" || value === "udp" ? good(value) : bad("is neither tcp nor udp");
}

/** One port, or a range of them as text. */
export function readPorts(value: TomlValue): Reading<PortRange> {
  const ports = typeof value === "string" || typeof value === "bigint" ? parsePorts(String(value)) : undefined;
  return ports && ports.low > 0 ? good(ports) : bad("is not a port from 1 to 65535, nor a range of them");
}

/** Whom something is open to: a prefix, or one address. */
export function readSource(value: TomlValue): Reading<Prefix> {
  const source = typeof value === "string" ? parsePrefix(value.includes("/") ? value : `${value}/32`) : undefined;
  if (source === undefined) return bad(notIpv4(value, "an IPv4 prefix or address"));
  return withoutHostBits(source);
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

function withoutHostBits(network: Prefix): Reading<Prefix> {
  const clean = { address: networkOf(network), prefix: network.prefix };
  if (clean.address === network.address) return good(network);
  return bad(`has bits set behind its prefix; the network is ${formatPrefix(clean)}`);
}

function unlessNoHosts<T>(value: T, hosts: Prefix): Reading<T> {
  const range = NO_HOSTS.find((noHosts) => overlap(noHosts, hosts));
  return range === undefined ? good(value) : bad(`${hosts.prefix === 32 ? "lies in" : "overlaps"} ${range.name}`);
}
