// Pieces of a live capture: each is whole blocks, what is lost is told and noted, settings that change on the way are those of each frame.
import { expect, test } from "bun:test";
import { ip, payload, udp } from "../../../lab/frames.ts";
import { frameFrom, INTERFACES, SETTINGS, WORK_HOST } from "../../../lab/router-lab.ts";
import { type CapturePiece, LiveCapture } from "../../../src/control/captures/live-capture.ts";
import {
  CaptureConsumer,
  CaptureFacts,
  CaptureProducer,
  captureLength,
  WHAT,
} from "../../../src/dataplane/io/capture-ring.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { FLOW_WORDS, FlowRecords } from "../../../src/dataplane/tables/flow-records.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import type { Address } from "../../../src/wire/ipv4.ts";

const FRAME = frameFrom(
  WORK_HOST,
  udp({ source: WORK_HOST, destination: "198.51.100.7", sourcePort: 1, destinationPort: 9 }, payload(30)),
);
const MEMORY = new Int32Array(64);
new Uint8Array(MEMORY.buffer).set(FRAME, 2);

/** "lan" is gone, there is an interface "new" in front of all, and "work" has another number. */
const LATER: Settings = {
  ...SETTINGS,
  interfaces: [{ ...INTERFACES[0], name: "new" }, ...INTERFACES],
  clients: [{ ...SETTINGS.clients[0], name: "other" }, SETTINGS.clients[0]],
};

function begun(client?: string, records = 4096) {
  const memory = new ArrayBuffer(captureLength(records));
  const producer = new CaptureProducer(memory);
  const consumer = new CaptureConsumer(memory);
  const flow = new FlowRecords(consumer.flowRecord, ip("192.0.2.254") as Address);
  const settingsOf = (number: number) => (number === 1 ? LATER : undefined);
  const capture = new LiveCapture(consumer, flow, SETTINGS, settingsOf, client, async () => {});
  const add = (facts: Partial<CaptureFacts>) => {
    producer.add(
      Object.assign(new CaptureFacts(), facts),
      MEMORY,
      2,
      FRAME.length,
      FRAME.length,
      new Int32Array(FLOW_WORDS),
    );
    producer.publish();
  };
  const file: Uint8Array[] = [];
  const take = (most?: number): CapturePiece | undefined => {
    const piece = capture.take(most);
    if (piece !== undefined) file.push(piece.bytes);
    return piece;
  };
  return { add, take, file };
}

/** @returns of each frame, some fields, as tshark has them */
async function read(pieces: readonly Uint8Array[], ...names: readonly string[]): Promise<string[][]> {
  const args = ["-r", "-", "-T", "fields", ...names.flatMap((name) => ["-e", name])];
  const tshark = Bun.spawn(["tshark", ...args], {
    stdin: Buffer.concat(pieces),
    stderr: "pipe",
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  const [text, errors] = await Promise.all([tshark.stdout.text(), tshark.stderr.text()]);
  expect(errors.split("\n").filter((line) => line !== "" && !line.startsWith("Running as user"))).toEqual([]);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split("\t"));
}

test("the first piece comes at once, and is the head of the file; then there is nothing until frames come", async () => {
  const { add, take, file } = begun();
  const first = take();
  expect(first).toMatchObject({ frames: 0, lost: 0 });
  expect(first?.head).toEqual(first?.bytes);
  expect(take()).toBeUndefined();
  add({ verdict: VERDICT.REFUSED, iface: 1, packet: 7, rule: 3, client: 0 });
  add({ verdict: VERDICT.REFUSED, iface: 1, what: WHAT.SENT, rule: 3, client: 0 });
  const second = take();
  expect(second).toMatchObject({ frames: 2, lost: 0 });
  expect(second?.head).toBeUndefined();
  expect(await read(file, "frame.interface_name", "frame.packet_id", "frame.verdict.ebpf_tc", "frame.comment")).toEqual(
    [
      ["work", "7", "2", "dropped: refused by rules; rule 3 of work"],
      ["work", "", "", "the firewall's own, because of one that was dropped: refused by rules; rule 3 of work"],
    ],
  );
});

test("frames by other settings have the names of these, and an interface that is new is described when it is needed", async () => {
  const { add, take, file } = begun();
  take();
  add({ iface: 0, client: 0, settings: 0 });
  expect(take()?.head).toBeUndefined();
  add({ iface: 0, client: 0, settings: 1 });
  add({ iface: 1, client: 1, settings: 1 });
  const renewed = take();
  expect(renewed?.head?.length).toBeGreaterThan(0);
  expect(await read(file, "frame.interface_name", "frame.comment")).toEqual([
    ["uplink", "forwarded; client work"],
    ["new", "forwarded; client other"],
    ["uplink", "forwarded; client work"],
  ]);
  // Another file, from there on.
  add({ iface: 0, client: 1, settings: 1 });
  const next = take();
  const other = [renewed?.head, next?.bytes].filter((bytes) => bytes !== undefined);
  expect(await read(other, "frame.interface_name")).toEqual([["new"]]);
});

test("a capture of one client's has no frame of another who has his number by now", () => {
  const { add, take } = begun("work");
  take();
  add({ client: 0, settings: 0 });
  add({ client: 0, settings: 1 });
  add({ client: 1, settings: 1 });
  add({ client: -1, settings: 1 });
  expect(take()).toMatchObject({ frames: 2 });
});

test("so many frames at most, and what is lost is told once, and noted with the next frame", async () => {
  const { add, take, file } = begun(undefined, 1024);
  take();
  for (let i = 0; i < 9; i++) add({ packet: i + 1 });
  const [first, second] = [take(2), take()];
  expect([first?.frames, first?.lost]).toEqual([2, 9 - 2 - (second?.frames ?? 0)]);
  expect(second?.lost).toBe(0);
  add({ packet: 20 });
  take();
  const counts = await read(file, "frame.packet_id", "frame.drop_count");
  expect(counts.filter(([, lost]) => lost !== "")).toEqual([["1", String(first?.lost)]]);
  expect(counts.at(-1)).toEqual(["20", ""]);
});
