// `firebreak top` in a terminal, beside a running firewall: what somebody sees, what keys do, and that the terminal is given back as it was
// whatever happens. The terminal is pyte's.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";
import { type Screen, TerminalLab } from "../support/terminal.ts";

const lab = new FirewallLab("top");
const folder = join(lab.folder, "run");
let program: Program;

const inFolder = (command: readonly string[], ...environment: readonly string[]) => [
  ...["env", `RUNTIME_DIRECTORY=${folder}`, "TERM=vt220", "LC_ALL=C.UTF-8", ...environment],
  ...command,
];

async function start(): Promise<void> {
  program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
}

/** Starts it in a terminal, and waits until it shows clients. */
async function open(columns = 80, rows = 24): Promise<TerminalLab> {
  const command = inFolder(firebreak("top", "--every", "1s", "--at", "firewall"));
  const terminal = new TerminalLab(lab.firewall, columns, rows, command);
  await terminal.until(has(/^>work /));
  return terminal;
}

const has =
  (...patterns: readonly RegExp[]) =>
  ({ lines }: Screen) =>
    patterns.every((pattern) => lines.some((line) => pattern.test(line)));

/** A TCP connection of the client's to the server that stays open. */
const script = `import socket, time
s = socket.create_connection(("${SERVER}", 80)); print("open", flush=True)
try: s.recv(1); print("closed", flush=True)
except ConnectionResetError: print("reset", flush=True)`;

beforeAll(async () => {
  lab.configure(["drop proto=udp dstports=9"], "accept");
  await start();
  const server = lab.internet.start(["/usr/bin/python3", "-u", "-m", "http.server", "-b", SERVER, "80"]);
  await server.says("Serving");
}, 60_000);
afterAll(() => lab.close());

test("at 80 by 24 it shows the firewall, its clients with a heading, and the keys; q ends it and gives the terminal back", async () => {
  const terminal = await open();
  const screen = await terminal.until(has(/^forwarded +[\d.]+k?\/s/));
  const { lines } = screen;
  expect(lines.length).toBe(24);
  expect(lines[0]).toMatch(/^firebreak firewall, version \S+, up \d+ s +\d\d:\d\d:\d\d$/);
  expect(lines[3]).toMatch(/^flows +\d+ of 65536/);
  expect(lines[5]).toMatch(/^\[clients\] {2}flows {3}verdicts {3}drops +1 in all$/);
  expect(lines[6]).toMatch(/^ CLIENT +FLOWS +OF +USED$/);
  expect(lines[7]).toMatch(/^>work +\d+ +65536 +0 %/);
  expect(lines[23]).toMatch(/^q quit/);
  expect(screen).toMatchObject({ reversed: [6, 7], isCursorHidden: true, isOther: true, isAsBefore: false });
  terminal.type("q");
  expect(await terminal.until(({ ended }) => ended !== null)).toMatchObject({
    ...{ ended: 0, isCursorHidden: false, isOther: false, isAsBefore: true },
  });
}, 60_000);

test("keys lead from a client to its flows, filter and end one; why is asked of a drop", async () => {
  const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", script]);
  await talker.says("open");
  const udp = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("${SERVER}", 9))`;
  await lab.client.run(["/usr/bin/python3", "-c", udp]);
  const terminal = await open();
  terminal.type("\r");
  await terminal.until(
    has(/only client=work/, /^>tcp +10\.137\.0\.10:\d+ +198\.51\.100\.80:80 +(?:[\d.]+k? +)?ESTAB~ +policy work$/),
  );
  terminal.type("/\x15proto=icmp\r");
  await terminal.until(has(/ 0 in all, only proto=icmp/));
  terminal.type("/\x15client=nobody\r");
  await terminal.until(has(/client "nobody" is not there \(there are work\)/));
  terminal.type("/\x15proto=tcp\r");
  await terminal.until(has(/ 1 in all, only proto=tcp/, /^>tcp /));
  terminal.type("e");
  await terminal.until(has(/^end tcp 10\.137\.0\.10:\d+ to 198\.51\.100\.80:80\? \(y: yes\)$/));
  terminal.type("n");
  await terminal.until(has(/^nothing was ended/));
  terminal.type("ey");
  await terminal.until(has(/^1 ended/));
  await talker.says("reset");
  terminal.type("3");
  await terminal.until(has(/\[verdicts\]/, /^.dropped: refused by rules .* 1\b/));
  terminal.type("\t");
  await terminal.until(has(/\[drops\]/, /^> +1 +\d+s +refused by rules: udp 10\.137\.0\.10:\d+ to 198\.51\.100\.80:9/));
  terminal.type("w");
  await terminal.until(has(/^ WHY/, /^once \d+ s ago: refused by rules: udp /));
  terminal.type("\x1b");
  await terminal.until(has(/\[drops\]/, /^> +1 /));
  terminal.type("?");
  await terminal.until(has(/^Enter +of a client: its flows/));
  terminal.type("\x03");
  expect(await terminal.until(({ ended }) => ended !== null)).toMatchObject({ ended: 0, isAsBefore: true });
}, 120_000);

test("the window may change its size, to almost nothing, and back", async () => {
  const terminal = await open();
  terminal.resize(120, 40);
  await terminal.until(({ lines }) => lines.length === 40 && /^q quit/.test(lines[39]) && /^ CLIENT/.test(lines[6]));
  for (const [columns, rows] of [
    [20, 5],
    [1, 1],
    [200, 3],
  ]) {
    terminal.resize(columns, rows);
    await terminal.until(
      ({ lines }) => lines.length === rows && lines[rows - 1].startsWith("q quit".slice(0, columns)),
    );
  }
  terminal.resize(80, 24);
  await terminal.until(({ lines }) => lines.length === 24 && /^>work/.test(lines[7]) && /^q quit/.test(lines[23]));
  terminal.type("q");
  await terminal.until(({ ended }) => ended !== null);
}, 60_000);

describe("the terminal is as it was", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "after %s",
    async (signal) => {
      const terminal = await open();
      terminal.signal(signal);
      expect(await terminal.until(({ ended }) => ended !== null)).toMatchObject({
        ...{ ended: 0, isCursorHidden: false, isOther: false, isAsBefore: true },
      });
    },
    60_000,
  );

  test.each([
    ["^Z", (terminal: TerminalLab) => terminal.type("\x1a")],
    ["SIGTSTP", (terminal: TerminalLab) => terminal.signal("SIGTSTP")],
  ] as const)(
    "while it is stopped by %s, and not when it goes on",
    async (_, stop) => {
      const terminal = await open();
      stop(terminal);
      const stopped = await terminal.until((screen) => screen.stopped);
      expect(stopped).toMatchObject({ isCursorHidden: false, isOther: false, isAsBefore: true });
      terminal.signal("SIGCONT");
      const again = await terminal.until((screen) => screen.isOther && has(/^>work/, /^q quit/)(screen));
      expect(again).toMatchObject({ isCursorHidden: true, isAsBefore: false, stopped: false });
      terminal.type("q");
      expect(await terminal.until(({ ended }) => ended !== null)).toMatchObject({ ended: 0, isAsBefore: true });
    },
    60_000,
  );

  test("after a fault of its own, which is told", async () => {
    const fault = join(import.meta.dir, "../support/top-fault.ts");
    const command = inFolder([process.execPath, fault], "FIREBREAK_AT=firewall");
    const terminal = new TerminalLab(lab.firewall, 80, 24, command);
    const screen = await terminal.until(({ ended }) => ended !== null);
    expect(screen).toMatchObject({ ended: 1, isCursorHidden: false, isOther: false, isAsBefore: true });
    expect(screen.lines.join("\n")).toContain("a fault of the test's");
  }, 60_000);
});

test("a terminal that takes nothing keeps it from nothing: it can be ended", async () => {
  const terminal = await open(200, 60);
  terminal.pause(true);
  for (let i = 0; i < 400; i++) terminal.type(i % 2 === 0 ? "?" : "j"); // whole pictures, until nothing more fits
  await terminal.show();
  terminal.signal("SIGTERM");
  expect((await terminal.until(({ ended }) => ended !== null)).ended).toBe(0);
}, 60_000);

test("what does not change is not drawn again", async () => {
  const terminal = await open();
  const { bytes } = await terminal.until(has(/^forwarded +[\d.]+k?\/s/));
  const clock = (screen: Screen) => screen.lines[0].slice(-8);
  const times = new Set<string>();
  const after = await terminal.until((screen) => times.add(clock(screen)).size > 3);
  // Each time three lines or so; the whole screen is 24.
  expect(after.bytes - bytes).toBeLessThan(3 * 8 * 100);
  terminal.type("q");
  await terminal.until(({ ended }) => ended !== null);
}, 60_000);

test("a firewall that goes away is told, and one that comes is seen", async () => {
  const terminal = await open();
  program.signal("SIGTERM");
  await program.end();
  await terminal.until(has(/^NOT ANSWERING, trying again: /, /^>work/));
  await start();
  await terminal.until((screen) => has(/^firebreak firewall, version/, /^>work/)(screen) && screen.reversed[0] === 6);
  terminal.type("q");
  expect((await terminal.until(({ ended }) => ended !== null)).ended).toBe(0);
}, 120_000);

test("without a terminal it says what to do, and --once prints lines of printable ASCII where UTF-8 is not named", async () => {
  const bare = await lab.firewall.attempt(inFolder(firebreak("top", "--at", "firewall")));
  expect(bare.status).toBe(2);
  expect(bare.stderr).toContain(
    "needs a terminal that can be drawn on, and this is none, or TERM is not set (write --once)",
  );
  const dumb = new TerminalLab(lab.firewall, 80, 24, inFolder(firebreak("top", "--at", "firewall"), "TERM=dumb"));
  const screen = await dumb.until(({ ended }) => ended !== null);
  expect(screen).toMatchObject({ ended: 2, isAsBefore: true });
  expect(screen.lines.join("")).toContain("this one is dumb (write --once)");
  await lab.client.attempt(["ping", "-c", "1", "-W", "5", SERVER]);
  const once = await lab.firewall.attempt(inFolder(firebreak("top", "--once"), "LC_ALL=C"));
  expect({ status: once.status, stderr: once.stderr }).toEqual({ status: 0, stderr: "" });
  expect(once.stdout).toMatch(/^[ -~\n]+$/);
  expect(once.stdout).toMatch(/^ work +\d+ +65536 /m);
  expect(once.stdout).toMatch(/^ forwarded +[\d.]+ +\d+$/m);
  expect(Math.max(...once.stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
}, 60_000);
