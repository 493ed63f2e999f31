// What is new about an interface, for who talks to the hosts on its link: they may be others, or not know us.
import type { Topology } from "../topology.ts";
import type { Iface } from "../types.ts";

export interface Link {
  /** Whether it was there before, but now is another link, or has its link again: those on it may be others. */
  readonly isAnew: boolean;
  /** Its number before, if those on it know our MAC address from then: what they were told they know. */
  readonly before: Iface | undefined;
}

/**
 * @param iface one that is up
 * @param before what was in force; nothing, when the program starts
 */
export function linkOf(topology: Topology, iface: Iface, before: Topology | undefined): Link {
  const { name, index, mac } = topology.settings.interfaces[iface];
  const interfaces = before?.settings.interfaces ?? [];
  const oldIface = interfaces.findIndex((old) => old.name === name) as Iface;
  const old = interfaces[oldIface];
  const isSame = old !== undefined && !old.isDown && old.index === index;
  const isKnown = isSame && old.mac.every((byte, at) => byte === mac[at]);
  return { isAnew: old !== undefined && !isSame, before: isKnown ? oldIface : undefined };
}
