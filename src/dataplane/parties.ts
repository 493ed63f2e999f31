// Parties: who shares what there is only so much of. They stand in groups, which share first: each client is one, the uplink is
// one, and so is the firewall itself. A group's parties share what the group has: of a network the hosts, of the uplink the
// forwarded ports and what else comes from there. All tables know the same parties by the same numbers.
import { type Address, maskOf } from "../wire/ipv4.ts";
import type { Settings } from "./settings.ts";
import type { Client, Group, Party } from "./types.ts";

/** Parties of one network at most: hosts of a larger one whose addresses end alike are one. */
const MOST_HOSTS = 256;

export class Parties {
  /** How many groups there are. */
  readonly groups: number;
  /** By party. */
  readonly groupOf: Int32Array;
  /** By group: its first party; the last number is one past them all. */
  readonly firstOf: Int32Array;
  /** By client: which bits of a host's address tell it from others. */
  private readonly hostBits: Int32Array;
  private readonly uplinkGroup: Group;

  constructor({ clients, forwards }: Settings) {
    this.hostBits = Int32Array.from(clients, ({ prefix }) => ~maskOf(prefix) & (MOST_HOSTS - 1));
    this.uplinkGroup = clients.length as Group;
    const sizes = [...Array.from(this.hostBits, (bits) => bits + 1), 1 + forwards.length, 1];
    this.groups = sizes.length;
    this.firstOf = new Int32Array(sizes.length + 1);
    for (const [group, size] of sizes.entries()) this.firstOf[group + 1] = this.firstOf[group] + size;
    this.groupOf = new Int32Array(this.firstOf[sizes.length]);
    for (let group = 0; group < sizes.length; group++) {
      this.groupOf.fill(group, this.firstOf[group], this.firstOf[group + 1]);
    }
  }

  /** @returns a client's host */
  host(client: Client, address: Address): Party {
    return (this.firstOf[client] + (address & this.hostBits[client])) as Party;
  }

  /** @returns what comes from the uplink and for no forward */
  get uplink(): Party {
    return this.firstOf[this.uplinkGroup] as Party;
  }

  /** @param forward its position in the settings */
  forward(forward: number): Party {
    return (this.firstOf[this.uplinkGroup] + 1 + forward) as Party;
  }

  /** @returns the firewall itself: its questions to name servers, and the gateway that it keeps known */
  get ourselves(): Party {
    return this.firstOf[this.uplinkGroup + 1] as Party;
  }

  /** @returns how many parties a group has */
  size(group: Group): number {
    return this.firstOf[group + 1] - this.firstOf[group];
  }

  /** @returns the group that a party stands in */
  group(party: Party): Group {
    return this.groupOf[party] as Group;
  }
}
