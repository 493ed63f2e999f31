// What control tells the dataplane: one immutable value, posted whole and applied between two frames, so that each frame
// is judged by the old settings or by the new ones. It survives structured cloning: no functions, no class instances.
// Addresses are unsigned 32-bit numbers in host order, those of IPv6 16 bytes in wire order, MAC addresses six bytes in wire order.
import type { Ruleset } from "./rules/ruleset.ts";

export interface Settings {
  /** An interface's number is its position here; everything else refers to interfaces by number. */
  readonly interfaces: readonly InterfaceSettings[];
  readonly uplink: UplinkSettings;
  readonly clients: readonly ClientSettings[];
  readonly forwards: readonly ForwardSettings[];
  readonly redirects: readonly Redirect[];
  readonly nat: NatSettings;
}

export interface InterfaceSettings {
  /** The kernel's name of it. What has the same name in newer settings is the same interface, also when it was made anew. */
  readonly name: string;
  /** The kernel's number of it: another one once it was made anew; 0 while there is no such interface. */
  readonly index: number;
  /** Our MAC address there. */
  readonly mac: Uint8Array;
  /** Replay only: take any unicast destination MAC address as ours, since a capture does not say which one is. */
  readonly anyMac: boolean;
  /** Largest IPv4 packet, in bytes. */
  readonly mtu: number;
  /** No frame gets out there, for now: it is not there, not up, or has no link. */
  readonly isDown?: boolean;
  /** Lower the MSS of TCP connections through here to what fits the MTU. */
  readonly clampMss: boolean;
}

export interface UplinkSettings {
  /** While there is no uplink: the number behind the last interface. Then the gateway is pinned and all rules refuse. */
  readonly iface: number;
  readonly address: number;
  /** Length of the on-link prefix; hosts in it are reached directly, all others through the gateway. */
  readonly prefix: number;
  readonly gateway: number;
  /** Name servers: whose answers to clients may be held until the rules know of them. */
  readonly dns: readonly number[];
  /** The gateway's MAC address, where it is not to be asked by ARP. */
  readonly gatewayMac?: Uint8Array;
  /** The one that it has while it does not answer ARP; without one, packets to it are refused then. */
  readonly gatewayFallbackMac?: Uint8Array;
  /** Of its line, in bits a second: what is sent there is marked with whose it is. Undefined: as fast as frames come, and unmarked. */
  readonly rate?: number;
  /** Addresses that are not behind the uplink even while no client has them: those of clients that may come. */
  readonly inside?: readonly number[];
  /** Undefined: no IPv6 there. */
  readonly ipv6?: Uplink6Settings;
}

/** As the fields of the same names in UplinkSettings. */
export interface Uplink6Settings {
  readonly address: Uint8Array;
  /** 128: nothing is on-link but the gateway. */
  readonly prefix: number;
  /** Not always in the network of `address`: it may be link-local, and is on this link all the same. */
  readonly gateway: Uint8Array;
  readonly gatewayMac?: Uint8Array;
  readonly dns: readonly Uint8Array[];
  readonly inside?: readonly Uint8Array[];
}

export interface ClientSettings {
  readonly name: string;
  readonly iface: number;
  /** The client's address with prefix 32 (point to point, as in Qubes OS), or the network of many hosts. */
  readonly network: number;
  readonly prefix: number;
  /** Our address as the client sees it. */
  readonly gateway: number;
  /** The only MAC address accepted from this client. */
  readonly mac?: Uint8Array;
  readonly ruleset: Ruleset;
  /** Numbers of the clients that this one may open flows to, as far as its rules accept them. */
  readonly reach: readonly number[];
  /** Let anyone send to a mapping of this client's: endpoint-independent filtering (RFC 4787 section 5). */
  readonly openFilter: boolean;
  readonly limits: ClientLimits;
  /** What a packet that the rules refuse is answered with: an ICMP error, TCP's RST (else the error), or nothing. */
  readonly refuse: "icmp" | "reset" | "drop";
  /** Note refused packets for the log. */
  readonly log: boolean;
  readonly scrub: ScrubSettings;
  /** Its rules have host names: show control the name servers' answers to it before it gets them. */
  readonly watchNames: boolean;
  /** Undefined: no IPv6 address is this client's, and what it sends by IPv6 is spoofed. */
  readonly ipv6?: Client6Settings;
}

/** As the fields of the same names in ClientSettings; a link-local address is none of these. */
export interface Client6Settings {
  readonly network: Uint8Array;
  /** 128: one host, point to point. */
  readonly prefix: number;
  readonly gateway: Uint8Array;
  /** What is out of the uplink comes from our address there; or, where the network is routed to us, from the host's own. */
  readonly nat: "masquerade" | "route";
}

/** What is changed in the packets that a client sends, beside NAT, or refused of them. */
export interface ScrubSettings {
  /** IPv4 options: such packets are dropped, from it and to it. */
  readonly dropOptions: boolean;
  /** The identification of packets that are no fragments is a random one. */
  readonly randomId: boolean;
  /** Its packets leave with this TTL at least; 0: with what is left of theirs. */
  readonly minTtl: number;
  /** The six bits of DSCP in the TOS byte are 0. */
  readonly clearDscp: boolean;
}

export const NO_SCRUB: ScrubSettings = { dropOptions: false, randomId: false, minTtl: 0, clearDscp: false };

/** DNS (port 53, TCP and UDP) to `from`, an address that clients were given, goes to `to` instead. */
export interface Redirect {
  readonly from: number;
  readonly to: number;
}

/** One client's quotas, so that none can take everything. */
export interface ClientLimits {
  /** Flows at a time that it opens. */
  readonly flows: number;
  /** NAT mappings at a time, of all protocols together; in a network half as many more, for hosts that have few. */
  readonly mappings: number;
  /** New flows a second that it opens, averaged; as many may come at once, and in a network half as many more from hosts that open few. */
  readonly flowsPerSecond: number;
}

/**
 * A port of the uplink's addresses that leads to a client: TCP or UDP ports low to high to `to`'s ports from `toPort` on. It may be of
 * one family or of both.
 */
export interface ForwardSettings {
  readonly protocol: number;
  readonly portLow: number;
  readonly portHigh: number;
  /** Number of the client, and the host's address, which is the client's own or one of its network. Undefined: not by IPv4. */
  readonly client: number;
  readonly to: number | undefined;
  readonly toPort: number;
  /** Who may use it by IPv4, by prefix; empty: anyone. */
  readonly from: readonly { readonly address: number; readonly prefix: number }[];
  /** The same of IPv6. Of a client whose network is routed to us it is the host's own port that is open, not one of the uplink's. */
  readonly to6?: Uint8Array;
  readonly from6?: readonly { readonly address: Uint8Array; readonly prefix: number }[];
}

export interface NatSettings {
  /** Capacity of the flow table, fixed while the program runs. */
  readonly maxFlows: number;
  /** Answer a client's TCP segment that belongs to no connection with a RST, so that it fails at once. */
  readonly resetUnknown: boolean;
  /** Lowest MTU of a path, in bytes, that "fragmentation needed" is believed to state; a lower one becomes this. */
  readonly minPathMtu: number;
  /** Let open flows take the kernel path, where the program was started with it and the kernel has it. */
  readonly kernelPath: boolean;
  readonly timeouts: Timeouts;
}

/** Whole seconds that a flow lives without traffic. */
export interface Timeouts {
  /** UDP before, and after, the first answer (RFC 4787 REQ-5). */
  readonly udpNew: number;
  readonly udp: number;
  /** UDP to port 53, after the first answer: one question, one answer. */
  readonly dns: number;
  /** TCP: agreed to by both ends (RFC 5382 REQ-5); before that, and after (RFC 7857 section 2.1). */
  readonly tcpEstablished: number;
  readonly tcpOpening: number;
  readonly tcpClosing: number;
  /** ICMP queries (RFC 5508 REQ-2). */
  readonly icmp: number;
  /** All other protocols. */
  readonly other: number;
}
