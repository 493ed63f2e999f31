// The fewest rules that would have let pass what was refused: found as a cover of it by rules that accept nothing else, but for what a word
// of the rule language means. A host name means all of its addresses, and specialtarget=dns all name servers.
import type { Prefix } from "../base/address.ts";
import { IANA } from "../rules/compile.ts";
import { formatRule, type PortRange, parseRule, parseValue, type Rule } from "../rules/parse.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { DNS_PORT } from "../wire/ports.ts";
import { cover } from "./cover.ts";

/** Packets that were refused, as far as rules look at them. */
export interface Refused {
  readonly protocol: number;
  /** uint32, host order. */
  readonly destination: number;
  /** Destination port, or ICMP type; undefined where the packet did not say. */
  readonly selector: number | undefined;
}

/** What is to be known beside. */
export interface Known {
  /** What specialtarget=dns means: uint32, host order. */
  readonly dns: readonly number[];
  /** The host name that the client was told this address for. */
  nameOf(address: number): string | undefined;
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
  readonly members: readonly number[];
  /** Whether the rule may have all that any of the members has; else only what all of them have. */
  readonly isNamed: boolean;
}

/** What a destination was refused: ports, and types. */
interface Wanted {
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

export function suggest<R extends Refused>(refused: readonly R[], known: Known): Suggestion<R> {
  const wanted = gather(refused);
  const rules = targetsOf(wanted, known).flatMap((target) => rulesFor(target, wanted));
  const candidates = rules.filter(({ rule }) => isWritable(rule)).slice(0, MOST_CANDIDATES);
  const byDestination = Map.groupBy(refused.keys(), (i) => refused[i].destination);
  const indices = candidates.map(({ rule, members }) =>
    members.flatMap((address) => (byDestination.get(address) ?? []).filter((i) => covers(rule, refused[i]))),
  );
  const costs = candidates.map(({ rule }) => RULE_COST + (rule.dst4 === undefined ? 0 : NUMBER_COST));
  const { chosen, uncovered } = cover(refused.length, indices, costs);
  const proposals = chosen.map((i) => ({ rule: candidates[i].rule, passes: indices[i].map((at) => refused[at]) }));
  proposals.sort((one, other) => other.passes.length - one.passes.length);
  return { proposals, leftOut: uncovered.map((i) => refused[i]) };
}

function gather(refused: readonly Refused[]): Map<number, Wanted> {
  const wanted = new Map<number, Wanted>();
  for (const { protocol, destination, selector } of refused) {
    const kind = KINDS.find((name) => IANA[name] === protocol);
    if (kind === undefined || selector === undefined) continue;
    const of = wanted.get(destination) ?? { tcp: new Set(), udp: new Set(), icmp: new Set() };
    of[kind].add(selector);
    wanted.set(destination, of);
  }
  return wanted;
}

function targetsOf(wanted: ReadonlyMap<number, Wanted>, { dns, nameOf }: Known): Target[] {
  const destinations = [...wanted.keys()];
  const servers = destinations.filter((address) => dns.includes(address));
  const byName = Map.groupBy(destinations, (address) => nameOf(address));
  const named = Array.from(byName, ([dsthost, members]): Target[] =>
    dsthost === undefined ? [] : [{ words: { dsthost }, members, isNamed: true }],
  );
  return [
    ...(servers.length === 0 ? [] : [{ words: { specialtarget: "dns" } as const, members: servers, isNamed: true }]),
    ...named.flat(),
    ...prefixesOf(destinations).map(({ members, ...dst4 }) => ({ words: { dst4 }, members, isNamed: false })),
  ];
}

/** @returns each address, and each prefix of which all addresses are there */
function prefixesOf(addresses: readonly number[]): (Prefix & { readonly members: readonly number[] })[] {
  const all = addresses.map((address) => ({ address, prefix: 32, members: [address] }));
  for (let level = all; level.length > 1; ) {
    const here = new Map(level.map((one) => [one.address, one]));
    const { prefix } = level[0];
    const half = 2 ** (32 - prefix);
    level = level.flatMap(({ address, members }) => {
      const sibling = (address / half) % 2 === 0 ? here.get(address + half) : undefined;
      return sibling === undefined ? [] : [{ address, prefix: prefix - 1, members: [...members, ...sibling.members] }];
    });
    all.push(...level);
  }
  return all;
}

interface Candidate {
  readonly rule: Rule;
  readonly members: readonly number[];
}

function rulesFor({ words, members, isNamed }: Target, wanted: ReadonlyMap<number, Wanted>): Candidate[] {
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
function covers(rule: Rule, { protocol, selector }: Refused): boolean {
  if (selector === undefined) return false;
  if (rule.proto !== undefined && IANA[rule.proto] !== protocol) return false;
  if (protocol === PROTOCOL.ICMP) return rule.icmptype === selector;
  if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return false;
  const { low, high } = rule.dstports ?? { low: DNS_PORT, high: DNS_PORT };
  return low <= selector && selector <= high;
}

/** What a client was told may be no host name. What is suggested is what a configuration, or dom0, would read. */
function isWritable(rule: Rule): boolean {
  if (rule.dsthost !== undefined && !parseValue("dsthost", rule.dsthost).ok) return false;
  return parseRule(formatRule(rule)).ok;
}
