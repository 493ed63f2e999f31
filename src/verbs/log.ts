// `firebreak log`: what a running firewall has said, and goes on to say.
import { parseArgs } from "node:util";
import type { LogEntry } from "../base/log.ts";
import { printable, quote } from "../base/quote.ts";
import { ASKING_HELP, ASKING_OPTIONS, followAndShow, print, printJson, whereIs } from "./asking.ts";
import { UsageError, type Verb } from "./verb.ts";

export const log: Verb = {
  summary: "what a running firewall has said, and goes on to say",
  help: `Usage: firebreak log [-f] [--last N] [--at WHERE] [--json]

Prints the last lines of a running firewall's log, as far back as it keeps them, each with the
time of day: what was put in force, which interfaces came and went, which names do not resolve,
what rules refused to clients with "log = true".

  -f, --follow   go on with what it says from now on; who is too slow for it is told how many
                 lines that cost
  --last N       of those before, only N
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, or it has ended, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { ...ASKING_OPTIONS, follow: { type: "boolean", short: "f", default: false }, last: { type: "string" } },
    });
    const { follow, last } = values;
    if (last !== undefined && !/^\d{1,6}$/.test(last)) throw new UsageError(`--last ${quote(last)} is not a number`);
    const asked = { follow, ...(last !== undefined && { last: Number(last) }) };
    return await followAndShow(whereIs(values.at), "log", asked, async (answer) => {
      if (answer.lost > 0) process.stderr.write(`firebreak: ${answer.lost} lines are missing here: too slow\n`);
      await (values.json ? printJson(answer) : print(line(answer.data as unknown as LogEntry)));
    });
  },
};

function line({ time, text }: LogEntry): string {
  return `${new Date(time * 1000).toISOString()} ${printable(text)}\n`;
}
