// inject.ts INTERFACE FILE: transmits frames as they are, one from each line of hex digits in FILE, slowly enough for
// nobody's queue to overflow.
import { readFileSync } from "node:fs";
import { PacketRing, RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../../src/dataplane/io/packet-sockets.ts";
import { openEvent } from "../../../src/linux/eventfd.ts";
import { interfacesNamed } from "../../support/interfaces.ts";

const [name = "", file = ""] = process.argv.slice(2);
const ring = new PacketRing(openEvent());
ring.configure(new PacketSockets().open(interfacesNamed(name)));
for (const [i, line] of readFileSync(file, "utf8").trimEnd().split("\n").entries()) {
  const frame = Buffer.from(line, "hex");
  const at = ring.reserve();
  ring.bytes.set(frame, at);
  ring.send(0, at, frame.length);
  ring.flush();
  if (i % 32 === 31) await Bun.sleep(1);
}
console.log(JSON.stringify({ transmitted: ring.counters[RING_COUNTERS.indexOf("transmitted")] }));
ring.close();
