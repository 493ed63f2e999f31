// Sound frames of IPv6 of every kind, which hostile ones are made of, and firewalls in which they make the most of what there is happen:
// translated and routed, few flows, a forward, open mappings, and rules that let "work" do little.
import { groupMac, groupOf, linkLocalOf, listenerReport, solicitation } from "../../lab/discovery-frames.ts";
import { ethernet, fromHex, payload } from "../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  fragment,
  fragmented6,
  HOP_BY_HOP,
  IPV6_TYPE,
  icmpv6,
  ip6,
  ipv6,
  options,
  routing,
  tcp6,
  udp6,
} from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { HOST_MAC, LAN, LAN_HOST, OUR_MAC, WORK, WORK_HOST } from "../../lab/router-lab.ts";
import {
  ANYTHING_6,
  frameFrom6,
  interfaceOf6,
  LAN_GATEWAY_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED_6,
  ROUTED_HOST,
  SETTINGS_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../lab/router-lab6.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import type { Sample } from "./samples.ts";

/** What the rules of "work" accept: protocol, and ports or the type of ICMPv6. */
export const ACCEPTED: readonly { readonly protocol: number; readonly low: number; readonly high: number }[] = [
  { protocol: UDP, low: 5000, high: 5999 },
  { protocol: TCP, low: 80, high: 80 },
  { protocol: ICMPV6, low: 128, high: 128 },
  { protocol: 47, low: 0, high: 65535 },
];

const RULES = ACCEPTED.map(({ protocol, low, high }, i) => ({
  ...ANYTHING_6,
  rule: i + 1,
  protocol,
  ...(protocol === ICMPV6 ? { icmpType: low } : { portLow: low, portHigh: high }),
}));

const FORWARDED_PORT = 8443;

export const BUSY_6: Settings = {
  ...SETTINGS_6,
  clients: [
    { ...WORK_SETTINGS_6, ruleset: compileRuleset([], false, RULES) },
    { ...LAN_SETTINGS_6, reach: [0], openFilter: true },
  ],
  forwards: [
    {
      protocol: UDP,
      portLow: FORWARDED_PORT,
      portHigh: FORWARDED_PORT,
      client: 1,
      to: undefined,
      toPort: 443,
      from: [],
      to6: ip6(LAN_HOST_6),
      from6: [],
    },
  ],
  nat: { ...SETTINGS_6.nat, maxFlows: 48 },
};

/** The same where the network of "lan" is routed to us. */
export const BUSY_ROUTED_6: Settings = {
  ...BUSY_6,
  clients: [BUSY_6.clients[0], { ...BUSY_6.clients[1], ipv6: ROUTED_6 }],
  forwards: BUSY_6.forwards.map((forward) => ({ ...forward, to6: ip6(ROUTED_HOST) })),
};

function sample(host: string, packet: Uint8Array): Sample {
  return { iface: interfaceOf6(host), frame: frameFrom6(host, packet) };
}

const nothing = new Uint8Array(0);
const CHAIN = [options(HOP_BY_HOP, nothing), options(DESTINATION, nothing), routing(253, 0)];

/** @param lanHost the host of "lan": LAN_HOST_6 or ROUTED_HOST */
export function samples6(lanHost: string): readonly Sample[] {
  const lanOutside = lanHost === ROUTED_HOST ? ROUTED_HOST : OUTSIDE_6;
  const up = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 4000, destinationPort: 5000 };
  const down = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 4000 };
  const lanUp = { source: lanHost, destination: REMOTE_62, sourcePort: 4001, destinationPort: 80 };
  const lanDown = { source: REMOTE_62, destination: lanOutside, sourcePort: 80, destinationPort: 4001 };
  const ping = { source: WORK_HOST_6, destination: REMOTE_6, type: 128, rest: 0x00210001 };
  const quoted = udp6({ ...up, source: OUTSIDE_6, hopLimit: 1 }, payload(20));
  const long = udp6({ ...up, destinationPort: 5001 }, payload(1200));
  const [, lanMac] = [HOST_MAC[WORK_HOST], HOST_MAC[LAN_HOST]];
  const asksGateway = (mac: string, source: string, target: string) =>
    solicitation({ mac, source, target, destinationMac: groupMac(groupOf(target)) });
  const lanSelf = lanHost === ROUTED_HOST ? "2001:db8:1::1" : LAN_GATEWAY_6;
  return [
    { iface: WORK, frame: asksGateway(HOST_MAC[WORK_HOST], WORK_HOST_6, WORK_GATEWAY_6) },
    { iface: LAN, frame: asksGateway(lanMac, lanHost, lanSelf) },
    sample(WORK_HOST_6, udp6(up, payload(32))),
    sample(REMOTE_6, udp6(down, payload(40))),
    sample(lanHost, tcp6({ ...lanUp, flags: "S", sequence: 100, tcpOptions: fromHex("020405a0 01030307") })),
    sample(REMOTE_62, tcp6({ ...lanDown, flags: "S.", sequence: 900, acknowledgment: 101 })),
    sample(lanHost, tcp6({ ...lanUp, flags: "P.", sequence: 101, acknowledgment: 901 }, payload(50))),
    sample(REMOTE_62, tcp6({ ...lanDown, flags: ".", sequence: 901, acknowledgment: 151 })),
    sample(WORK_HOST_6, icmpv6(ping, payload(32))),
    sample(REMOTE_6, icmpv6({ ...ping, source: REMOTE_6, destination: OUTSIDE_6, type: 129 }, payload(32))),
    sample(WORK_HOST_6, icmpv6({ source: WORK_HOST_6, destination: WORK_GATEWAY_6, type: 128 }, payload(32))),
    sample(REMOTE_6, icmpv6({ source: REMOTE_62, destination: OUTSIDE_6, type: 3 }, quoted)),
    sample(REMOTE_6, icmpv6({ source: REMOTE_62, destination: OUTSIDE_6, type: 2, rest: 1280 }, quoted)),
    sample(WORK_HOST_6, udp6({ ...up, extensions: CHAIN }, payload(32))),
    sample(REMOTE_6, udp6({ ...down, extensions: [options(DESTINATION, nothing), ah()] }, payload(32))),
    sample(WORK_HOST_6, udp6({ ...up, extensions: [fragment(0, false)] }, payload(32))),
    ...fragmented6(long, 640, 77).map((packet) => sample(WORK_HOST_6, packet)),
    sample(REMOTE_6, fragmented6(udp6(down, payload(900)), 512, 78)[0]),
    sample(WORK_HOST_6, ipv6(up, 47, payload(40))),
    sample(REMOTE_6, ipv6(down, 47, payload(40))),
    sample(WORK_HOST_6, ipv6(up, 132, payload(40))),
    sample(WORK_HOST_6, ipv6(up, 59, nothing)),
    sample(WORK_HOST_6, udp6({ ...up, hopLimit: 1 }, payload(3))),
    sample(WORK_HOST_6, udp6({ ...up, destination: lanHost }, payload(3))),
    sample(lanHost, udp6({ ...lanUp, destination: WORK_HOST_6 }, payload(3))),
    sample(WORK_HOST_6, udp6({ ...up, destination: OUTSIDE_6, destinationPort: FORWARDED_PORT }, payload(3))),
    sample(REMOTE_6, udp6({ ...down, destinationPort: FORWARDED_PORT }, payload(3))),
    sample(WORK_HOST_6, tcp6({ ...up, flags: "S" })),
    sample(lanHost, tcp6({ ...lanUp, sourcePort: 99, flags: "." })),
    sample(WORK_HOST_6, udp6({ ...up, destinationPort: 53 }, payload(20))),
    sample(
      lanHost,
      icmpv6(
        { source: lanHost, destination: REMOTE_62, type: 1, code: 4 },
        tcp6({ ...lanDown, destination: lanHost, flags: "." }),
      ),
    ),
    { iface: LAN, frame: listenerReport(lanMac, linkLocalOf(lanMac), 4, [groupOf(lanHost)]) },
    {
      iface: WORK,
      frame: ethernet(
        HOST_MAC[WORK_HOST],
        OUR_MAC[WORK],
        IPV6_TYPE,
        udp6({ ...up, extensions: [routing(0, 1, new Uint8Array(20))] }, payload(8)),
      ),
    },
  ];
}
