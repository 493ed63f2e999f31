// The fewest rules that would have let pass what was refused: found as a cover of it by rules that accept nothing else, but for what a word
// of the rule language means. A host name means all of its addresses, and specialtarget=dns all name servers.
import { bitsOf, familyOf, formatIp, type IpAddress } from "../base/ip.ts";
import { IANA } from "../rules/compile.ts";
import { formatRule, type PortRange, parseRule, parseValue, type Rule } from "../rules/parse.ts";
import { NEXT_HEADER } from "../wire/ipv6.ts";
import { DNS_PORT } from "../wire/ports.ts";
import { cover } from "./cover.ts";

/** Packets that were refused, as far as rules look at them. */
export interface Refused {
  readonly protocol: number;
  readonly destination: IpAddress;
  /** Destination port, or type of ICMP or ICMPv6; undefined where the packet did not say. */
  readonly selector: number | undefined;
}

/** What is to be known beside. */
export interface Known {
  /** What specialtarget=dns means. */
  readonly dns: readonly IpAddress[];
  /** The host name that the client was told this address for. */
  nameOf(address: IpAddress): string | undefined;
}

export interface Proposal<R extends Refused> {
  readonly rule: Rule;
  /** What it would let pass of what was refused. */
  readonly passes: readonly R[];
}

export interface Suggestion<R extends Refused> {
  /** In the order of how much they let pass. */
  readonly proposals: readonly Proposal<R>[];
  /** What no rule could be found for that accepts just this. */
  readonly leftOut: readonly R[];
}

/** Destinations that a rule can name together. */
interface Target {
  readonly words: Partial<Rule>;
  /** As formatIp has them. */
  readonly members: readonly string[];
  /** Whether the rule may have all that any of the members has; else only what all of them have. */
  readonly isNamed: boolean;
}

/** What a destination was refused: ports, and types. */
interface Wanted {
  readonly address: IpAddress;
  readonly tcp: Set<number>;
  readonly udp: Set<number>;
  readonly icmp: Set<number>;
}

const KINDS = ["tcp", "udp", "icmp"] as const;
type Kind = (typeof KINDS)[number];

/** Cost of a rule, and what one with a number in place of a name costs beyond: of equally many, those that people understand. */
const RULE_COST = 1000;
const NUMBER_COST = 1;

/** Rules that are looked at, so that who was refused a thousand things in no order keeps nobody waiting. */
const MOST_CANDIDATES = 4096;

/** ms that it works in one go: control's thread has more to do. */
const SLICE = 2;

export async function suggest<R extends Refused>(refused: readonly R[], known: Known): Promise<Suggestion<R>> {
  let since = performance.now();
  const rest = async () => {
    if (performance.now() - since < SLICE) return;
    await new Promise(setImmediate);
    since = performance.now();
  };
  const wanted = gather(refused);
  const byDestination = Map.groupBy(refused.keys(), (i) => formatIp(refused[i].destination));
  const rules: Rule[] = [];
  const indices: number[][] = [];
  for (const target of targetsOf(wanted, known)) {
    for (const { rule, members } of rulesFor(target, wanted)) {
      if (rules.length === MOST_CANDIDATES || !isWritable(rule)) continue;
      rules.push(rule);
      indices.push(
        members.flatMap((address) => (byDestination.get(address) ?? []).filter((i) => covers(rule, refused[i]))),
      );
    }
    await rest();
  }
  const costs = rules.map(({ dst4, dst6 }) => RULE_COST + (dst4 === undefined && dst6 === undefined ? 0 : NUMBER_COST));
  const { chosen, uncovered } = await cover(refused.length, indices, costs, rest);
  const proposals = chosen.map((i) => ({ rule: rules[i], passes: indices[i].map((at) => refused[at]) }));
  proposals.sort((one, other) => other.passes.length - one.passes.length);
  return { proposals, leftOut: uncovered.map((i) => refused[i]) };
}

/** @returns what rules call the protocol */
function kindOf({ protocol, destination }: Refused): Kind | undefined {
  if (protocol === NEXT_HEADER.ICMPV6 && familyOf(destination) === 6) return "icmp";
  if (protocol === IANA.icmp && familyOf(destination) === 6) return undefined;
  return KINDS.find((name) => IANA[name] === protocol);
}

function gather(refused: readonly Refused[]): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const packet of refused) {
    const { destination, selector } = packet;
    const kind = kindOf(packet);
    if (kind === undefined || selector === undefined) continue;
    const key = formatIp(destination);
    const of = wanted.get(key) ?? { address: destination, tcp: new Set(), udp: new Set(), icmp: new Set() };
    of[kind].add(selector);
    wanted.set(key, of);
  }
  return wanted;
}

function targetsOf(wanted: ReadonlyMap<string, Wanted>, { dns, nameOf }: Known): Target[] {
  const all = [...wanted.entries()];
  const known = dns.map((address) => formatIp(address));
  const servers = all.flatMap(([key]) => (known.includes(key) ? [key] : []));
  const byName = Map.groupBy(all, ([, { address }]) => nameOf(address));
  const named = Array.from(byName, ([dsthost, members]): Target[] =>
    dsthost === undefined ? [] : [{ words: { dsthost }, members: members.map(([key]) => key), isNamed: true }],
  );
  const addresses = all.map(([, { address }]) => address);
  return [
    ...(servers.length === 0 ? [] : [{ words: { specialtarget: "dns" } as const, members: servers, isNamed: true }]),
    ...named.flat(),
    ...([4, 6] as const).flatMap((family) => prefixesOf(addresses.filter((address) => familyOf(address) === family))),
  ];
}

/** @param addresses of one family @returns each, and each prefix of which all addresses are there */
function prefixesOf(addresses: readonly IpAddress[]): Target[] {
  const bits = addresses.length === 0 ? 0 : bitsOf(addresses[0]);
  const all = addresses.map((address) => ({ start: toNumber(address), prefix: bits, members: [address] }));
  for (let level = all; level.length > 1; ) {
    const here = new Map(level.map((one) => [one.start, one]));
    const half = 1n << BigInt(bits - level[0].prefix);
    level = level.flatMap(({ start, prefix, members }) => {
      const sibling = (start / half) % 2n === 0n ? here.get(start + half) : undefined;
      return sibling === undefined ? [] : [{ start, prefix: prefix - 1, members: [...members, ...sibling.members] }];
    });
    all.push(...level);
  }
  return all.map(({ prefix, members }) => ({
    words: wordsFor(members[0], prefix),
    members: members.map((address) => formatIp(address)),
    isNamed: false,
  }));
}

function toNumber(address: IpAddress): bigint {
  if (typeof address === "number") return BigInt(address);
  return address.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

/** @param address the prefix's first */
function wordsFor(address: IpAddress, prefix: number): Partial<Rule> {
  return typeof address === "number" ? { dst4: { address, prefix } } : { dst6: { address, prefix } };
}

interface Candidate {
  readonly rule: Rule;
  readonly members: readonly string[];
}

function rulesFor({ words, members, isNamed }: Target, wanted: ReadonlyMap<string, Wanted>): Candidate[] {
  const together = (kind: Kind): Set<number> => {
    const sets = members.map((address) => wanted.get(address)?.[kind] ?? new Set<number>());
    return sets.reduce((one, other) => (isNamed ? one.union(other) : one.intersection(other)));
  };
  const [tcp, udp, icmp] = [together("tcp"), together("udp"), together("icmp")];
  const make = (more: Partial<Rule>): Candidate => ({ rule: { action: "accept", ...words, ...more }, members });
  if (words.specialtarget === "dns") {
    const [byTcp, byUdp] = [tcp.has(DNS_PORT), udp.has(DNS_PORT)];
    if (byTcp && byUdp) return [make({})];
    return byTcp || byUdp ? [make({ proto: byTcp ? "tcp" : "udp" })] : [];
  }
  const byPorts = (ports: ReadonlySet<number>, proto: Partial<Rule>) =>
    runsOf(ports).map((dstports) => make({ ...proto, dstports }));
  return [
    ...byPorts(tcp.intersection(udp), {}),
    ...byPorts(tcp, { proto: "tcp" }),
    ...byPorts(udp, { proto: "udp" }),
    ...Array.from(icmp, (icmptype) => make({ proto: "icmp", icmptype })),
  ];
}

/** @returns the ranges that numbers make, each as long as can be */
function runsOf(numbers: ReadonlySet<number>): PortRange[] {
  const runs: { low: number; high: number }[] = [];
  for (const number of [...numbers].sort((one, other) => one - other)) {
    const last = runs.at(-1);
    if (last !== undefined && last.high === number - 1) last.high = number;
    else runs.push({ low: number, high: number });
  }
  return runs;
}

/** @returns whether a rule about a packet's destination is about the packet too */
function covers(rule: Rule, packet: Refused): boolean {
  const { selector } = packet;
  const kind = kindOf(packet);
  if (selector === undefined || kind === undefined) return false;
  if (rule.proto !== undefined && rule.proto !== kind) return false;
  if (kind === "icmp") return rule.icmptype === selector;
  const { low, high } = rule.dstports ?? { low: DNS_PORT, high: DNS_PORT };
  return low <= selector && selector <= high;
}

/** What a client was told may be no host name. What is suggested is what a configuration, or dom0, would read. */
function isWritable(rule: Rule): boolean {
  if (rule.dsthost !== undefined && !parseValue("dsthost", rule.dsthost).ok) return false;
  return parseRule(formatRule(rule)).ok;
}
