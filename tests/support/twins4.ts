// Frames of IPv4 for two routers that must do the same (twins.ts): talks by UDP and TCP (talks.ts) with much that is wrong or unusual, and
// settings, neighbours and a clock that change meanwhile.
import { checksum, mac, payload, type TcpFields, tcp, type UdpFields, udp } from "../../lab/frames.ts";
import { GSO, leaveChecksum, vnet } from "../../lab/offload.ts";
import { TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import {
  ANYTHING,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  interfaceOf,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  WORK_HOST,
  WORK_SETTINGS,
  withRules,
} from "../../lab/router-lab.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { sentPort } from "./nat.ts";
import { elsewhere, type Family, ofAnother, padded, type Talk, talkOn } from "./talks.ts";
import type { Frame, Twins } from "./twins.ts";

const CLIENTS = [WORK_HOST, LAN_HOST, LAN_HOST_2];
const REMOTES = [REMOTE, REMOTE_2, GATEWAY, NEIGHBOUR, OUTSIDE];

/**
 * The uplink has a rate. "work" has a pinned MAC address; "lan" may be reached by it and, at ports that it uses, by anyone; its
 * packets must be smaller.
 */
export const PINNED: Settings = {
  ...SETTINGS,
  uplink: { ...SETTINGS.uplink, rate: 100_000_000 },
  interfaces: SETTINGS.interfaces.map((iface, i) => ({ ...iface, mtu: i === 2 ? 600 : iface.mtu, clampMss: i === 1 })),
  clients: [
    { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]), reach: [1] },
    { ...LAN_SETTINGS, openFilter: true },
  ],
};

/** "work" has its packets changed by all that there is. */
export const SCRUBBED: Settings = {
  ...PINNED,
  clients: PINNED.clients.map((client) =>
    client.name === "work"
      ? { ...client, scrub: { dropOptions: true, randomId: true, minTtl: 64, clearDscp: true } }
      : client,
  ),
};

function oddFields(talk: Talk, random: Random): Partial<TcpFields> {
  const off = random.pick([-70_000, -1, 1, 65_535, 70_000, 200_000]);
  return random.pick<Partial<TcpFields>>([
    { ttl: random.below(3) },
    { options: Uint8Array.of(1, 1, 1, 0) },
    { tos: random.below(256), identification: random.below(65536), fragment: 0 },
    { fragment: random.pick([0x2000, 0x6000, 0x0005, 0x8000]) },
    { flags: random.pick(["S", "F.", "R", "R.", "P.", "S.", "FS", "", "F", "PUE.", "W."]) },
    { sequence: talk.sequence + off },
    { acknowledgment: talk.sequence + off },
    { window: random.pick([0, 1, 1000]), tcpOptions: Uint8Array.of(1, 1, 1, 1) },
  ]);
}

/** The frame with something wrong or unusual about it. */
function changed({ iface, bytes }: Frame, random: Random): Frame {
  const copy = bytes.slice();
  switch (random.below(16)) {
    case 0: // bits of the headers, with checksums that are right for them or not
      for (let bits = 1 + random.below(3); bits > 0; bits--) copy[random.below(60)] ^= 1 << random.below(8);
      return { iface, bytes: random.chance(0.7) ? withHeaderChecksum(copy) : copy };
    case 1:
      return { iface, bytes: copy.subarray(0, random.below(copy.length)) };
    case 2:
      return { iface, bytes: padded(copy, random) };
    case 3:
      return elsewhere(copy, random);
    case 4:
    case 10:
    case 11:
    case 12: {
      const isCut = copy[23] === TCP && random.chance(0.6);
      const cut = {
        gsoType: random.pick([GSO.TCPV4, GSO.TCPV4 | 0x80]),
        gsoSize: random.pick([0, 7, 8, 10, 11, 12, 100, 540, 560, 561, 1400]),
      };
      const { frame, vnet } = leaveChecksum(copy, isCut ? cut : {});
      return { iface, bytes: frame, vnet };
    }
    case 5: {
      const fields = {
        flags: random.below(4),
        gsoType: random.pick([0, 0, 0, 1, 3, 4, 5, 0x81]),
        gsoSize: random.pick([0, 100, 1400]),
        checksumStart: random.pick([34, 34, 34, 33, 38, 0, random.below(65536)]),
        checksumOffset: random.pick([6, 16, 0, 18, random.below(65536)]),
      };
      return { iface, bytes: copy, vnet: vnet(fields) };
    }
    case 6:
      return { iface, bytes: ofAnother(copy, random) };
    case 7: // lengths
      copy.set([0, random.below(80)], 16);
      return { iface, bytes: withHeaderChecksum(copy) };
    case 13:
    case 14:
    case 15: // a bit of what says what it is: EtherType, version, fragment, TTL, protocol, and TCP's header length and flags
      copy[random.pick([12, 13, 14, 20, 21, 22, 23, 46, 46, 47])] ^= 1 << random.below(8);
      return { iface, bytes: withHeaderChecksum(copy) };
    case 8:
      copy.set([0, random.below(20)], 38);
      return { iface, bytes: copy };
    default: // no UDP checksum; for TCP a wrong one
      copy.set([0, 0], copy[23] === UDP ? 40 : 50);
      return { iface, bytes: copy };
  }
}

function withHeaderChecksum(bytes: Uint8Array): Uint8Array {
  bytes.set([0, 0], 24);
  const sum = checksum(bytes.subarray(14, 14 + Math.min((bytes[14] & 15) * 4, bytes.length - 14)));
  bytes.set([sum >>> 8, sum & 255], 24);
  return bytes;
}

/** What is not a frame. */
function somethingElse(twins: Twins, settings: Settings, random: Random): void {
  const step = random.below(5);
  if (step === 0) {
    const host = random.pick([LAN_HOST, LAN_HOST_2]);
    twins.do(
      `${host} answers, or not any more`,
      ({ answering }) => answering.delete(host) || answering.add(host).has(host),
    );
    twins.do("the next probes", (lab) => lab.wait(70_000));
  } else if (step < 3) {
    const ms = random.pick([1, 300, 4000, 31_000]);
    twins.do(`${ms} ms`, (lab) => lab.leap(ms));
  } else if (step === 3) {
    const port = random.pick([53, 80, 443]);
    const { ruleset } = withRules([{ ...ANYTHING, accept: false, protocol: TCP, portLow: port, portHigh: port }], true)
      .clients[0];
    twins.do(`rules without ${port}`, (lab) =>
      lab.command((router) => router.setClient(0, { ...settings.clients[0], ruleset })),
    );
  } else {
    const uplink = { ...settings.uplink, dns: random.chance(0.5) ? [] : settings.uplink.dns };
    const interfaces = settings.interfaces.map((iface) => ({
      ...iface,
      mtu: random.pick([600, 1500]),
      isDown: random.chance(0.1),
    }));
    twins.do("other settings", (lab) => lab.apply({ ...settings, uplink, interfaces }));
  }
}

const IPV4: Family<TcpFields & UdpFields> = {
  kinds: ["tcp", "udp"],
  clients: CLIENTS,
  remotes: REMOTES,
  ours: OUTSIDE,
  echo: [8, 0],
  lengths: [0, 1, 100, 300, 560, 580, 1400, 1460, 1480],
  outsideOf: (client, remote) => (CLIENTS.includes(remote) ? client : OUTSIDE),
  frame(kind, fields, length) {
    const packet = kind === "tcp" ? tcp(fields, payload(length)) : udp(fields, payload(length));
    return { iface: interfaceOf(fields.source), bytes: frameFrom(fields.source, packet) };
  },
  sentPort: ({ tried }) => sentPort(tried),
  oddFields,
  changed,
  somethingElse,
};

/**
 * Has both routers forward what random talks say.
 * @param steps frames, less those that open a talk
 * @param settings that both have, PINNED but for the interfaces' indexes
 * @returns how many frames were forwarded
 */
export function converse(twins: Twins, steps: number, settings = PINNED): number {
  return talkOn(twins, steps, settings, IPV4, new Random(2026));
}
