// What a virtual machine says of how its frames are to be cut, and isn't so. The kernel path's programs are told the size of segments,
// not their kind (checkOffload in kernel/programs/filter.ts), so here is what becomes of such frames: Linux does not let them in, or
// does not send them.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { ethernet, IPV4_TYPE, payload, type TcpFields, tcp } from "../../lab/frames.ts";
import { type Listening, listen } from "../../lab/listening.ts";
import type { Program } from "../../lab/namespaces.ts";
import { GSO, leaveChecksum, NO_VNET, vnet } from "../../lab/offload.ts";
import { CLIENT, configuration, SERVER, UPLINK } from "../../lab/places.ts";
import { plain } from "./raw-links.ts";
import { RawPeer } from "./raw-peer.ts";
import { untilTaken } from "./until-taken.ts";

const WORK = { mac: "02:00:00:00:01:00", firewall: "02:00:00:00:00:00" };
const OUTSIDE = { mac: "02:00:00:00:01:01", firewall: "02:00:00:00:00:01" };
const PORTS = { sourcePort: 40_000, destinationPort: 5000 };
const SEQUENCE = 1000;
const ACKNOWLEDGMENT = 70_000;
/** Bytes of payload of what is to be cut into four. */
const LONG = 3500;

const lab = new FirewallLab("kernel-offload");
const outside = lab.namespace("outside");
let tap: Program;
let server: RawPeer;
let listening: Listening;

beforeAll(async () => {
  lab.cable(lab.firewall, "p1", outside, "eth0");
  tap = lab.firewall.start(peer("tap", "p0", "vnet"), "pipe");
  await tap.says("open");
  lab.firewall.ip("link", "set", "p0", "up");
  lab.writeConfig(
    configuration([], "accept")
      .replace(
        'interface = "eth1"',
        `interface = "p1"\nown_mac = "${OUTSIDE.firewall}"\ngateway_mac = "${OUTSIDE.mac}"`,
      )
      .replace('interface = "eth0"', `interface = "p0"\nown_mac = "${WORK.firewall}"\nmac = "${WORK.mac}"`),
  );
  await lab.start();
  server = await RawPeer.start(outside, ["eth0"]);
  listening = await listen([outside]);
}, 60_000);

afterAll(() => lab.close());

/** A frame of the client's on its connection. */
function segment(length: number, fields: Partial<TcpFields> = {}): Uint8Array {
  const next = { flags: ".", sequence: SEQUENCE + 1, acknowledgment: ACKNOWLEDGMENT + 1, ...fields };
  const packet = tcp({ source: CLIENT, destination: SERVER, ...PORTS, ...next }, payload(length));
  return ethernet(WORK.mac, WORK.firewall, IPV4_TYPE, packet);
}

/** The client's machine sends a frame, if the kernel takes it. */
async function send(frame: Uint8Array, header: Uint8Array = NO_VNET): Promise<void> {
  const said = tap.text.length;
  tap.type(`${Buffer.concat([header, frame]).toString("hex")}\n`);
  await tap.says("\n", said);
}

/** Bytes of payload of all that the server's link has heard on the connection. */
function heard(): number[] {
  return listening.heard()[0].flatMap((line) => {
    const [, length] = /^IP .*: Flags .*, length (\d+)/.exec(line) ?? [];
    return length === undefined ? [] : [Number(length)];
  });
}

let marks = 0;

/**
 * Sends a frame, and behind it one of a length that none had before: when that has come, what was before it comes no more.
 * @returns what came before it, in bytes of payload
 */
async function arrives(frame: Uint8Array, header: Uint8Array = NO_VNET): Promise<number[]> {
  const before = heard().length;
  await send(frame, header);
  const mark = ++marks;
  await send(segment(mark));
  while (!heard().includes(mark)) await Bun.sleep(5);
  return heard().slice(before, -1);
}

test("a frame of IPv4 that is to be cut as something else does not arrive, and its flow goes on", async () => {
  await send(segment(0, { flags: "S", sequence: SEQUENCE, acknowledgment: 0 }));
  while (heard().length === 0) await Bun.sleep(5);
  const ports = { sourcePort: PORTS.destinationPort, destinationPort: PORTS.sourcePort };
  const says = { flags: "S.", sequence: ACKNOWLEDGMENT, acknowledgment: SEQUENCE + 1 };
  const answer = tcp({ source: SERVER, destination: UPLINK, ...ports, ...says }, payload(0));
  await server.exchange(plain("eth0", ethernet(OUTSIDE.mac, OUTSIDE.firewall, IPV4_TYPE, answer)));
  const whole = segment(LONG);
  const cut = { gsoType: GSO.TCPV4, gsoSize: 1000, headerLength: 54 };
  const isTaken = () =>
    untilTaken(lab, 2, async () => {
      const { frame, vnet } = leaveChecksum(whole, cut);
      expect(await arrives(frame, vnet)).toEqual([LONG]);
    });
  await isTaken();

  for (const gsoType of [GSO.TCPV6, GSO.UDP, GSO.UDP_L4]) {
    const { frame, vnet: left } = leaveChecksum(whole, { ...cut, gsoType });
    for (const lie of [
      { frame, header: left },
      { frame: whole, header: vnet({ ...cut, gsoType }) },
    ]) {
      expect(await arrives(lie.frame, lie.header)).toEqual([]);
      await isTaken();
    }
  }
}, 60_000);
