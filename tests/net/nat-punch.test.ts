// Two clients behind two firewalls find a direct way to each other, as WebRTC does: each sends to the address that a server
// sees of the other, and so opens its own firewall's mapping to it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import { becomeClient, configuration, SERVER, UPLINK } from "../../lab/places.ts";

const RENDEZVOUS = 3478;
const COUNT = 300;
/** ms that one of them knows of the other, and the other does not. */
const HEAD_START = 200;

/** The second firewall is in another network of the internet; its client has the same address as the first one's. */
const OTHER_NETWORK = "203.0.113.";
const OTHER_UPLINK = `${OTHER_NETWORK}254`;

const lab = new FirewallLab("punch");
const otherClient = lab.namespace("other-client");
const otherFirewall = lab.namespace("other-firewall");

beforeAll(async () => {
  lab.cable(otherFirewall, "eth0", otherClient, "eth0");
  lab.cable(otherFirewall, "eth1", lab.internet, "eth1");
  becomeClient(otherClient);
  lab.internet.ip("address", "add", `${OTHER_NETWORK}1/24`, "dev", "eth1");
  await lab.internet.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);

  lab.configure([], "accept");
  await lab.start();
  const otherConfig = join(lab.folder, "other.toml");
  writeFileSync(otherConfig, configuration([], "accept").replaceAll("192.0.2.", OTHER_NETWORK));
  const other = otherFirewall.start(firebreak("run", "--config", otherConfig));
  await other.says("ready in");
}, 120_000);

afterAll(() => lab.close());

test("a hole is punched, and every datagram goes through it", async () => {
  const rendezvous = lab.internet.start(peer("rendezvous", SERVER, RENDEZVOUS, HEAD_START));
  await rendezvous.says("listening");
  const command = peer("punch", SERVER, RENDEZVOUS, COUNT);
  const early = lab.client.start(command);
  await rendezvous.says("1 here"); // it is to be the first
  const late = otherClient.start(command);
  const [earlyOutcome, lateOutcome] = await Promise.all(
    [early, late].map(async (program) => {
      await program.says("received");
      return JSON.parse(program.text);
    }),
  );
  const earlyAt = lateOutcome.peer;
  const lateAt = earlyOutcome.peer;
  expect({ ...earlyOutcome, knocks: 0 }).toEqual({
    peer: { address: OTHER_UPLINK, port: lateAt.port },
    sources: [`${OTHER_UPLINK}:${lateAt.port}`],
    received: COUNT,
    knocks: 0,
  });
  expect({ ...lateOutcome, knocks: 0 }).toEqual({
    peer: { address: UPLINK, port: earlyAt.port },
    sources: [`${UPLINK}:${earlyAt.port}`],
    received: COUNT,
    knocks: 0,
  });
  // As long as the other had not knocked itself, its firewall let nothing in.
  expect(earlyOutcome.knocks).toBeGreaterThan(3);
}, 120_000);
