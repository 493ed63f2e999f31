// Whose the drop ring's records are, and whose goes for another: groups share first, a group's parties what it has, and a party's
// reasons what that has. While there is room all may be had; then the greediest gives way. So a flood, whoever sends it and whatever
// it is dropped for, takes only from those who have more.
//
// A record is needed for each frame of a flood, so nobody is looked for then: each knows the greediest of its children. What changes
// that is a record that goes from one to another, and it does only where the other has two more. So it comes to rest, and from then
// on each takes its own oldest.

/** In place of a node or a record. */
const NONE = -1;
const ROOT = 0;
/** A power of two: what is found last is remembered by this many endings of a party's and a reason's number. */
const KNOWN = 1024;
const REASON_BITS = 6;

export class DropShares {
  /** By node: the root, groups, parties, reasons of a party. What each has, who shares it, and who has most of those. */
  private count = new Int32Array(0);
  private parent = new Int32Array(0);
  private greediest = new Int32Array(0);
  /** Children that have anything, as a list. */
  private first = new Int32Array(0);
  private next = new Int32Array(0);
  private previous = new Int32Array(0);
  private firstParty = 0;
  private firstReason = 0;
  /** By node of a reason, less the first: which one, and those that are free, as a list. */
  private readonly reasons: Int32Array;
  private freeReason = NONE;
  /** By record: its node, and those before and behind it there, in a circle; by node of a reason, less the first: the oldest. */
  private readonly nodeOf: Int32Array;
  private readonly after: Int32Array;
  private readonly before: Int32Array;
  private readonly oldest: Int32Array;
  private used = 0;
  /** The node that was found last for such a party and reason: a flood asks for few, again and again. */
  private readonly known = new Int32Array(KNOWN);

  /** @param capacity records */
  constructor(private readonly capacity: number) {
    this.reasons = new Int32Array(capacity);
    this.nodeOf = new Int32Array(capacity);
    this.after = new Int32Array(capacity);
    this.before = new Int32Array(capacity);
    this.oldest = new Int32Array(capacity);
  }

  /**
   * Forgets who has what: parties are numbered anew.
   * @param groupOf by party
   */
  reset(groups: number, groupOf: Int32Array): void {
    this.firstParty = 1 + groups;
    this.firstReason = this.firstParty + groupOf.length;
    const nodes = this.firstReason + this.capacity;
    this.count = new Int32Array(nodes);
    this.parent = new Int32Array(nodes);
    this.greediest = new Int32Array(nodes).fill(NONE);
    this.first = new Int32Array(nodes).fill(NONE);
    this.next = new Int32Array(nodes).fill(NONE);
    this.previous = new Int32Array(nodes).fill(NONE);
    for (let party = 0; party < groupOf.length; party++) this.parent[this.firstParty + party] = 1 + groupOf[party];
    this.freeReason = NONE;
    for (let node = nodes - 1; node >= this.firstReason; node--) this.freeNode(node);
    this.used = 0;
    this.known.fill(this.firstReason);
  }

  /** @returns a number for what a party's frames are dropped for, or NONE if no record is about that: it tells such records */
  find(party: number, reason: number): number {
    const { next, reasons, firstReason, known } = this;
    const partyNode = this.firstParty + party;
    const place = ((party << REASON_BITS) + reason) & (KNOWN - 1);
    const last = known[place];
    // It may have become another party's since, or nobody's.
    if (this.parent[last] === partyNode && reasons[last - firstReason] === reason && this.count[last] > 0) return last;
    for (let node = this.first[partyNode]; node !== NONE; node = next[node]) {
      if (reasons[node - firstReason] !== reason) continue;
      known[place] = node;
      return node;
    }
    return NONE;
  }

  /** @returns what `find` returned for the record's party and reason */
  classOf(record: number): number {
    return this.nodeOf[record];
  }

  /** How many records a party has for a reason. */
  has(party: number, reason: number): number {
    const node = this.find(party, reason);
    return node === NONE ? 0 : this.count[node];
  }

  /**
   * @param own what `find` returns for the party and the reason
   * @returns the record that is to be the next of these: one not used yet, or who has it loses it
   */
  take(party: number, reason: number, own: number): number {
    if (this.used < this.capacity) {
      const record = this.used++;
      this.add(record, party, reason, own);
      return record;
    }
    const loser = this.loser(party, own);
    const record = this.oldest[loser - this.firstReason];
    if (loser === own) {
      this.oldest[own - this.firstReason] = this.after[record];
    } else {
      this.remove(record);
      this.add(record, party, reason, own);
    }
    return record;
  }

  /** Makes a record the youngest of its party and reason. */
  touch(record: number): void {
    const reason = this.nodeOf[record] - this.firstReason;
    const head = this.oldest[reason];
    if (head === record) {
      this.oldest[reason] = this.after[record];
    } else if (this.before[head] !== record) {
      this.unlinkRecord(record);
      this.linkRecord(record, head);
    }
  }

  /** Gives a record, after `reset`, to whom it belongs now: those with the smallest numbers first, each once. */
  refile(record: number, party: number, reason: number): void {
    this.used++;
    this.add(record, party, reason, this.find(party, reason));
  }

  /** @returns whose oldest record goes when a party needs one */
  private loser(party: number, own: number): number {
    const { greediest, parent } = this;
    const partyNode = this.firstParty + party;
    const group = parent[partyNode];
    if (this.mustGive(ROOT, group)) return greediest[greediest[greediest[ROOT]]];
    if (this.mustGive(group, partyNode)) return greediest[greediest[group]];
    return own === NONE || this.mustGive(partyNode, own) ? greediest[partyNode] : own;
  }

  /** Whether the greediest child of a node gives a record to another child. */
  private mustGive(node: number, child: number): boolean {
    const has = this.count[child];
    return has === 0 || this.count[this.greediest[node]] > has + 1;
  }

  private add(record: number, party: number, reason: number, own: number): void {
    const { count, greediest, parent } = this;
    let node = own === NONE ? this.takeNode(party, reason) : own;
    this.nodeOf[record] = node;
    if (count[node] === 0) {
      this.oldest[node - this.firstReason] = record;
      this.after[record] = record;
      this.before[record] = record;
    } else {
      this.linkRecord(record, this.oldest[node - this.firstReason]);
    }
    for (; node !== ROOT; node = parent[node]) {
      const above = parent[node];
      if (++count[node] === 1) this.linkNode(node, above);
      if (greediest[above] === NONE || count[node] > count[greediest[above]]) greediest[above] = node;
    }
  }

  private remove(record: number): void {
    const { count, greediest, parent } = this;
    const reason = this.nodeOf[record];
    if (this.oldest[reason - this.firstReason] === record) this.oldest[reason - this.firstReason] = this.after[record];
    this.unlinkRecord(record);
    for (let node = reason; node !== ROOT; node = parent[node]) {
      const above = parent[node];
      if (--count[node] === 0) this.unlinkNode(node, above);
      if (greediest[above] === node) greediest[above] = this.findGreediest(above, count[node] + 1);
    }
    if (count[reason] === 0) this.freeNode(reason);
  }

  /** @param most what none of the children has more than */
  private findGreediest(node: number, most: number): number {
    const { count, next } = this;
    let greediest = this.first[node];
    for (let child = greediest; child !== NONE; child = next[child]) {
      if (count[child] > count[greediest]) greediest = child;
      if (count[greediest] === most) break;
    }
    return greediest;
  }

  private linkRecord(record: number, head: number): void {
    const { after, before } = this;
    const last = before[head];
    after[last] = record;
    before[record] = last;
    after[record] = head;
    before[head] = record;
  }

  private unlinkRecord(record: number): void {
    const { after, before } = this;
    after[before[record]] = after[record];
    before[after[record]] = before[record];
  }

  private linkNode(node: number, above: number): void {
    const head = this.first[above];
    this.next[node] = head;
    this.previous[node] = NONE;
    if (head !== NONE) this.previous[head] = node;
    this.first[above] = node;
  }

  private unlinkNode(node: number, above: number): void {
    const { next, previous } = this;
    if (previous[node] === NONE) this.first[above] = next[node];
    else next[previous[node]] = next[node];
    if (next[node] !== NONE) previous[next[node]] = previous[node];
  }

  /** There is one: each that is used has a record at least. */
  private takeNode(party: number, reason: number): number {
    const node = this.freeReason;
    this.freeReason = this.next[node];
    this.parent[node] = this.firstParty + party;
    this.reasons[node - this.firstReason] = reason;
    return node;
  }

  private freeNode(node: number): void {
    this.next[node] = this.freeReason;
    this.freeReason = node;
  }
}
