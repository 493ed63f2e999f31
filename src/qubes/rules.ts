// The rule language of Qubes OS 4.x (https://www.qubes-os.org/doc/vm-interface/, "Firewall rules"): one rule from its
// text to a plain value and back. It fails closed: what the grammar does not give is an error, and its caller drops
// everything. What rules mean to frames is control/settings.ts's business.
import { formatPrefix, networkOf, type Prefix, parsePrefix } from "../control/address.ts";
import { quote } from "../control/quote.ts";

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
  readonly proto?: "tcp" | "udp" | "icmp";
  readonly specialtarget?: "dns";
  readonly dstports?: PortRange;
  readonly icmptype?: number;
}

export type RuleResult = { readonly ok: true; readonly rule: Rule } | { readonly ok: false; readonly error: string };

/** The longest value in QubesDB, and so the longest text of a rule, in bytes. */
const MAX_BYTES = 3072;

const NUMBER = /^(0|[1-9][0-9]{0,4})$/;
const PORTS = /^([^-]+)(?:-([^-]+))?$/;

/** What a key may be given. `parse` returns undefined for text that is no value of this kind. */
interface Key<T> {
  readonly parse: (text: string) => T | undefined;
  readonly is: string;
  readonly write: string;
}

const KEYS: { readonly [K in keyof Required<Rule>]: Key<Required<Rule>[K]> } = {
  action: choice("an action", ["accept", "drop"]),
  dst4: { parse: parseDestination, is: "an IPv4 prefix", write: "10.1.2.3 or 10.1.2.0/24" },
  proto: choice("a protocol", ["tcp", "udp", "icmp"]),
  specialtarget: choice("a special target", ["dns"]),
  dstports: { parse: parsePorts, is: "a port range", write: "80 or 80-443" },
  icmptype: { parse: parseIcmpType, is: "an ICMP type", write: "a number from 0 to 255" },
};
const KEY_NAMES = Object.keys(KEYS).join(", ");

/** Keys of the language that this program does not know what to do with. */
const UNSUPPORTED: ReadonlySet<string> = new Set(["dst6", "dsthost", "expire", "comment", "dpi"]);

/** @param text `key=value` pairs with one space between them: `action=accept proto=tcp dstports=443` */
export function parseRule(text: string): RuleResult {
  if (Buffer.byteLength(text) > MAX_BYTES) return fail(`is longer than ${MAX_BYTES} bytes (split it up)`);
  if (text === "") return fail("is empty (write action=accept or action=drop, then what it is for)");
  const pairs: (readonly [string, string])[] = [];
  for (const word of text.split(" ")) {
    if (word === "") return fail("has a space too many (write one space between two key=value pairs, none around)");
    const equals = word.indexOf("=");
    if (equals < 0) return fail(`${quote(word)} is not key=value (write action=accept proto=tcp dstports=443)`);
    pairs.push([word.slice(0, equals), word.slice(equals + 1)]);
  }
  return makeRule(pairs);
}

/** @param pairs keys and their values' text, in any order */
export function makeRule(pairs: Iterable<readonly [string, string]>): RuleResult {
  const values = new Map<string, unknown>();
  for (const [key, text] of pairs) {
    const problem = keyProblem(key, values);
    if (problem !== undefined) return fail(problem);
    const { parse, is, write } = KEYS[key as keyof Rule];
    if (text === "") return fail(`${key} has no value (write ${write})`);
    const value = parse(text);
    if (value === undefined) return fail(`${key} ${quote(text)} is not ${is} (write ${write})`);
    values.set(key, value);
  }
  // Each value is of its key's type: KEYS says so.
  return checkTogether(Object.fromEntries(values) as Partial<Rule>);
}

/** @returns the rule in the form in which Qubes OS writes it. */
export function formatRule(rule: Rule): string {
  const words = [`action=${rule.action}`];
  if (rule.dst4 !== undefined) words.push(`dst4=${formatPrefix(rule.dst4)}`);
  if (rule.proto !== undefined) words.push(`proto=${rule.proto}`);
  if (rule.specialtarget !== undefined) words.push(`specialtarget=${rule.specialtarget}`);
  if (rule.dstports !== undefined) words.push(`dstports=${formatPorts(rule.dstports)}`);
  if (rule.icmptype !== undefined) words.push(`icmptype=${rule.icmptype}`);
  return words.join(" ");
}

function keyProblem(key: string, seen: ReadonlyMap<string, unknown>): string | undefined {
  if (UNSUPPORTED.has(key)) return `${key} is not supported yet (supported: ${KEY_NAMES})`;
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

function fail(error: string): RuleResult {
  return { ok: false, error };
}
