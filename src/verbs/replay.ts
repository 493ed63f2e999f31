// `firebreak replay`: the dataplane over captured frames. No root, no interfaces: captures in, captures and verdicts out.
import { parseArgs } from "node:util";
import { quote } from "../base/quote.ts";
import type { Resolution } from "../captures/frame.ts";
import { type Config, readConfig } from "../config/config.ts";
import { configuredDevices, makeSettings } from "../control/settings.ts";
import type { Settings } from "../dataplane/settings.ts";
import { Comparison } from "../replay/comparison.ts";
import { earliest, Input, type InputName, splitPath } from "../replay/inputs.ts";
import { FileError, OverwriteError } from "../replay/outputs.ts";
import { Printer } from "../replay/printer.ts";
import { Progress } from "../replay/progress.ts";
import { formatJson, formatLine, Totals } from "../replay/report.ts";
import { Session } from "../replay/session.ts";
import { Recording, type Wanted } from "./replay-outputs.ts";
import { UsageError, type Verb } from "./verb.ts";

export const replay: Verb = {
  summary: "run captured frames through the dataplane",
  help: `Usage: firebreak replay --config FILE --in IFACE=CAPTURE [--in …]
                        [--out DIR|FILE.pcapng] [--html FILE] [--json] [--quiet]
                        [--compare] [--seed N]

Runs the frames of captures through the same dataplane as the appliance, by the captures'
own clock. Needs no root and none of the interfaces.

  --config FILE         the configuration
  --in IFACE=CAPTURE    what was captured on that interface of the configuration; captures
                        are merged by time, at the same time in the order given here.
                        CAPTURE is a pcap or pcapng file, which gzip or zstd may have
                        compressed, or "-" for standard input. CAPTURE:INTERFACE is only
                        what one interface of a pcapng file captured: its number or name
  --out DIR             gets IFACE.pcap for each interface: what would have been sent there
  --out FILE.pcapng     gets both sides instead: what came in and what was sent, on interfaces
                        by name, with verdict, rule, flow and translation as comments
  --html FILE           gets a page that explains the capture, packet by packet, to somebody
                        who learns: why, what was rewritten, the bytes before and after
  --json                one JSON object a frame instead of one line
  --quiet               only the totals: how many frames had which verdict
  --compare             hold what the captures' router sent against what we would have sent
  --seed N              0 to 4294967295, default 1: where random NAT ports come from

Prints what became of each frame: seconds since the first one, time of day, interface,
number of the frame in its capture, verdict, addresses, ports and flags, rule, flow, and
what was sent because of it; then totals. On standard error it tells what is odd about a
capture, and on a terminal how far it is.
A clock that steps back in a capture is held. The same input gives the same output, byte
for byte. What is read is never written over.

A capture may hold both directions: frames that the router itself sent are told as such.
Where own_mac is not configured they are known by their addresses, and any unicast
destination MAC address is taken as ours. Next hops answer ARP by themselves, unless the
captures show what came of it. Frames that a snapshot length cut, and those captured before
their segmentation or before their checksums were filled in, are judged as what they were.
Rules expire by the time of the first frame; names in rules are unknown here: rules that
accept them match nothing, rules that drop them packets to any address.
docs/CAPTURES.md has more.

Exit status: 0 fine, 1 a capture can't be read to its end or an output not written, 2 bad
usage or configuration.
`,
  async run(args) {
    const options = await readOptions(args);
    const config = await readConfig(options.config);
    if ("errors" in config) return tell(config.errors, 2);
    try {
      return await replayAll(options, config.config);
    } catch (error) {
      if (error instanceof OverwriteError) return tell([`firebreak: replay: ${error.message}`], 2);
      if (error instanceof FileError) return tell([`firebreak: replay: ${error.message}`], 1);
      throw error;
    }
  },
};

interface Options {
  readonly config: string;
  readonly inputs: readonly InputName[];
  readonly wanted: Wanted;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly compare: boolean;
  readonly seed: number;
}

async function readOptions(args: readonly string[]): Promise<Options> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      config: { type: "string" },
      in: { type: "string", multiple: true },
      out: { type: "string" },
      html: { type: "string" },
      json: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
      compare: { type: "boolean", default: false },
      seed: { type: "string", default: "1" },
    },
  });
  const { config, in: texts = [], out, html, json, quiet, compare, seed } = values;
  if (config === undefined) throw new UsageError("needs --config FILE");
  if (texts.length === 0) throw new UsageError("needs --in IFACE=CAPTURE");
  if (out === undefined && html === undefined) throw new UsageError("needs --out DIR or --html FILE");
  if (!/^\d{1,10}$/.test(seed) || Number(seed) > 0xffffffff) {
    throw new UsageError(`--seed ${quote(seed)} is not a whole number from 0 to 4294967295`);
  }
  const inputs = await Promise.all(texts.map(readInput));
  if (inputs.filter(({ path }) => path === "-").length > 1) {
    throw new UsageError("standard input can be only one --in");
  }
  return { config, inputs, wanted: { out, html }, json, quiet, compare, seed: Number(seed) };
}

async function readInput(text: string): Promise<InputName> {
  const [, iface, capture] = text.match(/^([^=]+)=(.+)$/s) ?? [];
  if (iface === undefined || capture === undefined) throw new UsageError(`--in ${quote(text)} is not IFACE=CAPTURE`);
  return { iface, ...(await splitPath(capture)) };
}

async function replayAll(options: Options, config: Config): Promise<number> {
  // Numbers of interfaces don't depend on the clock that rules expire by, which only the captures tell.
  const places = settingsAt(config, 0);
  if ("errors" in places) return tell(places.errors, 2);
  const ifaces = options.inputs.map(({ iface }) => interfaceNumber(places.settings, iface));
  const names = places.settings.interfaces.map(({ name }) => name);
  const paths = options.inputs.map(({ path }) => path);
  const recording = new Recording(options.wanted, names, paths, options.config);
  const inputs: Input[] = [];
  for (const [i, name] of options.inputs.entries()) inputs.push(await Input.open(name, ifaces[i]));
  const unreadable = inputs.find(({ failure, reader }) => failure !== undefined && reader.used === 0);
  if (unreadable !== undefined) throw new FileError(unreadable.failure);
  const result = settingsAt(config, earliest(inputs)?.reader.frame.seconds ?? Number.POSITIVE_INFINITY);
  if ("errors" in result) return tell(result.errors, 2);
  const resolution = inputs.some(({ reader }) => reader.resolution === "ns") ? "ns" : "us";
  const stopListening = discardOnSignal(recording);
  try {
    recording.open(result.settings, resolution);
    return await playAll(options, result.settings, inputs, recording, resolution);
  } catch (error) {
    recording.discard();
    throw error;
  } finally {
    stopListening();
  }
}

/** Whoever stops a replay is left nothing that is not whole; the program ends by the signal, as it would have. @returns what ends that */
function discardOnSignal(recording: Recording): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const discard = (signal: NodeJS.Signals) => {
    recording.discard();
    stopListening();
    process.kill(process.pid, signal);
  };
  const stopListening = () => {
    for (const signal of signals) process.off(signal, discard);
  };
  for (const signal of signals) process.on(signal, discard);
  return stopListening;
}

/** @param now Unix time in seconds that rules expire by */
function settingsAt(config: Config, now: number) {
  return makeSettings(config, configuredDevices(config), { anyMac: true, now });
}

async function playAll(
  { json, quiet, compare, seed }: Options,
  settings: Settings,
  inputs: readonly Input[],
  recording: Recording,
  resolution: Resolution,
): Promise<number> {
  const totals = new Totals(settings);
  const comparison = compare ? new Comparison(settings) : undefined;
  const printer = new Printer();
  const progress = new Progress(inputs.map(({ source }) => source));
  const format = json ? formatJson : formatLine;
  const { writers, passages } = recording;
  const isWhole = await new Session(settings, inputs, writers, passages, totals, comparison, {
    handled: quiet ? undefined : (frame, player) => printer.add(format(frame, player, settings, resolution)),
    async breathe() {
      progress.show(() => totals.frames);
      await printer.flush();
      return !printer.isClosed;
    },
  }).run(seed);
  progress.clear();
  if (!isWhole)
    throw new FileError("nobody reads standard output any more, so nothing is written (--quiet prints less)");
  recording.finish(settings, totals);
  const failures = inputs.flatMap(({ failure }) => failure ?? []);
  const warnings = inputs.flatMap((input) => input.warnings());
  comparison?.end();
  const sums = [...totals.lines(), ...(comparison?.lines() ?? [])];
  printer.addAll(json ? [jsonSums(totals, comparison, quiet)] : sums);
  await printer.flush();
  if (printer.isClosed) return 0;
  // Who watches a terminal while the lines go elsewhere is told the sums there; of differences, JSON has only the counts.
  const isElsewhere = process.stderr.isTTY && !process.stdout.isTTY;
  const told = isElsewhere ? sums : json && !quiet ? (comparison?.lines() ?? []) : [];
  const errors = failures.map((failure) => `firebreak: replay: ${failure}`);
  const comments = warnings.map((warning) => `firebreak: replay: warning: ${warning}`);
  return tell([...comments, ...told, ...errors], failures.length > 0 ? 1 : 0);
}

/** On their own the sums are the object, behind frames a member of it, so that nobody takes them for a frame. */
function jsonSums(totals: Totals, comparison: Comparison | undefined, isAlone: boolean): string {
  const sums = totals.toObject(comparison?.counts());
  return JSON.stringify(isAlone ? sums : { totals: sums });
}

function interfaceNumber({ interfaces }: Settings, name: string): number {
  const number = interfaces.findIndex((iface) => iface.name === name);
  if (number >= 0) return number;
  const names = interfaces.map((iface) => iface.name).join(", ");
  throw new UsageError(`--in ${quote(name)} is no interface of the configuration (write one of these: ${names})`);
}

/** Says something on standard error. @returns the exit status */
function tell(lines: readonly string[], status: number): number {
  if (lines.length > 0) process.stderr.write(`${lines.join("\n")}\n`);
  return status;
}
