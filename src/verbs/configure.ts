// `firebreak configure`: gives a running firewall another configuration, or asks what that would do.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { printable } from "../base/quote.ts";
import { MOST_ITEM } from "../channel/cbor.ts";
import { type FlowEntry, flowLine } from "../control/flow-list.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import { UsageError, type Verb } from "./verb.ts";

/** Bytes of a configuration: what an item has room for, less what is around it. */
const MOST_TEXT = MOST_ITEM - 8192;

export const configure: Verb = {
  summary: "give a running firewall another configuration, or ask what it would do",
  help: `Usage: firebreak configure FILE [--dry-run] [--at WHERE] [--json]

Puts the configuration FILE in force in a running firewall, without a restart: flows that it allows
live on. One with errors changes nothing. It holds until the firewall reads its own file again, by
SIGHUP or a restart: to keep it, write it there.

  --dry-run    change nothing: print the flows that would end, and how many of all these are
${ASKING_HELP}

Exit status: 0 done, 1 it can't be asked, or could not do it, 2 bad usage or configuration.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...ASKING_OPTIONS, "dry-run": { type: "boolean", default: false } },
    });
    const [file, ...more] = positionals;
    if (file === undefined || more.length > 0) throw new UsageError("takes one FILE");
    let text: Uint8Array;
    try {
      text = readFileSync(file);
    } catch (error) {
      process.stderr.write(`${file}: can't be read: ${error instanceof Error ? error.message : String(error)}\n`);
      return 2;
    }
    if (text.length > MOST_TEXT) {
      throw new UsageError(
        `${printable(file)} has more than ${MOST_TEXT} bytes (write it where the firewall reads it, and send SIGHUP)`,
      );
    }
    const asked = { text, name: file, dry_run: values["dry-run"] };
    return await askAndShow(whereIs(values.at), "configure", asked, (answer) => {
      if (values.json) return printJson(answer);
      return print(
        linesOf(answer.data as unknown as Outcome)
          .map((line) => `${line}\n`)
          .join(""),
      );
    });
  },
};

/** A flow that would end, or what came of it all. */
type Outcome =
  | { readonly flow: FlowEntry }
  | {
      readonly in_force: boolean;
      readonly warnings: readonly string[];
      readonly flows?: { readonly used: number; readonly ended: number };
    };

function linesOf(outcome: Outcome): string[] {
  if ("flow" in outcome) return [`would end: ${flowLine(outcome.flow)}`];
  const { in_force, warnings, flows } = outcome;
  const forecast = flows === undefined ? [] : [`${flows.ended} of ${flows.used} flows would end`];
  return [...warnings.map(printable), ...forecast, in_force ? "in force" : "nothing was changed"];
}
