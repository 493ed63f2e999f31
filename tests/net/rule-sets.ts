// Rule sets as users of Qubes OS have them, made at random, and probes in and around what their rules are about.

import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import { formatAddress, parseAddress } from "../../src/base/address.ts";
import type { Probe } from "./probes.ts";

export interface RuleSet {
  readonly texts: readonly string[];
  readonly policy: "accept" | "drop";
}

/** The firewall's name servers. */
export const DNS = ["10.139.1.1", "10.139.1.2"];
/** What names in rules resolve to. */
export const NAMES: ReadonlyMap<string, readonly string[]> = new Map([
  ["one.example", ["93.184.216.34"]],
  ["many.example", ["8.8.8.8", "198.51.100.7", "10.20.30.40", "172.16.5.9"]],
  ["dns.example", ["10.139.1.2", "8.8.8.8"]],
]);

/** IGMP, IPv6, GRE, ESP, AH, OSPF, EtherIP, and one for experiments. */
const OTHERS = [2, 41, 47, 50, 51, 89, 97, 253];

const HOSTS = [...new Set([...NAMES.values()].flat()), "192.168.7.1", "203.0.113.200"];
const PORTS = [0, 1, 22, 53, 80, 443, 8080, 65534, 65535];
/** Queries, errors, and what nobody knows. Of replies and the rest, docs/RULES.md says how they are handled. */
const ICMP_TYPES = [8, 8, 8, 13, 3, 4, 5, 11, 12, 30, 255];

export function randomRuleSet(random: Random): RuleSet {
  const texts = Array.from({ length: random.below(random.pick([4, 9, 9, 40])) }, () => randomRule(random));
  return { texts, policy: random.chance(0.8) ? "drop" : "accept" };
}

function randomRule(random: Random): string {
  const proto = random.pick(["", "tcp", "tcp", "udp", "icmp"]);
  const words = [`action=${random.pick(["accept", "accept", "drop"])}`];
  if (proto !== "") words.push(`proto=${proto}`);
  words.push(
    ...random.pick([[], [`dst4=${randomPrefix(random)}`], [`dst4=${randomPrefix(random)}`], [randomName(random)]]),
  );
  if (proto === "icmp") {
    if (random.chance(0.6)) words.push(`icmptype=${random.chance(0.7) ? random.pick(ICMP_TYPES) : random.below(256)}`);
    return shuffled(words, random);
  }
  const isDns = random.chance(0.12);
  if (isDns) words.push("specialtarget=dns");
  const likely = isDns ? 0.3 : proto === "" ? 0.3 : 0.7;
  if (random.chance(likely))
    words.push(`dstports=${isDns ? random.pick(["53", "53-53", "50-60", "80"]) : randomPorts(random)}`);
  return shuffled(words, random);
}

function shuffled(words: readonly string[], random: Random): string {
  const keyed = words.map((word) => [random.next(), word] as const);
  return keyed
    .sort(([one], [other]) => one - other)
    .map(([, word]) => word)
    .join(" ");
}

function randomName(random: Random): string {
  return `dsthost=${random.pick([...NAMES.keys()])}`;
}

/** With bits set behind the prefix, as users write them. */
function randomPrefix(random: Random): string {
  const address = random.pick(HOSTS);
  return random.chance(0.3) ? address : `${address}/${random.chance(0.2) ? random.below(33) : 8 + random.below(25)}`;
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
  readonly addresses: readonly { readonly address: number; readonly prefix: number }[];
  readonly ports: readonly [number, number];
  readonly type: number | undefined;
}

function subjectOf(text: string): Subject {
  const textOf = (key: string) => new RegExp(`(?:^| )${key}=([^ ]*)`).exec(text)?.[1];
  const [host = "", length = "32"] = textOf("dst4")?.split("/") ?? [];
  const known = [host, ...(NAMES.get(textOf("dsthost") ?? "") ?? []), ...(textOf("specialtarget") ? DNS : [])];
  const [low, high = low] = textOf("dstports")?.split("-").map(Number) ?? [];
  const type = textOf("icmptype");
  return {
    protocol: { tcp: TCP, udp: UDP, icmp: ICMP }[textOf("proto") ?? ""],
    addresses: known.flatMap((each) => {
      const address = parseAddress(each);
      return address === undefined ? [] : [{ address, prefix: each === host ? Number(length) : 32 }];
    }),
    ports: [low || 0, high || 65535],
    type: type === undefined ? undefined : Number(type),
  };
}

/** @returns a probe that lies in or next to what one of the rules is about, or anywhere a router forwards to */
export function randomProbe(random: Random, texts: readonly string[]): Probe {
  const subject = subjectOf(texts.length > 0 && random.chance(0.85) ? random.pick(texts) : "");
  const usual = random.pick([TCP, TCP, UDP, UDP, ICMP, random.pick(OTHERS)]);
  const protocol = random.chance(0.8) ? (subject.protocol ?? usual) : usual;
  let destination = anAddress(random, subject);
  while (!isOrdinary(destination)) destination = random.chance(0.5) ? anAddress(random, subject) : random.next();
  return { protocol, destination: formatAddress(destination), selector: aSelector(random, protocol, subject) };
}

function anAddress(random: Random, { addresses }: Subject): number {
  if (addresses.length === 0 || random.chance(0.1)) return parseAddress(random.pick([...HOSTS, ...DNS])) ?? 0;
  const { address, prefix } = random.pick(addresses);
  const size = 2 ** (32 - prefix);
  const first = address - (address % size);
  return random.pick([first, first - 1, first + size - 1, first + size, address, first + random.below(size)]) >>> 0;
}

function aSelector(random: Random, protocol: number, { ports: [low, high], type }: Subject): number {
  if (protocol === ICMP) return type !== undefined && isCompared(type) ? type : random.pick(ICMP_TYPES);
  const inside = low + random.below(high - low + 1);
  return random.pick([low, low - 1, high, high + 1, inside, inside, random.pick(PORTS)]) & 0xffff;
}

function isCompared(type: number): boolean {
  return (type > 18 && type < 256) || ICMP_TYPES.includes(type);
}

/** Whether every router forwards to this address; what else there is, is compared for itself. */
function isOrdinary(address: number): boolean {
  const top = address >>> 24;
  if (top === 0 || top === 127 || top >= 224 || address >>> 16 === 0xa9fe) return false;
  const ofTheLab = [0x0a890000, 0x0a800000, 0xc0000000].some((network) => address >>> 16 === network >>> 16);
  return !ofTheLab;
}
