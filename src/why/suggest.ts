// What `suggest` answers: from the drops that are remembered to rules as a configuration, or dom0's command line, has them. Host names in
// them are strangers': the rule language has no room for more than letters, digits, `.`, `-` and `_`. A client's name stands in a command
// only where it is one that a qube can have.
import type { IpAddress } from "../base/ip.ts";
import { isQubeName } from "../base/qube-name.ts";
import { printable } from "../base/quote.ts";
import { nameServers } from "../config/name-servers.ts";
import { readDropFilter, requireNames } from "../control/views/drop-filter.ts";
import { type DropEntry, type DropFacts, formatAge, frameText } from "../control/views/drops.ts";
import { FilterError, numberOf } from "../control/views/flow-filter.ts";
import type { SeenNames } from "../names/seen-names.ts";
import { formatRule, type Rule } from "../rules/parse.ts";
import { type Refused, suggest } from "./suggestion.ts";
import type { Asking } from "./why.ts";

/** What is asked of the running firewall. */
export interface SuggestAsking extends Asking {
  readonly seenNames: Pick<SeenNames, "nameOf">;
}

/** The keys are those of `firebreak suggest --json`: docs/CONTROL.md has them. */
export type SuggestEntry =
  | {
      readonly client: string;
      /** As Qubes OS writes it. */
      readonly rule: string;
      /** Packets of those refused that it would let pass, and when the last of them came: Unix time. */
      readonly packets: number;
      readonly last: number;
      /** A command for dom0; with the word QUBE, where the client's name is no qube's. */
      readonly qvm_firewall: string;
      /** Rules, not the policy, that refused some of it: somebody may have meant that. */
      readonly against?: readonly { readonly rule: number; readonly place?: string }[];
    }
  | { readonly client: string; readonly left_out: DropEntry; readonly reason: string };

/** A kind of packets that rules refused. */
interface RefusedEntry extends Refused {
  readonly entry: DropEntry;
}

/**
 * @param client its name
 * @param words filters of drops beside
 * @param since seconds: what was refused longer ago is not looked at
 * @param now Unix time in seconds
 * @throws FilterError
 */
export async function suggestFor(
  asking: SuggestAsking,
  client: string,
  words: readonly string[],
  since: number,
  now: number,
): Promise<SuggestEntry[]> {
  const { config, drops, seenNames } = asking;
  numberOf("client", config.clients, client);
  const given = (key: string) => words.some((word) => word.startsWith(`${key}=`));
  if (given("client") || given("verdict")) throw new FilterError("client and verdict are given (leave them out)");
  const matches = readDropFilter([`client=${client}`, "verdict=refused", ...words], asking);
  const facts: DropFacts[] = [];
  drops.list((one) => {
    const isMeant = one.entry.last >= now - since && matches(one);
    if (isMeant) facts.push(one);
    return isMeant;
  });
  if (facts.length === 0) requireNames(words, asking);
  const known = {
    dns: [...nameServers(config), ...(config.uplink.ipv6?.dns ?? [])],
    nameOf: (address: IpAddress) => seenNames.nameOf(client, address),
  };
  const { proposals, leftOut } = await suggest(facts.flatMap(refusedOf), known);
  const nowhere = facts.flatMap((one) => (refusedOf(one).length === 0 ? [one] : []));
  return [
    ...proposals.map(({ rule, passes }) =>
      entryOf(
        client,
        rule,
        passes.map(({ entry }) => entry),
      ),
    ),
    ...[...leftOut, ...nowhere].map(({ entry }) => ({ client, left_out: entry, reason: reasonFor(entry) })),
  ];
}

/** @returns nothing where it is not noted what it was */
function refusedOf({ entry, destination, ports }: DropFacts): RefusedEntry[] {
  const { protocol, icmptype } = entry;
  if (destination === undefined || protocol === undefined || entry.rule === undefined) return [];
  const selector = icmptype ?? (ports === undefined ? undefined : ports & 0xffff);
  return [{ entry, protocol, destination, selector }];
}

function entryOf(client: string, rule: Rule, passes: readonly DropEntry[]): SuggestEntry {
  const text = formatRule(rule).replace(/(dst4=[\d.]+)\/32\b|(dst6=[\da-f:.]+)\/128\b/, "$1$2");
  const qube = isQubeName(client) ? client : "QUBE";
  const [action, ...words] = text.split(" ");
  const against = passes.flatMap(({ rule: number = 0, place }) =>
    number === 0 ? [] : [{ rule: number, ...(place !== undefined && { place }) }],
  );
  const distinct = [...new Map(against.map((one) => [`${one.rule} ${one.place}`, one])).values()];
  return {
    client,
    rule: text,
    packets: passes.reduce((sum, { count }) => sum + count, 0),
    last: Math.max(...passes.map(({ last }) => last)),
    qvm_firewall: `qvm-firewall ${qube} add --before 0 ${[action.replace("action=", ""), ...words].join(" ")}`,
    ...(distinct.length > 0 && { against: distinct }),
  };
}

function reasonFor({ proto, fragment, destination }: DropEntry): string {
  if (destination === undefined || proto === undefined) return "it is not noted where it was to go";
  if (fragment) return "a fragment does not say its port";
  if (proto === "tcp" || proto === "udp" || proto.startsWith("icmp")) return "no rule is found that accepts this alone";
  return "rules have no word for this protocol: one would have to accept all that goes there";
}

/** @param now Unix time in seconds @returns a line of TOML, for a list of rules, in ASCII */
export function tomlLine(entry: SuggestEntry, now: number): string {
  if ("left_out" in entry) {
    const { count, last } = entry.left_out;
    const what = `${count} of ${frameText(entry.left_out)}, last ${formatAge(now - last)} ago`;
    return printable(`  # left out: ${what}: ${entry.reason}`);
  }
  const { rule, packets, last, against = [] } = entry;
  const places = against.map((one) => `rule ${one.rule}${one.place === undefined ? "" : ` (${one.place})`}`);
  const meant = places.length === 0 ? "" : `; against ${places.join(", ")}`;
  return printable(
    `  "${rule}",  # ${packets} packet${packets === 1 ? "" : "s"}, last ${formatAge(now - last)} ago${meant}`,
  );
}
