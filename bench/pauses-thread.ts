// The thread of `pauses`: a router with a full flow table, and commands that come as in the appliance. Between two looks for frames it
// does what the dataplane's thread does there (dataplane/io/worker.ts), and measures how much of its own time that takes.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { type KernelPath, Router } from "../src/dataplane/frame/router.ts";
import { Collector } from "../src/dataplane/io/collector.ts";
import { Commands } from "../src/dataplane/io/commands.ts";
import { Mailbox, RULES_SIZE } from "../src/dataplane/io/mailbox.ts";
import { rehearse } from "../src/dataplane/io/rehearsal.ts";
import { work } from "../src/dataplane/io/work.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../src/dataplane/ring.ts";
import type { Settings } from "../src/dataplane/settings.ts";
import { VERDICT } from "../src/dataplane/verdict.ts";
import { threadTime } from "../src/linux/clock.ts";
import { BUCKET, NOW } from "./pause-counts.ts";

/** What the thread is started with. */
export interface Start {
  readonly settings: Settings;
  /** Frames that fill the table, one behind the other: interface, length, bytes. */
  readonly frames: Uint8Array;
  readonly port: MessagePort;
  readonly mail: SharedArrayBuffer;
  readonly rules: SharedArrayBuffer;
  /** Written by who gives commands: the kind of command that it gives next; and whether it is over. */
  readonly now: Int32Array;
  readonly kinds: number;
}

const BUCKETS = 4000;

/** By kind of command: how often it took so long between two looks for frames, and the longest, in ns. */
export interface Pauses {
  readonly counts: readonly Int32Array[];
  readonly longest: Float64Array;
  /** Bytes that the process has in memory at the end. */
  readonly memory: number;
}

/** Where frames lie that come, and those that the router makes; none is sent anywhere. */
class SilentRing implements Ring {
  readonly bytes = new Uint8Array(2 * (VNET_LENGTH + RESERVED_LENGTH) + 16);
  readonly view = new DataView(this.bytes.buffer);
  share = 0;

  reserve(): number {
    return 2 * VNET_LENGTH + RESERVED_LENGTH + 4;
  }

  send(): void {}
}

/** Of a kernel path all but the kernel: what it asks to be looked at. */
const NO_KERNEL: KernelPath = {
  enter() {},
  leave() {},
  revoke() {},
  revokeClient() {},
  revokeNeighbour() {},
  follow() {},
  setSecond() {},
};

function run({ settings, frames, port, mail, rules, now, kinds }: Start): Pauses {
  const collector = new Collector();
  // As the worker does when no frames come for the first time (dataplane/io/leisure.ts); here it never happens again.
  rehearse();
  collector.begin();
  while (collector.isBusy) collector.step();
  const ring = new SilentRing();
  const router = new Router(ring, settings, (words) => crypto.getRandomValues(words), undefined, {
    makePath: () => NO_KERNEL,
  });
  let clock = 1000;
  router.advance(clock);
  fill(router, ring, frames);
  const commands = new Commands(
    port,
    new Mailbox(mail),
    new Mailbox(rules, RULES_SIZE),
    router,
    {
      configure: () => undefined,
      carriedOut() {},
      records() {},
      addresses() {},
      watch() {},
      report: (report) => port.postMessage(report),
    },
    collector,
  );
  const counts = Array.from({ length: kinds }, () => new Int32Array(BUCKETS));
  const longest = new Float64Array(kinds);
  port.postMessage({ type: "ready", flows: router.flows.size });
  while (Atomics.load(now, NOW.IS_OVER) === 0) {
    clock = Math.max(clock, Atomics.load(now, NOW.MS));
    const kind = Atomics.load(now, NOW.KIND);
    commands.wake();
    const from = threadTime();
    router.setTime(clock);
    const isBusy = router.isBusy || commands.isBusy;
    work(router, commands);
    const taken = threadTime() - from;
    if (!isBusy) continue;
    counts[kind][Math.min(Math.floor(taken / BUCKET), BUCKETS - 1)]++;
    if (taken > longest[kind]) longest[kind] = taken;
  }
  return { counts, longest, memory: process.memoryUsage().rss };
}

function fill(router: Router, ring: SilentRing, frames: Uint8Array): void {
  const at = VNET_LENGTH + 4;
  const view = new DataView(frames.buffer, frames.byteOffset);
  for (let i = 0; i < frames.length; ) {
    const length = view.getUint16(i + 2);
    ring.bytes.fill(0, 0, at);
    for (let byte = 0; byte < length; byte++) ring.bytes[at + byte] = frames[i + 4 + byte];
    const verdict = router.receive(view.getUint16(i), at, length);
    if (verdict !== VERDICT.FORWARDED && verdict !== VERDICT.ANSWERED) throw new Error(`verdict ${verdict} at ${i}`);
    i += 4 + length;
  }
}

const result = run(workerData as Start);
(parentPort as MessagePort).postMessage(result);
