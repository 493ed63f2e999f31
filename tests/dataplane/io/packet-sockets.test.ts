// How much memory frames may take that wait in the kernel for a socket.
import { expect, test } from "bun:test";
import { waitingBytes } from "../../../src/dataplane/io/packet-sockets.ts";

const MB = 1024 * 1024;

test("all sockets together have a sixteenth of the memory each way; one has as much as a burst needs, and never nothing", () => {
  expect(waitingBytes(24_000 * MB, 2)).toBe(8 * MB);
  expect(waitingBytes(128 * MB, 1)).toBe(8 * MB);
  expect(waitingBytes(128 * MB, 2)).toBe(4 * MB);
  expect(waitingBytes(128 * MB, 8)).toBe(1 * MB);
  for (let sockets = 1; sockets <= 64; sockets++) {
    expect(sockets * waitingBytes(128 * MB, sockets)).toBeLessThanOrEqual(8 * MB);
  }
  expect(waitingBytes(88 * MB, 64)).toBe(128 * 1024);
  expect(waitingBytes(128 * MB, 0)).toBe(8 * MB);
});
