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

test("each descriptor's callback is called when it is readable, again and again, and no other", async () => {
  const events = [openEvent(), openEvent()];
  const calls = [0, 0];
  const failures: Error[] = [];
  const poller = new Poller(
    events.map((fd, i) => ({
      fd,
      ready() {
        drainEvent(fd);
        calls[i] = (calls[i] ?? 0) + 1;
      },
    })),
    (error) => failures.push(error),
  );
  for (let round = 1; round <= 50; round++) {
    signalEvent(events[1] ?? -1);
    await until(() => calls[1] === round);
  }
  await Bun.sleep(20);
  expect([calls, failures]).toEqual([[0, 50], []]);
  signalEvent(events[0] ?? -1);
  await until(() => calls[0] === 1);
  await poller.stop();
  for (const fd of events) libc.close(fd);
});

test("what a callback leaves unread is offered again", async () => {
  const fd = openEvent();
  let calls = 0;
  const poller = new Poller([{ fd, ready: () => (++calls === 3 ? drainEvent(fd) : undefined) }], () => {});
  signalEvent(fd);
  await until(() => calls === 3);
  await Bun.sleep(20);
  expect(calls).toBe(3);
  await poller.stop();
  libc.close(fd);
});

test("once it has stopped, nobody waits for the descriptors, which may be closed and used for something else", async () => {
  const fd = openEvent();
  let calls = 0;
  const poller = new Poller([{ fd, ready: () => calls++ }], () => {});
  await poller.stop();
  signalEvent(fd);
  await Bun.sleep(20);
  expect(calls).toBe(0);
  libc.close(fd);
});
