// The rules in force, each with what it does: where it stands, how often it decided something, which addresses its host name has,
// how many flows live by it, and why it decides nothing, if so.
import { type Family, formatIp } from "../base/ip.ts";
import { printable } from "../base/quote.ts";
import type { ClientConfig } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { doubtfulRules } from "../config/warnings.ts";
import type { Flow } from "../dataplane/types.ts";
import { type Circumstances, isAbout, surroundingsOf } from "../rules/compile.ts";
import { formatRule, type ListedRule } from "../rules/parse.ts";
import { circumstancesOf, type KnownNames } from "./settings.ts";
import { formatAge } from "./views/drops.ts";
import type { FlowTableView } from "./views/flow-list.ts";
import type { HitBook } from "./views/hit-book.ts";

/** The keys are those of `firebreak rules --json`: docs/CONTROL.md has them. */
export interface RuleEntry {
  readonly client: string;
  /** From 1 on; 0 for the policy, which stands behind the rules. */
  readonly rule: number;
  /** As Qubes OS writes it; of the policy, its action alone. */
  readonly text: string;
  /** It is about packets of IPv4 or of IPv6 alone: it stands in one of two lists of its client's. */
  readonly family?: Family;
  /** `firewall.toml:14`, where there is a file. */
  readonly place?: string;
  /** Packets that would open a flow, about which it decided, since it came into force; and when the last of them came: Unix time. */
  readonly hits: number;
  readonly last?: number;
  /** Flows there are that it let through. */
  readonly flows: number;
  /** Of a rule with a host name: the addresses that it has now, of the families that the client has; null while some are unknown. */
  readonly addresses?: readonly string[] | null;
  /** Why it decides nothing: the end of a sentence that begins with the rule. */
  readonly problem?: string;
}

/** What rules are judged by. */
export interface RuleCircumstances extends KnownNames {
  readonly config: Config;
  readonly flows: FlowTableView;
  readonly hits: Pick<HitBook, "use">;
  /** Unix time in seconds. */
  readonly now: number;
}

/** @returns all of the rules, by client, each client's policy behind its rules */
export function listRules(around: RuleCircumstances): RuleEntry[] {
  const counts = countFlows(around.flows);
  return around.config.clients.flatMap((client, number) => rulesOf(client, number, counts, around));
}

function rulesOf(
  client: ClientConfig,
  number: number,
  counts: ReadonlyMap<number, number>,
  { config, hits, addressesOf, addresses6Of, now }: RuleCircumstances,
): RuleEntry[] {
  const { name, rules, policy } = client;
  const flowsOf = (rule: number) => counts.get((number << 16) | rule) ?? 0;
  const problems = new Map(doubtfulRules(config, client, now).map(({ rule, problem }) => [rule, problem]));
  const circumstances = circumstancesOf(config, client, now, { addressesOf, addresses6Of });
  const entries = rules.map((rule, i): RuleEntry => {
    const place = config.rulePlaces?.[number]?.[i];
    const problem = problems.get(i);
    const text = formatRule(rule);
    return {
      ...{ client: name, rule: i + 1, text, ...(rule.family !== undefined && { family: rule.family }) },
      ...hits.use(name, i + 1, text),
      ...(place !== undefined && { place }),
      flows: flowsOf(i + 1),
      ...(rule.dsthost !== undefined && { addresses: addressTexts(rule, circumstances) }),
      ...(problem !== undefined && { problem }),
    };
  });
  const rest = { client: name, rule: 0, text: `action=${policy}`, ...hits.use(name, 0, policy), flows: flowsOf(0) };
  return [...entries, rest];
}

function addressTexts(rule: ListedRule, circumstances: Circumstances): readonly string[] | null {
  const texts: string[] = [];
  for (const family of [4, 6] as const) {
    const around = isAbout(rule, family) ? surroundingsOf(circumstances, family) : undefined;
    const addresses = around === undefined ? [] : around.addressesOf(rule.dsthost ?? "");
    if (addresses === undefined) return null;
    texts.push(...addresses.map(formatIp));
  }
  return texts;
}

/** By the client's number << 16 | the rule's. */
function countFlows({ records, capacity }: FlowTableView): Map<number, number> {
  const counts = new Map<number, number>();
  for (let flow = 0 as Flow; flow < capacity; flow++) {
    if (!records.isUsed(flow)) continue;
    const key = (records.client(flow) << 16) | records.rule(flow);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/**
 * `work, rule 1 (firewall.toml:14): action=accept proto=tcp dstports=443: 340 hits, last 2 s ago, 12 flows`
 * @param now Unix time in seconds
 */
export function ruleLines(entry: RuleEntry, now: number): string[] {
  const { client, rule, text, family, place, hits, last, flows, addresses, problem } = entry;
  const which = rule === 0 ? "policy" : `rule ${rule}`;
  const ofList = family === undefined ? "" : `, IPv${family} alone`;
  const where = place === undefined ? ofList : ` (${place})${ofList}`;
  const use = [
    hits === 0 || last === undefined
      ? "never hit"
      : `${hits} ${hits === 1 ? "hit" : "hits"}, last ${formatAge(now - last)} ago`,
    ...(flows === 0 ? [] : [`${flows} ${flows === 1 ? "flow" : "flows"}`]),
    ...(addresses === undefined ? [] : [addresses === null ? "addresses unknown" : addressText(addresses)]),
  ];
  const line = `${client}, ${which}${where}: ${text}: ${use.join(", ")}`;
  return [line, ...(problem === undefined ? [] : [`  ${which} ${problem}`])].map(printable);
}

function addressText(addresses: readonly string[]): string {
  return addresses.length === 0 ? "no address" : addresses.join(" ");
}
