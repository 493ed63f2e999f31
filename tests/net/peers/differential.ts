// differential.ts FAMILY COUNT SEED: holds the same COUNT random conversations through two firewalls, and says where what comes out
// of them differs. FAMILY is ipv4 or ipv6. The ends of their cables are here: fb-in and fb-out of Firebreak, nf-in and nf-out of Linux.

import { ethernet, payload, toHex } from "../../../lab/frames.ts";
import { Random } from "../../../lab/random.ts";
import { conversation } from "../conversations/conversation.ts";
import { FAMILIES, type FamilyName } from "../conversations/families.ts";
import { type Conversation, other, type Side, type Step } from "../conversations/talk.ts";
import { ENDS } from "../ends.ts";
import { plain, RawLinks } from "../raw-links.ts";

const FIREWALLS = {
  firebreak: { inside: "fb-in", outside: "fb-out" },
  linux: { inside: "nf-in", outside: "nf-out" },
} as const;
type Name = keyof typeof FIREWALLS;
const NAMES: readonly Name[] = ["firebreak", "linux"];
const SIDES: readonly Side[] = ["inside", "outside"];

/** Conversations held at a time, and how many of them say something before what became of it is looked at. */
const AT_A_TIME = 400;
const ROUND = 128;
/** ms to wait for what is known to come. */
const PATIENCE = 30_000;

/**
 * Packets that pass both firewalls, on a flow of their own: what was sent before them has been dealt with. It is a name
 * server's, for such a flow never takes the kernel path, where it would overtake others.
 */
const SENTINEL_PORT = 53;
const SENTINELS = [0xfffe, 0xffff];
const STAMPS = 0xfff0;
/** ms between attempts to open that flow: a firewall first looks whether anybody else has its IPv6 address. */
const AGAIN = 200;

const [name = ""] = process.argv.slice(2);
const [count = 0, seed = 0] = process.argv.slice(3).map(Number);
const family = FAMILIES[name as FamilyName];
if (family === undefined) throw new Error(`no such family: ${name}`);
const random = new Random(seed);
const links = new RawLinks(NAMES.flatMap((name) => Object.values(FIREWALLS[name])));

/** Frames that came out of the firewalls since the last round, by interface and stamp. */
const seen = new Map<string, Uint8Array[]>();

function keyOf(name: Name, side: Side, stamp: number): string {
  return `${FIREWALLS[name][side]} ${stamp}`;
}

function receive(): void {
  for (const { on, frame } of links.receive()) {
    const view = new DataView(frame.buffer);
    if (view.getUint16(12) !== family.etherType) continue;
    if (family.isOwn(frame)) {
      const answer = family.answerTo(frame);
      if (answer !== undefined) links.send(plain(on, answer));
      continue;
    }
    const key = `${on} ${family.stampOf(frame)}`;
    const frames = seen.get(key);
    if (frames === undefined) seen.set(key, [frame]);
    else frames.push(frame);
  }
}

function send(from: Side, packet: Uint8Array, stamp: number): void {
  family.stamp(packet, stamp);
  const frame = ethernet(ENDS[from].host, ENDS[from].firewall, family.etherType, packet);
  for (const name of NAMES) links.send(plain(FIREWALLS[name][from], frame));
}

function sendSentinel(from: Side, stamp: number): void {
  const { client, uplink, nobody } = family;
  const [source, destination] = from === "inside" ? [client, nobody] : [nobody, uplink];
  const ends = { source, destination, sourcePort: SENTINEL_PORT, destinationPort: SENTINEL_PORT };
  send(from, family.udp(ends, payload(8)), stamp);
}

/** Waits until sentinels have come out of both firewalls. */
function awaitSentinel(sides: readonly Side[], stamp: number): void {
  const awaited = NAMES.flatMap((name) => sides.map((side) => keyOf(name, side, stamp)));
  const deadline = performance.now() + PATIENCE;
  for (receive(); !awaited.every((key) => seen.has(key)); receive()) {
    const missing = awaited.filter((key) => !seen.has(key));
    if (performance.now() > deadline) throw new Error(`nothing came out any more: ${missing.join(", ")}`);
    links.wait(1);
  }
}

/** Has both firewalls open the sentinels' flow. */
function openSentinels(): void {
  const deadline = performance.now() + PATIENCE;
  while (!NAMES.every((name) => seen.has(keyOf(name, "outside", 0)))) {
    if (performance.now() > deadline) throw new Error(`only these forward: ${[...seen.keys()].join(", ")}`);
    sendSentinel("inside", 0);
    receive();
    Bun.sleepSync(AGAIN);
    receive();
  }
}

/** Waits until both firewalls have dealt with all that was sent. */
function settle(): void {
  for (const sentinel of SENTINELS) {
    for (const side of SIDES) sendSentinel(side, sentinel);
    awaitSentinel(SIDES, sentinel);
  }
}

/** What came out of a firewall for a step, the fragments of one packet put together. */
function outcome(name: Name, { from }: Step, stamp: number): string {
  const frames = seen.get(keyOf(name, other(from), stamp)) ?? [];
  if (frames.length <= 1) return frames.map(toHex).join();
  return reassembled(frames.map((frame) => frame.subarray(14)));
}

function reassembled(packets: readonly Uint8Array[]): string {
  const parts = packets.map((packet) => family.partOf(packet));
  parts.sort((one, another) => one.offset - another.offset);
  let end = 0;
  for (const { offset, content } of parts) {
    if (offset !== end) return `fragments with a hole at ${end}`;
    end += content.length;
  }
  const whole = parts.at(-1)?.more === false ? "whole" : "incomplete";
  const header = parts[0]?.header ?? new Uint8Array(0);
  return `${whole} ${toHex(header)}\n${parts.map(({ content }) => toHex(content)).join("\n")}`;
}

const total = { packets: 0, delivered: 0, refused: 0, notCompared: 0 };
/** What both firewalls did with a step. */
const fates = new WeakMap<Step, string>();

/** A packet that one firewall delivered and the other did not. */
interface Difference {
  /** What it is: its kind, unless it is honest, and what may have led to it, the last first. */
  readonly kinds: readonly string[];
  readonly firebreak: string;
  readonly linux: string;
  count: number;
  /** One such conversation up to there, and what came out. */
  readonly example: readonly string[];
}
const differences = new Map<string, Difference>();

/** @returns whether both firewalls did the same */
function compare(step: Step, stamp: number, talk: Conversation): boolean {
  const [firebreak = "", linux = ""] = NAMES.map((name) => outcome(name, step, stamp));
  if (firebreak === linux) {
    if (firebreak === "") total.refused++;
    else total.delivered++;
    fates.set(step, firebreak === "" ? "refused" : "delivered");
    return true;
  }
  const held = talk.slice(0, talk.indexOf(step) + 1);
  const kinds = kindsOf(held);
  const verbs = { firebreak: verb(firebreak, linux), linux: verb(linux, firebreak) };
  const key = JSON.stringify({ kinds, ...verbs });
  const known = differences.get(key);
  if (known !== undefined) known.count++;
  else differences.set(key, { kinds, ...verbs, count: 1, example: [...held.map(show), firebreak, linux] });
  return false;
}

function verb(result: string, another: string): string {
  if (result === "") return "refuses";
  return another === "" ? "delivers" : "delivers otherwise";
}

function kindsOf(held: Conversation): string[] {
  const last = held.at(-1);
  const before = held.slice(0, -1).filter(({ honest }) => !honest);
  const causes = new Set(before.reverse().map(({ what }) => `a packet after: ${what}`));
  return [...(last === undefined || (last.honest && causes.size > 0) ? [] : [last.what]), ...causes];
}

function show(step: Step): string {
  const packets = step.packets.map((packet) => family.describe(packet));
  return `${fates.get(step) ?? "DIFFERENT"}: ${step.what}: ${packets.join(" + ")}`;
}

/** Where in it a conversation is. */
interface Progress {
  readonly talk: Conversation;
  next: number;
}

let stamp = 0;

function round(talking: readonly Progress[]): void {
  const said = talking.map((progress) => {
    const step = progress.talk[progress.next++] as Step;
    stamp = (stamp % STAMPS) + 1;
    for (const packet of step.packets) send(step.from, packet, stamp);
    return { progress, step, stamp };
  });
  settle();
  for (const { progress, step, stamp } of said) {
    total.packets++;
    if (compare(step, stamp, progress.talk)) continue;
    // What they know of the connection may differ from now on.
    total.notCompared += progress.talk.length - progress.next;
    progress.next = progress.talk.length;
  }
  seen.clear();
}

openSentinels();
let begun = 0;
let live: Progress[] = [];
for (;;) {
  while (live.length < AT_A_TIME && begun < count) live.push({ talk: conversation(family, random, begun++), next: 0 });
  live = live.filter(({ talk, next }) => next < talk.length);
  if (live.length === 0) break;
  const start = random.below(live.length);
  round([...live.slice(start), ...live.slice(0, start)].slice(0, ROUND));
}
console.log(JSON.stringify({ ...total, differences: [...differences.values()] }));
process.exit();
