// The bench's firewall with IPv6 beside IPv4: addresses, settings, and frames from and to hosts. All MAC addresses are pinned, so that
// nobody has to be asked for.

import type { Match6 } from "../src/dataplane/rules/match.ts";
import type { Client6Settings, ClientSettings, Settings, Uplink6Settings } from "../src/dataplane/settings.ts";
import { ethernet, mac } from "./frames.ts";
import { IPV6_TYPE, ip6, type Udp6Fields } from "./frames6.ts";
import type { Lab } from "./router-lab.ts";
import {
  ANYTHING,
  GATEWAY,
  HOST_MAC,
  LAN,
  LAN_HOST,
  LAN_SETTINGS,
  OUR_MAC,
  type Outcome,
  SETTINGS,
  shown,
  UPLINK,
  WORK,
  WORK_HOST,
  WORK_SETTINGS,
} from "./router-lab.ts";

/** The firewall's own addresses: on the uplink, as "work" and as "lan" see it. */
export const OUTSIDE_6 = "2001:db8:ffff::2";
export const WORK_GATEWAY_6 = "fd09:24ef:4179::a89:1";
export const LAN_GATEWAY_6 = "fd00:1::1";
/** Hosts around it, and far ones. */
export const GATEWAY_6 = "fe80::1";
export const WORK_HOST_6 = "fd09:24ef:4179::a89:7";
export const LAN_HOST_6 = "fd00:1::20";
export const REMOTE_6 = "2001:db8:7::7";
export const REMOTE_62 = "2001:db8:99::99";
/** A router on the way to these. */
export const FAR_ROUTER_6 = "2001:db8:5::1";

/** What "work" asks of a far host, by UDP. */
export const QUERY_6: Udp6Fields = {
  source: WORK_HOST_6,
  destination: REMOTE_6,
  sourcePort: 40000,
  destinationPort: 5000,
};

export const UPLINK_6: Uplink6Settings = {
  address: ip6(OUTSIDE_6),
  prefix: 64,
  gateway: ip6(GATEWAY_6),
  gatewayMac: mac(HOST_MAC[GATEWAY]),
  dns: [ip6("2001:db8:ffff::53")],
};

export const WORK_6: Client6Settings = {
  network: ip6(WORK_HOST_6),
  prefix: 128,
  gateway: ip6(WORK_GATEWAY_6),
  nat: "masquerade",
};

export const LAN_6: Client6Settings = {
  network: ip6("fd00:1::"),
  prefix: 64,
  gateway: ip6(LAN_GATEWAY_6),
  nat: "masquerade",
};

export const WORK_SETTINGS_6: ClientSettings = { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]), ipv6: WORK_6 };
export const LAN_SETTINGS_6: ClientSettings = { ...LAN_SETTINGS, mac: mac(HOST_MAC[LAN_HOST]), ipv6: LAN_6 };

export const SETTINGS_6: Settings = {
  ...SETTINGS,
  uplink: { ...SETTINGS.uplink, ipv6: UPLINK_6 },
  clients: [WORK_SETTINGS_6, LAN_SETTINGS_6],
};

/** "lan" has a network that is routed to us. */
export const ROUTED_HOST = "2001:db8:1::20";
export const ROUTED_GATEWAY = "2001:db8:1::1";
export const ROUTED_6: Client6Settings = {
  network: ip6("2001:db8:1::"),
  prefix: 64,
  gateway: ip6(ROUTED_GATEWAY),
  nat: "route",
};
export const ROUTED: Settings = {
  ...SETTINGS_6,
  clients: [WORK_SETTINGS_6, { ...LAN_SETTINGS_6, ipv6: ROUTED_6 }],
};

/** A match of any IPv6 packet, to change where a test wants it. */
export const ANYTHING_6: Match6 = { ...ANYTHING, address: new Uint8Array(16) };

const INSIDE: Readonly<Record<string, number>> = { [WORK_HOST_6]: WORK, [LAN_HOST_6]: LAN, [ROUTED_HOST]: LAN };

/** @returns the interface that a host is on: remote ones are behind the uplink */
export function interfaceOf6(host: string): number {
  return INSIDE[host] ?? UPLINK;
}

function macOf(host: string): string {
  return HOST_MAC[[GATEWAY, WORK_HOST, LAN_HOST][interfaceOf6(host)]];
}

/** @returns the packet in a frame from that host, or for a remote one from the gateway, to us */
export function frameFrom6(host: string, packet: Uint8Array): Uint8Array {
  return ethernet(macOf(host), OUR_MAC[interfaceOf6(host)], IPV6_TYPE, packet);
}

/** @returns the packet in a frame from us to that host, or for a remote one to the gateway */
function frameTo6(host: string, packet: Uint8Array): Uint8Array {
  return ethernet(OUR_MAC[interfaceOf6(host)], macOf(host), IPV6_TYPE, packet);
}

/** The packet comes from that host on its interface. */
export function from6(lab: Lab, host: string, packet: Uint8Array): Outcome {
  return lab.receive(interfaceOf6(host), frameFrom6(host, packet));
}

/** @returns text of the packet in a frame to that host */
export function shownTo6(host: string, packet: Uint8Array): string {
  return shown(interfaceOf6(host), frameTo6(host, packet));
}

/** The outcome of a packet that went on to that host, changed to `packet`. */
export function forwarded6(host: string, packet: Uint8Array): Outcome {
  return { verdict: "forwarded", sent: [shownTo6(host, packet)] };
}

/** The outcome of a packet that we answered with `packet`. */
export function answered6(host: string, packet: Uint8Array): Outcome {
  return { verdict: "answered", sent: [shownTo6(host, packet)] };
}

/** The outcome of a packet that was dropped, of which its sender was told by `packet`. */
export function refused6(reason: string, host: string, packet: Uint8Array): Outcome {
  return { verdict: `dropped: ${reason}`, sent: [shownTo6(host, packet)] };
}
