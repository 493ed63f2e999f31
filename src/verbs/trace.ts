// `firebreak trace`: what becomes of the next packets, step by step.
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { printable, quote } from "../base/quote.ts";
import { type TraceEntry, traceLines } from "../why/live-trace.ts";
import { ASKING_HELP, ASKING_OPTIONS, followAndShow, print, printJson, readCount, whereIs } from "./asking.ts";
import { UsageError, type Verb } from "./verb.ts";

export const trace: Verb = {
  summary: "what becomes of the next packets in a running firewall, step by step",
  help: `Usage: firebreak trace [FILTER…] [--count N] [--for TIME] [--at WHERE] [--json]

Prints of the next packets for which every FILTER holds: the interface that each came in on, the checks
that it passed and the one that it failed, its flow, the rule that decided, what was rewritten, and where
it left or how it was answered. Both ways of a flow match a FILTER about its first packet. While it runs
such flows stay off the kernel path. A FILTER is KEY=VALUE, as "firebreak capture" has them: client=work
proto=tcp dstports=443, verdict=refused and so on.

  --count N    end after N packets; 10 if it isn't given
  --for TIME   end after TIME (30s, 5m); 60s if it isn't given
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values, positionals: match } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...ASKING_OPTIONS, count: { type: "string" }, for: { type: "string" } },
    });
    const seconds = values.for === undefined ? undefined : parseDuration(values.for);
    if (values.for !== undefined && seconds === undefined) {
      throw new UsageError(`--for ${quote(values.for)} is not a time (write 30s or 5m)`);
    }
    const asked = {
      match,
      ...(values.count !== undefined && { count: readCount(values.count, "--count") }),
      ...(seconds !== undefined && { seconds }),
    };
    return await followAndShow(whereIs(values.at), "trace", asked, async (answer) => {
      if (answer.lost > 0) process.stderr.write(`firebreak: ${answer.lost} frames are missing here\n`);
      if (values.json) return await printJson(answer);
      const lines = traceLines(answer.data as unknown as TraceEntry);
      await print(lines.map((line) => `${printable(line)}\n`).join(""));
    });
  },
};
