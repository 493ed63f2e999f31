// Descriptors in the event loop: who is called, how often, and that waiting blocks nobody.
import { expect, test } from "bun:test";
import { drainEvent, openEvent, signalEvent } from "../../src/linux/eventfd.ts";
import { libc } from "../../src/linux/libc.ts";
import { Poller } from "../../src/linux/poller.ts";

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it did not happen");
    await Bun.sleep(1);
  }
}

/** A poller of eventfds that counts the calls for each, and reads the event, unless `leave` says that it is to be left. */
function count(events: readonly number[], leave: (call: number, i: number) => boolean = () => false) {
  const calls = events.map(() => 0);
  const failures: Error[] = [];
  const poller = new Poller(
    events.map((fd, i) => ({
      fd,
      ready() {
        calls[i]++;
        if (!leave(calls[i], i)) drainEvent(fd);
      },
    })),
    (error) => failures.push(error),
  );
  /** Signals one of them, and waits until its callback was called. */
  const signal = async (i: number) => {
    const before = calls[i];
    signalEvent(events[i]);
    await until(() => calls[i] > before);
  };
  return { calls, failures, poller, signal };
}

/** Times that another descriptor is signalled, one after the other: by then the thread has looked at all of them anew. */
const ROUNDS = 3;

test("each descriptor's callback is called when it is readable, again and again, and no other", async () => {
  const events = [openEvent(), openEvent()];
  const { calls, failures, poller, signal } = count(events);
  for (let round = 1; round <= 50; round++) {
    await signal(1);
    expect(calls).toEqual([0, round]);
  }
  await signal(0);
  await signal(1);
  expect([calls, failures]).toEqual([[1, 51], []]);
  await poller.stop();
  for (const fd of events) libc.close(fd);
});

test("what a callback leaves unread is offered again", async () => {
  const events = [openEvent(), openEvent()];
  const { calls, poller, signal } = count(events, (call, i) => i === 0 && call < 3);
  signalEvent(events[0]);
  await until(() => calls[0] === 3);
  for (let round = 0; round < ROUNDS; round++) await signal(1);
  expect(calls).toEqual([3, ROUNDS]);
  await poller.stop();
  for (const fd of events) libc.close(fd);
});

test("once it has stopped, nobody waits for the descriptors, which may be closed and used for something else", async () => {
  const events = [openEvent(), openEvent()];
  const stopped = count(events);
  await stopped.signal(0); // its thread is there
  await stopped.poller.stop();
  const { calls, poller, signal } = count(events, (_, i) => i === 0);
  await signal(0); // stays readable
  for (let round = 0; round < ROUNDS; round++) await signal(1);
  expect(stopped.calls).toEqual([1, 0]);
  expect(calls[1]).toBe(ROUNDS);
  await poller.stop();
  for (const fd of events) libc.close(fd);
});
