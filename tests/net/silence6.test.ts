// What is heard on the wires by IPv6 while a firewall starts, where the kernel's own IPv6 is switched on: where none is configured not one
// frame, where it is only what the firewall itself says. Another interface, which is left to the kernel, shows what there would be.
import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { groupOf, linkLocalOf } from "../../lab/discovery-frames.ts";
import { IPV6_TYPE, text6 } from "../../lab/frames6.ts";
import { GUEST_GATEWAY6, Ipv6Lab, LAN_GATEWAY6, OUTSIDE6 } from "../../lab/ipv6-lab.ts";
import { macOf, type Namespace, type Program } from "../../lab/namespaces.ts";
import { becomeClient, configuration, guestSection } from "../../lab/places.ts";

const NAMES = ["eth0", "eth1", "eth2"] as const;
/** The kernel's. */
const OTHER = "eth9";
/** ICMPv6 types: RFC 4861, RFC 3810. */
const [SOLICITATION, ADVERTISEMENT, REPORT] = [135, 136, 143];
const HOP_BY_HOP = 0;

const ipv6 = new Ipv6Lab("silence6");
const { lab, firewall } = ipv6;
const other = lab.namespace("other");
lab.cable(firewall, OTHER, other, "eth0");
const PEERS: readonly Namespace[] = [ipv6.lan, ipv6.internet, ipv6.guest];

beforeEach(async () => {
  for (const name of [...NAMES, OTHER]) {
    firewall.ip("link", "set", name, "down");
    await firewall.run(["sh", "-c", `echo 0 >/proc/sys/net/ipv6/conf/${name}/disable_ipv6`]);
  }
});

afterEach(async () => {
  lab.program.signal("SIGTERM");
  expect(await lab.program.end()).toBe(0);
});

afterAll(() => ipv6.close());

interface Heard {
  readonly frames: readonly Uint8Array[];
  /** Those of IPv6. */
  readonly ipv6: readonly Uint8Array[];
}

class Capture {
  private constructor(
    private readonly program: Program,
    private readonly file: string,
  ) {}

  /** Of what comes in at a namespace's eth0. */
  static async start(namespace: Namespace): Promise<Capture> {
    const file = join(lab.folder, `${namespace.name}.pcap`);
    rmSync(file, { force: true });
    const options = ["--immediate-mode", "-U", "-n", "-i", "eth0", "-Q", "in"];
    const program = namespace.start(["tcpdump", ...options, "-w", file]);
    await program.says("listening on");
    return new Capture(program, file);
  }

  async end(): Promise<Heard> {
    this.program.signal("SIGINT");
    await this.program.end();
    const frames = (await readCapture(await Bun.file(this.file).bytes())).frames.map(({ bytes }) => bytes);
    return { frames, ipv6: frames.filter((frame) => frame[12] * 256 + frame[13] === IPV6_TYPE) };
  }
}

/**
 * Starts the firewall, and the other interface with it, and waits until the kernel there has said all that it says of itself: it has probed
 * for its address, told of its groups, and asked for routers.
 * @returns by interface, what was heard behind it
 */
async function start(): Promise<Heard[]> {
  const captures = await Promise.all(PEERS.map((peer) => Capture.start(peer)));
  const kernel = other.start(["tcpdump", "--immediate-mode", "-l", "-n", "-i", "eth0", "-Q", "in", "ip6"]);
  await kernel.says("listening on");
  const starting = lab.start();
  firewall.ip("link", "set", OTHER, "up");
  await starting;
  for (const said of ["neighbor solicitation", "multicast listener report", "router solicitation"])
    await kernel.says(said);
  kernel.signal("SIGINT");
  await kernel.end();
  const pinged = await ipv6.lan.attempt(["ping", "-c", "1", "-W", "5", "192.0.2.1"]);
  expect(pinged.status).toBe(0);
  return await Promise.all(captures.map((capture) => capture.end()));
}

/** What the kernel says it has sent by IPv6 out of an interface since that is there; frames of the firewall's are not among it. */
async function kernelSent(name: string): Promise<number> {
  const text = await firewall.run(["cat", `/proc/net/dev_snmp6/${name}`]);
  return Number(/^Ip6OutRequests\s+(\d+)$/m.exec(text)?.[1]);
}

/** Waits until the kernel has said nothing more there for a hundred looks. */
async function quiescence(name: string): Promise<void> {
  let sent = -1;
  for (let looks = 0; looks < 100; looks++) {
    const now = await kernelSent(name);
    if (now !== sent) looks = 0;
    sent = now;
  }
}

/** Gives the home network's host its IPv4 addresses. */
function settle(): void {
  ipv6.lan.ip("address", "flush", "dev", "eth0");
  becomeClient(ipv6.lan);
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

test("where IPv6 is not configured not one frame of it leaves, on the uplink or to clients", async () => {
  settle();
  lab.writeConfig(configuration([], "accept") + guestSection());
  const before = await Promise.all(NAMES.map(kernelSent));
  const heard = await start();
  expect(heard.map(({ ipv6 }) => ipv6.length)).toEqual([0, 0, 0]);
  expect(heard[1].frames.length).toBeGreaterThan(1); // the echo request, and who asks for the gateway
  expect(await Promise.all(NAMES.map(kernelSent))).toEqual(before);
}, 60_000);

test("nor where the kernel was at it already: it leaves its groups without a word", async () => {
  settle();
  // It asks for no routers, and repeats its reports at once, so that there is a time when it has said all.
  const quickly = "echo 0 >$d/router_solicitations; echo 1 >$d/mldv2_unsolicited_report_interval";
  const folders = NAMES.map((name) => `/proc/sys/net/ipv6/conf/${name}`).join(" ");
  await firewall.run(["sh", "-c", `for d in ${folders}; do ${quickly}; done`]);
  for (const name of NAMES) firewall.ip("link", "set", name, "up");
  const addresses = async () => await firewall.run(["ip", "-6", "-oneline", "address", "show", "scope", "link"]);
  const isReady = (text: string) => NAMES.every((name) => text.includes(` ${name} `)) && !text.includes("tentative");
  while (!isReady(await addresses()));
  await Promise.all(NAMES.map(quiescence));
  lab.writeConfig(configuration([], "accept") + guestSection());
  const heard = await start();
  expect(heard.map(({ ipv6 }) => ipv6.length)).toEqual([0, 0, 0]);
}, 60_000);

test("where it is configured only the firewall speaks: it probes, tells of its addresses and groups, and asks for no router", async () => {
  await ipv6.settleLan();
  ipv6.configure({});
  const before = await Promise.all(NAMES.map(kernelSent));
  const heard = await start();
  expect(await Promise.all(NAMES.map(kernelSent))).toEqual(before);
  const macs = await Promise.all(NAMES.map((name) => macOf(firewall, name)));
  const own = [LAN_GATEWAY6, OUTSIDE6, GUEST_GATEWAY6];
  for (const [i, { ipv6 }] of heard.entries()) {
    expect(ipv6.filter((frame) => !isOurs(frame, [own[i], linkLocalOf(macs[i])]))).toEqual([]);
  }
  const [lan, uplink, guest] = heard.map(({ ipv6 }) => ipv6.map((frame) => typeOf(frame)));
  expect(uplink).toContain(SOLICITATION);
  expect(new Set(lan)).toContain(ADVERTISEMENT);
  expect(sum([lan, uplink].map((types) => types.filter((type) => type === REPORT).length))).toBeGreaterThan(1);
  expect(guest).toEqual([]); // one host, who asks when he wants to know
}, 60_000);

function typeOf(frame: Uint8Array): number {
  return frame[20] === HOP_BY_HOP ? frame[62] : frame[54];
}

/** Whether it is a probe for one of these addresses, tells of one, or reports groups. */
function isOurs(frame: Uint8Array, own: readonly string[]): boolean {
  const [source, destination, target] = [22, 38, 62].map((at) => text6(frame.subarray(at, at + 16)));
  switch (typeOf(frame)) {
    case SOLICITATION:
      // Without the option of RFC 7527, by which the kernel's can be told.
      return source === "::" && own.includes(target) && destination === groupOf(target) && frame.length === 78;
    case ADVERTISEMENT:
      return own.includes(source) && target === source;
    case REPORT:
      return source === "::" || own.includes(source);
    default:
      return false;
  }
}
