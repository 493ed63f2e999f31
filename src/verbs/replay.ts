// `firebreak replay`: the dataplane over captured frames. No root, no interfaces: captures in, captures and verdicts out.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { quote } from "../base/quote.ts";
import { readConfig } from "../config/config.ts";
import { configuredDevices, makeSettings } from "../control/settings.ts";
import type { Settings } from "../dataplane/settings.ts";
import { type Capture, CaptureError, type Resolution, readCapture, writeCapture } from "./pcap.ts";
import { type FrameVerdict, type Moment, type Playback, play } from "./playback.ts";
import { UsageError, type Verb } from "./verb.ts";

export const replay: Verb = {
  summary: "run captured frames through the dataplane",
  help: `Usage: firebreak replay --config FILE --in IFACE=CAPTURE [--in …] --out DIR [--json] [--seed N]

Runs the frames of captures (pcap or pcapng, Ethernet) through the same dataplane as the
appliance, by the captures' own clock. Needs no root and none of the interfaces.

  --config FILE         the configuration
  --in IFACE=CAPTURE    what arrived on that interface of the configuration; captures are
                        merged by time, at the same time in the order given here
  --out DIR             gets IFACE.pcap for each interface: what would have been sent there
  --json                one JSON object a frame instead of one line
  --seed N              0 to 4294967295, default 1: where random NAT ports come from

Prints what became of each frame: seconds since the first one, interface, number of the
frame in its capture, verdict, rule, flow, and what was sent because of it. A clock that
steps back in a capture is held. The same input gives the same output, byte for byte.

Where own_mac is not configured, any unicast destination MAC address is taken as ours;
so capture what arrives, and not what the router sent (tcpdump -Q in). Frames that
were captured before their segmentation or before their checksums were filled in are
judged as they stand (capture with ethtool -K IFACE tx off tso off gso off gro off).
Rules expire by the time of the first frame; names in rules have no addresses here.

Exit status: 0 fine, 1 a capture can't be read or DIR not written, 2 bad usage or configuration.
`,
  async run(args) {
    const options = readOptions(args);
    const config = await readConfig(options.config);
    if ("errors" in config) return refuse(config.errors, 2);
    try {
      const captures = await Promise.all(options.inputs.map(({ file }) => load(file)));
      const now = Math.min(...captures.map(({ frames }) => frames[0]?.seconds ?? Number.POSITIVE_INFINITY));
      const result = makeSettings(config.config, configuredDevices(config.config), { anyMac: true, now });
      if ("errors" in result) return refuse(result.errors, 2);
      const ifaces = options.inputs.map(({ iface }) => interfaceNumber(result.settings, iface));
      const inputs = captures.map(({ frames }, i) => ({ iface: ifaces[i], frames }));
      const playback = play(result.settings, inputs, options.seed);
      const resolution = captures.some((capture) => capture.resolution === "ns") ? "ns" : "us";
      await writeSent(options.out, result.settings, playback, resolution);
      const format = options.json ? formatJson : formatLine;
      process.stdout.write(playback.verdicts.map((verdict) => `${format(verdict, resolution)}\n`).join(""));
      return 0;
    } catch (error) {
      if (error instanceof FileError) return refuse([`firebreak: replay: ${error.message}`], 1);
      throw error;
    }
  },
};

interface Options {
  readonly config: string;
  readonly inputs: readonly { readonly iface: string; readonly file: string }[];
  readonly out: string;
  readonly json: boolean;
  readonly seed: number;
}

/** A file can't be read or written; the message names it. */
class FileError extends Error {}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      config: { type: "string" },
      in: { type: "string", multiple: true },
      out: { type: "string" },
      json: { type: "boolean", default: false },
      seed: { type: "string", default: "1" },
    },
  });
  const { config, in: inputs = [], out, json, seed } = values;
  if (config === undefined) throw new UsageError("needs --config FILE");
  if (inputs.length === 0) throw new UsageError("needs --in IFACE=CAPTURE");
  if (out === undefined) throw new UsageError("needs --out DIR");
  if (!/^\d{1,10}$/.test(seed) || Number(seed) > 0xffffffff) {
    throw new UsageError(`--seed ${quote(seed)} is not a whole number from 0 to 4294967295`);
  }
  return { config, inputs: inputs.map(readInput), out, json, seed: Number(seed) };
}

function readInput(text: string): { iface: string; file: string } {
  const [, iface, file] = text.match(/^([^=]+)=(.+)$/s) ?? [];
  if (iface === undefined || file === undefined) throw new UsageError(`--in ${quote(text)} is not IFACE=CAPTURE`);
  return { iface, file };
}

function interfaceNumber({ interfaces }: Settings, name: string): number {
  const number = interfaces.findIndex((iface) => iface.name === name);
  if (number >= 0) return number;
  const names = interfaces.map((iface) => iface.name).join(", ");
  throw new UsageError(`--in ${quote(name)} is no interface of the configuration (write one of these: ${names})`);
}

async function load(file: string): Promise<Capture> {
  const bytes = await readFile(file).catch((error) => fail(`${file}: can't be read`, error));
  try {
    return readCapture(bytes);
  } catch (error) {
    if (error instanceof CaptureError) throw new FileError(`${file}: ${error.message}`);
    throw error;
  }
}

/** Writes a capture for each interface, also where nothing was sent. */
async function writeSent(out: string, settings: Settings, { sent }: Playback, resolution: Resolution): Promise<void> {
  await mkdir(out, { recursive: true }).catch((error) => fail(`${out}: can't be made`, error));
  for (const [iface, { name }] of settings.interfaces.entries()) {
    const file = join(out, `${name}.pcap`);
    await writeFile(file, writeCapture(sent[iface], resolution)).catch((error) =>
      fail(`${file}: can't be written`, error),
    );
  }
}

/** @param error the system's, whose message goes "ENOENT: no such file or directory, open …" */
function fail(problem: string, error: unknown): never {
  const [reason] = error instanceof Error ? error.message.split(", ") : [String(error)];
  throw new FileError(`${problem}: ${reason}`);
}

function refuse(errors: readonly string[], status: number): number {
  process.stderr.write(`${errors.join("\n")}\n`);
  return status;
}

function formatLine(frame: FrameVerdict, resolution: Resolution): string {
  const { rule, flow } = frame;
  const parts = [
    `${formatMoment(frame.moment, resolution)} ${frame.interface} #${frame.number} ${frame.verdict}`,
    frame.captured < frame.length && `only ${frame.captured} of ${frame.length} bytes captured (use tcpdump -s 0)`,
    rule && (rule.number === 0 ? `policy of ${rule.client}` : `rule ${rule.number} of ${rule.client}`),
    flow && `flow ${flow.protocol} ${flow.source} > ${flow.destination} as ${flow.mapped}`,
    ...frame.sent.map(({ interface: egress, length }) => `sent ${length} bytes on ${egress}`),
  ];
  return parts.filter((part) => typeof part === "string").join("; ");
}

/** Members without a value are left out. */
function formatJson(frame: FrameVerdict, resolution: Resolution): string {
  const { moment, interface: iface, number, length, captured, verdict, rule, flow, sent } = frame;
  const time = Number(formatMoment(moment, resolution));
  return JSON.stringify({
    time,
    interface: iface,
    frame: number,
    length,
    captured,
    verdict,
    client: rule?.client,
    rule: rule?.number,
    flow,
    sent,
  });
}

/** @returns seconds with as many digits as the captures' timestamps have */
function formatMoment({ seconds, nanoseconds }: Moment, resolution: Resolution): string {
  const digits = String(nanoseconds).padStart(9, "0");
  return `${seconds}.${resolution === "ns" ? digits : digits.slice(0, 6)}`;
}
