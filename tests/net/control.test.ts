// A running firewall, asked by its Unix socket: who may, what the answers are, and what clients can't do to it. The firewall runs with
// all its restrictions in force; clients are the product's own verbs, and bare connections.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { storm } from "../../lab/channel-storm.ts";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { configuration, SERVER } from "../../lab/places.ts";
import { Random } from "../../lab/random.ts";
import { faultOf, MOST_MEMORY, openDescriptors, ownMemory, Pinging } from "../../lab/unharmed.ts";
import { encodeItem, ItemReader, type Value } from "../../src/channel/cbor.ts";
import { connectTo } from "../../src/channel/client.ts";

const lab = new FirewallLab("control");
const folder = join(lab.folder, "run");
const socketPath = join(folder, "firewall.sock");
let program: Program;

/** In the folder of this test's own. */
const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${folder}`, ...command];

async function start(...options: readonly string[]): Promise<Program> {
  const started = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile, ...options)));
  await started.says("ready in");
  return started;
}

/** A verb of the product's. */
const verb = (...args: readonly string[]) => lab.firewall.attempt(inFolder(firebreak(...args)));

beforeAll(async () => {
  lab.configure([], "accept");
  chmodSync(lab.folder, 0o755); // what keeps others out is the socket's own mode
  program = await start();
}, 60_000);
afterAll(() => lab.close());

test("its socket is named after the configuration, and open to its own user alone, in a folder that nobody else writes to", () => {
  expect(statSync(socketPath).mode & 0o7777).toBe(0o600);
  expect(statSync(folder).mode & 0o22).toBe(0);
});

test("status says in words what SIGUSR1 prints, and as JSON the same by slugs", async () => {
  expect((await lab.client.attempt(["ping", "-c", "3", "-i", "0.1", "-W", "5", SERVER])).status).toBe(0);
  const words = await verb("status");
  expect(words.stderr).toBe("");
  expect(words.status).toBe(0);
  expect(words.stdout).toMatch(/^firebreak \d\S*, firewall, up \d+ s\n/);
  expect(words.stdout).toMatch(/^frames: \d+ forwarded$/m);
  expect(words.stdout).toMatch(/^eth0 [0-9a-f:]{17} mtu 1500: client work$/m);
  expect(words.stdout).toMatch(/^client work: 1 of \d+ flows$/m);
  const json = JSON.parse((await verb("status", "--json")).stdout);
  expect(json.frames.forwarded).toBeGreaterThanOrEqual(6);
  expect(json.flows).toEqual({ used: 1, most: 65536 });
  expect(json.interfaces.map(({ name, state }: { name: string; state: string }) => [name, state])).toEqual([
    ["eth1", "up"],
    ["eth0", "up"],
  ]);
  // What the kernel path forwards is counted too: a ping has 98 bytes with its Ethernet header.
  for (const { received, transmitted } of json.interfaces) {
    for (const { frames, bytes } of [received, transmitted]) {
      expect(frames).toBeGreaterThanOrEqual(3);
      expect(bytes).toBeGreaterThanOrEqual(3 * 98);
    }
  }
  expect(Math.abs(json.time - Date.now() / 1000)).toBeLessThan(60);
  program.signal("SIGUSR1");
  await program.says(/flow: icmp/);
  for (const line of words.stdout.split("\n").filter((line) => line.startsWith("frames: "))) {
    expect(program.text).toContain(line.replace(/\d+ .*/, ""));
  }
});

test("flows prints the lines of SIGUSR1, those that match, and ends them; what is allowed comes again", async () => {
  const server = lab.internet.start(["/usr/bin/python3", "-u", "-m", "http.server", "-b", SERVER, "80"]);
  await server.says("Serving");
  const script = `import socket, time
s = socket.create_connection(("${SERVER}", 80)); print("open", flush=True)
try: s.recv(1); print("closed", flush=True)
except ConnectionResetError: print("reset", flush=True)`;
  const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", script]);
  await talker.says("open");
  const filter = ["proto=tcp", "dstports=80", `dst=${SERVER}`, "client=work"];
  const { stdout } = await verb("flows", ...filter);
  expect(stdout).toMatch(
    /^flow: tcp 10\.137\.0\.10:\d+ to 198\.51\.100\.80:80 as 192\.0\.2\.254:\d+, ESTABLISHED, client work, policy\n$/,
  );
  const said = program.text.length;
  program.signal("SIGUSR1");
  await program.says("flow: tcp", said);
  expect(program.text.slice(said)).toContain(stdout);
  const [entry] = (await verb("flows", "--json", ...filter)).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(entry).toMatchObject({ proto: "tcp", destination: { address: SERVER, port: 80 }, state: "ESTABLISHED" });
  expect((await verb("flows", "--count", ...filter)).stdout).toBe("flows: 1\n");
  expect(await verb("flows", "--end", ...filter)).toEqual({ status: 0, stdout, stderr: "" });
  await talker.says("reset");
  expect((await verb("flows", "--count", "proto=tcp", "state=established")).stdout).toBe("flows: 0\n");
  expect((await lab.client.attempt(["curl", "-sS", "-o", "/dev/null", `http://${SERVER}/`])).status).toBe(0);
  server.signal("SIGTERM");
  await server.end();
}, 60_000);

test("rules prints what is in force, also after a reload", async () => {
  lab.configure(["accept proto=tcp dstports=80", "accept proto=tcp dstports=80-80"], "accept");
  const said = program.text.length;
  program.signal("SIGHUP");
  await program.says("configuration reloaded", said);
  const { stdout } = await verb("rules");
  expect(stdout).toContain(`work, rule 1 (${lab.configFile}:14): action=accept proto=tcp dstports=80: `);
  expect(stdout).toMatch(/^ {2}rule 2 .*rule 1/m);
  expect(stdout).toMatch(/^work, policy: action=accept: \d+ hits, last \d+ s ago/m);
  const entries = (await verb("rules", "--json")).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(entries.map(({ rule }) => rule)).toEqual([1, 2, 0]);
  lab.configure([], "accept");
});

const TALKER = `import socket, sys
s = socket.create_connection(("${SERVER}", 80)); s.settimeout(20); print("open", flush=True)
for line in sys.stdin:
  s.sendall(b"x"); print("echo" if s.recv(1) == b"x" else "closed", flush=True)`;

const ECHO = `import socketserver
class Echo(socketserver.BaseRequestHandler):
  def handle(self):
    while data := self.request.recv(100): self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
server = Server(("${SERVER}", 80), Echo); print("Serving", flush=True); server.serve_forever()`;

test("configure puts another configuration in force, keeps the connections that it allows, and foretells which it would not", async () => {
  const server = lab.internet.start(["/usr/bin/python3", "-u", "-c", ECHO]);
  await server.says("Serving");
  const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
  await talker.says("open");
  const file = join(lab.folder, "other.toml");
  const words = (...options: readonly string[]) => verb("configure", file, ...options);
  writeFileSync(file, configuration(["accept proto=tcp dstports=443", "accept proto=icmp"]));
  const foretold = await words("--dry-run");
  expect(foretold.stdout).toMatch(/^would end: flow: tcp 10\.137\.0\.10:\d+ to 198\.51\.100\.80:80 as /m);
  expect(foretold.stdout).toMatch(/\n[12] of \d+ flows would end\nnothing was changed\n$/);
  talker.type("on\n");
  await talker.says("echo");
  writeFileSync(file, configuration(["accept proto=tcp dstports=80", "accept proto=icmp"]));
  expect((await words("--dry-run")).stdout).toMatch(/^0 of \d+ flows would end\n/m);
  expect(await words()).toEqual({ status: 0, stdout: "in force\n", stderr: "" });
  const said = talker.text.length;
  talker.type("on\n");
  await talker.says("echo", said);
  expect((await verb("rules")).stdout).toContain(`work, rule 2 (${file}:15): action=accept proto=icmp: `);
  expect((await verb("status")).stdout).toContain(
    'configuration by "firebreak configure", until it reads its file again',
  );
  const from = program.text.length;
  program.signal("SIGHUP");
  await program.says("configuration reloaded", from);
  expect((await verb("status", "--json")).stdout).toContain('"configuration":{"by":"file",');
  talker.type("on\n");
  await talker.says("echo", talker.text.length);
  for (const one of [talker, server]) {
    one.signal("SIGKILL");
    await one.end();
  }
}, 60_000);

test("a configuration with errors changes nothing, and all of them are told with their lines", async () => {
  const file = join(lab.folder, "other.toml");
  writeFileSync(file, configuration(["accept dstports=x"]).replace("policy =", "polizy ="));
  for (const options of [[], ["--dry-run"]]) {
    const { status, stdout, stderr } = await verb("configure", file, ...options);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^\S+other\.toml:12: client "work": unknown key "polizy"/m);
    expect(stderr).toMatch(/^\S+other\.toml:14: client "work": rule 1: dstports "x" is not a port range/m);
  }
  writeFileSync(file, `${configuration([])}[nat]\nmax_flows = 2048\n`);
  const { status, stderr } = await verb("configure", file, "--dry-run");
  expect([status, stderr]).toEqual([2, expect.stringContaining("max_flows 2048 needs a restart")]);
  expect((await verb("rules")).stdout).toMatch(/^work, policy: action=accept: .*\n$/);
});

test("log has what the firewall said, and follows it to its end", async () => {
  const follower = lab.firewall.start(inFolder(firebreak("log", "-f")));
  await follower.says(/^\d{4}-\d\d-\d\dT[\d:.]+Z configuration reloaded$/m);
  const before = follower.text.length;
  program.signal("SIGHUP");
  await follower.says("configuration reloaded", before);
  const [last] = (await verb("log", "--last", "1", "--json")).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(last.text).toBe("configuration reloaded");
  expect(Math.abs(last.time - Date.now() / 1000)).toBeLessThan(60);
  program.signal("SIGTERM");
  await program.end();
  expect(await follower.end()).toBe(1);
  expect(follower.text).toContain("the firewall has closed the connection");
  program = await start();
}, 60_000);

test("what is asked wrongly is bad usage, said by whoever knows", async () => {
  expect(await verb("flows", "client=nobody")).toEqual({
    status: 2,
    stdout: "",
    stderr: 'firebreak: client "nobody" is not there (there are work)\n',
  });
  expect((await verb("flows", "--end")).stderr).toContain("--end ends what it is told (write a filter");
  expect((await verb("flows", "--limit", "many")).stderr).toContain('--limit "many" is not a number');
});

test("WHERE is a name or a path, by option or environment, and what is not there is said with what is", async () => {
  const status = async (...args: readonly string[]) => (await verb("status", "--json", ...args)).stdout.slice(0, 8);
  expect(await status("--at", "firewall")).toBe('{"name":');
  expect(await status("--at", socketPath)).toBe('{"name":');
  const byVariable = await lab.firewall.attempt(inFolder(["env", "FIREBREAK_AT=firewall", ...firebreak("status")]));
  expect(byVariable.status).toBe(0);
  expect(await verb("status", "--at", "nobody")).toEqual({
    status: 1,
    stdout: "",
    stderr: `firebreak: ${folder}/nobody.sock: no firewall listens there\n`,
  });
  expect((await verb("status", "--at", "a b")).stderr).toContain('--at "a b" is neither a name nor a path');
  const nowhere = ["env", `RUNTIME_DIRECTORY=${lab.folder}/none`, ...firebreak("status")];
  expect((await lab.firewall.attempt(nowhere)).stderr).toContain("no firewall runs here");
});

test("another user is not let in", async () => {
  const powerless = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];
  const script = `import socket; s = socket.socket(socket.AF_UNIX); s.connect(${JSON.stringify(socketPath)})`;
  const { status, stderr } = await lab.firewall.attempt([...powerless, "/usr/bin/python3", "-c", script]);
  expect(status).toBe(1);
  expect(stderr).toContain("PermissionError");
});

test("a second firewall of that name is refused before it takes anything; one that died is replaced; one that ends takes its socket away", async () => {
  const second = await verb("run", "--config", lab.configFile);
  expect(second).toEqual({
    status: 1,
    stdout: "",
    stderr: `firebreak: a firewall named "firewall" is running: ${socketPath} answers (stop it, or give this one another name with --name)\n`,
  });
  program.signal("SIGKILL");
  await program.end();
  expect(existsSync(socketPath)).toBe(true);
  expect((await verb("status", "--at", "firewall")).stderr).toContain("the firewall that listened there has ended");
  program = await start();
  expect((await verb("status")).status).toBe(0);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  expect(existsSync(socketPath)).toBe(false);
  const named = await start("--name", "other");
  expect(existsSync(join(folder, "other.sock"))).toBe(true);
  named.signal("SIGTERM");
  await named.end();
  program = await start();
}, 60_000);

test("where a socket can't be had, one line says why, and the firewall forwards", async () => {
  program.signal("SIGTERM");
  await program.end();
  const open = join(lab.folder, "open");
  mkdirSync(open);
  chmodSync(open, 0o777);
  const deaf = lab.firewall.start([
    "env",
    `RUNTIME_DIRECTORY=${open}`,
    ...firebreak("run", "--config", lab.configFile),
  ]);
  await deaf.says("ready in");
  expect(deaf.text).toContain(`control channel: off, because ${open} may be written to by others`);
  expect((await lab.client.attempt(["ping", "-c", "1", "-W", "5", SERVER])).status).toBe(0);
  deaf.signal("SIGTERM");
  expect(await deaf.end()).toBe(0);
  const bad = join(lab.folder, "bad.toml");
  writeFileSync(bad, "nonsense");
  expect((await verb("run", "--config", bad)).status).toBe(2);
  expect(existsSync(join(folder, "bad.sock"))).toBe(false);
  program = await start();
}, 60_000);

/** A connection that sends what it likes. */
async function bare(): Promise<{ socket: Socket; closed: Promise<void>; values: Value[] }> {
  const socket = connect(socketPath);
  const values: Value[] = [];
  const reader = new ItemReader((value) => values.push(value));
  socket.on("data", (bytes: Buffer) => reader.push(bytes));
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return { socket, closed, values };
}

const HELLO = encodeItem({ id: 0, op: "hello", args: { version: 1 } });

test("thirty-two clients may be connected, the next is told so, and finds a place when one goes", async () => {
  const clients = [];
  for (let i = 0; i < 32; i++) clients.push(await connectTo(socketPath));
  const late = await bare();
  await late.closed;
  expect(late.values).toEqual([{ id: null, error: { code: "busy", text: "32 clients are connected already" } }]);
  clients[5].client.close();
  const deadline = performance.now() + 10_000;
  for (;;) {
    const again = await bare();
    again.socket.write(HELLO);
    while (again.values.length === 0) await Bun.sleep(1);
    again.socket.destroy();
    if (!JSON.stringify(again.values[0]).includes("busy")) break;
    expect(performance.now()).toBeLessThan(deadline);
  }
  for (const { client } of clients) client.close();
});

/** Mutated records that the suite sends; build/appliance.sh soak-requests sends a million. */
const MUTANTS = 5000;

const memory = () => ownMemory(program.pid);
const descriptors = () => openDescriptors(program.pid);

test("a hundred clients that come and go in the middle of records leave nothing behind", async () => {
  let before = descriptors();
  for (let last = 0; last !== before; before = descriptors()) {
    last = before; // until those of other tests are closed
    await Bun.sleep(100);
  }
  for (let i = 0; i < 100; i++) {
    const { socket, closed } = await bare();
    socket.write(HELLO);
    for (let id = 1; id < 9; id++) socket.write(encodeItem({ id, op: "status", args: {} }).subarray(0, 6 + 3 * id));
    if (i % 2 === 0) await Bun.sleep(1);
    socket.destroy();
    await closed;
  }
  const deadline = performance.now() + 10_000;
  while (descriptors() > before && performance.now() < deadline) await Bun.sleep(10);
  expect(descriptors()).toBeLessThanOrEqual(before);
  expect((await verb("status")).status).toBe(0);
}, 60_000);

test("a hundred mad clients at once, of whom each asks for all there is and goes where it likes: it answers, forwards, and leaves nothing open", async () => {
  await verb("flows", "--bytes", "0"); // has a map, and keeps it for a minute: mad clients ask for that too
  const before = descriptors();
  const pinging = new Pinging(lab.client, SERVER);
  const { records, replies } = await storm(socketPath, { clients: 100, records: MUTANTS, seed: 1 });
  const pinged = await pinging.end();
  expect(pinged.answered).not.toEqual([]);
  expect(faultOf(pinged)).toBeUndefined();
  expect(records).toBeGreaterThanOrEqual(MUTANTS);
  // What is right is answered, what is nearly right refused with the reason.
  for (const kind of ["data", "end", "arguments", "operation", "configuration", "protocol", "busy"]) {
    expect(replies.get(kind) ?? 0).toBeGreaterThan(0);
  }
  expect((await verb("capture", "--record-off")).status).toBe(0);
  // Traces take a second, and memory is collected when there is time for it.
  while (descriptors() > before || (await memory()) > MOST_MEMORY) await Bun.sleep(100);
  expect(program.process.exitCode).toBeNull();
}, 120_000);

test("a client that asks and never reads keeps nobody, and a bounded piece of memory", async () => {
  const { socket } = await bare();
  socket.pause();
  socket.write(HELLO);
  const before = await memory();
  for (let id = 1; id < 200_000; id++) {
    if (!socket.write(encodeItem({ id, op: "nothing" })) && socket.writableLength > 1 << 20) break;
    if (id % 1000 === 0) await Bun.sleep(1);
  }
  expect(socket.writableLength).toBeGreaterThan(0); // it is not read any more
  expect((await verb("status")).status).toBe(0);
  expect((await lab.client.attempt(["ping", "-c", "1", "-W", "5", SERVER])).status).toBe(0);
  expect((await memory()) - before).toBeLessThan(32 << 20);
  socket.destroy();
}, 60_000);

test("mutated requests at the socket end connections, and nothing else", async () => {
  const random = new Random(3);
  const good = Buffer.concat([
    HELLO,
    encodeItem({ id: 1, op: "status" }),
    encodeItem({ id: 2, op: "status", args: {} }),
  ]);
  for (let round = 0; round < 500; round++) {
    const { socket, closed } = await bare();
    const bytes = Uint8Array.from(good);
    for (let changes = 1 + random.below(5); changes > 0; changes--)
      bytes[random.below(bytes.length)] = random.below(256);
    socket.end(bytes);
    await closed;
  }
  expect((await verb("status")).status).toBe(0);
  expect(program.process.exitCode).toBeNull();
}, 120_000);
