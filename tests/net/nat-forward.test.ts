// Forwarded ports: from outside, for those who may, and from inside by the outside address (a hairpin).
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";
import { becomeClient, configuration, GUEST, guestSection, ROUTER, SERVER, UPLINK } from "../../lab/places.ts";

/** An address in the internet that may use a port which others may not. */
const FRIEND = "203.0.113.7";

const FORWARDS = `
[[forward]]
proto = "tcp"
port = 8443
to = "work"
to_port = 443

[[forward]]
proto = "tcp"
port = "8000-8010"
to = "guest"

[[forward]]
proto = "udp"
port = "5000-5001"
to = "work"
to_port = 6000

[[forward]]
proto = "tcp"
port = 9000
to = "guest"
to_port = 8000
from = ["203.0.113.0/24"]
`;

const lab = new FirewallLab("forward");
const guest = lab.namespace("guest");

beforeAll(async () => {
  lab.cable(lab.firewall, "eth2", guest, "eth0");
  becomeClient(guest, GUEST);
  lab.internet.ip("address", "add", FRIEND, "dev", "lo");
  const servers = [
    lab.client.start(peer("who", "work", 443, 6000, 6001)),
    guest.start(peer("who", "guest", 7999, 8000, 8010, 8011)),
  ];
  await Promise.all(servers.map((server) => server.says("listening")));
  lab.writeConfig(configuration([], "accept") + guestSection() + FORWARDS);
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

/** What an HTTP server at the firewall's outside address says, or "no answer". */
async function fetchOutside(from: Namespace, port: number, ...options: readonly string[]): Promise<string> {
  const curl = ["curl", "-sS", "--connect-timeout", "3", ...options, `http://${UPLINK}:${port}/`];
  const { status, stdout } = await from.attempt(curl);
  return status === 0 ? stdout : "no answer";
}

/** What a UDP server there says. */
async function ask(from: Namespace, port: number): Promise<string> {
  return (await from.run(peer("ask", UPLINK, port))).trim();
}

test("a forwarded port leads to its client, which sees who asks", async () => {
  expect(await fetchOutside(lab.internet, 8443)).toBe(`work:443 asked by ${ROUTER}`);
  expect(await fetchOutside(lab.internet, 8443, "--interface", SERVER)).toBe(`work:443 asked by ${SERVER}`);
});

test("a range leads port by port, and no further", async () => {
  expect(await fetchOutside(lab.internet, 8000)).toBe(`guest:8000 asked by ${ROUTER}`);
  expect(await fetchOutside(lab.internet, 8010)).toBe(`guest:8010 asked by ${ROUTER}`);
  expect(await fetchOutside(lab.internet, 7999)).toBe("no answer");
  expect(await fetchOutside(lab.internet, 8011)).toBe("no answer");
});

test("UDP's ports are its own, and a range may lead to other ports", async () => {
  expect(await ask(lab.internet, 5000)).toBe(`${UPLINK}:5000 says work:6000 asked by ${ROUTER}`);
  expect(await ask(lab.internet, 5001)).toBe(`${UPLINK}:5001 says work:6001 asked by ${ROUTER}`);
  expect(await ask(lab.internet, 8000)).toBe("no answer");
  expect(await fetchOutside(lab.internet, 5000)).toBe("no answer");
});

test("`from` keeps others out", async () => {
  expect(await fetchOutside(lab.internet, 9000, "--interface", FRIEND)).toBe(`guest:8000 asked by ${FRIEND}`);
  expect(await fetchOutside(lab.internet, 9000)).toBe("no answer");
  expect(await fetchOutside(lab.client, 9000)).toBe("no answer");
});

test("clients reach a forwarded port by the outside address: another client's, and their own", async () => {
  expect(await fetchOutside(guest, 8443)).toBe(`work:443 asked by ${UPLINK}`);
  expect(await fetchOutside(lab.client, 8443)).toBe(`work:443 asked by ${UPLINK}`);
  expect(await fetchOutside(lab.client, 8010)).toBe(`guest:8010 asked by ${UPLINK}`);
  expect(await ask(guest, 5001)).toBe(`${UPLINK}:5001 says work:6001 asked by ${UPLINK}`);
  expect(await ask(lab.client, 5001)).toBe(`${UPLINK}:5001 says work:6001 asked by ${UPLINK}`);
});

test("a connection through a forward, and a hairpin, carries a large file intact", async () => {
  for (const from of [lab.internet, lab.client, guest]) {
    const sink = guest.start(peer("sink", 8005));
    await sink.says("listening");
    const sent = JSON.parse(await from.run(peer("source", UPLINK, 8005, 16 * 1024 * 1024)));
    await sink.says("hash");
    expect(JSON.parse(sink.text.split("\n")[1] ?? "")).toEqual(sent);
    await sink.end();
  }
}, 120_000);

test("the flows of forwards are listed with what they look like on both sides", async () => {
  const { flows } = await lab.state();
  const pattern = `^tcp ${SERVER}:(\\d+) to ${UPLINK}:8443 as ${SERVER}:\\1 at 10.137.0.10:443, [A-Z-]+, client work, forward 1$`;
  expect(flows.join("\n")).toMatch(new RegExp(pattern, "m"));
});
