// Who has how many records of a table, and whose goes when another needs one. Groups share a table first, and the parties of a
// group what it has: so who never has more than its part, the table divided by all, loses nothing for another's sake. When there is
// no room the greediest gives way: the group with most, and in it the party with most. Of its records the expendable go first
// (unanswered, closed), the oldest of them, and then the assured.
//
// While there is room nothing but counts and lists is kept. The greediest is looked for when it is asked for, by a walk over the
// counts of the groups and of one group's parties.
import type { Parties } from "../parties.ts";
import { type Group, grown, type Party } from "../types.ts";

export const NO_RECORD = -1;

/** Whether a record is assured. */
export type Rank = 0 | 1;
export const EXPENDABLE = 0;
export const ASSURED = 1;

/** Words of a record, which stand together since they are needed together: its list, and those before and behind it there, in a circle. */
const LINKS = 3;
const LIST = 0;
const NEXT = 1;
const PREVIOUS = 2;

export class Shares {
  /** Records by group * 2 + rank, and by party * 2 + rank: a list's number. */
  private inGroup: Int32Array = new Int32Array(0);
  private inList: Int32Array = new Int32Array(0);
  /** By list: its oldest record. */
  private heads: Int32Array = new Int32Array(0);
  /** By record, LINKS each. */
  private readonly links: Int32Array;
  private groupOf: Int32Array = new Int32Array(0);
  private firstOf: Int32Array = new Int32Array(0);
  private groups = 0;
  private liveGroups = 0;
  private parties: Parties | undefined;

  /** @param capacity records of the table */
  constructor(private readonly capacity: number) {
    this.links = new Int32Array(capacity * LINKS);
  }

  /** Takes the parties of new settings, who keep what they have; what those have who are gone, whoever needs it gets first. */
  follow(parties: Parties): void {
    this.parties = parties;
    this.groupOf = parties.groupOf;
    this.firstOf = parties.firstOf;
    this.groups = parties.groups;
    this.liveGroups = parties.liveGroups;
    this.inGroup = grown(this.inGroup, this.groups * 2, 0);
    this.inList = grown(this.inList, this.groupOf.length * 2, 0);
    this.heads = grown(this.heads, this.groupOf.length * 2, NO_RECORD);
  }

  /** @returns whether a record is somebody's who is there */
  isLive(record: number): boolean {
    return this.parties?.isLive(this.groupOf[this.partyOf(record)] as Group) === true;
  }

  /** Counts a record that a party has now, as its youngest. */
  add(record: number, party: Party, rank: Rank): void {
    this.append(record, party * 2 + rank);
  }

  /** Gives a record another rank. */
  move(record: number, rank: Rank): void {
    const list = this.links[record * LINKS + LIST];
    this.unlink(record, list);
    this.append(record, (list & ~1) | rank);
  }

  remove(record: number): void {
    this.unlink(record, this.links[record * LINKS + LIST]);
  }

  /** @returns whose a record is */
  partyOf(record: number): Party {
    return (this.links[record * LINKS + LIST] >> 1) as Party;
  }

  rankOf(record: number): Rank {
    return (this.links[record * LINKS + LIST] & 1) as Rank;
  }

  /** @returns records that a group has */
  countOf(group: Group): number {
    return this.inGroup[group * 2] + this.inGroup[group * 2 + 1];
  }

  /** @returns expendable records that a group has */
  expendableOf(group: Group): number {
    return this.inGroup[group * 2];
  }

  /** @returns a party's oldest record of a rank, or NO_RECORD */
  oldest(party: Party, rank: Rank): number {
    return this.heads[party * 2 + rank];
  }

  /** Makes a party's oldest record of a rank, which there is, the youngest. */
  rotate(party: Party, rank: Rank): void {
    const list = party * 2 + rank;
    this.heads[list] = this.links[this.heads[list] * LINKS + NEXT];
  }

  /** @returns who has to give way when a party needs a record and there is none: the party itself if nobody has more */
  greediest(party: Party): Party {
    const own = this.groupOf[party] as Group;
    let greediest = own;
    let most = this.countOf(own);
    for (let group = 0 as Group; group < this.groups; group++) {
      const count = this.countOf(group);
      if (count <= most) continue;
      most = count;
      greediest = group;
    }
    return greediest === own ? this.greediestBeside(party) : this.greediestIn(greediest);
  }

  /** The same among the party's own group. */
  greediestBeside(party: Party): Party {
    const greediest = this.greediestIn(this.groupOf[party] as Group);
    return this.has(greediest) > this.has(party) ? greediest : party;
  }

  /** @returns the party of a group that has most expendable records */
  mostExpendable(group: Group): Party {
    const { firstOf, inList } = this;
    let greediest = firstOf[group];
    for (let party = greediest + 1; party < firstOf[group + 1]; party++) {
      if (inList[party * 2] > inList[greediest * 2]) greediest = party;
    }
    return greediest as Party;
  }

  /**
   * @returns whether a party, or its group if the other is of another one, has less than its part: then even an assured record
   * of the other's may go for it. Groups divide the table; parties of a group divide what that has among those who have any
   */
  isUnderPart(party: Party, other: Party): boolean {
    const group = this.groupOf[party] as Group;
    if (this.groupOf[other] !== group) return this.countOf(group) < Math.floor(this.capacity / this.liveGroups);
    let having = this.has(party) === 0 ? 1 : 0;
    for (let one = this.firstOf[group] as Party; one < this.firstOf[group + 1]; one++) if (this.has(one) > 0) having++;
    return this.has(party) < Math.floor(this.countOf(group) / having);
  }

  /**
   * For a table whose records are not taken back from who has them: half of it is kept, in equal parts, for groups that have not
   * got theirs yet.
   * @returns whether a party may have another record
   */
  mayHave(party: Party): boolean {
    const own = this.groupOf[party] as Group;
    const part = Math.floor(this.capacity / 2 / this.liveGroups);
    let free = this.capacity - this.countOf(own);
    if (this.countOf(own) < part) return true;
    for (let group = 0 as Group; group < this.groups; group++) {
      if (group !== own) free -= Math.max(this.countOf(group), this.parties?.isLive(group) ? part : 0);
    }
    return free > 0;
  }

  /**
   * The record that is to go when a party needs one and there is none, in a table where assured ones may always go.
   * @returns NO_RECORD if nobody has more than the party
   */
  victim(party: Party): number {
    const greediest = this.greediest(party);
    return greediest === party ? NO_RECORD : this.ownVictim(greediest);
  }

  /** @returns which of a party's records goes first, or NO_RECORD if it has none */
  ownVictim(party: Party): number {
    const expendable = this.oldest(party, EXPENDABLE);
    return expendable !== NO_RECORD ? expendable : this.oldest(party, ASSURED);
  }

  /** @returns how many records more one party has than another; of parties of two groups, how many more its group has */
  lead(one: Party, other: Party): number {
    const group = this.groupOf[one] as Group;
    const others = this.groupOf[other] as Group;
    return group === others ? this.has(one) - this.has(other) : this.countOf(group) - this.countOf(others);
  }

  private has(party: Party): number {
    return this.inList[party * 2] + this.inList[party * 2 + 1];
  }

  private greediestIn(group: Group): Party {
    const { firstOf } = this;
    let greediest = firstOf[group] as Party;
    let most = this.has(greediest);
    for (let party = (greediest + 1) as Party; party < firstOf[group + 1]; party++) {
      const count = this.has(party);
      if (count <= most) continue;
      most = count;
      greediest = party;
    }
    return greediest;
  }

  private append(record: number, list: number): void {
    const { heads, links } = this;
    const at = record * LINKS;
    links[at + LIST] = list;
    this.inList[list]++;
    this.inGroup[this.groupOf[list >> 1] * 2 + (list & 1)]++;
    const head = heads[list];
    if (head === NO_RECORD) {
      heads[list] = record;
      links[at + NEXT] = record;
      links[at + PREVIOUS] = record;
      return;
    }
    const last = links[head * LINKS + PREVIOUS];
    links[last * LINKS + NEXT] = record;
    links[at + PREVIOUS] = last;
    links[at + NEXT] = head;
    links[head * LINKS + PREVIOUS] = record;
  }

  private unlink(record: number, list: number): void {
    const { heads, links } = this;
    this.inList[list]--;
    this.inGroup[this.groupOf[list >> 1] * 2 + (list & 1)]--;
    const after = links[record * LINKS + NEXT];
    const before = links[record * LINKS + PREVIOUS];
    links[before * LINKS + NEXT] = after;
    links[after * LINKS + PREVIOUS] = before;
    if (heads[list] === record) heads[list] = after === record ? NO_RECORD : after;
  }
}
