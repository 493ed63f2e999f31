// cases.ts CASE COUNTS: sends a case's captures to the firewall, c.pcap to p0's end and u.pcap to p1's, in the order of their times,
// and says what came back, as JSON. COUNTS, as JSON: how many frames must have come back, by interface, after each frame.
import { join } from "node:path";
import { readCapture } from "../../../lab/captures.ts";
import { toHex } from "../../../lab/frames.ts";
import { plain, RawLinks } from "../raw-links.ts";

/** ms to wait for what must come, and for what must not. */
const PATIENCE = 10_000;
const QUIET = 50;
const ARP_REQUEST = "08 06 00 01 08 00 06 04 00 01";

const [folder = "", counts = "[]"] = process.argv.slice(2);
const links = new RawLinks(["in", "out"]);
const came: { in: string[]; out: string[] } = { in: [], out: [] };

function receive(): void {
  for (const { on, frame } of links.receive()) {
    const text = toHex(frame).replaceAll("\n", " ");
    if (!text.slice(36).startsWith(ARP_REQUEST)) came[on as "in" | "out"].push(text);
  }
}

const [inside = [], outside = []] = await Promise.all(
  ["c.pcap", "u.pcap"].map(async (name) => (await readCapture(await Bun.file(join(folder, name)).bytes())).frames),
);
const frames = [
  ...inside.map((frame) => ({ on: "in", frame })),
  ...outside.map((frame) => ({ on: "out", frame })),
].sort((a, b) => a.frame.seconds - b.frame.seconds || a.frame.nanoseconds - b.frame.nanoseconds);
const awaited: [number, number][] = JSON.parse(counts);
for (const [i, { on, frame }] of frames.entries()) {
  links.send(plain(on, frame.bytes));
  const [insideCount = 0, outsideCount = 0] = awaited[i] ?? [];
  const deadline = performance.now() + PATIENCE;
  for (receive(); came.in.length < insideCount || came.out.length < outsideCount; receive()) {
    if (performance.now() > deadline) break;
    links.wait(1);
  }
}
links.wait(QUIET);
receive();
console.log(JSON.stringify(came));
process.exit();
