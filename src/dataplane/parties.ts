// Parties: who shares what there is only so much of. They stand in groups, which share first: each client is one, the uplink is
// one, and so is the firewall itself. A group's parties share what the group has: of a network the hosts, of the uplink the
// forwarded ports and what else comes from there. All tables know the same parties by the same numbers.
//
// Numbers stay: who is there in new settings as before keeps his, so that nothing has to be counted anew for him. Those of who is gone
// are given to others only by the settings after these, when no table knows them any more.
import { type Address, maskOf } from "../wire/ipv4.ts";
import type { ClientSettings, Settings } from "./settings.ts";
import type { Client, Group, Party } from "./types.ts";

/** Parties of one network at most: hosts of a larger one whose addresses end alike are one. */
const MOST_HOSTS = 256;

/** Who a group is, in place of a client's network. */
const OURSELVES = "ourselves";

export class Parties {
  /** How many groups' numbers there are; and of so many somebody is there. */
  readonly groups: number;
  readonly liveGroups: number;
  /** By party. */
  readonly groupOf: Int32Array;
  /** By group: its first party; the last number is one past them all. A group has as many parties as the next power of two. */
  readonly firstOf: Int32Array;
  /** Who is there: the groups' numbers. */
  private readonly numbers: ReadonlyMap<string, Group>;
  private readonly isThere: Uint8Array;
  /** By client: its group; and which bits of a host's address tell it from others. */
  private readonly groupOfClient: Int32Array;
  private readonly hostBits: Int32Array;
  private readonly uplinkGroup: Group;
  private readonly ownGroup: Group;

  /** @param before of the settings in force until now: whose numbers are nobody's there, nobody uses any more */
  constructor(settings: Settings, before?: Parties) {
    const { clients, forwards } = settings;
    this.hostBits = Int32Array.from(clients, ({ prefix }) => ~maskOf(prefix) & (MOST_HOSTS - 1));
    const places = new Places(before);
    this.groupOfClient = Int32Array.from(clients, (client, number) =>
      places.take(clientKey(client, settings), this.hostBits[number] + 1),
    );
    this.uplinkGroup = places.take(`uplink ${JSON.stringify(forwards)}`, 1 + forwards.length);
    this.ownGroup = places.take(OURSELVES, 1);
    this.numbers = places.numbers;
    this.liveGroups = this.numbers.size;
    this.groups = places.firsts.length - 1;
    this.firstOf = Int32Array.from(places.firsts);
    this.isThere = new Uint8Array(this.groups);
    for (const group of this.numbers.values()) this.isThere[group] = 1;
    this.groupOf = new Int32Array(this.firstOf[this.groups]);
    for (let group = 0; group < this.groups; group++) {
      this.groupOf.fill(group, this.firstOf[group], this.firstOf[group + 1]);
    }
  }

  /** @returns the number of a group, by who it is */
  numberOf(who: string): Group | undefined {
    return this.numbers.get(who);
  }

  /** @returns whether somebody is there, in these settings */
  isLive(group: Group): boolean {
    return this.isThere[group] === 1;
  }

  /** @returns a client's group */
  ofClient(client: Client): Group {
    return this.groupOfClient[client] as Group;
  }

  /** @returns how many hosts of a client are told from each other */
  hosts(client: Client): number {
    return this.hostBits[client] + 1;
  }

  /** @returns a client's host */
  host(client: Client, address: Address): Party {
    return (this.firstOf[this.groupOfClient[client]] + (address & this.hostBits[client])) as Party;
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
    return this.firstOf[this.ownGroup] as Party;
  }

  /** @returns the group that a party stands in */
  group(party: Party): Group {
    return this.groupOf[party] as Group;
  }
}

/** Gives out groups' numbers, with room for their parties. */
class Places {
  readonly numbers = new Map<string, Group>();
  readonly firsts: number[];
  private readonly free: Group[] = [];

  constructor(private readonly before?: Parties) {
    this.firsts = before === undefined ? [0] : [...before.firstOf];
    for (let group = 0 as Group; group + 1 < this.firsts.length; group++) {
      if (before?.isLive(group) !== true) this.free.push(group);
    }
  }

  /** @param who the group is; of two who are the same, the second gets another number */
  take(who: string, parties: number): Group {
    const known = this.before?.numberOf(who);
    const isSecond = this.numbers.has(who);
    const group = known === undefined || isSecond ? this.place(2 ** Math.ceil(Math.log2(parties))) : known;
    this.numbers.set(isSecond ? `${who} ${group}` : who, group);
    return group;
  }

  private place(room: number): Group {
    const at = this.free.findIndex((group) => this.firsts[group + 1] - this.firsts[group] === room);
    if (at >= 0) return this.free.splice(at, 1)[0];
    return (this.firsts.push(this.firsts[this.firsts.length - 1] + room) - 2) as Group;
  }
}

function clientKey({ iface, network, prefix }: ClientSettings, { interfaces }: Settings): string {
  return `client ${network}/${prefix} ${interfaces[iface]?.name}`;
}
