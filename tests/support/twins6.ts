// Frames of IPv6 for two routers that must do the same (twins.ts): talks by UDP, TCP and echo (talks.ts) with much that is wrong or
// unusual, and settings, rules and a clock that change meanwhile.
import { payload } from "../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  fragment,
  HOP_BY_HOP,
  type Icmpv6Fields,
  icmpv6,
  ip6,
  options,
  routing,
  type Tcp6Fields,
  tcp6,
  udp6,
} from "../../lab/frames6.ts";
import { GSO, vnet } from "../../lab/offload.ts";
import { TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import {
  ANYTHING_6,
  frameFrom6,
  interfaceOf6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED_6,
  ROUTED_HOST,
  SETTINGS_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../lab/router-lab6.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { elsewhere, type Family, ofAnother, padded, type Talk, talkOn } from "./talks.ts";
import type { Frame, Twins } from "./twins.ts";
import { SCRUBBED } from "./twins4.ts";

const CLIENTS = [WORK_HOST_6, LAN_HOST_6];
const REMOTES = [REMOTE_6, REMOTE_62, OUTSIDE_6];

/** "work" reaches "lan", which is open to anyone at ports that it uses, and takes smaller packets. The uplink has a rate. */
export const TWIN_6: Settings = {
  ...SETTINGS_6,
  uplink: { ...SETTINGS_6.uplink, rate: 100_000_000 },
  interfaces: SETTINGS_6.interfaces.map((iface, i) => ({
    ...iface,
    mtu: i === 2 ? 1300 : iface.mtu,
    clampMss: i === 1,
  })),
  clients: [
    { ...WORK_SETTINGS_6, reach: [1] },
    { ...LAN_SETTINGS_6, openFilter: true },
  ],
};

/** The same where the network of "lan" is routed to us. */
export const ROUTED_TWIN_6: Settings = {
  ...TWIN_6,
  clients: [TWIN_6.clients[0], { ...TWIN_6.clients[1], ipv6: ROUTED_6 }],
};

/** "work" has its packets changed by all that there is. */
export const SCRUBBED_TWIN_6: Settings = {
  ...TWIN_6,
  clients: [{ ...TWIN_6.clients[0], scrub: SCRUBBED.clients[0].scrub }, TWIN_6.clients[1]],
};

type Fields = Partial<Tcp6Fields & Icmpv6Fields>;

function oddFields(talk: Talk, random: Random): Fields {
  const off = random.pick([-70_000, -1, 1, 65_535, 70_000, 200_000]);
  const extension = () => {
    return random.pick([
      ah(),
      options(HOP_BY_HOP, payload(0)),
      options(DESTINATION, payload(0)),
      routing(0, 0),
      routing(4, 0),
    ]);
  };
  return random.pick<Fields>([
    { hopLimit: random.below(3) },
    { extensions: [extension()] },
    { extensions: [extension(), options(DESTINATION, payload(0))] },
    { extensions: [options(HOP_BY_HOP, payload(0)), routing(4, 0), fragment(0, false)] },
    { extensions: [fragment(0, false, random.next())] },
    { extensions: [fragment(random.pick([0, 8, 1232]), random.chance(0.5), random.below(3))] },
    { trafficClass: random.below(256), flowLabel: random.below(1 << 20) },
    { flags: random.pick(["S", "F.", "R", "R.", "P.", "S.", "FS", "", "F", "PUE.", "W."]) },
    { sequence: talk.sequence + off },
    { acknowledgment: talk.sequence + off },
    { window: random.pick([0, 1, 1000]), tcpOptions: Uint8Array.of(1, 1, 1, 1) },
    { type: random.pick([128, 129, 1, 2, 3, 4, 135, 130, 0]), code: random.below(3) },
    { rest: random.next() },
  ]);
}

/** The frame with something wrong or unusual about it. */
function changed({ iface, bytes }: Frame, random: Random): Frame {
  const copy = bytes.slice();
  const flip = (at: number) => {
    if (at < copy.length) copy[at] ^= 1 << random.below(8);
  };
  switch (random.below(12)) {
    case 0: // bits of all headers
      for (let bits = 1 + random.below(3); bits > 0; bits--) flip(random.below(80));
      return { iface, bytes: copy };
    case 1:
      return { iface, bytes: copy.subarray(0, random.below(copy.length)) };
    case 2:
      return { iface, bytes: padded(copy, random) };
    case 3:
      return elsewhere(copy, random);
    case 4:
    case 5: // left to the interface, and perhaps to be cut
      return { iface, ...left(copy, random) };
    case 6:
      return { iface, bytes: ofAnother(copy, random) };
    case 7: // payload length
      copy.set([0, random.below(80)], 18);
      return { iface, bytes: copy };
    case 8:
    case 9: // a bit of what says what it is: EtherType, version, next header, hop limit, TCP's header length and flags, ICMPv6's type
      flip(random.pick([12, 13, 14, 20, 20, 21, 54, 66, 66, 67]));
      return { iface, bytes: copy };
    case 10: // an address that differs by a bit
      flip(22 + random.below(32));
      return { iface, bytes: copy };
    default: // no UDP checksum, or its length; for TCP a wrong checksum
      if (copy.length < 72) return { iface, bytes: copy };
      if (copy[20] === UDP && random.chance(0.5)) copy.set([0, random.below(20)], 58);
      else copy.set([0, 0], copy[20] === UDP ? 60 : 70);
      return { iface, bytes: copy };
  }
}

/** What a sender leaves to its interface, as it should be or not. */
function left(bytes: Uint8Array, random: Random): Pick<Frame, "bytes" | "vnet"> {
  const isTcp = bytes[20] === TCP;
  const isCut = random.chance(0.5);
  const fields = {
    flags: random.pick([0, 1, 1, 1, 3]),
    gsoType: isCut ? random.pick([GSO.TCPV6, GSO.TCPV6, GSO.TCPV6 | 0x80, GSO.TCPV4, GSO.UDP_L4]) : GSO.NONE,
    gsoSize: isCut ? random.pick([0, 7, 8, 100, 1220, 1228, 1240, 1241, 1400]) : 0,
    checksumStart: random.pick([54, 54, 54, 34, 0, random.below(65536)]),
    checksumOffset: random.chance(0.8) ? (isTcp ? 16 : bytes[20] === UDP ? 6 : 2) : random.below(65536),
  };
  return { bytes, vnet: vnet(fields) };
}

/** What is not a frame. */
function somethingElse(twins: Twins, settings: Settings, random: Random): void {
  const step = random.below(4);
  if (step < 2) {
    const ms = random.pick([1, 300, 4000, 31_000]);
    twins.do(`${ms} ms`, (lab) => lab.leap(ms));
  } else if (step === 2) {
    const port = random.pick([53, 80, 443]);
    const ruleset = compileRuleset([], true, [
      { ...ANYTHING_6, accept: false, protocol: TCP, portLow: port, portHigh: port },
    ]);
    twins.do(`rules without ${port}`, (lab) =>
      lab.command((router) => router.setClient(0, { ...settings.clients[0], ruleset })),
    );
  } else {
    const dns = random.chance(0.5) ? [] : [ip6(REMOTE_6)];
    const uplink = { ...settings.uplink, ipv6: settings.uplink.ipv6 && { ...settings.uplink.ipv6, dns } };
    const interfaces = settings.interfaces.map((iface) => ({
      ...iface,
      mtu: random.pick([1280, 1500]),
      isDown: random.chance(0.1),
    }));
    twins.do("other settings", (lab) => lab.apply({ ...settings, uplink: uplink as Settings["uplink"], interfaces }));
    // Where the link was down our addresses there have been probed for by then.
    if (random.chance(0.95)) twins.do("three seconds", (lab) => lab.wait(3000));
  }
}

/** @param isRouted whether the network of "lan" is routed to us */
function family(isRouted: boolean): Family<Tcp6Fields & Icmpv6Fields> {
  const clients = isRouted ? [WORK_HOST_6, ROUTED_HOST] : CLIENTS;
  return {
    kinds: ["tcp", "udp", "tcp", "udp", "echo"],
    clients,
    remotes: REMOTES,
    ours: OUTSIDE_6,
    echo: [128, 129],
    lengths: [0, 1, 100, 300, 1220, 1240, 1252, 1260, 1400, 1440, 1460],
    outsideOf: (client, remote) => (clients.includes(remote) || client === ROUTED_HOST ? client : OUTSIDE_6),
    frame(kind, fields, length) {
      const make = { tcp: tcp6, udp: udp6, echo: icmpv6 } as const;
      const { source } = fields;
      return { iface: interfaceOf6(source), bytes: frameFrom6(source, make[kind](fields, payload(length))) };
    },
    sentPort({ tried }, kind) {
      const frame = tried.last.at(-1);
      if (frame === undefined) throw new Error("nothing was sent");
      return new DataView(frame.bytes.buffer).getUint16(kind === "echo" ? 58 : 54);
    },
    oddFields,
    changed,
    somethingElse,
  };
}

/**
 * Has both routers forward what random talks say.
 * @param steps frames, less those that open a talk
 * @param settings that both have: one of those above
 * @returns how many frames were forwarded
 */
export function converse6(twins: Twins, steps: number, settings: Settings, random: Random): number {
  const isRouted = settings.clients.some(({ ipv6 }) => ipv6?.nat === "route");
  return talkOn(twins, steps, settings, family(isRouted), random);
}
