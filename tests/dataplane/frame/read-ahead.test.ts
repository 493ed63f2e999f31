// Reading ahead changes nothing, so what it gets wrong shows in no frame: here it is held against the places in the index that the
// flows get which are opened then.
import { expect, test } from "bun:test";
import { udp } from "../../../lab/frames.ts";
import { frameFrom, Lab, WORK, WORK_HOST } from "../../../lab/router-lab.ts";
import { VNET_LENGTH } from "../../../src/dataplane/ring.ts";

const BATCH = 50;
const ROOM = 256;
const NOTHING = new Uint8Array();

/** @returns the frames of a batch of flows to remotes of their own; some share a port, so that they share a mapping */
function batch(number: number): Uint8Array[] {
  return Array.from({ length: BATCH }, (_, i) => {
    const fields = { destination: `198.51.${number}.${i}`, sourcePort: 33_000 + number * BATCH + (i % 45) };
    return frameFrom(WORK_HOST, udp({ source: WORK_HOST, destinationPort: 4000, ...fields }, NOTHING));
  });
}

test("both places in the index where a new flow of IPv4 will be are read ahead, whatever else is there already", () => {
  const lab = new Lab();
  const { flows } = lab.router;
  lab.from(
    WORK_HOST,
    udp({ source: WORK_HOST, destination: "198.51.100.1", sourcePort: 1, destinationPort: 1 }, NOTHING),
  ); // from now on neighbours are known
  const read = new Set<number>();
  const linked: number[] = [];
  const { readIndex, link } = flows;
  flows.readIndex = (hash) => {
    read.add(hash);
    return readIndex.call(flows, hash);
  };
  flows.link = (flow, hash, backHash) => {
    linked.push(hash, backHash);
    link.call(flows, flow, hash, backHash);
  };
  for (let number = 0; number < 60; number++) {
    const frames = batch(number);
    const offsets = Int32Array.from(frames, (_, i) => i * ROOM + VNET_LENGTH);
    const lengths = Int32Array.from(frames, ({ length }) => length);
    lab.ring.bytes.fill(0, 0, BATCH * ROOM);
    for (let i = 0; i < BATCH; i++) lab.ring.bytes.set(frames[i], offsets[i]);
    lab.router.readAhead(offsets, lengths, BATCH);
    for (let i = 0; i < BATCH; i++) lab.router.receive(WORK, offsets[i], lengths[i]);
    lab.ring.takeSent();
  }
  const missed = linked.filter((hash) => !read.has(hash));
  expect(linked.length).toBe(2 * 60 * BATCH);
  expect(missed.length).toBeLessThan(linked.length / 100);
});
