// Which drops somebody asks about, in the words of the rules and of `flows`.
import { distance } from "../../base/distance.ts";
import { hostPrefix, type IpAddress, type IpPrefix, isInside } from "../../base/ip.ts";
import { quote } from "../../base/quote.ts";
import { VERDICT_SLUGS } from "../../dataplane/verdict.ts";
import type { PortRange } from "../../rules/parse.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { type DropBook, type DropEntry, type DropFacts, isDrop } from "./drops.ts";
import {
  FilterError,
  type Meaning,
  numberOf,
  protocolIs,
  readHost,
  readPrefix,
  readRuleNumber,
  readValue,
  readWords,
} from "./flow-filter.ts";

export type DropQuestion = (facts: DropFacts) => boolean;

/** By key: what a value means. */
const WORDS: ReadonlyMap<string, (text: string, meaning: Meaning) => DropQuestion> = new Map([
  ["client", (text: string) => (facts: DropFacts) => facts.entry.client === text],
  ["interface", (text: string) => (facts: DropFacts) => facts.entry.interface === text],
  ["proto", ofProtocol],
  ["src", (text: string) => from([readPrefix("src", text)])],
  ["dst", (text: string) => to([readPrefix("dst", text)])],
  ["dst4", (text: string) => to([readValue("dst4", "dst4", text)])],
  ["dst6", (text: string) => to([readValue("dst6", "dst6", text)])],
  ["dsthost", (text: string, meaning: Meaning) => to(readHost(text, meaning))],
  ["srcports", (text: string) => byPorts(readValue("dstports", "srcports", text), (ports) => ports >>> 16)],
  ["dstports", (text: string) => byPorts(readValue("dstports", "dstports", text), (ports) => ports & 0xffff)],
  ["icmptype", ofType],
  ["rule", ofRule],
  ["verdict", ofVerdict],
]);

export const DROP_FILTER_KEYS: readonly string[] = [...WORDS.keys()];

/**
 * @param words each key=value; all must hold. Where none is about the verdict, only what was dropped is meant
 * @throws FilterError
 */
export function readDropFilter(words: readonly string[], meaning: Meaning): DropQuestion {
  const all = readWords(words, WORDS, meaning);
  if (!words.some((word) => word.startsWith("verdict="))) all.push(({ verdict }) => isDrop(verdict));
  return (facts) => all.every((question) => question(facts));
}

/**
 * @param words as readDropFilter has them
 * @returns those that match, the last seen first
 * @throws FilterError, also where none matches and a client or an interface is named that is not there: one of before may have been meant
 */
export function findDrops(drops: Pick<DropBook, "list">, words: readonly string[], meaning: Meaning): DropEntry[] {
  const found = drops.list(readDropFilter(words, meaning));
  if (found.length === 0) requireNames(words, meaning);
  return found;
}

/** @throws FilterError where words name a client or an interface that is not there */
export function requireNames(words: readonly string[], { settings: { clients, interfaces } }: Meaning): void {
  for (const [kind, all] of [
    ["client", clients],
    ["interface", interfaces],
  ] as const) {
    const word = words.find((one) => one.startsWith(`${kind}=`));
    if (word !== undefined) numberOf(kind, all, word.slice(kind.length + 1));
  }
}

function ofProtocol(text: string): DropQuestion {
  const isIt = protocolIs(text);
  return ({ entry }) => isIt(entry.protocol);
}

function from(prefixes: readonly IpPrefix[]): DropQuestion {
  return ({ source }) => source !== undefined && isInOne(source, prefixes);
}

function to(prefixes: readonly IpPrefix[]): DropQuestion {
  return ({ destination }) => destination !== undefined && isInOne(destination, prefixes);
}

function isInOne(address: IpAddress, prefixes: readonly IpPrefix[]): boolean {
  return prefixes.some((prefix) => isInside(hostPrefix(address), prefix));
}

function byPorts({ low, high }: PortRange, portOf: (ports: number) => number): DropQuestion {
  return ({ entry: { protocol }, ports }) => {
    if (ports === undefined || (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP)) return false;
    return low <= portOf(ports) && portOf(ports) <= high;
  };
}

function ofType(text: string): DropQuestion {
  const type = readValue("icmptype", "icmptype", text);
  return ({ entry }) => entry.icmptype === type;
}

function ofRule(text: string): DropQuestion {
  const rule = readRuleNumber(text);
  return ({ entry }) => entry.rule === rule;
}

/** A slug; "malformed" is all that begin so. */
function ofVerdict(text: string): DropQuestion {
  const slugs = readVerdicts(text);
  return ({ entry: { verdict } }) => slugs.includes(verdict);
}

/** All that are malformed. */
const MALFORMED = "malformed";
/** Slugs that are proposed at most, and letters of one that is longer than any: what is, is near to none. */
const MOST_NEAR = 3;
const LONGEST = 64;

/** @returns the slugs that are meant @throws FilterError */
export function readVerdicts(text: string): readonly string[] {
  const found = VERDICT_SLUGS.filter((slug) => slug === text || (text === MALFORMED && slug.startsWith(`${text}-`)));
  if (found.length > 0) return found;
  const near = nearVerdicts(text.slice(0, LONGEST).toLowerCase());
  const remedy = near.length === 0 ? "" : `write ${near.join(" or ")}; `;
  throw new FilterError(`verdict ${quote(text)} is none (${remedy}docs/VERDICTS.md has all)`);
}

/** @returns slugs of which the text is a part, or that differ from it by a third of its letters at most, the nearest first */
function nearVerdicts(text: string): string[] {
  const far = Math.ceil(text.length / 3);
  const away = (slug: string) => (text.length > 2 && slug.includes(text) ? 0 : distance(text, slug));
  return [...VERDICT_SLUGS, MALFORMED]
    .map((slug) => ({ slug, distance: away(slug) }))
    .filter((one) => one.distance <= far && text !== "")
    .sort((one, other) => one.distance - other.distance)
    .slice(0, MOST_NEAR)
    .map(({ slug }) => slug);
}
