// probe-rules.ts IN OUT FRAMES ANSWERS: transmits frames on the interface IN, and writes down what comes out of IN and OUT
// because of them: a line "in HEX" or "out HEX" for each frame. FRAMES has frames in hex, one a line; the last of every
// BATCH lines is known to come out of OUT, and until it has, no more are sent: so no queue overflows, and nothing is late.
import { readFileSync, writeFileSync } from "node:fs";
import { IPV6_TYPE } from "../../../lab/frames6.ts";
import { NO_FRAME, PacketRing } from "../../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../../src/dataplane/io/packet-sockets.ts";
import { openEvent } from "../../../src/linux/eventfd.ts";
import { interfacesNamed } from "../../support/interfaces.ts";
import { BATCH } from "../probes.ts";

const PATIENCE = 30_000; // ms
/** What tells probes apart, in a frame of either family: IPv4's identification or IPv6's flow label, and the source. Offset, and bytes. */
const IPV4_FIELDS = [
  [14 + 4, 2],
  [14 + 12, 4],
] as const;
const IPV6_FIELDS = [
  [14, 4],
  [14 + 8, 16],
] as const;

const [inside = "", outside = "", framesFile = "", answersFile = ""] = process.argv.slice(2);
const ring = new PacketRing(openEvent());
ring.configure(new PacketSockets().open(interfacesNamed(inside, outside)));
const answers: string[] = [];
const lines = readFileSync(framesFile, "utf8").trimEnd().split("\n");
for (let at = 0; at < lines.length; at += BATCH) {
  const frames = lines.slice(at, at + BATCH).map((line) => Buffer.from(line, "hex"));
  for (const frame of frames) transmit(frame);
  ring.flush();
  const last = frames[frames.length - 1];
  const deadline = performance.now() + PATIENCE;
  while (!collect(last)) {
    if (performance.now() > deadline) throw new Error(`the last frame of those from line ${at + 1} on is lost`);
    ring.wait(10);
  }
}
writeFileSync(answersFile, answers.join("\n"));
ring.close();

function transmit(frame: Uint8Array): void {
  const at = ring.reserve();
  ring.bytes.set(frame, at);
  ring.send(0, at, frame.length);
}

/** Takes all frames there are. @returns whether the one that was sent last is among those that came out */
function collect(last: Buffer): boolean {
  const fields = last.readUInt16BE(12) === IPV6_TYPE ? IPV6_FIELDS : IPV4_FIELDS;
  let done = false;
  for (const [iface, name] of ["in", "out"].entries()) {
    for (let at = ring.next(iface); at !== NO_FRAME; at = ring.next(iface)) {
      const frame = Buffer.from(ring.bytes.slice(at, at + ring.length));
      answers.push(`${name} ${frame.toString("hex")}`);
      done ||= name === "out" && fields.every(([at, length]) => sameField(frame, last, at, length));
    }
  }
  ring.flush();
  return done;
}

function sameField(one: Buffer, other: Buffer, at: number, length: number): boolean {
  return one.subarray(at, at + length).equals(other.subarray(at, at + length));
}
