// fragments.ts INTERFACE OUR-MAC THEIR-MAC SOURCE DESTINATION COUNT LENGTH: sends so many fragments without a first one, each of a
// datagram of its own, at most 128 000 a second.
import { ethernet, IPV4_TYPE, ipv4, payload } from "../../../lab/frames.ts";
import { UDP } from "../../../lab/protocols.ts";
import { PacketRing, RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../../src/dataplane/io/packet-sockets.ts";
import { openEvent } from "../../../src/linux/eventfd.ts";
import { interfacesNamed } from "../../support/interfaces.ts";

/** Frames between two sleeps: not more than a ring has slots. */
const ROUND = 256;
/** Of the identification in a frame, and of the header's checksum. */
const IDENTIFICATION = 18;
const CHECKSUM = 24;

const [name = "", from = "", to = "", source = "", destination = "", count, length] = process.argv.slice(2);
const ring = new PacketRing(openEvent());
ring.configure(new PacketSockets().open(interfacesNamed(name)));
const template = ethernet(
  from,
  to,
  IPV4_TYPE,
  ipv4({ source, destination, fragment: 100 }, UDP, payload(Number(length))),
);
const view = new DataView(template.buffer);
const sum = ~view.getUint16(CHECKSUM) & 0xffff;

for (let i = 0; i < Number(count); i++) {
  const at = ring.reserve();
  ring.bytes.set(template, at);
  const more = sum + (i & 0xffff);
  ring.view.setUint16(at + IDENTIFICATION, i & 0xffff);
  ring.view.setUint16(at + CHECKSUM, ~((more & 0xffff) + (more >>> 16)) & 0xffff);
  ring.send(0, at, template.length);
  if (i % ROUND !== ROUND - 1) continue;
  ring.flush();
  await Bun.sleep(2);
}
ring.flush();
console.log(JSON.stringify({ transmitted: ring.counters[RING_COUNTERS.indexOf("transmitted")] }));
process.exit();
