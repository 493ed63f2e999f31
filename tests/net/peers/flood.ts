// flood.ts INTERFACE OUR-MAC THEIR-MAC SOURCE COUNT: sends SYNs from random ports of an address to random addresses, as fast
// as it goes, until SIGTERM and at least COUNT; then says how many, and how many a second.

import { ethernet, IPV4_TYPE, tcp } from "../../../lab/frames.ts";
import { Random } from "../../../lab/random.ts";
import { PacketRing, RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../../src/dataplane/io/packet-sockets.ts";
import { openEvent } from "../../../src/linux/eventfd.ts";
import { interfacesNamed } from "../../support/interfaces.ts";

/** Frames between two looks whether it is time to stop. */
const ROUND = 4096;

const IP = 14;
const DESTINATION = IP + 16;
const PORT = IP + 20;
const SEQUENCE = PORT + 4;

const [name = "", from = "", to = "", source = "", count] = process.argv.slice(2);
const ring = new PacketRing(openEvent());
ring.configure(new PacketSockets().open(interfacesNamed(name)));
const random = new Random(8);

/** A SYN whose destination, source port and sequence number are zero: what its checksums become is added up from here. */
const fields = { source, destination: "0.0.0.0", sourcePort: 0, destinationPort: 80, sequence: 0, flags: "S" } as const;
const template = ethernet(from, to, IPV4_TYPE, tcp(fields));
const view = new DataView(template.buffer);
const ipSum = ~view.getUint16(IP + 10) & 0xffff;
const tcpSum = ~view.getUint16(PORT + 16) & 0xffff;

function folded(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return ~((once & 0xffff) + (once >>> 16)) & 0xffff;
}

/** Bytes 1 to 223 first: addresses that a router would forward to, most of them. */
function randomAddress(): number {
  return (((1 + random.below(223)) << 24) | (random.next() & 0xffffff)) >>> 0;
}

function sendOne(): void {
  const destination = randomAddress();
  const port = 1024 + random.below(64512);
  const sequence = random.next();
  const address = (destination >>> 16) + (destination & 0xffff);
  const at = ring.reserve();
  ring.bytes.set(template, at);
  ring.view.setUint32(at + DESTINATION, destination);
  ring.view.setUint16(at + PORT, port);
  ring.view.setUint32(at + SEQUENCE, sequence);
  ring.view.setUint16(at + IP + 10, folded(ipSum + address));
  ring.view.setUint16(at + PORT + 16, folded(tcpSum + address + port + (sequence >>> 16) + (sequence & 0xffff)));
  ring.send(0, at, template.length);
}

let stopped = false;
process.on("SIGTERM", () => {
  stopped = true;
});
console.log("flooding");
const started = performance.now();
const TRANSMITTED = RING_COUNTERS.indexOf("transmitted");
while (!stopped || ring.counters[TRANSMITTED] < Number(count)) {
  for (let i = 0; i < ROUND; i++) sendOne();
  ring.flush();
  await Bun.sleep(0);
}
const seconds = (performance.now() - started) / 1000;
const sent = ring.counters[TRANSMITTED];
console.log(JSON.stringify({ sent, rate: Math.round(sent / seconds) }));
process.exit();
