// differential.ts COUNT SEED: holds the same COUNT random conversations through two firewalls, and says where what comes out
// of them differs. The ends of their cables are here: those of Firebreak are fb-in and fb-out, those of Linux nf-in and nf-out.

import { checksum, describe, ethernet, IPV4_TYPE, payload, toHex, udp } from "../../../lab/frames.ts";
import { CLIENT, UPLINK } from "../../../lab/places.ts";
import { TCP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { conversation } from "../conversations/conversation.ts";
import { type Conversation, other, type Side, type Step } from "../conversations/talk.ts";
import { ENDS } from "../differential.ts";
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
const SENTINEL_REMOTE = { address: "198.18.255.254", port: 53 };
const SENTINELS = [0xfffe, 0xffff];
const IDENTIFICATIONS = 0xfff0;

const [count = 0, seed = 0] = process.argv.slice(2).map(Number);
const random = new Random(seed);
const links = new RawLinks(NAMES.flatMap((name) => Object.values(FIREWALLS[name])));

/** Of what a firewall itself says, with whatever identification; what it forwards has one less. */
const OWN_TTL = 64;

/** Frames that came out of the firewalls since the last round, by interface and identification. */
const seen = new Map<string, Uint8Array[]>();

function keyOf(name: Name, side: Side, identification: number): string {
  return `${FIREWALLS[name][side]} ${identification}`;
}

function receive(): void {
  for (const { on, frame } of links.receive()) {
    const view = new DataView(frame.buffer);
    if (view.getUint16(12) !== IPV4_TYPE) continue;
    if (frame[22] === OWN_TTL) continue;
    const key = `${on} ${view.getUint16(18)}`;
    const frames = seen.get(key);
    if (frames === undefined) seen.set(key, [frame]);
    else frames.push(frame);
  }
}

function send(from: Side, packet: Uint8Array, identification: number): void {
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint16(4, identification);
  view.setUint16(10, 0);
  view.setUint16(10, checksum(packet.subarray(0, (packet[0] & 15) * 4)));
  const frame = ethernet(ENDS[from].host, ENDS[from].firewall, IPV4_TYPE, packet);
  for (const name of NAMES) links.send(plain(FIREWALLS[name][from], frame));
}

function sendSentinel(from: Side, identification: number): void {
  const { address, port } = SENTINEL_REMOTE;
  const ends = from === "inside" ? { source: CLIENT, destination: address } : { source: address, destination: UPLINK };
  send(from, udp({ ...ends, sourcePort: port, destinationPort: port }, payload(8)), identification);
}

/** Waits until sentinels have come out of both firewalls. */
function awaitSentinel(sides: readonly Side[], identification: number): void {
  const awaited = NAMES.flatMap((name) => sides.map((side) => keyOf(name, side, identification)));
  const deadline = performance.now() + PATIENCE;
  for (receive(); !awaited.every((key) => seen.has(key)); receive()) {
    const missing = awaited.filter((key) => !seen.has(key));
    if (performance.now() > deadline) throw new Error(`nothing came out any more: ${missing.join(", ")}`);
    links.wait(1);
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
function outcome(name: Name, { from }: Step, identification: number): string {
  const frames = seen.get(keyOf(name, other(from), identification)) ?? [];
  if (frames.length <= 1) return frames.map(toHex).join();
  return reassembled(frames.map((frame) => frame.subarray(14)));
}

function reassembled(packets: readonly Uint8Array[]): string {
  const parts = packets.map((packet) => {
    const field = new DataView(packet.buffer, packet.byteOffset).getUint16(6);
    return {
      offset: (field & 0x1fff) * 8,
      more: (field & 0x2000) !== 0,
      header: packet.slice(0, 20),
      content: packet.subarray(20),
    };
  });
  parts.sort((one, another) => one.offset - another.offset);
  let end = 0;
  for (const { offset, content } of parts) {
    if (offset !== end) return `fragments with a hole at ${end}`;
    end += content.length;
  }
  const header = parts[0]?.header ?? new Uint8Array(20);
  header.fill(0, 2, 4).fill(0, 6, 8).fill(0, 10, 12); // length, fragment field, checksum
  const whole = parts.at(-1)?.more === false ? "whole" : "incomplete";
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
function compare(step: Step, identification: number, talk: Conversation): boolean {
  const [firebreak = "", linux = ""] = NAMES.map((name) => outcome(name, step, identification));
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
  const packets = step.packets.map((packet) => {
    const view = new DataView(packet.buffer, packet.byteOffset);
    const shown = describe(ethernet(ENDS.inside.host, ENDS.inside.host, IPV4_TYPE, packet)).slice(38);
    if (packet[9] !== TCP || packet.length < 36) return shown;
    return `${shown}, sequence ${view.getUint32(24)}, acknowledgment ${view.getUint32(28)}, window ${view.getUint16(34)}`;
  });
  return `${fates.get(step) ?? "DIFFERENT"}: ${step.what}: ${packets.join(" + ")}`;
}

/** Where in it a conversation is. */
interface Progress {
  readonly talk: Conversation;
  next: number;
}

let identification = 0;

function round(talking: readonly Progress[]): void {
  const said = talking.map((progress) => {
    const step = progress.talk[progress.next++] as Step;
    identification = (identification % IDENTIFICATIONS) + 1;
    for (const packet of step.packets) send(step.from, packet, identification);
    return { progress, step, identification };
  });
  settle();
  for (const { progress, step, identification } of said) {
    total.packets++;
    if (compare(step, identification, progress.talk)) continue;
    // What they know of the connection may differ from now on.
    total.notCompared += progress.talk.length - progress.next;
    progress.next = progress.talk.length;
  }
  seen.clear();
}

sendSentinel("inside", 0); // opens their flow
awaitSentinel(["outside"], 0);
let begun = 0;
let live: Progress[] = [];
for (;;) {
  while (live.length < AT_A_TIME && begun < count) live.push({ talk: conversation(random, begun++), next: 0 });
  live = live.filter(({ talk, next }) => next < talk.length);
  if (live.length === 0) break;
  const start = random.below(live.length);
  round([...live.slice(start), ...live.slice(0, start)].slice(0, ROUND));
}
console.log(JSON.stringify({ ...total, differences: [...differences.values()] }));
process.exit();
