// `firebreak top`: a running firewall, watched in a terminal.
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { quote } from "../base/quote.ts";
import { nameAt } from "../watch/asked.ts";
import { renderOnce } from "../watch/screen.ts";
import { Terminal } from "../watch/terminal.ts";
import { Top } from "../watch/top.ts";
import { TopSource } from "../watch/top-source.ts";
import { firstState } from "../watch/top-state.ts";
import { print, whereIs } from "./asking.ts";
import { endProgram } from "./end.ts";
import { UsageError, type Verb } from "./verb.ts";

const INTERVAL = "2s";
/** ms between the two looks that rates take. */
const ONCE = 1000;

export const top: Verb = {
  summary: "a running firewall, watched in a terminal",
  help: `Usage: firebreak top [--once] [--every TIME] [--at WHERE]

Shows what a running firewall does, in a terminal of any size, over any line: rates, clients,
flows, frames by verdict, and what was dropped; with keys to sort, filter, end a flow and ask why.
"?" has the keys. There are no colours. Bars are of ASCII where LC_ALL, LC_CTYPE or LANG do not
name UTF-8. While the firewall does not answer, it says so and tries again.

  --once         print clients and verdicts once, with the rates of one second, to any output
  --every TIME   how often it looks: ${INTERVAL} if it isn't given
  --at WHERE     the firewall: its name, or its socket's path; FIREBREAK_AT is meant if it isn't
                 given, and without either the only one that runs here

Exit status: 0 ended by a key or a signal, 1 failed, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { at: { type: "string" }, every: { type: "string" }, once: { type: "boolean", default: false } },
    });
    const { once, every = INTERVAL } = values;
    const interval = parseDuration(every);
    if (interval === undefined) throw new UsageError(`--every ${quote(every)} is no time (write ${INTERVAL})`);
    const path = whereIs(values.at);
    const source = new TopSource(path);
    if (once) return await showOnce(nameAt(path), source);
    if (!Terminal.isThere) {
      const why = process.env.TERM === "dumb" ? "this one is dumb" : "this is none, or TERM is not set";
      throw new UsageError(`needs a terminal that can be drawn on, and ${why} (write --once)`);
    }
    try {
      await new Top(nameAt(path), source, interval * 1000, hasUnicode()).run();
      return await endProgram(0);
    } catch (error) {
      process.stderr.write(
        `firebreak: top: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      );
      return await endProgram(1);
    }
  },
};

async function showOnce(name: string, source: TopSource): Promise<number> {
  const state = firstState(name);
  try {
    for (const wait of [ONCE, 0]) {
      const found = await source.look(state, 0, true);
      if ("trouble" in found) {
        process.stderr.write(`firebreak: ${found.trouble}\n`);
        return 1;
      }
      if (wait === 0) await print(`${renderOnce({ ...state, ...found }, hasUnicode()).join("\n")}\n`);
      else await Bun.sleep(wait);
    }
    return 0;
  } finally {
    source.close();
  }
}

/** As setlocale(3) reads it: the first that is not empty counts. */
function hasUnicode({ LC_ALL, LC_CTYPE, LANG } = process.env): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || "");
}
