// `firebreak drops`: what a running firewall has not forwarded, and why.
import { parseArgs } from "node:util";
import { type DropEntry, dropLine } from "../control/views/drops.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, readCount, whereIs } from "./asking.ts";
import type { Verb } from "./verb.ts";

/** The filters, for the help of each verb that has them. */
export const DROP_FILTERS = `  client=NAME            that client sent it, or it is of a flow of its
  interface=NAME         where it came in
  proto=tcp              or udp, icmp, or a number
  src=ADDRESS[/LENGTH]   who sent it; dst likewise; dst4 and dst6 are the same
  dsthost=NAME           of a rule: to one of its addresses
  srcports=LOW[-HIGH]    of TCP and UDP; dstports likewise
  icmptype=TYPE
  rule=NUMBER            or policy: which decided
  verdict=SLUG           docs/VERDICTS.md has them; malformed is all that begin so. Without this one,
                         what was dropped: else also what was answered, or waits`;

export const drops: Verb = {
  summary: "what a running firewall has dropped, and why",
  help: `Usage: firebreak drops [FILTER…] [--limit N] [--at WHERE] [--json]

Prints what a running firewall has dropped, a line for frames that are alike, the last seen first: how
many, the verdict, who sent what to whom, and which rule decided. It remembers 1024 such lines, which
clients and verdicts share; what the kernel path drops is counted only. Those are printed for which
every FILTER holds, KEY=VALUE, in the words of rules where they have one:

${DROP_FILTERS}

  --limit N    print N lines at most
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values, positionals: match } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...ASKING_OPTIONS, limit: { type: "string" } },
    });
    const { limit } = values;
    const asked = { match, ...(limit !== undefined && { limit: readCount(limit, "--limit") }) };
    return await askAndShow(whereIs(values.at), "drops", asked, (answer) => {
      if (values.json) return printJson(answer);
      return print(`${dropLine(answer.data as unknown as DropEntry, Date.now() / 1000)}\n`);
    });
  },
};
