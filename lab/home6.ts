// The router of router-lab.ts in a home with IPv6, where neighbours are to be asked for: who is where by which address.

import type { Settings } from "../src/dataplane/settings.ts";
import { mac } from "./frames.ts";
import { ip6 } from "./frames6.ts";
import { LAN_SETTINGS, SETTINGS, UPLINK_SETTINGS, WORK_SETTINGS } from "./router-lab.ts";

/** Our addresses, by interface. */
export const OUTSIDE6 = "2001:db8:1::254";
export const WORK_GATEWAY6 = "fd09:24ef:4179::a89:5";
export const LAN_GATEWAY6 = "2001:db8:2::1";

export const GATEWAY6 = "2001:db8:1::1";
export const GATEWAY6_MAC = "02:00:00:00:00:01";
/** On the uplink's link. */
export const NEIGHBOUR6 = "2001:db8:1::77";
export const NEIGHBOUR6_MAC = "02:00:00:00:00:77";
export const WORK_HOST6 = "fd09:24ef:4179::a89:a";
export const WORK_HOST6_MAC = "02:00:00:00:01:10";
export const LAN_HOST6 = "2001:db8:2::20";
export const LAN_HOST6_MAC = "02:00:00:00:02:20";
export const REMOTE6 = "2001:db8:ffff::7";

export const UPLINK6 = { address: ip6(OUTSIDE6), prefix: 64, gateway: ip6(GATEWAY6), dns: [] };
const WORK6 = { network: ip6(WORK_HOST6), prefix: 128, gateway: ip6(WORK_GATEWAY6), nat: "masquerade" } as const;
export const LAN6 = { network: ip6("2001:db8:2::"), prefix: 64, gateway: ip6(LAN_GATEWAY6), nat: "route" } as const;

/** "work" is translated, and pinned to its MAC address; "lan" is routed. */
export const SETTINGS6: Settings = {
  ...SETTINGS,
  uplink: { ...UPLINK_SETTINGS, ipv6: UPLINK6 },
  clients: [
    { ...WORK_SETTINGS, mac: mac(WORK_HOST6_MAC), ipv6: WORK6 },
    { ...LAN_SETTINGS, ipv6: LAN6 },
  ],
};

/** As in Qubes OS: the uplink is a netvm's. */
export const QUBE_SETTINGS6: Settings = {
  ...SETTINGS6,
  uplink: { ...SETTINGS6.uplink, gatewayFallbackMac: mac("fe:ff:ff:ff:ff:ff") },
};
