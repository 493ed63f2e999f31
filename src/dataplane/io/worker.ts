// The dataplane's thread: takes frames from the ring, lets the router handle them, transmits. It sleeps only in poll(2) and
// waits for nobody; what control wants of it, it looks up between two batches, woken by an eventfd. What takes long is done a little at
// a time, so that no frame waits long for it.
// An error here ends the thread, and with it the program: nothing is forwarded that was not judged.

import { toArrayBuffer } from "bun:ffi";
import { workerData } from "node:worker_threads";
import { monotonicTime } from "../../linux/clock.ts";
import { libc, pointer } from "../../linux/libc.ts";
import { READ_AHEAD } from "../frame/fast-path.ts";
import { Router } from "../frame/router.ts";
import type { RuleChanges } from "../frame/rule-changes.ts";
import type { State } from "../frame/state.ts";
import { workOf } from "../frame/vnet.ts";
import { COUNT_MAP_LENGTH, countsLength } from "../kernel/counts.ts";
import { addressesOf, controlOf, flowRecordsAt, gateOf, type KernelPrograms } from "../kernel/loader.ts";
import { KernelPath, type Wants } from "../kernel/path.ts";
import { Pulse } from "../kernel/pulse.ts";
import { moveToMap, putInPlace } from "../kernel/records.ts";
import { tryKernelPath } from "../kernel/trial/trial.ts";
import type { Settings } from "../settings.ts";
import { column, type Flow } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import type { CopyFrame } from "./capture-ring.ts";
import { Collector } from "./collector.ts";
import { type CommandEvents, Commands } from "./commands.ts";
import { FlowCounter } from "./flow-counter.ts";
import { Leisure } from "./leisure.ts";
import { CONTROL_SIGN, DATAPLANE_INTERVAL, DATAPLANE_SIGN, Liveness } from "./liveness.ts";
import { Mailbox, RULES_SIZE } from "./mailbox.ts";
import { NO_ACCOUNT, NO_FRAME, NOT_SENT, PacketRing } from "./packet-ring.ts";
import { MAIL, type Report, type Start } from "./protocol.ts";
import { SteadyClock } from "./steady-clock.ts";
import { Tap } from "./tap.ts";
import { Vigil } from "./vigil.ts";
import { work } from "./work.ts";

/** Frames taken from one interface before the others have their turn. */
const BATCH = READ_AHEAD;

/** Segments that they may be cut into, but for the last frame: the kernel makes them in 0.4 ms, where the interface does not. */
const BATCH_WORK = 384;

/**
 * How long the thread looks for frames before it sleeps, in ms, while they come so quickly that a sleep and its end would
 * take longer than the wait. When they don't, it sleeps at once.
 */
const SPIN = 0.025;

/** ms under load, after which the next batch is the last before a look for commands. */
const LOOK_UP = 1;

/** Longest sleep, in ms: how late the router's timers may be when there is no traffic. */
const LONGEST_SLEEP = 100;

/** ms between two readings of the kernel's count of drops. */
const DROP_INTERVAL = 1000;

const start = workerData as Start;
const { settings, sockets, before, signs, port, wake, flows, kernelPrograms } = start;
const inbox = new Mailbox(start.toDataplane);
const outbox = new Mailbox(start.toControl);
const rulesInbox = new Mailbox(start.rules, RULES_SIZE);
const THERE_IS_MAIL: Report = { type: "mail" };

function report(message: Report): void {
  port.postMessage(message);
}

/** Offsets, lengths and flows of the frames in hand. */
const offsets = new Int32Array(BATCH);
const lengths = new Int32Array(BATCH);
const flowNumbers = column<number, Flow>(new Int32Array(BATCH));
const verdicts = column<number, Verdict>(new Int32Array(BATCH));
/** Whether its flow is captured. */
const held = new Uint8Array(BATCH);

/** By NOT_SENT. */
const LOST = [VERDICT.FORWARDED, VERDICT.EGRESS_FULL, VERDICT.EGRESS_DOWN, VERDICT.EGRESS_REFUSED];

/** A frame counts as forwarded only where all of it was sent. */
function countLost(ring: PacketRing, router: Router, iface: number, frames: number): void {
  for (let i = 0; i < frames; i++) {
    if (ring.lost[i] !== NOT_SENT.NONE && verdicts[i] === VERDICT.FORWARDED) {
      router.countLost(LOST[ring.lost[i]], iface, offsets[i], lengths[i], flowNumbers[i]);
      ring.tap?.judge(i, LOST[ring.lost[i]]);
    }
  }
  ring.lost.fill(NOT_SENT.NONE);
  ring.hasLost = false;
}

/** The same while somebody captures, or asks for counts of flows. */
function receiveWatched(ring: PacketRing, router: Router, counter: FlowCounter, iface: number, frames: number): void {
  const { tap } = ring;
  for (let i = 0; i < frames; i++) {
    ring.account = i;
    tap?.begin(iface, offsets[i], lengths[i], i);
    verdicts[i] = router.receive(iface, offsets[i], lengths[i]);
    tap?.end(verdicts[i]);
    if (counter.isOn) counter.note(i, iface, offsets[i], lengths[i], verdicts[i]);
    flowNumbers[i] = router.flowToEnter;
    held[i] = Number(tap?.isHeld === true);
  }
}

/** Flows that are captured stay off the kernel path. */
function enterWatched(router: Router, tap: Tap | undefined, frames: number): void {
  tap?.publish();
  for (let i = 0; i < frames; i++) if (held[i] === 0) router.enterKernelPath(flowNumbers[i]);
}

/** Takes frames that have arrived on one interface, all of them before the first is handled. @returns how many */
function handleBatch(ring: PacketRing, router: Router, counter: FlowCounter, iface: number): number {
  let frames = 0;
  let work = 0;
  for (let at = ring.next(iface); at !== NO_FRAME; at = ring.next(iface)) {
    offsets[frames] = at;
    lengths[frames] = ring.length;
    work += workOf(ring.view, at, ring.length);
    if (++frames === BATCH || work >= BATCH_WORK) break;
  }
  router.readAhead(offsets, lengths, frames);
  const isWatched = ring.tap !== undefined || counter.isOn;
  if (isWatched) receiveWatched(ring, router, counter, iface, frames);
  else {
    for (let i = 0; i < frames; i++) {
      ring.account = i;
      verdicts[i] = router.receive(iface, offsets[i], lengths[i]);
      flowNumbers[i] = router.flowToEnter;
    }
  }
  ring.account = NO_ACCOUNT;
  ring.flush();
  if (counter.isOn) counter.add(frames, ring.lost);
  if (ring.hasLost) countLost(ring, router, iface, frames);
  if (isWatched) enterWatched(router, ring.tap, frames);
  else for (let i = 0; i < frames; i++) router.enterKernelPath(flowNumbers[i]);
  ring.settle(iface);
  return frames;
}

function tell(): void {
  if (outbox.mustTell()) report(THERE_IS_MAIL);
}

/** What this thread is made of. */
interface Dataplane {
  readonly ring: PacketRing;
  readonly router: Router;
  readonly counter: FlowCounter;
  readonly vigil: Vigil;
  readonly commands: Commands;
  readonly leisure: Leisure;
}

/** @returns the interface whose line is shared by marks, if one is */
function markedOf({ uplink }: Settings): number | undefined {
  return uplink.rate === undefined ? undefined : uplink.iface;
}

function forward(dataplane: Dataplane): void {
  const { ring, router, counter, vigil, commands, leisure } = dataplane;
  const clock = new SteadyClock(() => performance.now());
  let lookedUp = 0;
  let watched = Number.NEGATIVE_INFINITY;
  let spin = 0;
  let lastFrame = 0;
  let dropsCounted = 0;
  for (;;) {
    const now = performance.now();
    if (now - watched >= DATAPLANE_INTERVAL) {
      vigil.keep(now);
      watched = now;
    }
    router.setTime(clock.now());
    let frames = 0;
    for (let iface = 0; iface < ring.interfaces; iface++) {
      const taken = handleBatch(ring, router, counter, iface);
      frames += taken;
      if (taken === 0 || performance.now() - lookedUp < LOOK_UP) continue;
      if (ring.wait(0)) commands.wake();
      work(router, commands);
      if (commands.isStopped) return;
      lookedUp = performance.now();
    }
    work(router, commands);
    if (commands.isStopped) return;
    if (now - dropsCounted >= DROP_INTERVAL) {
      ring.countDrops();
      dropsCounted = now;
    }
    if (frames > 0) lastFrame = now;
    if (frames > 0 || now - lastFrame < spin) continue;
    const isAtLeisure = leisure.isNow(now - lastFrame);
    if (isAtLeisure) leisure.step();
    const isBusy = isAtLeisure || router.isBusy || commands.isBusy;
    if (ring.wait(isBusy ? 0 : LONGEST_SLEEP)) commands.wake();
    lookedUp = performance.now();
    spin = !isBusy && lookedUp - now < SPIN ? SPIN : 0;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function memoryAt(address: number, length: number): ArrayBuffer {
  return toArrayBuffer(pointer(address), 0, length);
}

/** As the C library copies, which takes a third of the time that it takes word by word. @param from, to addresses of memory of our own */
function copier(from: number, to: number): CopyFrame {
  return (word, place, bytes) => libc.memcpy(pointer(to + 4 * place), pointer(from + 4 * word), bytes);
}

/** @returns ms of the monotonic clock that control reads too, without a call into the C library for each */
function captureClock(): () => number {
  const offset = monotonicTime() / 1e6 - performance.now();
  return () => offset + performance.now();
}

/** The ring over the first settings' interfaces, or undefined after reporting why it can't be had. */
function openRing(programs: KernelPrograms | undefined): PacketRing | undefined {
  try {
    const ring = new PacketRing(wake, programs && ((gate) => gateOf(programs, gate)));
    ring.configure(sockets, markedOf(settings));
    return ring;
  } catch (error) {
    report({ type: "refused", reason: messageOf(error) });
    return undefined;
  }
}

/** Later, this program lacks the right to try anything. */
const UNTRIED: Report = {
  type: "kernelPath6Off",
  reason: "the program was started without IPv6 (restart it)",
};

function hasIpv6({ uplink, clients }: Settings): boolean {
  return uplink.ipv6 !== undefined || clients.some(({ ipv6 }) => ipv6 !== undefined);
}

/**
 * The kernel path's programs, if they do on this kernel what the router does. Here, for this thread has the router's code.
 * @returns undefined without them; and what flows may ask of control
 */
function triedPrograms(): { readonly programs: KernelPrograms | undefined; readonly wants: Wants } {
  const records = () => report({ type: "recordsWanted" });
  if (kernelPrograms === undefined) return { programs: undefined, wants: {} };
  try {
    const isIpv6Used = hasIpv6(settings);
    const fault6 = tryKernelPath(kernelPrograms.maps.keys, kernelPrograms.layout, isIpv6Used);
    if (fault6 !== undefined) report({ type: "kernelPath6Off", reason: fault6.message });
    const addresses = () => report(isIpv6Used ? { type: "addressesWanted" } : UNTRIED);
    return { programs: kernelPrograms, wants: fault6 === undefined ? { records, addresses } : { records } };
  } catch (error) {
    report({ type: "kernelPathOff", reason: messageOf(error) });
    return { programs: undefined, wants: {} };
  }
}

function run(): void {
  const { programs, wants } = triedPrograms();
  const ring = openRing(programs);
  if (ring === undefined) return;
  const { bytes } = ring;
  const events = {
    answered(id: number, at: number, length: number) {
      if (outbox.put(MAIL.ANSWERED, id, 0, bytes, at, length)) tell();
      else report({ type: "answered", id, answer: bytes.slice(at, at + length) });
    },
    passing(id: number, client: number, at: number, length: number) {
      if (outbox.put(MAIL.PASSING, id, client, bytes, at, length)) tell();
      else report({ type: "passing", id, client, answer: bytes.slice(at, at + length) });
    },
    seen(client: number, at: number, length: number) {
      if (outbox.put(MAIL.SEEN, 0, client, bytes, at, length)) tell(); // one that finds no room is not missed
    },
    duplicated(address: Uint8Array, mac: Uint8Array) {
      report({ type: "duplicated", address, mac });
    },
    freed() {
      report({ type: "freed" });
    },
  };
  let path: KernelPath | undefined;
  const makePath = (state: State, changes: RuleChanges): KernelPath | undefined => {
    path = programs && new KernelPath(state, changes, programs, (iface) => ring.gate(iface), wants);
    return path;
  };
  const router = new Router(ring, settings, (words) => crypto.getRandomValues(words), events, {
    flowRecords: flowRecordsAt(flows, settings.nat.maxFlows),
    makePath,
  });
  const { counters: verdicts, addresses, drops, ruleHits } = router;
  const tap = new Tap(ring, router, memoryAt, captureClock(), (address) => copier(ring.address, address));
  const counter = new FlowCounter(ring, router, BATCH);
  let countsAt = 0;
  router.announce();
  const state = { verdicts, ring: ring.counters, addresses: addresses.words, drops: drops.words, ruleHits };
  report({ type: "ready", state });
  try {
    const pulse = programs && new Pulse(controlOf(programs));
    const vigil = new Vigil(new Liveness(signs, DATAPLANE_SIGN, CONTROL_SIGN), pulse, () => path?.revoke(), {
      sockets,
      before,
    });
    const commandEvents: CommandEvents = {
      configure(command) {
        try {
          ring.configure(command.sockets, markedOf(command.settings));
          return undefined;
        } catch (error) {
          return messageOf(error);
        }
      },
      carriedOut(applied) {
        if (applied !== undefined) vigil.undoing = applied;
        path?.carryOut();
      },
      records({ at, map, counts }) {
        putInPlace(flows, at, map);
        if (counts !== undefined && countsAt !== 0) {
          moveToMap(countsAt + at * COUNT_MAP_LENGTH, COUNT_MAP_LENGTH, counts);
        }
        path?.grow();
      },
      addresses({ map }) {
        if (programs !== undefined) path?.takeAddresses(addressesOf(programs, map));
      },
      watch(command) {
        if (command.type === "counts") {
          const { address } = command;
          const length = countsLength(settings.nat.maxFlows);
          counter.configure(address === 0 ? undefined : new Int32Array(memoryAt(address, length)));
          countsAt = address;
        } else {
          if (tap.configure(command.captures)) path?.revoke();
          ring.tap = tap.isOn ? tap : undefined;
        }
      },
      report,
    };
    const collector = new Collector();
    const commands = new Commands(port, inbox, rulesInbox, router, commandEvents, collector);
    forward({ ring, router, counter, vigil, commands, leisure: new Leisure(collector) });
  } finally {
    router.close();
  }
  ring.close();
  report({ type: "stopped" });
}

try {
  run();
} catch (error) {
  report({ type: "failed", reason: (error instanceof Error && error.stack) || String(error) });
}
port.close();
