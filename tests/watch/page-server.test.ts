// The server of one page, by bare connections: what it answers, to whom, and what a client can't do to it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type Server, type Socket } from "node:net";
import type { Endpoint } from "../../src/watch/http.ts";
import { pageUrl, readEndpoint, servePage } from "../../src/watch/page-server.ts";

let made = 0;
const page = {
  path: "/metrics",
  type: "text/plain; version=0.0.4",
  make: async () => {
    if (isBroken) throw new Error("secret");
    return `metric ${++made}\n`;
  },
};
let isBroken = false;
let server: Server;
let endpoint: Endpoint;

beforeAll(async () => {
  ({ server, endpoint } = await servePage(page, { host: "127.0.0.1", port: 0 }));
});
afterAll(() => {
  server.close();
});

/** @returns all that comes until the end */
async function exchange(...parts: readonly string[]): Promise<string> {
  const socket = connect(endpoint);
  for (const part of parts) {
    socket.write(part);
    await new Promise(setImmediate);
  }
  return await textOf(socket);
}

function textOf(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
  });
  socket.on("error", () => {});
  socket.on("close", () => resolve(text));
  return promise;
}

const get = (host: string, target = "/metrics", method = "GET") =>
  exchange(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
const statusOf = (reply: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(reply)?.[1]);

test("GET is answered with the page, whole, and the connection ends", async () => {
  const before = made;
  const reply = await get("127.0.0.1:9474");
  const body = `metric ${before + 1}\n`;
  expect(reply).toBe(
    `HTTP/1.1 200 OK\r\nContent-Type: ${page.type}\r\nContent-Length: ${body.length}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n${body}`,
  );
});

test("a real client reads it: curl", async () => {
  const curl = Bun.spawn(["curl", "-sSf", "--noproxy", "*", pageUrl(page, endpoint)], { stdout: "pipe" });
  const text = await curl.stdout.text();
  expect({ status: await curl.exited, text }).toEqual({ status: 0, text: `metric ${made}\n` });
});

test("a request may come byte by byte, with a query, and a body that nobody reads", async () => {
  expect(statusOf(await exchange(..."GET /metrics?a=b HTTP/1.1\r\nHOST:127.0.0.1\r\n\r\n"))).toBe(200);
  expect(statusOf(await exchange("GET /metrics HTTP/1.0\r\nHost: [::1]:9\r\nContent-Length: 2\r\n\r\nab"))).toBe(200);
});

test.each(["localhost", "LOCALHOST:9474", "127.0.0.1", "192.0.2.7:80", "[2001:db8::1]", "[::1]:9474"])(
  "Host may be an address, or this machine: %s",
  async (host) => {
    expect(statusOf(await get(host))).toBe(200);
  },
);

test.each([
  "evil.example",
  "evil.example:9474",
  "127.0.0.1.evil.example",
  "localhost.",
  "[evil]",
  "",
  "::1",
  "1.2.3.4@a",
])("Host may be no name, which a stranger's DNS leads here: %s", async (host) => {
  expect(statusOf(await get(host))).toBe(421);
});

test.each([
  ["another path", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404],
  ["a path below", "GET /metrics/.. HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404],
  ["another method", "POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405],
  ["no Host", "GET /metrics HTTP/1.1\r\n\r\n", 400],
  ["two Hosts", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", 400],
  ["a field that goes on", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n more\r\n\r\n", 400],
  ["no HTTP", "\x16\x03\x01\r\n\r\n", 400],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 400],
  ["a header that is too long", `GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nA: ${"x".repeat(9000)}\r\n\r\n`, 431],
])("refused is %s", async (_, request, status) => {
  const before = made;
  expect(statusOf(await exchange(request))).toBe(status);
  expect(made).toBe(before);
});

test("a header without an end is refused at its bound, whoever sends on", async () => {
  const socket = connect(endpoint);
  const reply = textOf(socket);
  for (let i = 0; i < 100 && !socket.destroyed; i++) socket.write("x".repeat(1000));
  expect(statusOf(await reply)).toBe(431);
});

test("that the page can't be made says nothing of why", async () => {
  isBroken = true;
  const reply = await get("127.0.0.1");
  isBroken = false;
  expect(statusOf(reply)).toBe(500);
  expect(reply).not.toContain("secret");
});

test("sixteen connections may be open, and say nothing for a while; the next is closed; then there is room again", async () => {
  const silent = Array.from({ length: 16 }, () => connect(endpoint));
  const ends = silent.map(textOf);
  await Promise.all(silent.map((socket) => new Promise<void>((resolve) => socket.once("connect", () => resolve()))));
  expect(await get("127.0.0.1")).toBe("");
  silent[0].destroy();
  await ends[0];
  const deadline = performance.now() + 10_000;
  while ((await get("127.0.0.1")) === "" && performance.now() < deadline) await Bun.sleep(1);
  expect(await Promise.all(ends)).toEqual(silent.map(() => "")); // the server ends them
  expect(statusOf(await get("127.0.0.1"))).toBe(200);
}, 30_000);

test.each([
  ["9474", { host: "127.0.0.1", port: 9474 }],
  [":0", { host: "127.0.0.1", port: 0 }],
  ["192.0.2.1:80", { host: "192.0.2.1", port: 80 }],
  ["[::1]:9474", { host: "::1", port: 9474 }],
  ["[1.2.3.4]:80", undefined],
  ["::1:80", undefined],
  ["localhost:80", undefined],
  ["1.2.3:80", undefined],
  ["127.0.0.1:70000", undefined],
  ["127.0.0.1:", undefined],
  ["", undefined],
])("%j is read as where to listen", (text, wanted) => {
  expect(readEndpoint(text)).toEqual(wanted);
});
