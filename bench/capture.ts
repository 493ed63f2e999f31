// `capture`: how many frames a capture of 1 Gbit/s to a file loses, beside tcpdump with a program for each interface: both have each frame
// as it comes and as it goes. In frames of 1514 bytes from a generator that leaves the processors alone, as somebody else's machine
// would, and as TCP without segmentation offload, both of whose ends are here.
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Program } from "../lab/namespaces.ts";
import { ROUTER } from "../lab/places.ts";
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import { discard, generatorBeside } from "./load/generate.ts";
import type { Report } from "./report/report.ts";
import { IPV4 } from "./subjects/families.ts";
import { Stage, type Subject } from "./subjects/subjects.ts";

const SECONDS = 2;
/** 1 Gbit/s of what is in the file. */
const LENGTH = 1514;
const RATE = Math.round(1e9 / 8 / LENGTH);
const FLOWS = 4;
/** Bytes that wait for tcpdump, for each of two: as many as for a capture of ours. In KiB. */
const WAITING = 16 * 1024;
/** Part of the frames that may be lost. */
const LOST = 0.001;
const NOBODY = "no capture";
const TCPDUMP = "tcpdump";

/** What a capture says at its end. */
interface Captured {
  readonly frames: number;
  readonly lost: number;
}

interface Load {
  readonly name: string;
  /** Sends, and ends. @returns part of what it should have sent that arrived */
  send(subject: Subject): Promise<number>;
}

const LOADS: readonly Load[] = [
  { name: "1 Gbit/s, frames", send: sendFrames },
  { name: "1 Gbit/s, TCP", send: sendStream },
];

export const capture: Benchmark = {
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const firewalls: { subject: Subject; capture: (file: string) => Promise<() => Promise<Captured>> }[] = [];
  for (const build of options.builds) {
    const subject = await stage.firebreak(build);
    await discard(subject.internet, "eth0");
    await subject.offload(false);
    await subject.internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
    const verb = [build.executable, "capture", "--at", join(stage.folder, `${subject.forwarder.name}.sock`)];
    firewalls.push({ subject, capture: (file) => captureOurs(subject, verb, file) });
  }
  const [first] = firewalls;
  if (first === undefined) throw new Error("nothing to measure");
  const file = join(stage.folder, "captured");
  // What runs for the first time is compiled meanwhile.
  for (const { subject, capture } of firewalls) {
    const end = await capture(file);
    await sendFrames(subject);
    await end();
  }
  for (const _ of timedRounds(report, options)) {
    for (const { name, send } of LOADS) {
      report.add(name, "arrived", "part", NOBODY, await send(first.subject));
      const cases = [
        ...firewalls.map(({ subject, capture }) => ({ name: subject.name, subject, capture })),
        { name: TCPDUMP, subject: first.subject, capture: (path: string) => captureTheirs(first.subject, path) },
      ];
      for (const one of cases) {
        const end = await one.capture(file);
        const arrived = await send(one.subject);
        const { frames, lost } = await end();
        report.add(name, "lost", "part", one.name, lost / (frames + lost));
        report.add(name, "frames", "", one.name, frames + lost);
        report.add(name, "arrived", "part", one.name, arrived);
      }
    }
  }
  for (const { name } of LOADS) report.limit(name, "lost", first.subject.name, { atMost: LOST });
}

async function sendFrames({ client, internet }: Subject): Promise<number> {
  const counted = async () => Number(await internet.run(["cat", "/sys/class/net/eth0/statistics/rx_packets"]));
  const before = await counted();
  await client.run(generatorBeside(FLOWS, RATE, 1000 * SECONDS, IPV4, LENGTH));
  await Bun.sleep(100);
  return ((await counted()) - before) / (RATE * SECONDS);
}

async function sendStream({ client }: Subject): Promise<number> {
  const command = ["iperf3", "--json", "--client", ROUTER, "--bitrate", "1G", "--time", String(SECONDS)];
  const { end } = JSON.parse(await client.run(command));
  return end.sum_received.bits_per_second / 1e9;
}

/** @param verb what captures */
async function captureOurs({ forwarder }: Subject, verb: readonly string[], file: string) {
  const program = forwarder.start([...verb, "-w", file]);
  while ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0) await Bun.sleep(5);
  return async () => {
    const text = await ended(program);
    rmSync(file);
    return { frames: numberIn(text, /(\d+) frames captured/), lost: numberIn(text, /(\d+) lost/) };
  };
}

async function captureTheirs({ forwarder }: Subject, file: string) {
  const programs = ["eth0", "eth1"].map((name) =>
    forwarder.start(["tcpdump", "-i", name, "-B", String(WAITING), "-w", `${file}.${name}`]),
  );
  for (const program of programs) await program.says("listening on");
  return async () => {
    const texts = await Promise.all(programs.map(ended));
    for (const name of ["eth0", "eth1"]) rmSync(`${file}.${name}`);
    const sum = (pattern: RegExp) => texts.reduce((all, text) => all + numberIn(text, pattern), 0);
    return { frames: sum(/(\d+) packets captured/), lost: sum(/(\d+) packets dropped by kernel/) };
  };
}

/** Ends it. @returns what it says */
async function ended(program: Program): Promise<string> {
  program.signal("SIGINT");
  await program.end();
  return program.text;
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text);
  if (found === null) throw new Error(`not as expected: ${text}`);
  return Number(found[1]);
}
