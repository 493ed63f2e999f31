// A thread that waits in poll(2) for descriptors that Bun's event loop can't wait for: devices. It only says which have
// something to read; whoever asked reads, without blocking, and asks again.
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { drainEvent } from "./eventfd.ts";
import { PollSet } from "./poll.ts";
import { type PollStart, STOP } from "./poller.ts";

const FOREVER = -1;

function run({ descriptors, port, wake }: PollStart): void {
  const asked = new Set(descriptors.keys());
  for (;;) {
    const indexes = [...asked];
    const set = new PollSet([wake, ...indexes.map((index) => descriptors[index])]);
    set.wait(FOREVER);
    for (const [i, index] of indexes.entries()) {
      if (!set.readable(i + 1) && !set.failed(i + 1)) continue;
      asked.delete(index);
      port.postMessage(index);
    }
    if (!set.readable(0)) continue;
    drainEvent(wake);
    for (;;) {
      const received: { message: number } | undefined = receiveMessageOnPort(port);
      if (received === undefined) break;
      if (received.message === STOP) {
        port.postMessage(STOP);
        port.close();
        return;
      }
      asked.add(received.message);
    }
  }
}

run(workerData as PollStart);
