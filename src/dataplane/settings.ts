// What control tells the dataplane: one immutable value, posted whole and applied between two frames, so that each frame
// is judged by the old settings or by the new ones. It survives structured cloning: no functions, no class instances.
// Addresses are unsigned 32-bit numbers in host order, MAC addresses six bytes in wire order.
import type { Ruleset } from "./ruleset.ts";

export interface Settings {
  /** An interface's number is its place here; everything else refers to interfaces by number. */
  readonly interfaces: readonly InterfaceSettings[];
  readonly uplink: UplinkSettings;
  readonly clients: readonly ClientSettings[];
  readonly nat: NatSettings;
}

export interface InterfaceSettings {
  /** The kernel's name for it; the same name in newer settings is the same interface. */
  readonly name: string;
  /** Our MAC address there. */
  readonly mac: Uint8Array;
  /** Replay only: take any unicast destination MAC address as ours, since a capture does not say which one is. */
  readonly anyMac: boolean;
  /** Largest IPv4 packet, in bytes. */
  readonly mtu: number;
}

export interface UplinkSettings {
  readonly iface: number;
  readonly address: number;
  /** Length of the on-link prefix; hosts in it are reached directly, all others through the gateway. */
  readonly prefix: number;
  readonly gateway: number;
  /** The gateway's MAC address, where it is not to be asked by ARP. */
  readonly gatewayMac?: Uint8Array;
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
}

export interface NatSettings {
  /** Capacity of the flow table, fixed while the program runs. */
  readonly maxFlows: number;
}
