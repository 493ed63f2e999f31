// The rule language of Qubes OS 4.x (https://www.qubes-os.org/doc/vm-interface/, "Firewall rules"): one rule from its
// text to a plain value and back. It fails closed: what the grammar does not give is an error, and its caller drops
// everything. compile.ts turns rules into what the dataplane matches, and docs/RULES.md says where the Linux agent
// reads them differently.
import {
  formatPrefix,
  formatPrefix6,
  networkOf,
  networkOf6,
  notIpv4,
  type Prefix,
  type Prefix6,
  parsePrefix,
  parsePrefix6,
} from "../base/address.ts";
import type { Family } from "../base/ip.ts";
import { quote } from "../base/quote.ts";

/** What happens to packets that no rule matches. */
export type Policy = "accept" | "drop";

export interface PortRange {
  /** Both ends included, 0–65535. */
  readonly low: number;
  readonly high: number;
}

/** All of its predicates must hold for the action to be taken; the keys are those of the language. */
export interface Rule {
  readonly action: "accept" | "drop";
  /** Bits behind the prefix are zero here; Qubes OS lets users set them, and the Linux agent ignores them. */
  readonly dst4?: Prefix;
  /** As dst4. */
  readonly dst6?: Prefix6;
  /** In lower case, without a dot at the end. */
  readonly dsthost?: string;
  readonly proto?: "tcp" | "udp" | "icmp";
  readonly specialtarget?: "dns";
  readonly dstports?: PortRange;
  readonly icmptype?: number;
  /** Unix time in seconds, from which on the rule matches nothing. */
  readonly expire?: number;
  readonly comment?: string;
}

/** One of a client's list. */
export interface ListedRule extends Rule {
  /** It is about packets of this family alone: the client has a list for each, and this rule stands in one of them. */
  readonly family?: Family;
}

export type RuleResult = { readonly ok: true; readonly rule: Rule } | { readonly ok: false; readonly error: string };

/** The longest value in QubesDB, and so the longest text of a rule, in bytes. */
const MAX_BYTES = 3072;

const NUMBER = /^(0|[1-9][0-9]{0,11})$/;
const PORTS = /^([^-]+)(?:-([^-]+))?$/;
/** The last second of the year 9999, the last that dom0 can write. */
const LAST_SECOND = 253402300799;

/** Letters, digits, hyphens inside (RFC 1123 section 2.1) and, as users of DNS do, underscores. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const MAX_NAME = 253;

/** What dom0 allows (qubes-core-admin, qubes/firewall.py). Without "=", so that no predicate hides in it. */
const COMMENT = /^[A-Za-z0-9:;,./\-_[\] ]+$/;

/** What a key may be given. `parse` returns undefined for text that is no value of this kind. */
interface Key<T> {
  readonly parse: (text: string) => T | undefined;
  readonly is: string;
  readonly write: string;
}

const KEYS: { readonly [K in keyof Required<Rule>]: Key<Required<Rule>[K]> } = {
  action: choice("an action", ["accept", "drop"]),
  dst4: { parse: parseDestination, is: "an IPv4 prefix", write: "10.1.2.3 or 10.1.2.0/24" },
  dst6: { parse: parseDestination6, is: "an IPv6 prefix", write: "2001:db8::1 or 2001:db8::/32" },
  dsthost: { parse: parseHostName, is: "a host name", write: "www.example.org, and dst4 or dst6 for an address" },
  proto: choice("a protocol", ["tcp", "udp", "icmp"]),
  specialtarget: choice("a special target", ["dns"]),
  dstports: { parse: parsePorts, is: "a port range", write: "80 or 80-443" },
  icmptype: { parse: parseIcmpType, is: "an ICMP type", write: "a number from 0 to 255" },
  expire: { parse: parseExpire, is: "a Unix time in seconds", write: "the output of date +%s --date tomorrow" },
  comment: { parse: parseComment, is: "a comment", write: "letters, digits, spaces and :;,./-_[] at the rule's end" },
};
const KEY_NAMES = Object.keys(KEYS).join(", ");

/** A rule about one destination has one of these. */
const DESTINATIONS = ["dst4", "dst6", "dsthost"] as const;

/**
 * @param text `key=value` pairs with one space between them: `action=accept proto=tcp dstports=443`. A comment may have
 * spaces, and goes to the end of the text.
 */
export function parseRule(text: string): RuleResult {
  if (Buffer.byteLength(text) > MAX_BYTES) return fail(`is longer than ${MAX_BYTES} bytes (split it up)`);
  if (text === "") return fail("is empty (write action=accept or action=drop, then what it is for)");
  const pairs: (readonly [string, string])[] = [];
  const [options = "", comment] = text.split(/(?:^| )comment=(.*)/s);
  for (const word of options === "" && comment !== undefined ? [] : options.split(" ")) {
    if (word === "") return fail("has a space too many (write one space between two key=value pairs, none around)");
    const equals = word.indexOf("=");
    if (equals < 0) return fail(`${quote(word)} is not key=value (write action=accept proto=tcp dstports=443)`);
    pairs.push([word.slice(0, equals), word.slice(equals + 1)]);
  }
  if (comment !== undefined) pairs.push(["comment", comment]);
  return makeRule(pairs);
}

/** @returns the rule, or an error where it can't be one of a client with an address of this family */
export function forFamily(result: RuleResult, family: Family): RuleResult {
  const foreign = family === 4 ? "dst6" : "dst4";
  if (!result.ok || result.rule[foreign] === undefined) return result;
  return fail(
    `${foreign} is not for a client with an IPv${family} address (write dst${family}, or leave the rule out)`,
  );
}

/** @param pairs keys and their values' text, in any order */
export function makeRule(pairs: Iterable<readonly [string, string]>): RuleResult {
  const values = new Map<string, unknown>();
  for (const [key, text] of pairs) {
    const problem = keyProblem(key, values);
    if (problem !== undefined) return fail(problem);
    const result = parseValue(key as keyof Rule, text);
    if (!result.ok) return result;
    values.set(key, result.value);
  }
  // Each value is of its key's type: KEYS says so.
  return checkTogether(Object.fromEntries(values) as Partial<Rule>);
}

/** @returns what a key is given, by itself */
export function parseValue<K extends keyof Rule>(
  key: K,
  text: string,
): { readonly ok: true; readonly value: Required<Rule>[K] } | { readonly ok: false; readonly error: string } {
  const { parse, is, write }: Key<Required<Rule>[K]> = KEYS[key];
  if (text === "") return fail(`${key} has no value (write ${write})`);
  const value = parse(text);
  if (value !== undefined) return { ok: true, value };
  const problem = key === "dst6" ? `is not ${is}` : notIpv4(text, is);
  return fail(`${key} ${quote(text)} ${problem} (write ${write})`);
}

/** @returns the rule in the form in which Qubes OS writes it. */
export function formatRule(rule: Rule): string {
  const words = [`action=${rule.action}`];
  if (rule.dst4 !== undefined) words.push(`dst4=${formatPrefix(rule.dst4)}`);
  if (rule.dst6 !== undefined) words.push(`dst6=${formatPrefix6(rule.dst6)}`);
  if (rule.dsthost !== undefined) words.push(`dsthost=${rule.dsthost}`);
  if (rule.proto !== undefined) words.push(`proto=${rule.proto}`);
  if (rule.specialtarget !== undefined) words.push(`specialtarget=${rule.specialtarget}`);
  if (rule.dstports !== undefined) words.push(`dstports=${formatPorts(rule.dstports)}`);
  if (rule.icmptype !== undefined) words.push(`icmptype=${rule.icmptype}`);
  if (rule.expire !== undefined) words.push(`expire=${rule.expire}`);
  if (rule.comment !== undefined) words.push(`comment=${rule.comment}`);
  return words.join(" ");
}

function keyProblem(key: string, seen: ReadonlyMap<string, unknown>): string | undefined {
  // Documented, but neither dom0 nor the Linux agent has it. Left out of an accept rule it would let too much through.
  if (key === "dpi") return "dpi is not supported: what packets hold is not looked at (leave it out)";
  if (!Object.hasOwn(KEYS, key)) return `unknown key ${quote(key)} (known: ${KEY_NAMES})`;
  if (seen.has(key)) return `${key} is there twice (write it once)`;
  return undefined;
}

function checkTogether(parts: Partial<Rule>): RuleResult {
  const { action, proto } = parts;
  if (action === undefined) return fail("action is missing (write action=accept or action=drop)");
  if (parts.dstports !== undefined && proto === "icmp") {
    return fail("dstports goes with proto=tcp or proto=udp only (write icmptype for proto=icmp)");
  }
  if (parts.specialtarget === "dns" && proto === "icmp") {
    return fail("specialtarget=dns goes with proto=tcp or proto=udp only (leave proto out for both)");
  }
  const destinations = DESTINATIONS.filter((key) => parts[key] !== undefined);
  if (destinations.length > 1) return fail(`${destinations.join(" and ")} exclude each other (write one of them)`);
  if (parts.icmptype !== undefined && proto !== "icmp") return fail("icmptype needs proto=icmp (write proto=icmp too)");
  return { ok: true, rule: { ...parts, action } };
}

function choice<T extends string>(is: string, words: readonly T[]): Key<T> {
  return { parse: (text) => words.find((word) => word === text), is, write: words.join(" or ") };
}

function parseDestination(text: string): Prefix | undefined {
  const written = text.includes("/") ? parsePrefix(text) : parsePrefix(`${text}/32`);
  return written && { address: networkOf(written), prefix: written.prefix };
}

function parseDestination6(text: string): Prefix6 | undefined {
  const written = parsePrefix6(text.includes("/") ? text : `${text}/128`);
  return written && networkOf6(written);
}

/** A name whose last label is a number would be an address to most programs, in one of many spellings: it is none here. */
function parseHostName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > MAX_NAME || !labels.every((label) => LABEL.test(label))) return undefined;
  return /^[0-9]+$/.test(labels.at(-1) ?? "") ? undefined : name;
}

function parseExpire(text: string): number | undefined {
  return parseNumber(text, LAST_SECOND);
}

function parseComment(text: string): string | undefined {
  return COMMENT.test(text) ? text : undefined;
}

function parseNumber(text: string | undefined, limit: number): number | undefined {
  if (text === undefined || !NUMBER.test(text)) return undefined;
  return Number(text) <= limit ? Number(text) : undefined;
}

function parseIcmpType(text: string): number | undefined {
  return parseNumber(text, 255);
}

/** @returns the range that `80` or `80-443` is, or undefined. */
export function parsePorts(text: string): PortRange | undefined {
  const ends = PORTS.exec(text);
  if (ends === null) return undefined;
  const low = parseNumber(ends[1], 65535);
  const high = ends[2] === undefined ? low : parseNumber(ends[2], 65535);
  return low === undefined || high === undefined || low > high ? undefined : { low, high };
}

export function formatPorts({ low, high }: PortRange): string {
  return low === high ? String(low) : `${low}-${high}`;
}

function fail(error: string): { readonly ok: false; readonly error: string } {
  return { ok: false, error };
}
