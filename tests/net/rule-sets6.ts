// Rule sets as users of Qubes OS have them, of IPv6, made at random, and probes in and around what their rules are about: with
// extension headers, and in fragments, too.
import { text6 } from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import { bytesOfWords } from "../../lab/rulesets.ts";
import { parseAddress6 } from "../../src/base/address.ts";
import type { EXTENSIONS, Probe6 } from "./probes6.ts";
import type { RuleSet } from "./rule-sets.ts";

/** The firewall's name servers. */
export const DNS6 = ["2620:fe::fe", "2001:4860:4860::8888"];
/** What names in rules resolve to. */
export const NAMES6: ReadonlyMap<string, readonly string[]> = new Map([
  ["one.example", ["2606:2800:220:1:248:1893:25c8:1946"]],
  ["many.example", ["2001:4860:4860::8844", "2a00:1450:4001::7", "2a00:1450:4001:80b::200e", "2606:4700::1111"]],
  ["dns.example", ["2001:4860:4860::8888", "2606:4700::1111"]],
]);

/** IGMP, IPv6, GRE, ESP, OSPF, EtherIP, and one for experiments. */
const OTHERS = [2, 41, 47, 50, 89, 97, 253];
const HOSTS = [...new Set([...NAMES6.values()].flat()), "2600::", "2001:67c:2e8:22::c100:68b"];
const PORTS = [0, 1, 22, 53, 80, 443, 8080, 65534, 65535];
/** Requests, errors, and what nobody knows. */
const ICMP_TYPES = [128, 128, 128, 128, 1, 2, 3, 4, 8, 100, 127];

export function randomRuleSet6(random: Random): RuleSet {
  const texts = Array.from({ length: random.below(random.pick([4, 9, 9, 40])) }, () => randomRule(random));
  return { texts, policy: random.chance(0.8) ? "drop" : "accept" };
}

function randomRule(random: Random): string {
  const proto = random.pick(["", "", "tcp", "tcp", "udp", "icmp"]);
  const words = [`action=${random.pick(["accept", "accept", "drop"])}`];
  if (proto !== "") words.push(`proto=${proto}`);
  const destination = random.pick([
    [],
    [`dst6=${randomPrefix(random)}`],
    [`dst6=${randomPrefix(random)}`],
    [aName(random)],
  ]);
  words.push(...destination);
  if (proto === "icmp") {
    if (random.chance(0.6)) words.push(`icmptype=${random.chance(0.7) ? random.pick(ICMP_TYPES) : random.below(256)}`);
    return words.join(" ");
  }
  const isDns = random.chance(0.12);
  if (isDns) words.push("specialtarget=dns");
  const likely = isDns || proto === "" ? 0.3 : 0.7;
  if (random.chance(likely))
    words.push(`dstports=${isDns ? random.pick(["53", "53-53", "50-60", "80"]) : randomPorts(random)}`);
  return words.join(" ");
}

function aName(random: Random): string {
  return `dsthost=${random.pick([...NAMES6.keys()])}`;
}

/** With bits set behind the prefix, as users write them. */
function randomPrefix(random: Random): string {
  const address = random.pick(HOSTS);
  return random.chance(0.3)
    ? address
    : `${address}/${random.chance(0.5) ? random.pick([32, 48, 56, 64]) : random.below(129)}`;
}

function randomPort(random: Random): number {
  return random.chance(0.7) ? random.pick(PORTS) : random.below(65536);
}

function randomPorts(random: Random): string {
  const [low = 0, high = 0] = [randomPort(random), randomPort(random)].sort((one, other) => one - other);
  return random.chance(0.4) ? String(low) : `${low}-${high}`;
}

/** What a rule is about, as far as its text says. */
interface Subject {
  readonly protocol: number | undefined;
  readonly addresses: readonly { readonly address: bigint; readonly prefix: number }[];
  readonly ports: readonly [number, number];
  readonly type: number | undefined;
}

function subjectOf(text: string): Subject {
  const textOf = (key: string) => new RegExp(`(?:^| )${key}=([^ ]*)`).exec(text)?.[1];
  const [host, length = "128"] = textOf("dst6")?.split("/") ?? [];
  const known = [...(NAMES6.get(textOf("dsthost") ?? "") ?? []), ...(textOf("specialtarget") ? DNS6 : [])];
  const [low, high = low] = textOf("dstports")?.split("-").map(Number) ?? [];
  const type = textOf("icmptype");
  return {
    protocol: { tcp: TCP, udp: UDP, icmp: ICMPV6 }[textOf("proto") ?? ""],
    addresses: [
      ...(host === undefined || !isAddress(host, length) ? [] : [{ address: numberOf(host), prefix: Number(length) }]),
      ...known.map((each) => ({ address: numberOf(each), prefix: 128 })),
    ],
    ports: [low || 0, high || 65535],
    type: type === undefined ? undefined : Number(type),
  };
}

/** @returns a probe that lies in or next to what one of the rules is about, or anywhere a router forwards to */
export function randomProbe6(random: Random, texts: readonly string[]): Probe6 {
  const subject = subjectOf(texts.length > 0 && random.chance(0.85) ? random.pick(texts) : "");
  const usual = random.pick([TCP, TCP, UDP, UDP, ICMPV6, random.pick(OTHERS)]);
  const protocol = random.chance(0.8) ? (subject.protocol ?? usual) : usual;
  let destination = anAddress(random, subject);
  while (!isOrdinary(destination)) {
    destination = random.chance(0.5) ? anAddress(random, subject) : (0x2n << 124n) | randomBits(random, 124);
  }
  return {
    protocol,
    destination: textOf(destination),
    selector: aSelector(random, protocol, subject),
    ...random.pick([{}, {}, {}, { extensions: randomExtensions(random) }, { isFragmented: true }]),
  };
}

/** In an order that senders are to keep (RFC 8200 section 4.1); each is there once at most. */
function randomExtensions(random: Random): (keyof typeof EXTENSIONS)[] {
  const all = ["hop-by-hop", "routing", "atomic", "ah", "destination"] as const;
  const some = all.filter((name) => random.chance(name === "ah" ? 0.1 : 0.4));
  return some.length > 0 ? some : [random.pick(all)];
}

function anAddress(random: Random, { addresses }: Subject): bigint {
  if (addresses.length === 0 || random.chance(0.1)) return numberOf(random.pick([...HOSTS, ...DNS6]));
  const { address, prefix } = random.pick(addresses);
  const size = 1n << BigInt(128 - prefix);
  const first = address & -size;
  const inside = first + randomBits(random, 128 - prefix);
  return random.pick([first, first - 1n, first + size - 1n, first + size, address, inside]) & ((1n << 128n) - 1n);
}

function aSelector(random: Random, protocol: number, { ports: [low, high], type }: Subject): number {
  if (protocol === ICMPV6) return type !== undefined && ICMP_TYPES.includes(type) ? type : random.pick(ICMP_TYPES);
  const inside = low + random.below(high - low + 1);
  return random.pick([low, low - 1, high, high + 1, inside, inside, random.pick(PORTS)]) & 0xffff;
}

function randomBits(random: Random, bits: number): bigint {
  const word = [0, 1, 2, 3].reduce((number) => (number << 32n) | BigInt(random.next()), 0n);
  return word & ((1n << BigInt(bits)) - 1n);
}

/** Whether every router forwards to this address (2000::/3, but what the laboratory has); what else there is, is compared for itself. */
function isOrdinary(address: bigint): boolean {
  return address >> 125n === 1n && address >> 96n !== 0x20010db8n;
}

function isAddress(host: string, length: string): boolean {
  return parseAddress6(host) !== undefined && Number(length) <= 128;
}

function numberOf(text: string): bigint {
  const address = parseAddress6(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return BigInt(`0x${Buffer.from(address).toString("hex")}`);
}

function textOf(address: bigint): string {
  const words = [96n, 64n, 32n, 0n].map((behind) => Number((address >> behind) & 0xffffffffn));
  return text6(bytesOfWords(words));
}
