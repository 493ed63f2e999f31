// Neighbour Discovery with Linux at the other ends, and ndisc6: who finds whom, our own addresses probed for on the uplink, and our groups
// known to a bridge that forwards to listeners only. And what Linux sends is sound by our own reading of it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { groupOf, linkLocalOf } from "../../lab/discovery-frames.ts";
import { firebreak } from "../../lab/firewall-lab.ts";
import { GUEST_GATEWAY6, Ipv6Lab, LAN_GATEWAY6, LAN_HOST6, OUTSIDE6, SERVER6 } from "../../lab/ipv6-lab.ts";
import { macOf, type Namespace } from "../../lab/namespaces.ts";
import { HAS_EXTENSION, HeaderChain } from "../../src/wire/header-chain.ts";
import { ICMPV6_TYPE } from "../../src/wire/icmpv6.ts";
import { checkIpv6, totalLength6 } from "../../src/wire/ipv6.ts";
import { ListenerQuery } from "../../src/wire/mld.ts";
import { NeighbourMessage } from "../../src/wire/ndp.ts";

const lab = new Ipv6Lab("ndp");
const { lan, guest, internet, firewall } = lab;

beforeAll(() => lab.settle(), 120_000);
afterAll(() => lab.close());

const pings = async (from: Namespace, address: string): Promise<boolean> =>
  (await from.attempt(["ping", "-6", "-c", "1", "-W", "2", address])).status === 0;
const found = async (from: Namespace, address: string): Promise<string> =>
  (await from.attempt(["ndisc6", "-1", "-q", "-w", "500", "-r", "2", address, "eth0"])).stdout.trim().toLowerCase();

async function stop(): Promise<void> {
  lab.lab.program.signal("SIGTERM");
  expect(await lab.lab.program.end()).toBe(0);
}

test("hosts find us by our addresses and our link-local ones, and nobody else's; we find them, and packets pass", async () => {
  await lab.start();
  const [outside, inside, toGuest] = await Promise.all(["eth1", "eth0", "eth2"].map((name) => macOf(firewall, name)));
  expect(await found(internet, OUTSIDE6)).toBe(outside);
  expect(await found(internet, linkLocalOf(outside))).toBe(outside);
  expect(await found(lan, LAN_GATEWAY6)).toBe(inside);
  expect(await found(lan, linkLocalOf(inside))).toBe(inside);
  expect([await found(internet, LAN_GATEWAY6), await found(internet, LAN_HOST6), await found(lan, OUTSIDE6)]).toEqual([
    "",
    "",
    "",
  ]);
  for (const host of [lan, guest]) while (!(await pings(host, SERVER6)));
  expect(await guest.run(["ip", "-6", "neighbour", "show", GUEST_GATEWAY6])).toContain(toGuest);
  expect(await internet.run(["ip", "-6", "neighbour", "show", OUTSIDE6])).toContain(`${outside} router`);
  await stop();
}, 60_000);

test("a host that gets another MAC address is found again, and so are we", async () => {
  await lab.start();
  while (!(await pings(lan, SERVER6)));
  lan.ip("link", "set", "eth0", "address", "02:00:00:00:77:01");
  while (!(await pings(lan, SERVER6)));
  await stop();
  firewall.ip("link", "set", "eth0", "address", "02:00:00:00:77:02");
  await lab.start();
  while (!(await pings(lan, SERVER6)));
  expect(await lan.run(["ip", "-6", "neighbour", "show", LAN_GATEWAY6])).toContain("02:00:00:00:77:02");
  await stop();
}, 60_000);

test("a gateway that is link-local is found, and packets go to it", async () => {
  const gateway = linkLocalOf(await macOf(internet, "eth0"));
  lab.configure({ gateway6: gateway });
  await lab.start();
  for (const host of [lan, guest]) while (!(await pings(host, SERVER6)));
  await stop();
  lab.configure({});
}, 60_000);

test("an address of ours that another machine has on the uplink is told of and not used; IPv4 goes on", async () => {
  internet.ip("-6", "address", "add", `${OUTSIDE6}/64`, "dev", "eth0", "nodad");
  const program = await lab.lab.start(lab.inFolder(firebreak()));
  const mac = await macOf(internet, "eth0");
  await program.says(
    `uplink: the IPv6 address ${OUTSIDE6} is that of another machine, ${mac}: the firewall forwards no IPv6 by the uplink`,
  );
  expect(await firewall.run(lab.inFolder(firebreak("status")))).toContain(
    `(${mac} has that address too: no IPv6 leaves)`,
  );
  expect(await pings(lan, SERVER6)).toBe(false);
  expect((await lan.attempt(["ping", "-c", "1", "-W", "2", "192.0.2.1"])).status).toBe(0);
  expect(await found(lan, LAN_GATEWAY6)).toBe(await macOf(firewall, "eth0"));
  internet.ip("-6", "address", "delete", `${OUTSIDE6}/64`, "dev", "eth0");
  await stop();
}, 60_000);

test("a bridge that looks at reports learns of our groups, when it asks and before; and so all find us through it", async () => {
  const bridge = lab.lab.namespace("bridge");
  firewall.ip("link", "delete", "eth0");
  for (const [port, namespace] of [
    ["p0", firewall],
    ["p1", lan],
  ] as const) {
    if (namespace === firewall) lab.lab.cable(bridge, port, firewall, "eth0");
    else lab.lab.cable(bridge, port, lan, "eth0");
  }
  await lab.settleLan();
  bridge.ip(
    "link",
    "add",
    "br0",
    "type",
    "bridge",
    "mcast_snooping",
    "1",
    "mcast_querier",
    "1",
    "mcast_query_response_interval",
    "100",
  );
  await bridge.run(["sh", "-c", "for f in all default br0; do echo 0 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done"]);
  for (const port of ["p0", "p1"]) bridge.ip("link", "set", port, "master", "br0");
  bridge.ip("link", "set", "br0", "up");
  await lab.start();
  const groups = [LAN_GATEWAY6, linkLocalOf(await macOf(firewall, "eth0"))].map(groupOf);
  const ports = async () => {
    const list = (await bridge.run(["bridge", "mdb", "show", "dev", "br0"])).split("\n");
    return groups.map((group) => list.some((line) => line.includes("port p0") && line.includes(`grp ${group} `)));
  };
  while ((await ports()).includes(false)) await Bun.sleep(50);
  // The bridge forgets all, and asks again.
  bridge.ip("link", "set", "br0", "type", "bridge", "mcast_snooping", "0");
  bridge.ip("link", "set", "br0", "type", "bridge", "mcast_snooping", "1");
  while ((await ports()).includes(false)) await Bun.sleep(50);
  while ((await found(lan, LAN_GATEWAY6)) === "");
  await stop();
}, 120_000);

test("what Linux and ndisc6 send of Neighbour Discovery is sound by our reading, and there is something of every kind", async () => {
  const file = join(lab.lab.folder, "discovery.pcap");
  const tcpdump = internet.start([
    "tcpdump",
    "--immediate-mode",
    "-U",
    "-n",
    "-i",
    "eth0",
    "-w",
    file,
    "-Q",
    "out",
    "ip6",
  ]);
  await tcpdump.says("listening on");
  const another = "2001:db8:1::99";
  internet.ip("-6", "address", "add", `${another}/64`, "dev", "eth0"); // which it probes for, and reports the group of
  await lab.start();
  while ((await found(internet, OUTSIDE6)) === "");
  while (!(await pings(lan, another))); // whom we ask for
  internet.ip("-6", "address", "delete", `${another}/64`, "dev", "eth0");
  await stop();
  tcpdump.signal("SIGINT");
  await tcpdump.end();
  const { frames } = await readCapture(await Bun.file(file).bytes());
  const kinds = new Set<string>();
  const [chain, message, query] = [new HeaderChain(), new NeighbourMessage(), new ListenerQuery()];
  for (const { bytes } of frames) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    expect(Number(checkIpv6(view, 14, bytes.length - 14) || chain.walk(view, 14, totalLength6(view, 14)))).toBe(0);
    const { transport, length, protocol, has } = chain;
    if (protocol !== 58) continue;
    const type = view.getUint8(transport);
    if (type === ICMPV6_TYPE.LISTENER_REPORT_2) kinds.add(`report ${has === HAS_EXTENSION.HOP_BY_HOP}`);
    if (type === ICMPV6_TYPE.LISTENER_QUERY) expect(Number(query.read(view, 14, transport, length, has !== 0))).toBe(0);
    if (type !== ICMPV6_TYPE.NEIGHBOUR_SOLICITATION && type !== ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT) continue;
    expect(Number(message.read(view, 14, transport, length, false))).toBe(0);
    kinds.add(`${type}${message.isProbe ? " probe" : ""}${message.mac === 0 ? " without a MAC address" : ""}`);
  }
  expect([...kinds].sort()).toEqual(["135", "135 probe without a MAC address", "136", "report true"]);
}, 60_000);
