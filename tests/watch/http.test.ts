// Answers that go on: what a client that does not read keeps from itself, and from nobody else. What else the server does is tested with
// the one page of page-server.ts.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type Server, type Socket } from "node:net";
import { type Endpoint, type Sink, serveHttp } from "../../src/watch/http.ts";

/** More than the kernel keeps for a client on this machine. */
const PIECE = `data: ${"x".repeat(8_000_000)}\n\n`;

let server: Server;
let endpoint: Endpoint;
const sinks: Sink[] = [];

beforeAll(async () => {
  ({ server, endpoint } = await serveHttp({ host: "127.0.0.1", port: 0 }, 8, () => ({
    status: 200,
    type: "text/event-stream",
    stream: (sink) => sinks.push(sink),
  })));
});
afterAll(() => {
  server.close();
});

async function open(): Promise<{ readonly socket: Socket; readonly sink: Sink }> {
  const before = sinks.length;
  const socket = connect(endpoint);
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  await until(() => sinks.length > before);
  return { socket, sink: sinks[before] };
}

async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`never: ${isSo}`);
    await Bun.sleep(1);
  }
}

test("a piece goes out where the one before it was taken; else it is left out, until the client reads", async () => {
  const { socket, sink } = await open();
  socket.pause();
  await until(() => !sink.offer(PIECE));
  expect(sink.offer("data: small\n\n")).toBeFalse();
  socket.on("data", () => {});
  socket.resume();
  await until(() => sink.offer("data: small\n\n"));
  socket.destroy();
});

test("a client that goes is told once, whether it ends or breaks off, and takes nothing after that", async () => {
  for (const leave of [(socket: Socket) => socket.end(), (socket: Socket) => socket.destroy()]) {
    const { socket, sink } = await open();
    let ended = 0;
    sink.onEnd(() => ended++);
    socket.on("data", () => {});
    leave(socket);
    await until(() => ended > 0);
    expect([ended, sink.offer("data: late\n\n")]).toEqual([1, false]);
  }
});
