// Who shares the uplink's line where that has a rate: each client, what answers the internet, and the firewall itself. A frame says by
// the number of its share whose it is; the queue in front of the uplink has a class for each (linux/net/shaping.ts).
//
// Hosts of a network share what their client has. So a frame says, above the share, which of the hosts told from each other sent it.
import type { Address } from "../wire/ipv4.ts";
import type { Settings } from "./settings.ts";
import type { Client } from "./types.ts";

export const SHARE = {
  /** Answers and errors to who is out there: a flood uses up no more than this. */
  OUTSIDE: 0,
  /** Questions to name servers, ARP. */
  OURSELVES: 1,
  /** The first client's; those of the others follow. */
  CLIENTS: 2,
} as const;

/** Hosts of a network that are told from each other, a power of two: those whose addresses end alike are one. And where that stands. */
export const LINE_HOSTS = 16;
export const HOST_SHIFT = 16;

/** @param source of a client's packet, as the client has it @returns its share and host */
export function shareOf(client: Client, source: Address): number {
  return SHARE.CLIENTS + client + ((source & (LINE_HOSTS - 1)) << HOST_SHIFT);
}

/** @returns how many shares there are */
export function sharesOf({ clients }: Pick<Settings, "clients">): number {
  return SHARE.CLIENTS + clients.length;
}

/** @returns the shares that hosts of a network have together */
export function networksOf({ clients }: Pick<Settings, "clients">): number[] {
  return clients.flatMap(({ prefix }, client) => (prefix < 32 ? [SHARE.CLIENTS + client] : []));
}
