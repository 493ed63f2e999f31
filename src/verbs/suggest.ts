// `firebreak suggest`: rules that would have let pass what a running firewall has refused to a client.
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { isQubeName } from "../base/qube-name.ts";
import { plainName, quote } from "../base/quote.ts";
import { type SuggestEntry, tomlLine } from "../why/suggest.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import { UsageError, type Verb } from "./verb.ts";

const DEFAULT_SINCE = "10m";

export const suggest: Verb = {
  summary: "the fewest rules that would let pass what was refused to a client",
  help: `Usage: firebreak suggest --client NAME [--since TIME] [FILTER…] [--qvm] [--at WHERE] [--json]

Prints the fewest rules that would have let pass what a running firewall's rules have refused to the
client NAME, as lines for its "rules" in the configuration, or as commands for dom0 of Qubes OS. They
accept nothing else, but that a host name means all addresses that it has, and specialtarget=dns all
name servers. They stand in front of the client's other rules. Nothing is changed: read them first, for
what a program asks for is not yet what it should get.

A host name is the one that the client was told the address for last. Rules ask for its addresses
themselves, so that an answer which somebody made up opens nothing.

  --client NAME   whose
  --since TIME    what was refused in the last TIME (30s, 2h); ${DEFAULT_SINCE} if it isn't given
  --qvm           print commands for dom0: qvm-firewall
  FILTER          KEY=VALUE, as "firebreak drops" has them: dst=203.0.113.0/24, proto=tcp and so on
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values, positionals: match } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...ASKING_OPTIONS,
        client: { type: "string" },
        since: { type: "string", default: DEFAULT_SINCE },
        qvm: { type: "boolean", default: false },
      },
    });
    const { client, qvm, json } = values;
    if (client === undefined) throw new UsageError("needs --client NAME");
    const since = parseDuration(values.since);
    if (since === undefined)
      throw new UsageError(`--since ${quote(values.since)} is not a time (write 30s, 10m or 2h)`);
    const entries: SuggestEntry[] = [];
    const status = await askAndShow(whereIs(values.at), "suggest", { client, since, match }, (answer) => {
      entries.push(answer.data as unknown as SuggestEntry);
      return json ? printJson(answer) : undefined;
    });
    if (status !== 0 || json) return status;
    await print(
      linesOf(entries, client, values.since, qvm)
        .map((line) => `${line}\n`)
        .join(""),
    );
    return 0;
  },
};

function linesOf(entries: readonly SuggestEntry[], client: string, since: string, qvm: boolean): string[] {
  const who = `client ${plainName(client)}`;
  if (entries.length === 0) return [`# ${who}: rules refused nothing in the last ${since}`];
  const now = Date.now() / 1000;
  if (!qvm) {
    const lines = entries.map((entry) => tomlLine(entry, now));
    return [`# ${who}: in front of its other rules, for what was refused in the last ${since}`, ...lines];
  }
  const about = isQubeName(client) ? [] : [`# QUBE is the one that is ${who} here (qvm-ls --network)`];
  const lines = entries.map((entry) => ("left_out" in entry ? tomlLine(entry, now).trim() : entry.qvm_firewall));
  return [...about, ...lines];
}
