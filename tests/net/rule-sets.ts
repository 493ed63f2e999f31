// Rule sets as users of Qubes OS have them, made at random, and probes in and around what their rules are about, of either family: what
// these have that the other has not is in their terms (rule-sets4.ts, rule-sets6.ts).
import { TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import type { Probe } from "./probes.ts";

export interface RuleSet {
  readonly texts: readonly string[];
  readonly policy: "accept" | "drop";
}

/** What rules and probes of one family are about. Addresses are numbers. */
export interface Terms {
  readonly addressBits: 32 | 128;
  readonly key: "dst4" | "dst6";
  /** The firewall's name servers. */
  readonly dns: readonly string[];
  /** What names in rules resolve to. */
  readonly names: ReadonlyMap<string, readonly string[]>;
  /** Other hosts. */
  readonly hosts: readonly string[];
  /** Protocol number. */
  readonly icmp: number;
  /** Requests, errors, and what nobody knows. Of replies and the rest, docs/RULES.md says how they are handled. */
  readonly icmpTypes: readonly number[];
  /** Protocols beside TCP, UDP and ICMP. */
  readonly others: readonly number[];
  /** @returns whether a probe may be of an ICMP type that a rule names */
  isCompared(type: number): boolean;
  randomPrefixLength(random: Random): number;
  /** @returns any address: it need not be an ordinary one */
  randomAddress(random: Random): bigint;
  /** @returns whether every router forwards to it; what else there is, is compared for itself */
  isOrdinary(address: bigint): boolean;
  parse(text: string): bigint | undefined;
  format(address: bigint): string;
}

const PORTS = [0, 1, 22, 53, 80, 443, 8080, 65534, 65535];

export function randomRuleSet(random: Random, terms: Terms): RuleSet {
  const texts = Array.from({ length: random.below(random.pick([4, 9, 9, 40])) }, () => randomRule(random, terms));
  return { texts, policy: random.chance(0.8) ? "drop" : "accept" };
}

function randomRule(random: Random, terms: Terms): string {
  const { names, icmpTypes } = terms;
  const proto = random.pick(["", "", "tcp", "tcp", "udp", "icmp"]);
  const words = [`action=${random.pick(["accept", "accept", "drop"])}`];
  if (proto !== "") words.push(`proto=${proto}`);
  const prefix = () => `${terms.key}=${randomPrefix(random, terms)}`;
  words.push(...random.pick([[], [prefix()], [prefix()], [`dsthost=${random.pick([...names.keys()])}`]]));
  if (proto === "icmp") {
    if (random.chance(0.6)) words.push(`icmptype=${random.chance(0.7) ? random.pick(icmpTypes) : random.below(256)}`);
    return shuffled(words, random);
  }
  const isDns = random.chance(0.12);
  if (isDns) words.push("specialtarget=dns");
  const likely = isDns || proto === "" ? 0.3 : 0.7;
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

/** With bits set behind the prefix, as users write them. */
function randomPrefix(random: Random, terms: Terms): string {
  const address = random.pick(hostsOf(terms));
  return random.chance(0.3) ? address : `${address}/${terms.randomPrefixLength(random)}`;
}

function hostsOf({ names, hosts }: Terms): string[] {
  return [...new Set([...names.values()].flat()), ...hosts];
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
  readonly networks: readonly { readonly address: bigint; readonly prefix: number }[];
  readonly ports: readonly [number, number];
  readonly type: number | undefined;
}

function subjectOf(text: string, { key, dns, names, icmp, addressBits, parse }: Terms): Subject {
  const textOf = (key: string) => new RegExp(`(?:^| )${key}=([^ ]*)`).exec(text)?.[1];
  const [host = "", length = String(addressBits)] = textOf(key)?.split("/") ?? [];
  const known = [...(names.get(textOf("dsthost") ?? "") ?? []), ...(textOf("specialtarget") ? dns : [])];
  const [low, high = low] = textOf("dstports")?.split("-").map(Number) ?? [];
  const type = textOf("icmptype");
  const prefixes: [string, number][] = [
    [host, Number(length)],
    ...known.map((each): [string, number] => [each, addressBits]),
  ];
  return {
    protocol: { tcp: TCP, udp: UDP, icmp }[textOf("proto") ?? ""],
    networks: prefixes.flatMap(([each, prefix]) => {
      const address = parse(each);
      return address === undefined || prefix > addressBits ? [] : [{ address, prefix }];
    }),
    ports: [low || 0, high || 65535],
    type: type === undefined ? undefined : Number(type),
  };
}

/** @returns a probe that lies in or next to what one of the rules is about, or anywhere a router forwards to */
export function randomProbe(random: Random, texts: readonly string[], terms: Terms): Probe {
  const subject = subjectOf(texts.length > 0 && random.chance(0.85) ? random.pick(texts) : "", terms);
  const usual = random.pick([TCP, TCP, UDP, UDP, terms.icmp, random.pick(terms.others)]);
  const protocol = random.chance(0.8) ? (subject.protocol ?? usual) : usual;
  let destination = addressNear(random, subject, terms);
  while (!terms.isOrdinary(destination)) {
    destination = random.chance(0.5) ? addressNear(random, subject, terms) : terms.randomAddress(random);
  }
  return { protocol, destination: terms.format(destination), selector: selectorNear(random, protocol, subject, terms) };
}

function addressNear(random: Random, { networks }: Subject, terms: Terms): bigint {
  if (networks.length === 0 || random.chance(0.1)) {
    return terms.parse(random.pick([...hostsOf(terms), ...terms.dns])) ?? 0n;
  }
  const { address, prefix } = random.pick(networks);
  const rest = terms.addressBits - prefix;
  const size = 1n << BigInt(rest);
  const first = address & -size;
  const inside = first + randomBits(random, rest);
  const near = random.pick([first, first - 1n, first + size - 1n, first + size, address, inside]);
  return BigInt.asUintN(terms.addressBits, near);
}

/** @param bits at most 128 */
export function randomBits(random: Random, bits: number): bigint {
  const word = [0, 1, 2, 3].reduce((number) => (number << 32n) | BigInt(random.next()), 0n);
  return BigInt.asUintN(bits, word);
}

function selectorNear(random: Random, protocol: number, { ports: [low, high], type }: Subject, terms: Terms): number {
  if (protocol === terms.icmp) {
    return type !== undefined && terms.isCompared(type) ? type : random.pick(terms.icmpTypes);
  }
  const inside = low + random.below(high - low + 1);
  return random.pick([low, low - 1, high, high + 1, inside, inside, random.pick(PORTS)]) & 0xffff;
}
