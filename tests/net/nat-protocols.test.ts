// Protocols without ports through the running firewall, as raw frames: GRE, ESP, SCTP and others, translated by address
// alone; and what goes from client to client.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab } from "../../lab/firewall-lab.ts";
import { ethernet, IPV4_TYPE, icmp, ipv4, payload, tcp, toHex, udp } from "../../lab/frames.ts";
import { CLIENT, CLIENT_GATEWAY, configuration, GUEST, guestSection, SERVER, UPLINK } from "../../lab/places.ts";
import { NO_OFFLOAD, plain, type WireFrame } from "./raw-links.ts";
import { RawPeer } from "./raw-peer.ts";

const OTHER_SERVER = "198.51.100.81";
const SCTP = 132;

/** Who is on the ends of the firewall's cables: an interface here, its MAC address, and the firewall's there. */
const ENDS = {
  work: { mac: "02:00:00:00:01:00", firewall: "02:00:00:00:00:00" },
  uplink: { mac: "02:00:00:00:01:01", firewall: "02:00:00:00:00:01" },
  guest: { mac: "02:00:00:00:01:02", firewall: "02:00:00:00:00:02" },
} as const;

type End = keyof typeof ENDS;

const lab = new FirewallLab("protocols");
const outside = lab.namespace("outside");
let ends: RawPeer;

beforeAll(async () => {
  for (const [i, name] of Object.keys(ENDS).entries()) lab.cable(lab.firewall, `p${i}`, outside, name);
  configure("");
  await lab.start();
  ends = await RawPeer.start(outside, Object.keys(ENDS));
}, 120_000);

afterAll(() => lab.close());

/** The configuration of two clients whose policy is to accept; every MAC address is given. */
function configure(more: string): void {
  const text = configuration([], "accept") + guestSection();
  const parts = text.split(/(?=\[uplink\]|\[\[client\]\])/);
  const ends = [ENDS.uplink, ENDS.work, ENDS.guest];
  const written = parts.map((part, i) => {
    const end = ends[i] ?? ENDS.uplink;
    const theirs = end === ENDS.uplink ? "gateway_mac" : "mac";
    return part.replace(
      /^interface = "eth(\d)"$/m,
      `interface = "p$1"\nown_mac = "${end.firewall}"\n${theirs} = "${end.mac}"`,
    );
  });
  lab.writeConfig(`${written.join("")}${more}`);
}

/** A frame from an end to the firewall. */
function sent(end: End, packet: Uint8Array): WireFrame {
  return plain(end, ethernet(ENDS[end].mac, ENDS[end].firewall, IPV4_TYPE, packet));
}

/** A frame from the firewall to an end. */
function arrived(end: End, packet: Uint8Array): WireFrame {
  return plain(end, ethernet(ENDS[end].firewall, ENDS[end].mac, IPV4_TYPE, packet));
}

/** Sends frames, and compares all that comes of it. */
async function expectExchange(frames: readonly WireFrame[], answers: readonly WireFrame[]): Promise<void> {
  expect(shown(await ends.exchange(...frames))).toEqual(shown(answers));
}

function shown(frames: readonly WireFrame[]): string[] {
  return frames.map(({ on, frame, header }) => `${on}, header ${toHex(header)}:\n${toHex(frame)}`);
}

const FIELDS = { identification: 0x1234, tos: 0x2e };

for (const [name, protocol] of [
  ["GRE", 47],
  ["ESP", 50],
  ["SCTP", SCTP],
  ["IP in IP", 4],
  ["a protocol that nobody knows", 200],
] as const) {
  test(`${name} passes by address alone, back too, and nothing of it but addresses and TTL changes`, async () => {
    const content = payload(1400);
    await expectExchange(
      [sent("work", ipv4({ ...FIELDS, source: CLIENT, destination: SERVER }, protocol, content))],
      [arrived("uplink", ipv4({ ...FIELDS, source: UPLINK, destination: SERVER, ttl: 63 }, protocol, content))],
    );
    await expectExchange(
      [sent("uplink", ipv4({ ...FIELDS, source: SERVER, destination: UPLINK, ttl: 57 }, protocol, content))],
      [arrived("work", ipv4({ ...FIELDS, source: SERVER, destination: CLIENT, ttl: 56 }, protocol, content))],
    );
    const stranger = ipv4({ ...FIELDS, source: OTHER_SERVER, destination: UPLINK }, protocol, content);
    await expectExchange([sent("uplink", stranger)], []);
    // Without ports nothing would tell two clients' answers apart: the second one is told (RFC 5508 REQ-8).
    const second = ipv4({ ...FIELDS, source: GUEST, destination: SERVER }, protocol, content);
    const fields = { source: CLIENT_GATEWAY, destination: GUEST, tos: FIELDS.tos & 0xfc, type: 3, code: 13 };
    await expectExchange([sent("guest", second)], [arrived("guest", icmp(fields, second.subarray(0, 548)))]);
  });
}

/** SCTP's common header and a chunk; the checksum as given, by default right. */
function sctp(checksum?: number): Uint8Array {
  const packet = payload(64);
  const view = new DataView(packet.buffer);
  view.setUint32(8, 0);
  view.setUint32(8, checksum ?? crc32c(packet), true);
  return packet;
}

/** RFC 9260 appendix A, bit by bit. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

test("SCTP whose checksum its sender left to the interface leaves with it computed", async () => {
  const header = NO_OFFLOAD.slice();
  const view = new DataView(header.buffer);
  view.setUint8(0, 1); // VIRTIO_NET_HDR_F_NEEDS_CSUM
  view.setUint16(6, 14 + 20, true);
  view.setUint16(8, 8, true);
  const fields = { ...FIELDS, source: CLIENT, destination: OTHER_SERVER };
  await expectExchange(
    [{ ...sent("work", ipv4(fields, SCTP, sctp(0))), header }],
    [arrived("uplink", ipv4({ ...fields, source: UPLINK, ttl: 63 }, SCTP, sctp()))],
  );
});

const TO_GUEST = { ...FIELDS, source: CLIENT, destination: GUEST, sourcePort: 40000, destinationPort: 50000 };
const TO_WORK = { ...FIELDS, source: GUEST, destination: CLIENT, sourcePort: 50000, destinationPort: 40000 };

test("nothing goes from client to client unasked", async () => {
  await expectExchange([sent("work", udp(TO_GUEST, payload(10))), sent("guest", udp(TO_WORK, payload(10)))], []);
  await expectExchange([sent("work", ipv4(TO_GUEST, 47, payload(10)))], []);
});

test("with `reach` one opens flows to the other, untranslated, as its rules allow; not the other way", async () => {
  configure("");
  const config = await Bun.file(lab.configFile).text();
  const reach = 'rules = ["action=drop proto=tcp dstports=22"]\nreach = ["guest"]';
  lab.writeConfig(config.replace(/rules = \[\n\]/, reach));
  await lab.reload();
  await expectExchange([sent("guest", udp(TO_WORK, payload(10)))], []);
  await expectExchange(
    [sent("work", udp(TO_GUEST, payload(10)))],
    [arrived("guest", udp({ ...TO_GUEST, ttl: 63 }, payload(10)))],
  );
  await expectExchange(
    [sent("guest", udp(TO_WORK, payload(10)))],
    [arrived("work", udp({ ...TO_WORK, ttl: 63 }, payload(10)))],
  );
  await expectExchange(
    [sent("work", ipv4(TO_GUEST, 47, payload(10)))],
    [arrived("guest", ipv4({ ...TO_GUEST, ttl: 63 }, 47, payload(10)))],
  );
  const syn = tcp({ ...TO_GUEST, flags: "S" });
  await expectExchange([sent("work", syn)], [arrived("guest", tcp({ ...TO_GUEST, flags: "S", ttl: 63 }))]);
  const refused = await ends.exchange(sent("work", tcp({ ...TO_GUEST, destinationPort: 22, flags: "S" })));
  expect(refused.map(({ on }) => on)).toEqual(["work"]); // admin-prohibited
});
