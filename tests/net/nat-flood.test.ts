// One client opens as many connections to random addresses as it can. Another one must not notice: its connection and its
// datagrams lose nothing, and it opens new ones as before.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { macOf, type Program } from "../../lab/namespaces.ts";
import { becomeClient, CLIENT, configuration, GUEST, guestSection, SERVER, serveHttp } from "../../lab/places.ts";

const SYNS = 500_000;
const CONNECTIONS = 50;
/** UDP: datagrams, and how many a second. */
const DATAGRAMS = 2500;
const RATE = 500;
/** TCP: bytes, and their rate: so modest that a quarter of a second without a turn on a busy machine fills no ring. */
const BULK = 12 * 1024 * 1024;
const BULK_RATE = "20mbit";

const UDP_PORT = 9;
const TCP_PORT = 10;

const lab = new FirewallLab("flood");
const guest = lab.namespace("guest");

beforeAll(async () => {
  lab.cable(lab.firewall, "eth2", guest, "eth0");
  becomeClient(guest, GUEST);
  const shaper = ["tbf", "rate", BULK_RATE, "burst", "256kb", "latency", "400ms"];
  await guest.run(["tc", "qdisc", "add", "dev", "eth0", "root", ...shaper]);
  const www = join(lab.folder, "www");
  mkdirSync(www);
  writeFileSync(join(www, "file"), "here\n");
  serveHttp(lab.internet, www);
}, 120_000);

afterAll(() => lab.close());

/** TCP segments that reached the server before others that had been sent earlier: those were lost on their way. */
async function segmentsAfterLost(): Promise<number> {
  const output = await lab.internet.run(["nstat", "--ignore", "--noupdate", "--zeros", "TcpExtTCPOFOQueue"]);
  return Number(/^TcpExtTCPOFOQueue +(\d+)/m.exec(output)?.[1]);
}

/** Waits until the firewall has the guest's datagrams and its connection. */
async function bothFlow(): Promise<void> {
  for (;;) {
    const { flows } = await lab.state();
    const has = (start: RegExp) => flows.some((flow) => start.test(flow));
    if (has(new RegExp(`^udp .*:${UDP_PORT} as`)) && has(new RegExp(`^tcp .*:${TCP_PORT} as .*ESTABLISHED`))) return;
    await Bun.sleep(20);
  }
}

/** The last line that a program has said, read as JSON. */
function lastWord(program: Program): Record<string, unknown> {
  return JSON.parse(program.text.trimEnd().split("\n").at(-1) ?? "");
}

/**
 * On a machine that is busy with other things the firewall's thread may get so little of it that every ring overflows, whoever sends.
 * So it may take more than one try until the other client lost nothing.
 */
const TRIES = 3;

/** @param keys of the flooding client's section @returns for want of what frames were dropped */
async function endureWithoutLoss(keys: string): Promise<string[]> {
  for (let left = TRIES - 1; ; left--) {
    const { lost, fates } = await endure(keys);
    if (lost > 0 && left > 0) continue;
    expect(lost).toBe(0);
    return fates;
  }
}

/**
 * Starts the firewall, floods it from one client and uses it from the other.
 * @returns the other's TCP segments that were lost, and for want of what frames were dropped
 */
async function endure(keys: string): Promise<{ lost: number; fates: string[] }> {
  const lostBefore = await segmentsAfterLost();
  lab.writeConfig(configuration([], "accept").replace("policy =", `${keys}\npolicy =`) + guestSection());
  const firewall = await lab.start();
  const counter = lab.internet.start(peer("udp-count", SERVER, UDP_PORT));
  const sink = lab.internet.start(peer("sink", TCP_PORT));
  await Promise.all([counter, sink].map((program) => program.says("listening")));
  const stream = guest.start(peer("udp-stream", SERVER, UDP_PORT, DATAGRAMS, RATE));
  const source = guest.start(peer("source", SERVER, TCP_PORT, BULK));
  await bothFlow(); // and go on all through the flood

  const [ours, theirs] = [await macOf(lab.client, "eth0"), await macOf(lab.firewall, "eth0")];
  const flood = lab.client.start(peer("flood", "eth0", ours, theirs, CLIENT, SYNS));
  await flood.says("flooding");
  for (let i = 0; i < CONNECTIONS; i++) {
    expect(await guest.run(["curl", "-sS", "--connect-timeout", "10", `http://${SERVER}/file`])).toBe("here\n");
  }
  await Promise.all([stream.says("sent"), source.says("hash"), sink.says("hash")]);
  flood.signal("SIGTERM");
  await flood.says("sent");
  counter.signal("SIGTERM");
  await counter.says("received");

  const { frames, ring } = await lab.state();
  console.log("flood:", lastWord(flood), Object.fromEntries(frames), Object.fromEntries(ring));
  const { received, repeated, overrun } = lastWord(counter);
  expect({ received: Number(received) + Number(overrun), repeated }).toEqual({ received: DATAGRAMS, repeated: 0 });
  expect(lastWord(sink)).toEqual(lastWord(source));
  expect(lastWord(flood).sent).toBeGreaterThanOrEqual(SYNS);
  firewall.signal("SIGTERM");
  await firewall.end();
  return {
    lost: (await segmentsAfterLost()) - lostBefore,
    fates: [...frames.keys()].filter((fate) => /^dropped: (client|no free|.* full$)/.test(fate)),
  };
}

test("a flood of SYNs is held to the client's quota of new flows", async () => {
  expect(await endureWithoutLoss("flows_per_second = 500")).toEqual(["dropped: client opens flows too fast"]);
}, 300_000);

test("one that may open any number a second has its quota of the table, and its own flows go first", async () => {
  expect(await endureWithoutLoss("flows_per_second = 1000000")).toEqual([]);
}, 300_000);
