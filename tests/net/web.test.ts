// `firebreak web` beside a running firewall: what a browser would get of it, over HTTP with a real client, and what becomes of it when the
// firewall goes away and comes back. How the page looks, tests/web has.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";
import type { DropEntry, FlowEntry, News, RuleEntry } from "../../src/web/messages.ts";

const lab = new FirewallLab("web");
const folder = join(lab.folder, "run");
const jar = join(lab.folder, "cookies");
let program: Program;
let server: Program;
let url: URL;

const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${folder}`, ...command];
const CURL = ["curl", "-sS", "--noproxy", "*", "--cookie", jar, "--cookie-jar", jar];

async function start(): Promise<void> {
  program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
}

async function get(path: string): Promise<string> {
  return await lab.firewall.run([...CURL, "--fail", new URL(path, url).href]);
}

async function ask<Row>(path: string): Promise<readonly Row[]> {
  const answer = JSON.parse(await get(path)) as { readonly rows?: readonly Row[]; readonly problem?: string };
  if (answer.rows === undefined) throw new Error(answer.problem);
  return answer.rows;
}

beforeAll(async () => {
  lab.configure(["accept proto=icmp", "drop proto=udp dstports=9"], "accept");
  await start();
  server = lab.firewall.start(inFolder(firebreak("web", "--at", "firewall")));
  await server.says(/^open (\S+)\n/m);
  url = new URL(/^open (\S+)$/m.exec(server.text)?.[1] ?? "");
}, 60_000);
afterAll(() => lab.close());

test("the address that is printed opens the page, whose files then come by the cookie; without, nothing does", async () => {
  expect(url.hostname).toBe("127.0.0.1");
  const bare = ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"];
  expect(await lab.firewall.run([...bare, url.origin])).toBe("403");
  expect(await get(url.href)).toContain("<title>Firebreak</title>");
  for (const path of ["/page.js", "/page.css", "/icon.svg"]) expect((await get(path)).length).toBeGreaterThan(100);
  expect(await lab.firewall.run([...bare, "-H", "Host: evil.example", url.href])).toBe("421");
});

test("it is reached from this machine alone", async () => {
  const { status } = await lab.client.attempt([
    ...["curl", "-sS", "--noproxy", "*", "--connect-timeout", "5", `http://10.137.0.1:${url.port}/`],
  ]);
  expect(status).toBe(7); // it could not connect
});

test("flows, drops with why, and rules are those of the firewall", async () => {
  expect((await lab.client.attempt(["ping", "-c", "3", "-i", "0.1", "-W", "5", SERVER])).status).toBe(0);
  const udp = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("${SERVER}", 9))`;
  await lab.client.run(["/usr/bin/python3", "-c", udp]);
  const [flow] = await ask<FlowEntry>("/ask/flows?match=proto%3Dicmp+client%3Dwork&sort=-dst&offset=0&limit=5");
  expect(flow).toMatchObject({ proto: "icmp", client: "work", destination: { address: SERVER }, rule: 1 });
  const counted = { bytes: expect.any(Number), packets: expect.any(Number) };
  expect(flow).toMatchObject({ sent: counted, received: counted });
  const [drop] = await ask<DropEntry>("/ask/drops?match=proto%3Dudp");
  expect(drop).toMatchObject({ verdict: "refused", client: "work", rule: 2 });
  const { lines } = JSON.parse(await get(`/ask/why?source=work&destination=${SERVER}:9&match=proto%3Dudp`));
  expect(lines).toEqual([
    expect.stringMatching(/^once \d+ s ago: refused by rules: udp .*rule 2, .*firewall\.toml:\d+$/),
  ]);
  const rules = await ask<RuleEntry>("/ask/rules");
  expect(rules.map(({ rule, hits }) => [rule, hits > 0])).toEqual([
    [1, true],
    [2, true],
    [0, expect.any(Boolean)],
  ]);
}, 60_000);

test("a capture comes as a file that Wireshark reads, for as long as was asked, and as often", async () => {
  const ping = lab.client.start(["ping", "-i", "0.05", SERVER]);
  const file = join(lab.folder, "web.pcapng");
  const address = (query: string) => new URL(`/capture?${query}`, url).href;
  const header = await lab.firewall.run([
    ...CURL,
    "-D",
    "-",
    "-o",
    file,
    address("match=proto%3Dicmp&seconds=2&snap=0"),
  ]);
  expect(header).toMatch(/^Content-Disposition: attachment; filename="firebreak-\d{8}-\d{6}\.pcapng"\r$/m);
  const read = await lab.firewall.attempt([
    "tshark",
    "-r",
    file,
    "-T",
    "fields",
    "-e",
    "frame.packet_id",
    "-e",
    "icmp.type",
  ]);
  expect(read.status).toBe(0);
  const frames = read.stdout.trim().split("\n");
  expect(frames.length).toBeGreaterThan(20);
  expect(new Set(frames.map((frame) => frame.split("\t")[1]))).toEqual(new Set(["8", "0"]));
  for (let i = 0; i < 9; i++) {
    // who breaks off leaves none of the four behind
    const broken = lab.firewall.start([
      ...CURL,
      "--no-buffer",
      "-o",
      join(lab.folder, "broken"),
      address("match=&seconds=600&snap=128"),
    ]);
    const deadline = performance.now() + 60_000;
    while (!existsSync(join(lab.folder, "broken"))) {
      expect(performance.now()).toBeLessThan(deadline);
      await Bun.sleep(5);
    }
    broken.signal("SIGKILL");
    await broken.end();
    rmSync(join(lab.folder, "broken"));
  }
  ping.signal("SIGTERM");
  await ping.end();
  const status = (query: string) => lab.firewall.run([...CURL, "-w", " %{http_code}", address(query)]);
  expect(await status("match=frobnicate%3D1&seconds=1&snap=0")).toMatch(/^"frobnicate=1" is no filter .*\n 400$/s);
  for (const query of ["", "seconds=0&snap=0", "seconds=601&snap=0", "seconds=1", "seconds=1&snap=0&snap=1"]) {
    expect(await status(query)).toEndWith(" 400");
  }
}, 120_000);

test("the news tell bytes of the uplink, of a firewall that goes, and of the one that comes", async () => {
  const news = lab.firewall.start([...CURL, "--no-buffer", new URL("/events", url).href]);
  const all = () => Array.from(news.text.matchAll(/^data: (.*)$/gm), ([, json = ""]) => JSON.parse(json) as News);
  await news.says(/"type":"look".*"rates":\[/);
  expect(all()[0]).toMatchObject({ type: "begin", firewall: "firewall" });
  const ping = lab.client.start(["ping", "-i", "0.02", SERVER]);
  const isSeen = (found: News) =>
    found.type === "look" && (found.rates?.[1] ?? 0) > 10_000 && (found.rates?.[2] ?? 0) > 10_000;
  const deadline = performance.now() + 60_000;
  while (!all().some(isSeen)) {
    expect(performance.now()).toBeLessThan(deadline);
    await Bun.sleep(20);
  }
  ping.signal("SIGTERM");
  await ping.end();
  program.signal("SIGTERM");
  await program.end();
  await news.says(`"type":"trouble","text":"${folder}/firewall.sock: no firewall listens there"`);
  const said = news.text.length;
  await start();
  await news.says('"type":"look"', said);
  news.signal("SIGTERM");
  await news.end();
}, 120_000);

test("SIGTERM ends it with status 0, also while a page gets the news", async () => {
  const news = lab.firewall.start([...CURL, "--no-buffer", new URL("/events", url).href]);
  await news.says('"type":"begin"');
  server.signal("SIGTERM");
  expect(await server.end()).toBe(0);
  await news.end();
});

test("a port that is taken, or is none, is said", async () => {
  const attempt = (...args: readonly string[]) =>
    lab.firewall.attempt(inFolder(firebreak("web", "--at", "firewall", ...args)));
  const taken = lab.firewall.start(["/usr/bin/python3", "-u", "-m", "http.server", "-b", "127.0.0.1", "8080"]);
  await taken.says("Serving");
  const { status, stderr } = await attempt("--port", "8080");
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^firebreak: --port: .*8080/)]);
  for (const port of ["70000", "http", "-1", ""]) {
    const refused = await attempt(`--port=${port}`);
    expect([port, refused.status, refused.stderr]).toEqual([
      port,
      2,
      expect.stringContaining("is no port (write 8080)"),
    ]);
  }
}, 60_000);
