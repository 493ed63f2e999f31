// Our end of a vchan against Xen's libxenvchan, over plain memory: whatever is done at random, memory and signals are those of
// two ends of the library's. FIREBREAK_VCHAN_OPERATIONS=1000000 for more than the usual.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { payload } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import type { StreamHandler } from "../../src/xen/byte-stream.ts";
import { VchanStream } from "../../src/xen/vchan-stream.ts";
import {
  type Channel,
  type End,
  LibraryEnd,
  libraryChannel,
  libraryServes,
  type OurEnd,
  type Shape,
  weServe,
} from "../support/libxenvchan.ts";

setDefaultTimeout(120_000);

const OPERATIONS = Number(process.env.FIREBREAK_VCHAN_OPERATIONS ?? 100_000);
/** On one channel. */
const ROUND = 400;
/** Those that libxenvchan makes: a small ring beside a large one is always of order 11. */
const ORDERS = [
  [10, 11],
  [11, 10],
  [12, 12],
  [12, 11],
  [11, 12],
  [13, 12],
] as const;
const ROLES = ["server", "client"] as const;
const DATA = payload(1 << 15);

function randomShape(random: Random): Shape {
  const orders = random.pick(ORDERS);
  return { orders, start: random.chance(0.5) ? 0 : 2 ** 32 - random.below(3 << 12) };
}

/** What is done to one end; `library` only to ends of the library's. */
type Operation = (end: End) => Uint8Array | number | boolean;

function randomOperation(random: Random, isLibrary: boolean): Operation {
  const from = random.below(1 << 10);
  const bytes = DATA.subarray(from, from + random.below(random.pick([10, 600, 5000])));
  const some = 1 + random.below(random.pick([8, 5000]));
  const choice = random.below(isLibrary ? 9 : 4);
  if (choice === 0) return (end) => end.isOpen;
  if (choice === 1) return (end) => end.readAll();
  if (choice < 4) return (end) => end.write(bytes);
  return (end) => {
    if (!(end instanceof LibraryEnd)) throw new Error("not the library's");
    if (choice === 4) return end.readSome(some);
    if (choice === 5) return end.receive(some);
    if (choice === 6) return end.sendWhole(bytes);
    return choice === 7 ? end.ready : end.space;
  };
}

/** Does all that to a channel. @returns for each step what came back, and the signals that there were by then */
function play(channel: Channel, steps: readonly Step[], see: (step: number, what: Uint8Array) => void): void {
  const counts = new Uint32Array(3);
  const { page, left, right } = channel.memory;
  for (const [i, { role, operation }] of steps.entries()) {
    const result = operation(channel[role]);
    if (typeof result === "object") see(i, result);
    counts[0] = typeof result === "object" ? result.length : Number(result);
    counts[1] = channel.server.sent;
    counts[2] = channel.client.sent;
    see(i, new Uint8Array(counts.buffer));
    see(i, page.subarray(0, 24));
    see(i, left);
    see(i, right);
  }
}

interface Step {
  readonly role: (typeof ROLES)[number];
  readonly operation: Operation;
}

function close(end: End): true {
  end.close();
  return true;
}

function randomSteps(random: Random, ours: Step["role"]): Step[] {
  const steps = Array.from({ length: ROUND }, (): Step => {
    const role = random.pick(ROLES);
    return { role, operation: randomOperation(random, role !== ours) };
  });
  const closing = random.pick(ROLES);
  const rest = closing === "server" ? "client" : "server";
  steps.push({ role: closing, operation: close });
  const after = [(end: End) => end.isOpen, (end: End) => end.readAll(), (end: End) => end.write(DATA.subarray(0, 9))];
  for (const operation of [...after, ...after]) steps.push({ role: rest, operation });
  steps.push({ role: rest, operation: close });
  return steps;
}

describe.each([
  ["client", libraryServes],
  ["server", weServe],
] as const)("as %s", (ours, open) => {
  test(`after each of ${OPERATIONS / 2} random operations all is as between two ends of libxenvchan`, () => {
    const random = new Random(ours.length);
    for (let done = 0; done < OPERATIONS / 2; done += ROUND) {
      const shape = randomShape(random);
      const steps = randomSteps(random, ours);
      const wanted: Uint8Array[] = [];
      play(libraryChannel(shape), steps, (_, what) => wanted.push(what.slice()));
      let at = 0;
      play(open(shape), steps, (step, what) => {
        const expected = wanted[at++];
        if (expected === undefined || Buffer.compare(expected, what) !== 0) {
          const shown = [expected, what].map((bytes) => Buffer.from(bytes ?? []).toString("hex", 0, 24));
          throw new Error(
            `round ${done / ROUND}, step ${step} by ${steps[step]?.role}: ${shown.join(" wanted, got ")}`,
          );
        }
      });
      expect(at).toBe(wanted.length);
    }
  });

  test("signals come when they are needed: nothing that was written stays unread, nothing queued unwritten", () => {
    const random = new Random(ours.length * 7);
    for (let round = 0; round < 300; round++) exchange(open(randomShape(random)), ours, random);
  });

  test("with the library asleep in a thread of its own, every byte comes back, and nobody sleeps for ever", async () => {
    const random = new Random(ours.length * 11);
    for (const orders of ORDERS) await echo(open({ orders, start: 2 ** 32 - 5000 }), ours, random);
  });
});

/** Both sides have much to say at random moments, and look at the memory only when there was a signal. */
function exchange(channel: Channel, ours: Step["role"], random: Random): void {
  const theirs = ours === "server" ? "client" : "server";
  const library = channel[theirs];
  const received: { [of in "ours" | "theirs"]: Uint8Array[] } = { ours: [], theirs: [] };
  const handler: StreamHandler = { received: (bytes) => received.ours.push(bytes), closed: () => {} };
  const stream = new VchanStream((channel[ours] as OurEnd).end, handler, () => {});
  let waiting = new Uint8Array(0);
  const work = () => {
    received.theirs.push(library.readAll().slice());
    waiting = waiting.subarray(library.write(waiting));
  };
  const sent = { ours: [] as Uint8Array[], theirs: [] as Uint8Array[] };
  stream.look();
  work();
  const turns = [
    () => {
      const bytes = DATA.subarray(0, random.below(6000));
      sent.ours.push(bytes);
      stream.send(bytes);
    },
    () => {
      const bytes = DATA.subarray(0, random.below(6000));
      sent.theirs.push(bytes);
      waiting = Buffer.concat([waiting, bytes]);
      waiting = waiting.subarray(library.write(waiting));
    },
    () => channel[ours].take() > 0 && stream.look(),
    () => library.take() > 0 && work(),
  ];
  for (let turn = 0; turn < 60; turn++) random.pick(turns)();
  while (channel[ours].take() + library.take() > 0) {
    stream.look();
    work();
  }
  expect(Buffer.concat(received.theirs).equals(Buffer.concat(sent.ours))).toBeTrue();
  expect(Buffer.concat(received.ours).equals(Buffer.concat(sent.theirs))).toBeTrue();
  stream.close();
  library.close();
}

async function echo(channel: Channel, ours: Step["role"], random: Random): Promise<void> {
  const total = 400_000;
  let [sent, received] = [0, 0];
  const got: Uint8Array[] = [];
  const handler: StreamHandler = {
    received(bytes) {
      received += bytes.length;
      got.push(bytes);
    },
    closed: () => {},
  };
  const stream = new VchanStream((channel[ours] as OurEnd).end, handler, () => {});
  const library = channel[ours === "server" ? "client" : "server"] as LibraryEnd;
  library.echo();
  stream.look();
  const wanted: Uint8Array[] = [];
  const deadline = performance.now() + 20_000;
  while (received < total) {
    if (performance.now() > deadline) throw new Error(`asleep: ${sent} bytes sent, ${received} came back`);
    if (sent < total && sent - received < 30_000) {
      const bytes = DATA.subarray(0, Math.min(1 + random.below(7000), total - sent));
      sent += bytes.length;
      wanted.push(bytes);
      stream.send(bytes);
    }
    if (channel[ours].take() > 0) stream.look();
    else await Bun.sleep(0);
  }
  expect(Buffer.concat(got).equals(Buffer.concat(wanted))).toBeTrue();
  stream.close();
  while (library.echoes) await Bun.sleep(1);
}
