// Somebody on the internet floods a forwarded port with SYNs from addresses that are nobody's. Who means it gets through to that port
// meanwhile, and the client behind it, whose quotas are small, opens connections of its own as before.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FORWARDED_PORT } from "../../lab/attacks.ts";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { macOf, type Namespace } from "../../lab/namespaces.ts";
import { becomeClient, configuration, GUEST, guestSection, SERVER, serveHttp, UPLINK } from "../../lab/places.ts";

const CONNECTIONS = 20;
/** Flows in the table: half of them may be half open, and of so many SYNs a second each is remembered for a second. */
const MAX_FLOWS = 4096;
const RATE = 2000;

const lab = new FirewallLab("fwdflood");
const guest = lab.namespace("guest");

beforeAll(async () => {
  lab.cable(lab.firewall, "eth2", guest, "eth0");
  becomeClient(guest, GUEST);
  const www = join(lab.folder, "www");
  mkdirSync(www);
  writeFileSync(join(www, "file"), "here\n");
  serveHttp(lab.internet, www);
  await guest.start(peer("who", "guest", 80)).says("listening");
  lab.writeConfig(`${configuration([], "accept")}${guestSection("max_flows = 200\nflows_per_second = 100")}
[[forward]]
proto = "tcp"
port = ${FORWARDED_PORT}
to = "guest"
to_port = 80

[nat]
max_flows = ${MAX_FLOWS}
`);
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

/** @returns seconds that it took to connect, and what the server said */
async function fetched(from: Namespace, url: string): Promise<{ seconds: number; text: string }> {
  const { stdout } = await from.attempt(["curl", "-sS", "--max-time", "20", "-w", "\n%{time_connect}", url]);
  const [text = "", seconds = ""] = stdout.split("\n");
  return { seconds: Number(seconds), text };
}

/** TCP segments that have come to the client behind the port. */
async function segmentsIn(): Promise<number> {
  const output = await guest.run(["nstat", "--ignore", "--noupdate", "--zeros", "TcpInSegs"]);
  return Number(/^TcpInSegs +(\d+)/m.exec(output)?.[1]);
}

test("a flood of SYNs to a forwarded port shuts out neither who means that port, nor its client", async () => {
  const [ours, theirs] = [await macOf(lab.internet, "eth0"), await macOf(lab.firewall, "eth1")];
  const flood = lab.internet.start(peer("attack", "eth0", "SYNs to a forwarded port", ours, theirs, RATE));
  await flood.says("attacking");
  while ((await segmentsIn()) < MAX_FLOWS) await Bun.sleep(50);
  const took: number[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const inward = await fetched(lab.internet, `http://${UPLINK}:${FORWARDED_PORT}/`);
    expect(inward.text).toStartWith("guest:80 asked by");
    took.push(inward.seconds);
    expect((await fetched(guest, `http://${SERVER}/file`)).text).toBe("here");
  }
  flood.signal("SIGTERM");
  await flood.end();
  const { flows, frames } = await lab.state();
  const { sent, rate } = JSON.parse(flood.text.trimEnd().split("\n").at(-1) ?? "");
  console.log("SYNs:", { sent, rate, flows: flows.length }, "connect, s:", took.toSorted((a, b) => a - b).join(" "));
  expect(flows.length).toBeLessThan(MAX_FLOWS);
  expect(sent).toBeGreaterThan(MAX_FLOWS / 2);
  expect([...frames.keys()].filter((fate) => /^dropped: (client|.* full$)/.test(fate))).toEqual([]);
}, 300_000);
