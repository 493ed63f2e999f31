// What an entry depends on beside its generation: its client's rules, and the neighbour that its packets are handed to. Of each there
// is a count in CONTROL, which a change raises; an entry has the sum of both, as it was when the entry was made, and holds only
// while it is the same. So one client's new rules, or a host that changes its MAC address all the time, revoke nobody else's.
import type { Client, Neighbour } from "../types.ts";
import { CONTROL, DEPENDENCY } from "./programs/layout.ts";

export class Dependencies {
  /** @param control all of CONTROL */
  constructor(private readonly control: Int32Array) {}

  clientChanged(client: Client): void {
    Atomics.add(this.control, atClient(client), 1);
  }

  neighbourChanged(neighbour: Neighbour): void {
    Atomics.add(this.control, atNeighbour(neighbour), 1);
  }

  /** @returns the count of a client: others may have the same, whose changes count too */
  ofClient(client: Client): number {
    return Atomics.load(this.control, atClient(client));
  }

  ofNeighbour(neighbour: Neighbour): number {
    return Atomics.load(this.control, atNeighbour(neighbour));
  }
}

const atClient = (client: Client): number => (CONTROL.CLIENTS >> 2) + (client & (DEPENDENCY.CLIENTS - 1));
const atNeighbour = (neighbour: Neighbour): number => (CONTROL.NEIGHBOURS >> 2) + neighbour;
