// `asked`: whether those who ask a running firewall slow it down. Round trips, and packets without loss, while `top` is shown, while others
// read, while readers have stopped reading, and while a client sends what is dropped and kept for whoever asks why.
import { join } from "node:path";
import type { Namespace, Program } from "../lab/namespaces.ts";
import { ROUTER, SERVER } from "../lab/places.ts";
import { type Benchmark, type Build, type Options, timedRounds } from "./benchmark.ts";
import { discard, generatorBeside } from "./load/generate.ts";
import { lossFreeRate } from "./pps.ts";
import type { Report } from "./report/report.ts";
import { roundTrips, serveRoundTrips } from "./rtt.ts";
import { Stage, type Subject } from "./subjects/subjects.ts";

const FLOWS = 1000;
/** Frames a second that are dropped, from so many ports; and for how long they come at most, in ms: a case takes less. */
const DROPS = 100_000;
const DROPPED_FLOWS = 64;
const DROPPING = 60_000;
/** An address that is no client's. Frames of it get no answer, which would be work of another kind. */
const SPOOFED = "10.99.9.9";
/** Where Prometheus would ask. */
const METRICS = "127.0.0.1:9474";
/** What is not forwarded by the kernel path, for captures that are not about much. */
const PING = ["ping", "-q", "-i", "0.1", ROUTER];

const NOBODY = "nobody asks";
const TOP = "top is shown";
const READERS = "readers";
const STALLED = "readers stopped";
const DROPPED = "drops";
/** The same frames on another cable, at whose end the kernel drops them: the generator, and a cable, cost as much. */
const ELSEWHERE = "drops elsewhere";

/** Seconds that round trips are measured for: there are many cases. */
const SECONDS = 1;
/** Both ends of round trips have a CPU: one that they share would make them three times as short, and which it is, is chance. */
const PLACED = [0, 1].map((cpu) => ["taskset", "--cpu-list", String(cpu)] as const);
/** Of what there is while nobody asks, so much is to be there while somebody does; and round trips may be as much longer. */
const PART = 0.95;
const LONGER = 1.05;

/** Undoes what a case needs. */
type Undo = () => Promise<unknown>;

interface Case {
  readonly name: string;
  /** That it is compared with. */
  readonly beside?: string;
  readonly subject: Firewall;
  begin(): Promise<Undo>;
}

/** A firewall that can be asked. */
interface Firewall extends Subject {
  /** The command line of a verb that asks it. */
  verb(...words: readonly string[]): string[];
}

export const asked: Benchmark = {
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const firewalls: Firewall[] = [];
  for (const build of options.builds) firewalls.push(await firewallOf(stage, build));
  const [first, ...others] = firewalls;
  if (first === undefined) throw new Error("nothing to measure");
  const elsewhere = await stage.cable(ELSEWHERE);
  await discard(elsewhere.forwarder, "eth0");
  const cases: readonly Case[] = [
    { name: NOBODY, subject: first, begin: async () => async () => {} },
    { name: TOP, beside: NOBODY, subject: first, begin: () => showTop(first) },
    { name: READERS, beside: NOBODY, subject: first, begin: () => read(first) },
    { name: STALLED, beside: NOBODY, subject: first, begin: () => stall(first) },
    { name: ELSEWHERE, subject: first, begin: () => send(elsewhere.client) },
    { name: DROPPED, beside: ELSEWHERE, subject: first, begin: () => drop(report, first, DROPPED) },
    ...others.map((subject) => {
      const name = `${DROPPED}, ${subject.name}`;
      return { name, subject, begin: () => drop(report, subject, name) };
    }),
  ];
  const rungs = new Map<Firewall, number>();
  for (const _ of timedRounds(report, options)) {
    for (const { name, subject, begin } of cases) {
      const undo = await begin();
      await roundTrips(report, "round trip", { name, client: subject.client }, 0, SECONDS, PLACED[0]);
      const { rate, rung } = await lossFreeRate(subject, FLOWS, rungs.get(subject));
      rungs.set(subject, rung);
      report.add(`${FLOWS} flows`, "loss-free rate", "packets/s", name, rate);
      await undo();
    }
  }
  for (const { name, beside } of cases) if (beside !== undefined) claim(report, name, beside);
  for (const { name } of others) claim(report, DROPPED, `${DROPPED}, ${name}`);
}

function claim(report: Report, name: string, beside: string): void {
  for (const percentile of ["p50", "p99"]) report.claim("round trip", percentile, name, beside, { atMost: LONGER });
  report.claim(`${FLOWS} flows`, "loss-free rate", name, beside, { atLeast: PART });
}

async function firewallOf(stage: Stage, build: Build): Promise<Firewall> {
  const subject = await stage.firebreak(build);
  await discard(subject.internet, "eth0");
  await serveRoundTrips(subject.internet, PLACED[1]);
  const at = join(stage.folder, `${subject.forwarder.name}.sock`);
  return Object.assign(subject, {
    verb: (...words: readonly string[]) => [build.executable, ...words, "--at", at],
  });
}

async function showTop(firewall: Firewall): Promise<Undo> {
  const shown = await openTop(firewall);
  return async () => {
    await signalChild(firewall.forwarder, shown, "TERM");
    await shown.end();
  };
}

/** Starts `top` in a terminal, and waits until it shows the client. */
async function openTop({ forwarder, verb }: Firewall): Promise<Program> {
  const line = `stty rows 24 columns 80; exec ${verb("top").join(" ")}`;
  const shown = forwarder.start(["env", "TERM=vt220", "script", "--quiet", "--command", line, "/dev/null"]);
  await shown.says("work");
  return shown;
}

/** To what `script` has started: a signal to itself would end it too soon. */
async function signalChild(namespace: Namespace, { pid }: Program, signal: string): Promise<void> {
  await namespace.run(["pkill", "--signal", signal, "--parent", String(pid)]);
}

/** Has somebody capture a little, somebody follow the log, and Prometheus ask each second. */
async function read({ client, forwarder, verb }: Firewall): Promise<Undo> {
  const pings = client.start(PING);
  const capture = await openCapture(forwarder, verb);
  const log = forwarder.start(verb("log", "--follow"));
  await log.says("ready in");
  const metrics = forwarder.start(verb("metrics", "--listen", METRICS));
  await metrics.says(METRICS);
  const poll = `while curl --silent --fail http://${METRICS}/metrics | grep ^firebreak_up{; do sleep 1; done`;
  const prometheus = forwarder.start(["bash", "-c", poll]);
  await prometheus.says(/^firebreak_up{.*} 1$/m);
  return () => endAll([prometheus, metrics, log, capture, pings]);
}

async function openCapture(forwarder: Namespace, verb: Firewall["verb"]): Promise<Program> {
  const capture = forwarder.start(verb("capture", "proto=icmp"));
  await capture.says("eth1"); // the file's beginning names interfaces
  return capture;
}

/** Has all kinds of readers begin, and then read no more. */
async function stall(firewall: Firewall): Promise<Undo> {
  const { client, forwarder, verb } = firewall;
  const pings = client.start(PING);
  const capture = await openCapture(forwarder, verb);
  const log = forwarder.start(verb("log", "--follow"));
  await log.says("ready in");
  const flows = forwarder.start(verb("flows"));
  await flows.says("udp");
  const shown = await openTop(firewall);
  const readers = [capture, log, flows];
  for (const reader of readers) reader.signal("SIGSTOP");
  await signalChild(forwarder, shown, "STOP");
  return async () => {
    await signalChild(forwarder, shown, "KILL");
    for (const program of [...readers, shown]) program.signal("SIGKILL"); // script has stopped with what it has started
    await endAll([...readers, shown, pings]);
  };
}

/** Has a client send frames of an address that it does not have. */
async function send(client: Namespace): Promise<Undo> {
  const sender = client.start(generatorBeside(DROPPED_FLOWS, DROPS, DROPPING, { client: SPOOFED, server: SERVER }));
  return () => endAll([sender]);
}

/** The same, and looks how many were dropped. */
async function drop(report: Report, { client, forwarder, verb }: Firewall, name: string): Promise<Undo> {
  const dropped = async () => {
    const { frames } = JSON.parse(await forwarder.run(verb("status", "--json")));
    return Number(frames.spoofed ?? 0); // there is none that is 0
  };
  const [before, since] = [await dropped(), performance.now()];
  const undo = await send(client);
  return async () => {
    await undo();
    report.add(
      "drops",
      "judged",
      "frames/s",
      name,
      (1000 * ((await dropped()) - before)) / (performance.now() - since),
    );
  };
}

async function endAll(programs: readonly Program[]): Promise<void> {
  for (const program of programs) program.signal("SIGTERM");
  await Promise.all(programs.map((program) => program.end()));
}
