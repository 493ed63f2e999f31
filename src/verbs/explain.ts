// `firebreak explain`: what becomes of a packet that a client, or somebody behind the uplink, would send, and why.

import { lookup } from "node:dns/promises";
import { parseArgs } from "node:util";
import { parseAddress, parseAddress6 } from "../base/address.ts";
import { type Family, familyOf, formatIp, type IpAddress, parseIp } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { type Config, readConfig } from "../config/config.ts";
import { IANA } from "../rules/compile.ts";
import type { Asked } from "../rules/mismatch.ts";
import { type Explanation, explainPacket, formatExplanation, type Names } from "../why/explanation.ts";
import { type Sender, SOME_PORT } from "../why/trial.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { NEXT_HEADER } from "../wire/ipv6.ts";
import { UsageError, type Verb } from "./verb.ts";

export const explain: Verb = {
  summary: "say what becomes of a packet, and why",
  help: `Usage: firebreak explain --config FILE --client NAME [OPTIONS] PACKET
       firebreak explain --config FILE --from ADDRESS[:PORT] [OPTIONS] PACKET

Prints each rule of the client NAME, or each forward, with "match" or the first of its predicates
that fails, then the verdict on PACKET as the first one of a flow: the interface that it leaves
on and the source that its receiver sees, or how it is answered. Where it doesn't come to the
rules (to the firewall itself, to another client, not routable), only that. The verdict is the
dataplane's: the packet goes through it. No root, and none of the interfaces, is needed.

PACKET is one of
  tcp DESTINATION:PORT
  udp DESTINATION:PORT
  icmp DESTINATION [TYPE]      of IPv6, ICMPv6; TYPE is an echo request's if it isn't given
  proto NUMBER DESTINATION     any other IP protocol

DESTINATION is an address (of IPv6 in brackets where a port follows: [2001:db8::1]:443), or a host
name: its first address is tried, of IPv4, or with --ipv6 of IPv6. Names without --resolve are asked
of this machine's own resolver, those in rules of nobody: they are unknown, so that rules that
accept them match nothing, and rules that drop them packets to any address.

  --config FILE            the configuration
  --client NAME            who sends it: of a network, any of its hosts
  --from ADDRESS[:PORT]    who sends it: a host behind the uplink
  --resolve HOST=ADDRESS   an address of a host name; may be there more than once
  --ipv6                   try a host name's IPv6 address
  --all                    print every rule; of more than 20 only those that match are, else
  --json                   print one JSON object

Exit status: 0 explained, whatever the verdict is; 2 bad usage or configuration.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        config: { type: "string" },
        client: { type: "string" },
        from: { type: "string" },
        resolve: { type: "string", multiple: true, default: [] },
        ipv6: { type: "boolean", default: false },
        all: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
    });
    if (values.config === undefined) throw new UsageError("needs --config FILE");
    if ((values.client === undefined) === (values.from === undefined)) {
      throw new UsageError("needs --client NAME or --from ADDRESS, and one of them");
    }
    const packet = readPacket(positionals);
    const outside = values.from === undefined ? undefined : readOutside(values.from);
    const result = await readConfig(values.config);
    if ("errors" in result) return refuse(result.errors);
    const sender = outside ?? { client: clientNumber(result.config, values.client ?? "") };
    const given = readNames(values.resolve, result.config, sender, packet.destination);
    const family = values.ipv6 || (outside !== undefined && familyOf(outside.address) === 6) ? 6 : 4;
    const names = await withDestination(given, packet.destination, family);
    const asked = askedOf(packet, addressOf(packet.destination, names, family));
    if (outside !== undefined && familyOf(outside.address) !== familyOf(asked.destination)) {
      throw new UsageError("the packet's two addresses are of different families (write both of IPv4, or of IPv6)");
    }
    const explanation = explainPacket(result.config, sender, asked, Date.now() / 1000, names);
    if ("errors" in explanation) return refuse(explanation.errors);
    const spoken = nameLine(packet.destination, names, asked.destination);
    const write = isTerminal() ? formatColoured : formatPlain;
    process.stdout.write(
      values.json ? formatJson(asked.destination, explanation) : write(explanation, spoken, values.all),
    );
    return 0;
  },
};

/** A packet whose destination is a name as yet, or an address. */
interface Packet {
  /** IANA protocol number; of ICMP that of IPv4. */
  readonly protocol: number;
  readonly destination: string;
  /** Undefined: an echo request's type. */
  readonly selector: number | undefined;
}

const PACKET =
  "a packet is tcp DESTINATION:PORT, udp DESTINATION:PORT, icmp DESTINATION [TYPE] or proto NUMBER DESTINATION";

function readPacket([kind, ...words]: readonly string[]): Packet {
  const [first = "", second, ...more] = words;
  if (words.length === 0 || more.length > 0) throw new UsageError(PACKET);
  if (kind === "icmp") {
    const selector = second === undefined ? undefined : readNumber(second, "an ICMP type", 255);
    return { protocol: PROTOCOL.ICMP, destination: readDestination(first), selector };
  }
  if ((kind === "tcp" || kind === "udp") && second === undefined) {
    const { host, port } = splitPort(first);
    if (port === "") throw new UsageError(`${kind} ${quote(first)} has no port (write ${kind} DESTINATION:PORT)`);
    return { protocol: IANA[kind], destination: readDestination(host), selector: readNumber(port, "a port", 65535) };
  }
  if (kind === "proto" && second !== undefined) {
    const protocol = readNumber(first, "an IP protocol", 255);
    const known = Object.entries({ ...IANA, icmpv6: NEXT_HEADER.ICMPV6 }).find(([, number]) => number === protocol);
    if (known !== undefined) throw new UsageError(`protocol ${protocol} is ${known[0]}: ${PACKET}`);
    return { protocol, destination: readDestination(second), selector: 0 };
  }
  throw new UsageError(PACKET);
}

/** @returns the packet to an address: of ICMP, the one of that address's family */
function askedOf({ protocol, selector }: Packet, destination: IpAddress): Asked {
  const isIpv6 = typeof destination !== "number";
  const echo = isIpv6 ? ICMPV6_TYPE.ECHO : ICMP_TYPE.ECHO;
  const icmp = isIpv6 ? NEXT_HEADER.ICMPV6 : PROTOCOL.ICMP;
  return { protocol: protocol === PROTOCOL.ICMP ? icmp : protocol, destination, selector: selector ?? echo };
}

/** An IPv6 address has colons of its own: it is in brackets where a port follows (RFC 3986 section 3.2.2). */
function splitPort(text: string): { readonly host: string; readonly port: string } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) return { host: bracketed[1], port: bracketed[2] ?? "" };
  if (text.includes(":", text.indexOf(":") + 1)) {
    throw new UsageError(`${quote(text)}: an IPv6 address with a port is in brackets (write [2001:db8::1]:443)`);
  }
  const colon = text.lastIndexOf(":");
  return colon < 0 ? { host: text, port: "" } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/** Letters, digits, hyphens and underscores between dots, and not the last of them a number. */
const HOST_NAME = /^(?=.*[a-z])[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/;

/** @returns an address, or a host name in lower case */
function readDestination(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, "");
  const bare = name.replace(/^\[(.*)\]$/, "$1");
  if (parseAddress6(bare) !== undefined) return bare;
  if (parseAddress(text) === undefined && !HOST_NAME.test(name)) {
    throw new UsageError(`${quote(text)} is not an address or host name`);
  }
  return name;
}

function readAddress(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new UsageError(`${quote(text)} is not an address`);
  return address;
}

function readNumber(text: string, what: string, most: number): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > most)
    throw new UsageError(`${quote(text)} is not ${what}, 0 to ${most}`);
  return Number(text);
}

/** A host behind the uplink, as ADDRESS or ADDRESS:PORT. */
function readOutside(text: string): { readonly address: IpAddress; readonly port: number } {
  if (parseIp(text) !== undefined || !text.includes(":")) return { address: readAddress(text), port: SOME_PORT };
  const { host, port } = splitPort(text);
  return { address: readAddress(host), port: readNumber(port, "a port", 65535) };
}

function clientNumber({ clients }: Config, name: string): number {
  const number = clients.findIndex((client) => client.name === name);
  if (number >= 0) return number;
  const names = clients.map((client) => client.name).join(", ");
  throw new UsageError(`--client ${quote(name)} names no client (write one of these: ${names})`);
}

/** @param texts HOST=ADDRESS @param destination may be a host name too */
function readNames(texts: readonly string[], { clients }: Config, sender: Sender, destination: string): Names {
  const client = "client" in sender ? clients[sender.client] : undefined;
  const hosts = new Set([destination, ...(client?.rules ?? []).map(({ dsthost }) => dsthost)]);
  const names = new Map<string, IpAddress[]>();
  for (const text of texts) {
    const [host = "", address = ""] = text.split("=");
    const name = host.toLowerCase().replace(/\.$/, "");
    if (!hosts.has(name)) {
      const who = client === undefined ? "the packet" : `client ${client.name}`;
      throw new UsageError(
        `--resolve ${quote(text)}: ${who} has no ${client === undefined ? "" : "rule with that "}host`,
      );
    }
    names.set(name, [...(names.get(name) ?? []), readAddress(address)]);
  }
  return names;
}

/** @returns the names, and the destination's addresses of a family where it is a name that has none yet */
async function withDestination(names: Names, destination: string, family: Family): Promise<Names> {
  const known = names.get(destination) ?? [];
  if (parseIp(destination) !== undefined || known.some((address) => familyOf(address) === family)) return names;
  const answers = await lookup(destination, { family, all: true }).catch(() => []);
  const addresses = answers.flatMap(({ address }) => parseIp(address) ?? []);
  if (addresses.length > 0) return new Map([...names, [destination, [...known, ...addresses]]]);
  const which = family === 6 ? "IPv6 address" : "address";
  throw new UsageError(`${quote(destination)} has no ${which} here (write --resolve ${destination}=ADDRESS)`);
}

function addressOf(destination: string, names: Names, family: Family): IpAddress {
  const ofName = names.get(destination)?.find((address) => familyOf(address) === family);
  return ofName ?? readAddress(destination);
}

/** @param tried the one of its addresses that is tried @returns a line about a destination that is a name */
function nameLine(destination: string, names: Names, tried: IpAddress): string | undefined {
  const addresses = parseIp(destination) === undefined ? names.get(destination) : undefined;
  if (addresses === undefined) return undefined;
  const others = addresses.filter((address) => address !== tried).map(formatIp);
  const more = others.length === 0 ? "" : `, which is tried, and ${others.join(", ")}`;
  return `${destination} has ${formatIp(tried)}${more}`;
}

function formatPlain(explanation: Explanation, name: string | undefined, all: boolean): string {
  const lines = formatExplanation(explanation, all);
  return [...(name === undefined ? [] : [name]), ...lines].map((line) => `${line}\n`).join("");
}

/** Green what passes, red what doesn't; rules that don't match stand back. */
function formatColoured(explanation: Explanation, name: string | undefined, all: boolean): string {
  const lines = formatPlain(explanation, name, all).trimEnd().split("\n");
  const verdict = lines.pop() ?? "";
  const isGood = explanation.decision === "accepted" || explanation.decision === "answered";
  const painted = lines.map((line) => (/: no: [^:]*/.test(line) ? paint(line, 2) : line));
  return `${[...painted, paint(verdict, isGood ? 32 : 31)].join("\n")}\n`;
}

/** @param code of SGR (ECMA-48 section 8.3.117): 2 is faint, 31 red, 32 green */
function paint(line: string, code: number): string {
  return `\x1b[${code}m${line}\x1b[0m`;
}

/** https://no-color.org: whoever sets NO_COLOR wants none. */
function isTerminal(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
}

/** @param tried the address that the packet was sent to: one of a name's */
function formatJson(tried: IpAddress, explanation: Explanation): string {
  return `${JSON.stringify({ tried: formatIp(tried), ...explanation })}\n`;
}

function refuse(errors: readonly string[]): number {
  process.stderr.write(`${errors.join("\n")}\n`);
  return 2;
}
