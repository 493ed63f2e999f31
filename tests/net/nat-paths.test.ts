// Programs that ask the network itself: which hops there are, and how large a packet they take. A path whose MTU shrinks twice:
//   client (9000) firewall (1500) router (1400) host
// Datagrams that are larger arrive whole, in whichever order their fragments travel.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { ethernet, fragmented, IPV4_TYPE, payload, udp } from "../../lab/frames.ts";
import { macOf, type Namespace, type Program } from "../../lab/namespaces.ts";
import { CLIENT, CLIENT_GATEWAY, ROUTER, SERVER, serveHttp, UPLINK } from "../../lab/places.ts";
import { Random } from "../../lab/random.ts";

const HOST = "203.0.113.2";
const HOST_ROUTER = "203.0.113.1";
const ECHO = 7;
const LARGEST = 65507;

const lab = new FirewallLab("paths");
const host = lab.namespace("host");

beforeAll(async () => {
  lab.cable(lab.internet, "eth1", host, "eth0");
  lab.internet.ip("address", "add", `${HOST_ROUTER}/24`, "dev", "eth1");
  host.ip("address", "add", `${HOST}/24`, "dev", "eth0");
  host.ip("route", "add", "default", "via", HOST_ROUTER);
  lab.internet.ip("link", "set", "eth1", "mtu", "1400");
  host.ip("link", "set", "eth0", "mtu", "1400");
  for (const end of [lab.client, lab.firewall]) end.ip("link", "set", "eth0", "mtu", "9000");
  await lab.internet.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
  // Linux would let most of a traceroute's probes at once go without an answer.
  for (const end of [lab.internet, host]) {
    await end.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit"]);
  }
  lab.configure([], "accept");
  await lab.start();
  await lab.client.run(["ping", "-c", "1", HOST]);
}, 120_000);

afterAll(() => lab.close());

/** Forgets the path MTU that the client has learned. */
function forgetPath(): void {
  lab.client.ip("route", "flush", "cache");
}

for (const [what, option] of [
  ["ICMP echo", "-I"],
  ["UDP to a name server's port", "-U"],
  ["TCP", "-T"],
  ["UDP to ports that nobody has", ""],
] as const) {
  test(`traceroute names every hop: ${what}`, async () => {
    const options = [option, "-n", "-q", "1", "-w", "1"].filter(Boolean);
    const output = await lab.client.run(["traceroute", ...options, HOST]);
    expect(
      output.replaceAll(/ {2}\d+\.\d+ ms$/gm, ""),
    ).toBe(`traceroute to ${HOST} (${HOST}), 30 hops max, 60 byte packets
 1  ${CLIENT_GATEWAY}
 2  ${ROUTER}
 3  ${HOST}
`);
  });
}

test("tracepath finds every hop and every MTU", async () => {
  forgetPath();
  const output = await lab.client.run(["tracepath", "-n", HOST]);
  expect(
    output.replaceAll(/ +\d+\.\d+ms */g, " ").replaceAll(/ +$/gm, ""),
  ).toBe(` 1?: [LOCALHOST]                      pmtu 9000
 1:  ${CLIENT_GATEWAY}
 1:  ${CLIENT_GATEWAY}
 2:  ${CLIENT_GATEWAY} pmtu 1500
 2:  ${ROUTER}
 3:  ${ROUTER} pmtu 1400
 3:  ${HOST} reached
     Resume: pmtu 1400 hops 3 back 3
`);
});

test("a packet that may not be fragmented is refused by whoever would have to, with the MTU that fits", async () => {
  for (const [size, from, mtu] of [
    [2000, CLIENT_GATEWAY, 1500],
    [1450, ROUTER, 1400],
  ] as const) {
    forgetPath();
    const { status, stdout } = await lab.client.attempt(["ping", "-c", "1", "-M", "do", "-s", String(size), HOST]);
    expect(status).toBe(1);
    expect(stdout.split("\n").slice(0, 2)).toEqual([
      `PING ${HOST} (${HOST}) ${size}(${size + 28}) bytes of data.`,
      `From ${from} icmp_seq=1 Frag needed and DF set (mtu = ${mtu})`,
    ]);
  }
  forgetPath();
  expect(await lab.client.run(["ping", "-c", "1", "-M", "do", "-s", "1372", HOST])).toContain(" 0% packet loss");
});

/** Echoes of the largest datagrams, and pings that no frame holds, to a server and back. */
async function largeDatagrams(address: string): Promise<void> {
  forgetPath();
  expect(await lab.client.run(["ping", "-c", "3", "-i", "0.1", "-M", "dont", "-s", "2000", address])).toContain(
    " 0% packet loss",
  );
  const output = await lab.client.run(peer("udp-sizes", address, ECHO, LARGEST - 9, LARGEST));
  expect(JSON.parse(output)).toEqual({ intact: 10, changed: [], lost: [] });
}

test("datagrams of 65507 bytes arrive whole, both ways, through routers that fragment them again", async () => {
  for (const [namespace, address] of [
    [lab.internet, SERVER],
    [host, HOST],
  ] as const) {
    const echo = namespace.start(peer("echo", address, ECHO));
    await echo.says("listening");
    await largeDatagrams(address);
  }
  lab.client.ip("link", "set", "eth0", "mtu", "1500");
  await largeDatagrams(SERVER);
  await largeDatagrams(HOST);
  lab.client.ip("link", "set", "eth0", "mtu", "9000");
}, 120_000);

/** Sends a datagram to the firewall in fragments, in this order, and waits until the listener has it. */
async function sendInPieces(
  from: Namespace,
  ends: { source: string; destination: string; sourcePort: number; destinationPort: number },
  order: (fragments: Uint8Array[]) => Uint8Array[],
  identification: number,
  listener: Program,
): Promise<void> {
  const content = payload(LARGEST);
  const firewallMac = await macOf(lab.firewall, from === lab.client ? "eth0" : "eth1");
  const fragments = fragmented(udp({ ...ends, identification }, content), 1480);
  const frames = order(fragments).map((packet) => ethernet("02:00:00:00:00:99", firewallMac, IPV4_TYPE, packet));
  const file = join(lab.folder, "fragments");
  writeFileSync(file, frames.map((frame) => Buffer.from(frame).toString("hex")).join("\n"));
  const said = listener.text.length;
  await from.run(peer("inject", "eth0", file));
  const hash = createHash("sha256").update(content).digest("hex");
  await listener.says(`${JSON.stringify({ length: LARGEST, hash })}\n`, said, 1000);
}

const random = new Random(1);
const ORDERS: readonly (readonly [string, (fragments: Uint8Array[]) => Uint8Array[]])[] = [
  ["last first", (fragments) => fragments.toReversed()],
  ["first last", ([first, ...others]) => (first === undefined ? [] : [...others, first])],
  [
    "shuffled",
    (fragments) =>
      fragments
        .map((one) => ({ one, key: random.next() }))
        .sort((a, b) => a.key - b.key)
        .map(({ one }) => one),
  ],
];

for (const [name, order] of ORDERS) {
  test(`so do those whose fragments come in another order: ${name}`, async () => {
    const server = lab.internet.start(peer("udp-hashes", SERVER, 9));
    await server.says("listening");
    const client = lab.client.start(peer("udp-hashes", CLIENT, 9, SERVER, 9));
    await server.says('"length":0');
    for (let i = 0; i < 10; i++) {
      const outward = { source: CLIENT, destination: SERVER, sourcePort: 9, destinationPort: 9 };
      await sendInPieces(lab.client, outward, order, i, server);
      const inward = { source: SERVER, destination: UPLINK, sourcePort: 9, destinationPort: 9 };
      await sendInPieces(lab.internet, inward, order, i, client);
    }
    for (const program of [server, client]) program.signal("SIGTERM");
    await Promise.all([server.end(), client.end()]);
  }, 120_000);
}

/**
 * The MSS of a connection's SYN as it arrives outside, and of the SYN-ACK as it arrives inside.
 * @param curlOptions what the connection is for; without any, a fetch
 */
async function mssSeen(...curlOptions: readonly string[]): Promise<string[]> {
  forgetPath();
  const options = ["-n", "--immediate-mode", "-l", "-c", "1", "-Q", "in", "-i", "eth0", "tcp[tcpflags] & tcp-syn != 0"];
  const ends = [lab.internet, lab.client].map((end) => end.start(["tcpdump", ...options]));
  await Promise.all(ends.map((tcpdump) => tcpdump.says("listening on")));
  await lab.client.run(["curl", "-sS", "-o", "/dev/null", ...curlOptions, `http://${SERVER}/`]);
  await Promise.all(ends.map((tcpdump) => tcpdump.end()));
  return ends.map(({ text }) => /Flags \[(S\.?)\].* options \[mss (\d+),/.exec(text)?.slice(1).join(" ") ?? text);
}

test("the MSS of connections is left alone, or lowered to what fits both ends where an interface asks for it", async () => {
  lab.internet.ip("link", "set", "eth0", "mtu", "9000");
  writeFileSync(join(lab.folder, "index.html"), payload(100_000));
  serveHttp(lab.internet, lab.folder);
  // With segments that the link to the firewall does not take, only little gets through.
  expect(await mssSeen("--head")).toEqual(["S 8960", "S. 8960"]);
  lab.configure([], "accept");
  const config = await Bun.file(lab.configFile).text();
  for (const place of [/^\[uplink\]$/m, /^\[\[client\]\]$/m]) {
    lab.writeConfig(config.replace(place, "$&\nclamp_mss = true"));
    await lab.reload();
    expect(await mssSeen()).toEqual(["S 1460", "S. 1460"]);
  }
});
