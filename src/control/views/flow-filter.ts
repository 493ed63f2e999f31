// Which flows somebody asks about, in the words of the rules, and in which order: read from what he wrote, and then a question to a
// flow's record that makes no object, for it is put to a million of them.
import { isIpv6Text, type Prefix6 } from "../../base/address.ts";
import { hostPrefix, type IpPrefix, parseIp, splitEndpoint } from "../../base/ip.ts";
import { quote } from "../../base/quote.ts";
import { type Addresses, isIpv6 } from "../../dataplane/address-book.ts";
import type { Settings } from "../../dataplane/settings.ts";
import { bytesOf, packetsOf } from "../../dataplane/tables/flow-counts.ts";
import type { FlowRecords } from "../../dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../dataplane/tables/flow-state.ts";
import { TCP_STATE_NAMES, tcpStateName } from "../../dataplane/tables/tcp.ts";
import type { Flow, Side } from "../../dataplane/types.ts";
import { IANA } from "../../rules/compile.ts";
import { type PortRange, parseValue, type Rule } from "../../rules/parse.ts";
import { type Address, maskOf, PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import { destinationPort, type Port, type Ports, sourcePort } from "../../wire/ports.ts";

/** What can't be understood, with the remedy. */
export class FilterError extends Error {}

export type Question = (records: FlowRecords, flow: Flow) => boolean;

/** What words are understood by. */
export interface Meaning {
  readonly settings: Settings;
  /** What the numbers of IPv6 addresses mean, where flows are looked at that somebody else has copied. */
  readonly addresses?: Addresses;
  /** The addresses that a host name has, undefined where nobody knows. */
  addressesOf(name: string): readonly number[] | undefined;
  /** The same of IPv6. */
  addresses6Of?(name: string): readonly Uint8Array[] | undefined;
}

/** By key: what a value means. */
const WORDS: ReadonlyMap<string, (text: string, meaning: Meaning) => Question> = new Map([
  ["client", ofClient],
  ["proto", ofProtocol],
  ["src", (text: string) => from([readPrefix("src", text)])],
  ["dst", (text: string) => to([readPrefix("dst", text)])],
  ["dst4", (text: string) => to([readValue("dst4", "dst4", text)])],
  ["dst6", (text: string) => to([readValue("dst6", "dst6", text)])],
  ["dsthost", ofHost],
  ["srcports", (text: string) => byPorts(readValue("dstports", "srcports", text), sourcePort)],
  ["dstports", (text: string) => byPorts(readValue("dstports", "dstports", text), destinationPort)],
  ["icmptype", ofType],
  ["rule", ofRule],
  ["state", ofState],
]);

export const FILTER_KEYS: readonly string[] = [...WORDS.keys()];

/** @param words each key=value; all must hold @throws FilterError */
export function readFilter(words: readonly string[], meaning: Meaning): Question {
  const all = readWords(words, WORDS, meaning);
  return (records, flow) => all.every((question) => question(records, flow));
}

/** @param known by key, what reads a value @returns what each word asks @throws FilterError */
export function readWords<T>(
  words: readonly string[],
  known: ReadonlyMap<string, (text: string, meaning: Meaning) => T>,
  meaning: Meaning,
): T[] {
  const questions = new Map<string, T>();
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = word.slice(0, Math.max(equals, 0));
    const read = known.get(key);
    if (read === undefined) {
      const keys = [...known.keys()].join(", ");
      throw new FilterError(`${quote(word)} is no filter (write KEY=VALUE, where KEY is one of ${keys})`);
    }
    if (questions.has(key)) throw new FilterError(`${key} is there twice (write it once)`);
    questions.set(key, read(word.slice(equals + 1), meaning));
  }
  return [...questions.values()];
}

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/** @returns a number below 2^32 that orders numbers from 0 on as they are, but for those that differ by a ten-millionth */
function orderOf(value: number): number {
  floats[0] = value;
  return bits[0];
}

type Amount = (counts: Int32Array, flow: Flow, side: Side) => number;
const both = (amount: Amount) => (_: FlowRecords, flow: Flow, counts?: Int32Array) =>
  counts === undefined ? 0 : orderOf(amount(counts, flow, 0) + amount(counts, flow, 1));

/** Below 2^32, by what an order is named. */
const ORDERS = {
  client: (records: FlowRecords, flow: Flow) => records.client(flow),
  proto: (records: FlowRecords, flow: Flow) => records.protocol(flow),
  src: (records: FlowRecords, flow: Flow) => records.source(flow, 0) >>> 0,
  dst: (records: FlowRecords, flow: Flow) => records.destination(flow, 0) >>> 0,
  dstports: (records: FlowRecords, flow: Flow) => destinationPort(records.ports(flow, 0)),
  rule: (records: FlowRecords, flow: Flow) => records.rule(flow),
  bytes: both(bytesOf),
  packets: both(packetsOf),
} as const;

/** @param counts where flows are counted */
export type Order = (records: FlowRecords, flow: Flow, counts?: Int32Array) => number;

/** Whether an order is by what has to be counted. */
export function needsCounts(text: string): boolean {
  return /^-?(?:bytes|packets)$/.test(text);
}

/** @param text a key of ORDERS, with "-" in front for the largest first @throws FilterError */
export function readOrder(text: string): { readonly order: Order; readonly isDescending: boolean } {
  const isDescending = text.startsWith("-");
  const key = isDescending ? text.slice(1) : text;
  const found = Object.entries(ORDERS).find(([name]) => name === key);
  if (found === undefined) {
    throw new FilterError(
      `${quote(text)} is no order (write one of ${Object.keys(ORDERS).join(", ")}, or -client and so on)`,
    );
  }
  return { order: found[1], isDescending };
}

/** @param key of the rule language; @param name what it is called here @throws FilterError */
export function readValue<K extends keyof Rule>(key: K, name: string, text: string): Required<Rule>[K] {
  const result = parseValue(key, text);
  if (result.ok) return result.value;
  throw new FilterError(result.error.replace(key, name));
}

function ofClient(text: string, { settings: { clients } }: Meaning): Question {
  const number = numberOf("client", clients, text);
  return (records, flow) => records.client(flow) === number;
}

/** @param kind what `all` are @returns which of them has that name @throws FilterError */
export function numberOf(kind: string, all: readonly { readonly name: string }[], text: string): number {
  const number = all.findIndex(({ name }) => name === text);
  if (number >= 0) return number;
  throw new FilterError(`${kind} ${quote(text)} is not there (there are ${all.map(({ name }) => name).join(", ")})`);
}

function ofProtocol(text: string): Question {
  const isIt = protocolIs(text);
  return (records, flow) => isIt(records.protocol(flow));
}

/** @param text a name that rules have, or a number @returns whether a protocol is meant: "icmp" is either family's @throws FilterError */
export function protocolIs(text: string): (protocol: number | undefined) => boolean {
  const number = readProtocol(text);
  const other = text === "icmp" ? NEXT_HEADER.ICMPV6 : number;
  return (protocol) => protocol === number || protocol === other;
}

/** @param text a name that rules have, or a number @throws FilterError @returns of "icmp" IPv4's */
export function readProtocol(text: string): number {
  if (!/^\d+$/.test(text)) return IANA[readValue("proto", "proto", text)];
  if (Number(text) <= 255) return Number(text);
  throw new FilterError(`proto=${text} is no protocol: a number is from 0 to 255`);
}

/** @param text of either family, of IPv6 also in brackets, as beside a port @param name what it is called here @throws FilterError */
export function readPrefix(name: string, text: string): IpPrefix {
  const { host, port } = splitEndpoint(text);
  if (port !== undefined && parseIp(host) !== undefined && parseValue("dstports", port).ok) {
    throw new FilterError(`${name} has no port (write ${name}=${host} ${name}ports=${port})`);
  }
  if (isIpv6Text(text)) return readValue("dst6", name, text.replace(/^\[(.*)\]$/, "$1"));
  const value = parseValue("dst4", text);
  if (value.ok) return value.value;
  throw new FilterError(`${name} ${quote(text)} is no address or prefix (write 10.1.2.0/24 or 2001:db8::/32)`);
}

function from(prefixes: readonly IpPrefix[]): Question {
  const isIn = addressesIn(prefixes);
  return (records, flow) => isIn(records, records.source(flow, 0));
}

/** To where the originator sent, or to where that was sent on to. */
function to(prefixes: readonly IpPrefix[]): Question {
  const isIn = addressesIn(prefixes);
  return (records, flow) => isIn(records, records.destination(flow, 0)) || isIn(records, records.source(flow, 1));
}

/** @returns whether an address of a flow is in one of them */
function addressesIn(prefixes: readonly IpPrefix[]): (records: FlowRecords, address: Address) => boolean {
  const [four, six] = [prefixes.filter(isOf4), prefixes.filter(isOf6)];
  const masks = four.map(({ prefix }) => maskOf(prefix));
  const networks = four.map(({ address }, i) => address & masks[i]);
  const networks6 = six.map(networkOf6Words);
  return (records, address) => {
    if (!isIpv6(address)) return networks.some((network, i) => (address & masks[i]) === network);
    return networks6.some(({ words, masks: bits }) => {
      return words.every((word, i) => (records.addresses.word(address, i) & bits[i]) === word);
    });
  };
}

function isOf4(prefix: IpPrefix): prefix is IpPrefix<number> {
  return typeof prefix.address === "number";
}

function isOf6(prefix: IpPrefix): prefix is IpPrefix<Uint8Array> {
  return typeof prefix.address !== "number";
}

/** As the address book has words. */
function networkOf6Words({ address, prefix }: Prefix6) {
  const view = new DataView(address.buffer, address.byteOffset);
  const masks = [0, 1, 2, 3].map((i) => maskOf(Math.min(32, Math.max(0, prefix - 32 * i))));
  return { masks, words: masks.map((mask, i) => view.getInt32(4 * i) & mask) };
}

function ofHost(text: string, meaning: Meaning): Question {
  return to(readHost(text, meaning));
}

/** @returns the addresses of a host name that is in the rules @throws FilterError */
export function readHost(text: string, { addressesOf, addresses6Of = () => undefined }: Meaning): IpPrefix[] {
  const name = readValue("dsthost", "dsthost", text);
  const [four, six] = [addressesOf(name), addresses6Of(name)];
  if (four === undefined && six === undefined)
    throw new FilterError(`dsthost ${quote(name)} is in no rule, so that its addresses are not known (write dst)`);
  return [...(four ?? []), ...(six ?? [])].map((address) => hostPrefix(address));
}

function byPorts({ low, high }: PortRange, portOf: (ports: Ports) => Port): Question {
  return (records, flow) => {
    const protocol = records.protocol(flow);
    if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return false;
    const port = portOf(records.ports(flow, 0));
    return low <= port && port <= high;
  };
}

/** The type stands where others have the responder's port. */
function ofType(text: string): Question {
  const type = readValue("icmptype", "icmptype", text);
  const isIcmp = protocolIs("icmp");
  return (records, flow) => isIcmp(records.protocol(flow)) && destinationPort(records.ports(flow, 0)) === type;
}

function ofRule(text: string): Question {
  const rule = readRuleNumber(text);
  return (records, flow) => records.rule(flow) === rule && !records.hasState(flow, FLOW_STATE.INBOUND);
}

/** @returns 0 for the policy @throws FilterError */
export function readRuleNumber(text: string): number {
  if (text !== "policy" && !/^\d{1,5}$/.test(text)) {
    throw new FilterError(`rule ${quote(text)} is no number of a rule (write 1, or policy)`);
  }
  return text === "policy" ? 0 : Number(text);
}

function ofState(text: string): Question {
  const state = text.toUpperCase();
  if (!TCP_STATE_NAMES.includes(state)) {
    throw new FilterError(`state ${quote(text)} is none of TCP's (write one of ${TCP_STATE_NAMES.join(", ")})`);
  }
  return (records, flow) => records.protocol(flow) === PROTOCOL.TCP && tcpStateName(records.state(flow)) === state;
}
