// Who holds an IPv6 address lets go of it, whatever happens: frames of all kinds, cut and mangled, settings that change, time that goes by.
import { expect, test } from "bun:test";
import { payload } from "../../../lab/frames.ts";
import { ah, DESTINATION, fragmented6, icmpv6, ip6, options, routing, tcp6, udp6 } from "../../../lab/frames6.ts";
import { Random } from "../../../lab/random.ts";
import { Lab, WORK_SETTINGS } from "../../../lab/router-lab.ts";
import {
  frameFrom6,
  GATEWAY_6,
  interfaceOf6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_HOST,
  SETTINGS_6,
  UPLINK_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";

const OPEN: Settings = {
  ...SETTINGS_6,
  clients: [
    { ...WORK_SETTINGS_6, reach: [1], openFilter: true },
    { ...LAN_SETTINGS_6, reach: [0] },
  ],
  forwards: [
    { protocol: 6, portLow: 80, portHigh: 89, client: 1, to: undefined, toPort: 80, from: [], to6: ip6(LAN_HOST_6) },
  ],
};

const SETTINGS: readonly Settings[] = [
  OPEN,
  SETTINGS_6,
  ROUTED,
  { ...OPEN, uplink: { ...OPEN.uplink, ipv6: { ...UPLINK_6, address: ip6("2001:db8:ffff::3") } } },
  { ...OPEN, clients: [WORK_SETTINGS, LAN_SETTINGS_6], forwards: [] },
];

const HOSTS = [WORK_HOST_6, LAN_HOST_6, ROUTED_HOST, REMOTE_6];

function anyPacket(random: Random, source: string): Uint8Array {
  const destination = random.pick([
    REMOTE_6,
    REMOTE_62,
    WORK_HOST_6,
    LAN_HOST_6,
    OUTSIDE_6,
    WORK_GATEWAY_6,
    GATEWAY_6,
    ROUTED_HOST,
  ]);
  const extensions = random.chance(0.8)
    ? []
    : [random.pick([ah(), options(DESTINATION, payload(6)), routing(2, 0), routing(0, 1)])];
  const ends = {
    source: random.chance(0.95) ? source : destination,
    destination,
    extensions,
    hopLimit: random.pick([64, 64, 64, 1, 2]),
  };
  const ports = { sourcePort: random.pick([40000, 80, 53, 1000]), destinationPort: random.pick([53, 80, 40000]) };
  switch (random.below(5)) {
    case 0:
      return tcp6({
        ...ends,
        ...ports,
        flags: random.pick(["S", "S.", ".", "R", "F."]),
        sequence: random.below(3),
        acknowledgment: random.below(3),
      });
    case 1:
      return udp6({ ...ends, ...ports }, payload(random.below(40)));
    case 2:
      return icmpv6({ ...ends, type: random.pick([128, 129, 135, 143]), rest: random.below(4) << 16 }, payload(8));
    case 3: {
      const about = udp6(
        { source: destination, destination: source, sourcePort: 40000, destinationPort: 53 },
        payload(4),
      );
      return icmpv6({ ...ends, type: random.pick([1, 2, 3, 4]), rest: 1400 }, about);
    }
    default:
      return random.pick(fragmented6(udp6({ ...ends, ...ports, extensions: [] }, payload(100)), 48, random.below(3)));
  }
}

function mangled(random: Random, frame: Uint8Array): Uint8Array {
  const copy = frame.slice(0, random.chance(0.5) ? frame.length : random.below(frame.length + 1));
  for (let i = random.below(4); i > 0 && copy.length > 0; i--) copy[random.below(copy.length)] ^= 1 << random.below(8);
  return copy;
}

test("after whatever frames and settings, no address is held when all is over", () => {
  const random = new Random(66);
  for (let round = 0; round < 4; round++) {
    const lab = new Lab({ settings: OPEN, seed: round });
    lab.verifiesChecksums = false;
    const atFirst = lab.router.addresses.size;
    let mostFlows = 0;
    let mostAddresses = 0;
    for (let step = 0; step < 8000; step++) {
      const host = random.pick(HOSTS);
      const frame = frameFrom6(host, anyPacket(random, host));
      lab.receive(interfaceOf6(host), random.chance(0.8) ? frame : mangled(random, frame));
      mostFlows = Math.max(mostFlows, lab.router.flows.size);
      mostAddresses = Math.max(mostAddresses, lab.router.addresses.size);
      if (random.chance(0.01)) lab.leap(random.pick([100, 2000, 40_000]));
      if (random.chance(0.005)) lab.apply(random.pick(SETTINGS));
    }
    expect(mostFlows).toBeGreaterThan(20);
    expect(mostAddresses).toBeGreaterThan(atFirst);
    lab.apply(OPEN);
    for (let i = 0; i < 3000; i++) lab.leap(10_000);
    expect(lab.router.flows.size).toBe(0);
    expect(lab.router.addresses.size).toBe(atFirst);
  }
});
