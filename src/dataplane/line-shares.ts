// Who shares the uplink's line where that has a rate: each client, what answers the internet, and the firewall itself. A frame says by
// the number of its share whose it is; the queue in front of the uplink has a class for each (linux/net/shaping.ts).
import type { Settings } from "./settings.ts";

export const SHARE = {
  /** Answers and errors to who is out there: a flood uses up no more than this. */
  OUTSIDE: 0,
  /** Questions to name servers, ARP. */
  OURSELVES: 1,
  /** The first client's; those of the others follow. */
  CLIENTS: 2,
} as const;

/** @returns how many there are */
export function sharesOf({ clients }: Pick<Settings, "clients">): number {
  return SHARE.CLIENTS + clients.length;
}
