// The settings of a router that is made to be tried (trial.ts beside it) or rehearsed with (io/rehearsal.ts): an uplink and a client,
// who are nobody.
import { compileRuleset } from "../../rules/ruleset.ts";
import { NO_SCRUB, type Settings } from "../../settings.ts";
import type { End } from "./frames.ts";

export const FLOWS = 16;
export const UPLINK = 0;
export const CLIENT = 1;

/** Documentation's addresses (RFC 5737, RFC 3849) and MAC addresses of nobody's. */
export const CLIENT_END: End = {
  mac: Uint8Array.of(2, 0, 0, 0, 1, 1),
  address: 0xc0000202,
  address6: address6(1, 2),
  port: 40_000,
};
export const SERVER_END: End = {
  mac: Uint8Array.of(2, 0, 0, 0, 1, 0),
  address: 0xcb007107,
  address6: address6(2, 7),
  port: 5000,
};
export const OUTSIDE = 0xc6336402;
export const OUTSIDE6 = address6(3, 2);
export const OUR_MACS = [Uint8Array.of(2, 0, 0, 0, 0, 0), Uint8Array.of(2, 0, 0, 0, 0, 1)] as const;

/** @returns 2001:db8:NETWORK::HOST */
function address6(network: number, host: number): Uint8Array {
  return Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, host);
}

/** @param names of the interfaces: uplink and client @param index the kernel's number, of both */
export function trialSettings(names: readonly [string, string], index: number): Settings {
  const iface = { index, anyMac: false, mtu: 1500, clampMss: false };
  const seconds = 300;
  return {
    interfaces: OUR_MACS.map((mac, i) => ({ ...iface, name: names[i], mac })),
    uplink: {
      iface: UPLINK,
      address: OUTSIDE,
      prefix: 24,
      gateway: OUTSIDE - 1,
      gatewayMac: SERVER_END.mac,
      dns: [],
    },
    clients: [
      {
        name: "client",
        iface: CLIENT,
        network: CLIENT_END.address,
        prefix: 32,
        gateway: CLIENT_END.address - 1,
        mac: CLIENT_END.mac,
        ruleset: compileRuleset([], true),
        reach: [],
        openFilter: false,
        limits: { flows: FLOWS, mappings: FLOWS, flowsPerSecond: FLOWS },
        refuse: "drop",
        log: false,
        scrub: NO_SCRUB,
        watchNames: false,
      },
    ],
    forwards: [],
    redirects: [],
    nat: {
      maxFlows: FLOWS,
      resetUnknown: false,
      minPathMtu: 552,
      kernelPath: true,
      timeouts: {
        udpNew: seconds,
        udp: seconds,
        dns: seconds,
        tcpEstablished: seconds,
        tcpOpening: seconds,
        tcpClosing: seconds,
        icmp: seconds,
        other: seconds,
      },
    },
  };
}

/** The same with IPv6. The uplink's neighbour is a qube's, which has no others: so nothing is probed for, or told, before frames pass. */
export function withIpv6(settings: Settings): Settings {
  const { uplink, clients } = settings;
  const gateway = address6(3, 1);
  const ipv6 = { address: OUTSIDE6, prefix: 64, gateway, gatewayMac: SERVER_END.mac, dns: [] };
  const client6 = { network: CLIENT_END.address6, prefix: 128, gateway: address6(1, 1), nat: "masquerade" } as const;
  return {
    ...settings,
    uplink: { ...uplink, gatewayFallbackMac: SERVER_END.mac, ipv6 },
    clients: clients.map((client) => ({ ...client, ipv6: client6 })),
  };
}
