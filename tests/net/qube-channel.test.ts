// A qube asked by qrexec, as another qube does: the same answers as by the Unix socket of a firewall on a host, one service for each
// privilege. Dom0 and the qubes' qrexec are doubles; the verbs, and the program that is asked, are the product's.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace, type Program } from "../../lab/namespaces.ts";
import { becomeClient, becomeInternet, CLIENT, SERVER } from "../../lab/places.ts";
import { askedKeys } from "../support/asked-keys.ts";

setDefaultTimeout(120_000);

const RULES = ["accept proto=tcp dstports=80", "accept proto=icmp"];
const TALKER = `import socket, sys
s = socket.create_connection(("${SERVER}", 80)); print("open", flush=True); sys.stdin.read()`;
const SERVING = `import socketserver
class Silent(socketserver.BaseRequestHandler):
  def handle(self): self.request.recv(1)
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
server = Server(("${SERVER}", 80), Silent); print("Serving", flush=True); server.serve_forever()`;

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
const lab = new Lab("qube-channel");
const socket = join(folder, "qrexec");
const bin = join(folder, "bin");
let admin: Namespace;
let client: Namespace;
let internet: Namespace;
let program: Program;

/** In place of what a qube has: standard input and output go to the service. */
const CALLER = `#!/usr/bin/python3 -u
import os, select, socket, sys
target, service = sys.argv[1:]
if target != "firebreak": sys.exit(126)
line = socket.socket(socket.AF_UNIX); line.connect("${socket}"); line.sendall((service + "\\n").encode())
ends = [0, line]
while True:
    ready = select.select(ends, [], [])[0]
    if line in ready:
        data = line.recv(65536)
        if not data: break
        os.write(1, data)
    if 0 in ready:
        data = os.read(0, 65536)
        if data: line.sendall(data)
        else: ends.remove(0); line.shutdown(socket.SHUT_WR)
`;

/** A verb of the product's, in a qube that may call services. */
const ask = (...words: readonly string[]) =>
  admin.attempt(["env", `PATH=${bin}:${process.env.PATH}`, "FIREBREAK_AT=qrexec:firebreak", ...firebreak(...words)]);

async function talk(from: Namespace, to: Namespace): Promise<void> {
  const server = to.start(["/usr/bin/python3", "-u", "-c", SERVING]);
  await server.says("Serving");
  const talker = from.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
  await talker.says("open");
}

beforeAll(async () => {
  mkdirSync(bin);
  writeFileSync(join(bin, "qrexec-client-vm"), CALLER);
  chmodSync(join(bin, "qrexec-client-vm"), 0o755);
  admin = lab.namespace("admin");
  client = lab.namespace("client");
  internet = lab.namespace("internet");
  const firewall = lab.namespace("firewall");
  lab.cable(firewall, "vif1.0", client, "eth0");
  lab.cable(firewall, "eth0", internet, "eth0");
  becomeClient(client);
  becomeInternet(internet);
  program = firewall.start(peer("qube-channel", socket));
  await program.says("the client has its interface");
  for (;;) if ((await client.attempt(["ping", "-c", "1", "-W", "1", SERVER])).status === 0) break;
  await talk(client, internet);
});
afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

test("status, flows, rules, why and log have the keys that they have by the Unix socket of a host", async () => {
  const host = new FirewallLab("qube-host");
  try {
    host.configure(RULES);
    const run = join(host.folder, "run");
    const there = host.firewall.start([
      "env",
      `RUNTIME_DIRECTORY=${run}`,
      ...firebreak("run", "--config", host.configFile),
    ]);
    await there.says("ready in");
    await host.client.run(["ping", "-c", "1", "-W", "10", SERVER]);
    await talk(host.client, host.internet);
    const askThere = (...words: readonly string[]) =>
      host.client.attempt(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak(...words)]);
    const [here, onHost] = [await askedKeys(ask, CLIENT), await askedKeys(askThere, "work")];
    expect(withoutFile(here)).toEqual(withoutFile(onHost));
  } finally {
    await host.close();
  }
});

/** A qube's configuration is of no file, so what names one is not there, nor are places of rules. */
function withoutFile(keys: Record<string, unknown>): unknown {
  return JSON.parse(
    JSON.stringify(keys, (key, value) =>
      ["name", "sha256", "read", "path", "place"].includes(key) ? undefined : value,
    ),
  );
}

describe("each privilege is a service", () => {
  test("Watch follows the log, and ends with who asks", async () => {
    const follower = admin.start([
      ...["env", `PATH=${bin}:${process.env.PATH}`, ...firebreak("log", "-f", "--at", "qrexec:firebreak")],
    ]);
    await follower.says("ready in");
    follower.signal("SIGTERM");
    await follower.end();
    expect((await ask("status")).status).toBe(0);
  });

  test("Capture traces and captures", async () => {
    const tracer = admin.start([
      ...["env", `PATH=${bin}:${process.env.PATH}`],
      ...firebreak("trace", "proto=icmp", "--count", "2", "--at", "qrexec:firebreak"),
    ]);
    let isOver = false;
    const over = tracer.process.exited.then(() => {
      isOver = true;
    });
    while (!isOver) {
      await client.attempt(["ping", "-c", "1", "-W", "5", SERVER]);
      await Promise.race([over, Bun.sleep(20)]);
    }
    expect(await tracer.end()).toBe(0);
    const file = join(folder, "ping.pcapng");
    const capturing = ask("capture", "proto=icmp", "--count", "4", "-w", file);
    let isCaptured = false;
    void capturing.then(() => {
      isCaptured = true;
    });
    while (!isCaptured) await client.attempt(["ping", "-c", "1", "-W", "5", SERVER]);
    expect((await capturing).stderr).toBe("firebreak: 4 frames captured, 0 lost\n");
    expect(Bun.file(file).size).toBeGreaterThan(400);
    expect(tracer.text).toMatch(/^\S+Z icmp .*\n {2}received on (?:vif1\.0|eth0), client 10\.137\.0\.10, /);
  });

  test("Configure ends flows; another configuration is dom0's to give", async () => {
    const before = (await ask("flows", "proto=tcp", "--count")).stdout;
    expect(before).toBe("flows: 1\n");
    expect((await ask("flows", "proto=tcp", "--end")).stdout).toContain(`to ${SERVER}:80 as `);
    while ((await ask("flows", "proto=tcp", "--count")).stdout !== "flows: 0\n") await Bun.sleep(10);
    const file = join(folder, "other.toml");
    writeFileSync(file, "nothing = 1\n");
    expect(await ask("configure", file)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("is said in dom0"),
    });
  });

  test("and none has what another one is for", async () => {
    const script = `
import os, subprocess, sys
def item(service, op, args):
    import struct
    def text(s): return bytes([0x60 + len(s)]) + s.encode() if len(s) < 24 else b"\\x78" + bytes([len(s)]) + s.encode()
    def map_(pairs): return bytes([0xa0 + len(pairs)]) + b"".join(text(k) + v for k, v in pairs)
    hello = map_([("id", b"\\0"), ("op", text("hello")), ("args", map_([("version", b"\\1")]))])
    ask = map_([("id", b"\\1"), ("op", text(op)), ("args", map_(args))])
    caller = ["${bin}/qrexec-client-vm", "firebreak", service + "+channel"]
    return subprocess.run(caller, input=hello + ask, stdout=subprocess.PIPE).stdout
for service, op, args in [("firebreak.Status", "flows", [("end", b"\\xf5")]), ("firebreak.Status", "log", []), ("firebreak.Watch", "configure", []), ("firebreak.Capture", "status", [])]:
    print(item(service, op, args).decode("latin1"), flush=True)
`;
    const { stdout } = await admin.attempt(["/usr/bin/python3", "-c", script]);
    expect(stdout).toContain("flows are not ended by this service (call firebreak.Configure)");
    expect(stdout).toContain("log is not of this service (call firebreak.Watch)");
    expect(stdout).toContain("configure is not of this service (call firebreak.Configure)");
    expect(stdout).toContain("status is not of this service (call firebreak.Status)");
  });

  test("who may not call, or is nowhere, is told so", async () => {
    const other = await admin.attempt([
      "env",
      `PATH=${bin}:${process.env.PATH}`,
      ...firebreak("status", "--at", "qrexec:other"),
    ]);
    expect(other).toMatchObject({
      status: 1,
      stderr: "firebreak: other: dom0 refuses firebreak.Status (docs/QUBES.md has a policy)\n",
    });
    expect(await admin.attempt(firebreak("status", "--at", "qrexec:firebreak"))).toMatchObject({
      status: 1,
      stderr: "firebreak: firebreak: qrexec-client-vm is not here: this is no qube of Qubes OS\n",
    });
    expect((await ask("status", "--at", "qrexec:-x")).stderr).toContain('--at "qrexec:-x" names no qube');
  });
});

test("what dom0 calls still gets lines, and the program ends in order", async () => {
  const { stdout } = await admin.attempt(["sh", "-c", `${bin}/qrexec-client-vm firebreak firebreak.Status </dev/null`]);
  expect(stdout).toMatch(/^firebreak \d\S*, up \d+ s\n/);
  expect(stdout).toContain("vif1.0");
  program.signal("SIGUSR2");
  expect(await program.end()).toBe(0);
  expect(program.text).toContain("mistakes []\n");
});
