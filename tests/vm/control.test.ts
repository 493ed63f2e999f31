// The image asked by its port, as a host does: the same answers as by the Unix socket of a firewall on a host, and a configuration that
// changes while a connection goes on. What it needs is in dist/ (build/appliance.sh build).
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import { Machine } from "../../lab/machine.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { becomeClient, becomeInternet, configuration, SERVER } from "../../lab/places.ts";
import { askedKeys } from "../support/asked-keys.ts";

/** A boot takes 5 s here, on a busy machine minutes; in ms. */
setDefaultTimeout(400_000);

const ECHO = `import socketserver
class Echo(socketserver.BaseRequestHandler):
  def handle(self):
    while data := self.request.recv(100): self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
server = Server(("${SERVER}", 80), Echo); print("Serving", flush=True); server.serve_forever()`;

const TALKER = `import socket, sys
s = socket.create_connection(("${SERVER}", 80)); s.settimeout(60); print("open", flush=True)
for line in sys.stdin:
  s.sendall(b"x"); print("echo" if s.recv(1) == b"x" else "closed", flush=True)`;

let lab: Lab;
let folder: string;

beforeEach(() => {
  lab = new Lab("vm-control");
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
});

afterEach(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** @returns what asks the firewall of that name: a verb, with its words */
function asking(namespace: Namespace, run: string, name: string) {
  return (...words: readonly string[]) =>
    namespace.attempt(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak(...words, "--at", name)]);
}

test("by its port the image answers as a firewall on a host does by its socket, and takes another configuration in mid-connection", async () => {
  const [client, internet] = [lab.namespace("client"), lab.namespace("internet")];
  const text = configuration(["accept proto=tcp dstports=80", "accept proto=icmp"]);
  const config = join(folder, "firebreak.toml");
  writeFileSync(config, text);
  const port = join(folder, "port");
  const machine = await Machine.boot(lab, folder, [client, internet], { config, port });
  becomeClient(client);
  becomeInternet(internet);
  await machine.says("ready in");
  const run = join(folder, "run");
  const attached = lab
    .namespace("host")
    .start(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak("attach", port, "--name", "machine")]);
  await attached.says("attached: ");
  const ask = asking(client, run, "machine");

  const server = internet.start(["/usr/bin/python3", "-u", "-c", ECHO]);
  await server.says("Serving");
  const talker = client.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
  await talker.says("open");
  expect((await ask("flows", "proto=tcp")).stdout).toContain(`to ${SERVER}:80 as `);
  const other = join(folder, "other.toml");
  writeFileSync(other, configuration(["accept proto=icmp", "accept proto=tcp dstports=80"]));
  expect((await ask("configure", other, "--dry-run")).stdout).toMatch(/^0 of [1-9]\d* flows would end\n/m);
  expect((await ask("configure", other)).stdout).toBe("in force\n");
  talker.type("on\n");
  await talker.says("echo");
  expect((await ask("flows", "proto=tcp", "--count", "rule=2")).stdout).toBe("flows: 1\n");

  // As it was, and as the other one will be: a connection by the first rule.
  expect((await ask("configure", config)).status).toBe(0);
  const another = client.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
  await another.says("open");

  const host = new FirewallLab("vm-host");
  try {
    host.writeConfig(text);
    const folderThere = join(host.folder, "run");
    const there = host.firewall.start([
      ...["env", `RUNTIME_DIRECTORY=${folderThere}`],
      ...firebreak("run", "--config", host.configFile),
    ]);
    await there.says("ready in");
    const serverThere = host.internet.start(["/usr/bin/python3", "-u", "-c", ECHO]);
    await serverThere.says("Serving");
    const talkerThere = host.client.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
    await talkerThere.says("open");
    const onHost = await askedKeys(asking(host.client, folderThere, "firewall"), "work");
    // A host's firewall has a file that can be written: the image has none.
    expect(JSON.stringify(onHost)).toContain(',"path":"string"');
    expect(await askedKeys(ask, "work")).toEqual(JSON.parse(JSON.stringify(onHost).replace(',"path":"string"', "")));
  } finally {
    await host.close();
  }

  // A host's end that dies and comes again, and one more client than before.
  attached.signal("SIGKILL");
  await attached.end();
  const again = lab
    .namespace("host-again")
    .start(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak("attach", port, "--name", "machine")]);
  await again.says("attached: ");
  expect((await Promise.all([ask("status"), ask("rules"), ask("flows")])).map(({ status }) => status)).toEqual([
    0, 0, 0,
  ]);
  expect(await machine.powerOff()).toBe(0);
  expect(await again.end()).toBe(1);
});
