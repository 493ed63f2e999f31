// Which drops somebody asks about, in the words of the rules and of `flows`.
import { hostPrefix, type IpAddress, type IpPrefix, isInside } from "../../base/ip.ts";
import { quote } from "../../base/quote.ts";
import { VERDICT_SLUGS } from "../../dataplane/verdict.ts";
import type { PortRange } from "../../rules/parse.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { type DropFacts, isDrop } from "./drops.ts";
import {
  FilterError,
  type Meaning,
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

/** @returns the slugs that are meant @throws FilterError */
export function readVerdicts(text: string): readonly string[] {
  const found = VERDICT_SLUGS.filter((slug) => slug === text || (text === "malformed" && slug.startsWith(`${text}-`)));
  if (found.length > 0) return found;
  throw new FilterError(`verdict ${quote(text)} is none (write one of ${VERDICT_SLUGS.join(", ")}, or malformed)`);
}
