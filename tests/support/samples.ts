// Sound frames of IPv4 of every kind, which tests make hostile ones of, and a firewall in which they make the most of what there is happen.
import { ARP_TYPE, arp, ethernet, fromHex, icmp, ip, ipv4, mac, payload, tcp, udp } from "../../lab/frames.ts";
import { UDP } from "../../lab/protocols.ts";
import {
  BROADCAST,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  interfaceOf,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_SETTINGS,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK_SETTINGS,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../lab/router-lab.ts";
import type { Settings } from "../../src/dataplane/settings.ts";

export interface Sample {
  readonly iface: number;
  readonly frame: Uint8Array;
}

export function sample(host: string, packet: Uint8Array): Sample {
  return { iface: interfaceOf(host), frame: frameFrom(host, packet) };
}

function arpSample(host: string, target: string): Sample {
  const senderMac = HOST_MAC[host];
  const packet = arp({ operation: "request", senderMac, senderIp: host, targetIp: target });
  return { iface: interfaceOf(host), frame: ethernet(senderMac, BROADCAST, ARP_TYPE, packet) };
}

export const UP = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
export const DOWN = { source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 4000 };
export const LAN_UP = { source: LAN_HOST, destination: REMOTE, sourcePort: 4001, destinationPort: 80 };
const LAN_DOWN = { source: REMOTE, destination: OUTSIDE, sourcePort: 80, destinationPort: 4001 };
const PING = { source: WORK_HOST, destination: REMOTE, type: 8, rest: 0x00210001 };
/** What an error from the network quotes: a packet of ours. */
const QUOTED = udp({ ...UP, source: OUTSIDE, ttl: 1 }, payload(20)).subarray(0, 28);

/** Sound frames that are forwarded or answered, in an order that makes their flows. */
export const SAMPLES: readonly Sample[] = [
  arpSample(WORK_HOST, WORK_GATEWAY),
  arpSample(LAN_HOST, LAN_GATEWAY),
  arpSample(GATEWAY, OUTSIDE),
  sample(WORK_HOST, udp(UP, payload(32))),
  sample(REMOTE, udp(DOWN, payload(40))),
  sample(WORK_HOST, udp({ ...UP, options: fromHex("94040000 07070400000000 00") }, payload(32))),
  sample(LAN_HOST, tcp({ ...LAN_UP, flags: "S", sequence: 100, tcpOptions: fromHex("020405b4 01030307") })),
  sample(REMOTE, tcp({ ...LAN_DOWN, flags: "S.", sequence: 900, acknowledgment: 101 })),
  sample(LAN_HOST, tcp({ ...LAN_UP, flags: "P.", sequence: 101, acknowledgment: 901 }, payload(50))),
  sample(REMOTE, tcp({ ...LAN_DOWN, flags: ".", sequence: 901, acknowledgment: 151 })),
  sample(WORK_HOST, icmp(PING, payload(32))),
  sample(REMOTE, icmp({ ...PING, source: REMOTE, destination: OUTSIDE, type: 0 }, payload(32))),
  sample(WORK_HOST, icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8 }, payload(32))),
  sample(REMOTE, icmp({ source: "203.0.113.1", destination: OUTSIDE, type: 11 }, QUOTED)),
];

/** Sound frames of rarer kinds, which need not all pass. */
export const MORE_SAMPLES: readonly Sample[] = [
  sample(LAN_HOST, tcp({ ...LAN_UP, destination: LAN_GATEWAY, flags: "S" })),
  sample(LAN_HOST, tcp({ ...LAN_UP, sourcePort: 99, flags: "." })),
  sample(WORK_HOST, udp({ ...UP, ttl: 1 }, payload(3))),
  sample(WORK_HOST, udp({ ...UP, destination: LAN_HOST }, payload(3))),
  sample(WORK_HOST, udp({ ...UP, destination: OUTSIDE, destinationPort: 8443 }, payload(3))),
  sample(REMOTE, udp({ ...DOWN, destinationPort: 8443 }, payload(3))),
  sample(WORK_HOST, udp({ ...UP, fragment: 0 }, payload(1473))),
  sample(WORK_HOST, ipv4({ ...UP, fragment: 0x2000, identification: 7 }, 17, udp(UP, payload(100)).subarray(20, 84))),
  sample(WORK_HOST, ipv4({ ...UP, fragment: 0x0008, identification: 7 }, 17, udp(UP, payload(100)).subarray(84))),
  sample(REMOTE, ipv4({ ...DOWN, fragment: 0x2008, identification: 9 }, 17, payload(64))),
  sample(LAN_HOST, ipv4({ ...LAN_UP, fragment: 0x2000, identification: 8 }, 6, payload(24))),
  sample(WORK_HOST, ipv4(UP, 47, payload(40))),
  sample(REMOTE, ipv4(DOWN, 47, payload(40))),
  sample(WORK_HOST, ipv4(UP, 132, payload(40))),
  sample(WORK_HOST, ipv4(UP, 33, payload(12))),
  sample(LAN_HOST, icmp({ source: LAN_HOST, destination: REMOTE, type: 13 }, payload(12))),
  sample(
    LAN_HOST,
    icmp(
      { source: LAN_HOST, destination: REMOTE, type: 3, code: 3 },
      tcp({ ...LAN_DOWN, destination: LAN_HOST, flags: "." }),
    ),
  ),
];

/** Everything that makes the dataplane think: forwards, open mappings, reach, pinned addresses, few flows. */
export const BUSY: Settings = {
  ...SETTINGS,
  uplink: { ...UPLINK_SETTINGS, gatewayMac: mac(HOST_MAC[GATEWAY]) },
  clients: [
    { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]), openFilter: true },
    { ...LAN_SETTINGS, reach: [0] },
  ],
  forwards: [{ protocol: UDP, portLow: 8443, portHigh: 8443, client: 1, to: ip(LAN_HOST), toPort: 443, from: [] }],
  nat: { ...SETTINGS.nat, maxFlows: 48 },
};
