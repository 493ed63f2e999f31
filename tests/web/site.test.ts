// The site of `firebreak web`, by bare connections: who gets in, what every answer says to the browser, and what a stranger's page, or a
// client that means harm, can't have. The firewall behind it is one that only answers.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { ChannelError } from "../../src/channel/messages.ts";
import { Connection } from "../../src/watch/connection.ts";
import { POLICY } from "../../src/web/guard.ts";
import { PATHS } from "../../src/web/messages.ts";
import { type Site, serveSite } from "../../src/web/site.ts";
import { FakeFirewall, manyFlows } from "../support/fake-firewall.ts";

const firewall = new FakeFirewall("site");
const connection = new Connection(firewall.path);
let site: Site;
let token = "";
let cookie = "";
let host = "";

beforeAll(async () => {
  firewall.flows = manyFlows(1000);
  site = await serveSite("home", connection, 0);
  host = `127.0.0.1:${site.endpoint.port}`;
  token = new URL(site.url).searchParams.get("token") ?? "";
  cookie = cookieOf(await ask(`/?token=${token}`, { Cookie: undefined }));
});
afterAll(() => {
  site.stop();
  connection.close();
});

interface Options {
  readonly [header: string]: string | undefined;
}

/** @returns all that comes until the end. @param change of the header; what is undefined is left out */
async function ask(target: string, change: Options = {}, method = "GET"): Promise<string> {
  return await textOf(send(target, change, method));
}

function send(target: string, change: Options = {}, method = "GET"): Socket {
  const headers = Object.entries({ Host: host, Cookie: cookie, ...change }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`],
  );
  const socket = connect(site.endpoint);
  socket.on("error", () => {});
  socket.write(`${method} ${target} HTTP/1.1\r\n${headers.join("")}\r\n`);
  return socket;
}

function textOf(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
  });
  socket.on("close", () => resolve(text));
  return promise;
}

const statusOf = (reply: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(reply)?.[1]);
const bodyOf = (reply: string) => reply.slice(reply.indexOf("\r\n\r\n") + 4);
const cookieOf = (reply: string) => /^Set-Cookie: ([^;]+);/m.exec(reply)?.[1] ?? "";
const FILES = ["/", PATHS.script, PATHS.style, PATHS.icon];
const ALL = [
  ...FILES,
  PATHS.events,
  `${PATHS.flows}?offset=0&limit=1`,
  PATHS.drops,
  PATHS.rules,
  PATHS.why,
  `${PATHS.capture}?seconds=1&snap=0`,
  "/other",
];

test("the address has a key that nobody guesses, another each time, and leads to this machine alone", async () => {
  expect(site.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{32}$/);
  const other = await serveSite("home", connection, 0);
  expect(new URL(other.url).searchParams.get("token")).not.toBe(token);
  other.stop();
  const elsewhere = Promise.withResolvers<string>();
  connect({ host: "127.0.0.2", port: site.endpoint.port })
    .on("connect", () => elsewhere.resolve("connected"))
    .on("error", ({ message }) => elsewhere.resolve(message));
  expect(await elsewhere.promise).toContain("ECONNREFUSED");
});

test("the key gives a cookie that scripts can't read, and no other site's page sends; all else is had by that", async () => {
  const first = await ask(`/?token=${token}`, { Cookie: undefined });
  expect(statusOf(first)).toBe(200);
  const [line = ""] = /^Set-Cookie: .*$/m.exec(first) ?? [];
  expect(line.trim()).toMatch(/^Set-Cookie: firebreak-\d+=[\w-]{32}; Path=\/; HttpOnly; SameSite=Strict$/);
  expect(line).not.toContain(token);
  for (const path of FILES) expect([path, statusOf(await ask(path))]).toEqual([path, 200]);
  const again = await ask("/");
  expect(again).not.toContain("Set-Cookie");
  expect(bodyOf(again)).not.toContain(token);
  expect(bodyOf(again)).not.toContain(cookie.split("=")[1] ?? "");
});

test.each([
  ["nothing", { Cookie: undefined }],
  ["another cookie", { Cookie: "firebreak=1; other=2" }],
  ["a cookie that is cut", { Cookie: "CUT" }],
  ["a cookie that is longer", { Cookie: "LONGER" }],
  ["the key in its place", { Cookie: "TOKEN" }],
])("who has %s gets nothing at all, and is told what to do", async (_, { Cookie }) => {
  const [name = ""] = cookie.split("=");
  const told: Readonly<Record<string, string>> = {
    CUT: cookie.slice(0, -1),
    LONGER: `${cookie}x`,
    TOKEN: `${name}=${token}`,
  };
  for (const path of ALL) {
    const reply = await ask(path, { Cookie: Cookie === undefined ? undefined : (told[Cookie] ?? Cookie) });
    expect([path, statusOf(reply), bodyOf(reply)]).toEqual([path, 403, expect.stringContaining("Open the address")]);
  }
});

test("the key opens the page alone, whole, and only once it is there", async () => {
  for (const target of [
    `${PATHS.script}?token=${token}`,
    `${PATHS.rules}?token=${token}`,
    `/?token=${token.slice(1)}`,
    `/?token=${token}x`,
    "/?token=",
    "/?token",
    `/?Token=${token}`,
  ]) {
    expect([target, statusOf(await ask(target, { Cookie: undefined }))]).toEqual([target, 403]);
  }
});

test.each([
  "evil.example",
  "127.0.0.1.evil.example",
  "evil.example:80",
  "192.0.2.7",
  "0.0.0.0",
  "[::]",
  "127.0.0.1@evil.example",
  "localhost.evil.example",
  "127.0.0.1:80:80",
])("a Host that is not this machine is refused, cookie or not: %s", async (name) => {
  for (const target of [`/?token=${token}`, PATHS.rules]) {
    expect(statusOf(await ask(target, { Host: name }))).toBe(421);
  }
});

test.each(["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:9"])(
  "this machine by another of its names, as a tunnel has it, is let in: %s",
  async (name) => {
    expect(statusOf(await ask(PATHS.rules, { Host: name }))).toBe(200);
  },
);

test("what a page of another origin asks is refused, even with the cookie; only the page itself can be led to", async () => {
  for (const site of ["cross-site", "same-site"]) {
    for (const path of ALL.slice(1)) {
      expect([site, path, statusOf(await ask(path, { "Sec-Fetch-Site": site }))]).toEqual([site, path, 403]);
    }
    expect(statusOf(await ask("/", { "Sec-Fetch-Site": site }))).toBe(200);
  }
  for (const site of ["same-origin", "none"]) {
    expect(statusOf(await ask(PATHS.rules, { "Sec-Fetch-Site": site }))).toBe(200);
  }
});

test("every answer, refusals too, has the whole policy: nothing from elsewhere, nothing inline, in no frame, no referrer", async () => {
  expect(POLICY).toContain("default-src 'none'");
  expect(POLICY).not.toMatch(/unsafe|\*|https?:|data:|blob:/);
  const replies = [await ask("/", { Cookie: undefined }), await ask("/", {}, "POST")];
  for (const path of ALL.filter((path) => path !== PATHS.events)) replies.push(await ask(path));
  const socket = send(PATHS.events);
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
  });
  while (!text.includes("\r\n\r\n")) await Bun.sleep(1);
  socket.destroy();
  for (const reply of [...replies, text]) {
    const header = reply.slice(0, reply.indexOf("\r\n\r\n"));
    expect(header).toContain(`\r\nContent-Security-Policy: ${POLICY}\r\n`);
    for (const line of [
      "X-Content-Type-Options: nosniff",
      "Referrer-Policy: no-referrer",
      "X-Frame-Options: DENY",
      "Cross-Origin-Resource-Policy: same-origin",
      "Cross-Origin-Opener-Policy: same-origin",
      "Cache-Control: no-store",
    ]) {
      expect(header).toContain(`\r\n${line}\r\n`);
    }
    expect(header).not.toContain("Access-Control");
  }
});

test("the page's text has no script and no style in it, and names no other origin", async () => {
  const page = bodyOf(await ask("/"));
  expect(page).toMatch(/^<!doctype html>/);
  expect(page).not.toMatch(/<script(?! src="\/page\.js")|<style|\son\w+=|\sstyle=|https?:/);
});

test.each(["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])(
  "%s changes nothing and is refused, known or not",
  async (method) => {
    for (const path of ["/", PATHS.flows, PATHS.events]) {
      const reply = await ask(path, {}, method);
      expect([path, statusOf(reply)]).toEqual([path, 405]);
      expect(reply).toContain("\r\nAllow: GET\r\n");
    }
    expect(statusOf(await ask("/", { Cookie: undefined }, method))).toBe(403);
  },
);

test("flows come a page at a time, as many as match, with filter and order as the firewall has them", async () => {
  const { rows, total } = JSON.parse(bodyOf(await ask(`${PATHS.flows}?match=proto%3Dtcp&sort=-src&offset=10&limit=5`)));
  expect([rows.length, total]).toEqual([5, firewall.flows.filter(({ proto }) => proto === "tcp").length]);
  expect(firewall.asked.find(({ op, args }) => op === "flows" && args.count !== true)?.args).toEqual({
    ...{ match: ["proto=tcp"], sort: "-src", offset: 10, limit: 5, bytes: true },
  });
  await ask(`${PATHS.flows}?offset=0&limit=999999999`);
  expect(firewall.asked.find(({ op, args }) => op === "flows" && args.count !== true)?.args.limit).toBe(1000);
});

test("nothing that the page can ask ends a flow or changes the firewall", async () => {
  await ask(`${PATHS.flows}?offset=0&limit=5&end=true`);
  for (const { args } of firewall.asked) expect(args).not.toHaveProperty("end");
  expect(new Set(firewall.asked.map(({ op }) => op))).not.toContain("configure");
});

test("what the firewall refuses is told as it says it", async () => {
  const { problem } = JSON.parse(bodyOf(await ask(`${PATHS.flows}?match=frobnicate%3D1&offset=0&limit=5`)));
  expect(problem).toContain('"frobnicate=1" is no filter');
  firewall.refusal = new ChannelError("failed", "\u202e<b>no");
  const reply = await ask(PATHS.rules);
  firewall.refusal = undefined;
  expect(reply).toMatch(/^[ -~\r\n]+$/); // JSON of ASCII alone
  expect(JSON.parse(bodyOf(reply))).toEqual({ problem: "\u202e<b>no" });
});

test.each([
  "",
  "?offset=1",
  "?offset=-1&limit=5",
  "?offset=1&limit=5&limit=6",
  "?offset=x&limit=5",
  "?offset=1e3&limit=5",
])("a question that our page would not ask is refused: flows%s", async (query) => {
  expect(statusOf(await ask(PATHS.flows + query))).toBe(400);
});

test("the news begin with what there was, and go on", async () => {
  const socket = send(PATHS.events);
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
  });
  const deadline = performance.now() + 60_000;
  while (!/"type":"look".*"rates"/.test(text) && performance.now() < deadline) await Bun.sleep(5);
  socket.destroy();
  expect(text).toContain("\r\nContent-Type: text/event-stream\r\n");
  expect(bodyOf(text)).toStartWith('data: {"type":"begin","firewall":"home","past":[');
  expect(text).toMatch(/^data: \{"type":"look".*"rates":\[/m);
}, 60_000);

test("sixteen pages get the news at a time, and none of them keeps others from asking; when one goes there is room", async () => {
  const readers = Array.from({ length: 16 }, () => send(PATHS.events));
  await Promise.all(readers.map((socket) => new Promise((resolve) => socket.once("data", resolve))));
  expect(statusOf(await ask(PATHS.events))).toBe(503);
  expect(statusOf(await ask(PATHS.rules))).toBe(200);
  readers[0].destroy();
  const deadline = performance.now() + 60_000;
  let status = 0;
  while (status !== 200 && performance.now() < deadline) {
    const socket = send(PATHS.events);
    status = statusOf(String(await new Promise((resolve) => socket.once("data", resolve))));
    socket.destroy();
  }
  for (const socket of readers) socket.destroy();
  expect(status).toBe(200);
}, 60_000);

test("two hundred connections that say nothing are bounded, and go by themselves", async () => {
  const silent = Array.from({ length: 200 }, () => connect(site.endpoint));
  const ends = silent.map((socket) => {
    socket.on("error", () => {});
    return textOf(socket);
  });
  expect(await Promise.all(ends)).toEqual(silent.map(() => ""));
  expect(statusOf(await ask(PATHS.rules))).toBe(200);
}, 60_000);

test("a firewall that says nothing is told after a while, and asked again when it speaks", async () => {
  firewall.isSilent = true;
  const { problem } = JSON.parse(bodyOf(await ask(PATHS.rules)));
  firewall.isSilent = false;
  expect(problem).toContain("does not answer");
  expect(JSON.parse(bodyOf(await ask(PATHS.rules)))).toEqual({ rows: [], total: 0 });
}, 60_000);
