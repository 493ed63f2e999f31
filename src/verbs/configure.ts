// `firebreak configure`: gives a running firewall another configuration, for good or on trial, or asks what that would do; and saves it.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { plain, printable, quote } from "../base/quote.ts";
import { reasonOf } from "../base/reason.ts";
import { MOST_ITEM } from "../channel/cbor.ts";
import type { ChannelClient } from "../channel/client.ts";
import { type FlowEntry, flowLine } from "../control/views/flow-list.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, askWith, print, printJson, whereIs } from "./asking.ts";
import { requireConfirmed, type Target, targetOf, tellSaved, textInForce, writeTarget } from "./save.ts";
import { UsageError, type Verb } from "./verb.ts";

/** Bytes of a configuration: what an item has room for, less what is around it. */
const MOST_TEXT = MOST_ITEM - 8192;

export const configure: Verb = {
  summary: "give a running firewall another configuration, or ask what it would do",
  help: `Usage: firebreak configure FILE [--dry-run | --confirm TIME | --save] [--at WHERE] [--json]
       firebreak configure --confirm [--save] [--at WHERE] [--json]
       firebreak configure --save [--at WHERE] [--json]

Puts the configuration FILE in force in a running firewall, without a restart: flows that it allows
live on. One with errors changes nothing. It holds until the firewall reads its own file again, by
SIGHUP or a restart; with --save it is written there too. In the image there is no such file: it
holds until the machine is started again.

  --dry-run       change nothing: print the flows that would end, and how many of all these are
  --confirm TIME  go back to the configuration before after TIME (60s, 5m), unless it is confirmed
                  until then, so that nobody locks himself out
  --confirm       without FILE: what is in force on trial stays
  --save          write it to the file that the firewall was started with, whole or not at all, with
                  that file's mode and owner. It is refused where somebody has changed that file
                  since. Without FILE: write what is in force
${ASKING_HELP}

Exit status: 0 done, 1 it can't be asked, or could not do it, 2 bad usage or configuration.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: args.map((word, i) => (isBareConfirm(args, i) ? "--confirm=" : word)),
      allowPositionals: true,
      options: {
        ...ASKING_OPTIONS,
        "dry-run": { type: "boolean", default: false },
        confirm: { type: "string" },
        save: { type: "boolean", default: false },
      },
    });
    const [file, ...more] = positionals;
    const { confirm, save, json, "dry-run": isDryRun } = values;
    if (more.length > 0) throw new UsageError("takes one FILE");
    if (isDryRun && (save || confirm !== undefined)) throw new UsageError("--dry-run changes nothing (write it alone)");
    if (file === undefined) {
      if (!save && confirm !== "") throw new UsageError("takes one FILE, or --confirm or --save alone");
      return await askWith(whereIs(values.at), "Configure", (client) => keep(client, confirm === "", save, json));
    }
    if (confirm !== undefined && save) {
      throw new UsageError(
        "what may go back is not saved yet (write firebreak configure --confirm --save to confirm it)",
      );
    }
    const trial = confirm === undefined ? {} : { confirm: readTrial(confirm) };
    let text: Uint8Array;
    try {
      text = readFileSync(file);
    } catch (error) {
      process.stderr.write(`${plain(file)}: can't be read: ${reasonOf(error)}\n`);
      return 2;
    }
    if (text.length > MOST_TEXT) {
      throw new UsageError(
        `${printable(file)} has more than ${MOST_TEXT} bytes (write it where the firewall reads it, and send SIGHUP)`,
      );
    }
    const asked = { text, name: file, dry_run: isDryRun, ...trial };
    const show = (outcome: Outcome) => (json ? printJson({ data: outcome }) : printLines(linesOf(outcome)));
    const at = whereIs(values.at);
    if (!save) return await askAndShow(at, "configure", asked, ({ data }) => show(data as unknown as Outcome));
    return await askWith(at, "Configure", async (client) => {
      const { configured } = await textInForce(client);
      const target = targetOf(configured);
      for await (const { data } of client.ask("configure", asked)) await show(data as unknown as Outcome);
      await write(client, target, text, json);
    });
  },
};

/** A flow that would end, or what came of it all. */
type Outcome =
  | { readonly flow: FlowEntry }
  | {
      readonly in_force: boolean;
      readonly warnings?: readonly string[];
      readonly flows?: { readonly used: number; readonly ended: number };
      readonly trial_until?: number;
    }
  | { readonly saved: string };

/** Whether a word is the option without its value: at the end, or before another option. */
function isBareConfirm(args: readonly string[], i: number): boolean {
  return args[i] === "--confirm" && (args[i + 1] ?? "-").startsWith("-");
}

/** @returns seconds @throws UsageError */
function readTrial(text: string): number {
  const seconds = /^\d{1,5}$/.test(text) ? Number(text) : parseDuration(text);
  if (seconds !== undefined && seconds > 0) return seconds;
  throw new UsageError(`--confirm ${quote(text)} is not a time (write 60s or 5m)`);
}

/** Confirms what is in force, or writes it where the firewall reads it, or both. */
async function keep(client: ChannelClient, confirm: boolean, save: boolean, json: boolean): Promise<void> {
  const { configured, text } = save ? await textInForce(client) : {};
  const target = configured && targetOf(configured);
  if (configured && !confirm) requireConfirmed(configured);
  if (confirm) {
    for await (const { data } of client.ask("confirm")) {
      await (json ? printJson({ data }) : printLines(linesOf(data as unknown as Outcome)));
    }
  }
  if (target !== undefined && text !== undefined) await write(client, target, text, json);
}

async function write(client: ChannelClient, target: Target, text: Uint8Array, json: boolean): Promise<void> {
  writeTarget(target, text);
  await tellSaved(client);
  const data = { saved: target.path };
  await (json ? printJson({ data }) : printLines(linesOf(data)));
}

function printLines(lines: readonly string[]): Promise<void> {
  return print(lines.map((line) => `${line}\n`).join(""));
}

function linesOf(outcome: Outcome): string[] {
  if ("flow" in outcome) return [`would end: ${flowLine(outcome.flow)}`];
  if ("saved" in outcome) return [`saved: ${printable(outcome.saved)}`];
  const { in_force, warnings = [], flows, trial_until } = outcome;
  const forecast = flows === undefined ? [] : [`${flows.ended} of ${flows.used} flows would end`];
  const trial =
    trial_until === undefined
      ? ""
      : `, until ${new Date(trial_until * 1000).toISOString().replace(/\.\d+Z$/, "Z")} unless confirmed: firebreak configure --confirm`;
  return [...warnings.map(printable), ...forecast, in_force ? `in force${trial}` : "nothing was changed"];
}
