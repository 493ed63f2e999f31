// Shares against a plain model of them: who has how much, who is the greediest, and which record is whose oldest.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { SETTINGS } from "../../../lab/router-lab.ts";
import { Parties } from "../../../src/dataplane/parties.ts";
import { ASSURED, EXPENDABLE, NO_RECORD, type Rank, Shares } from "../../../src/dataplane/tables/shares.ts";
import type { Client, Group, Party } from "../../../src/dataplane/types.ts";
import { toAddress } from "../../../src/wire/ipv4.ts";

const RECORDS = 60;
const PARTIES = new Parties(SETTINGS);
const ALL_GROUPS = Array.from({ length: PARTIES.groups }, (_, group) => group as Group);
const ALL_PARTIES = Array.from(PARTIES.groupOf, (_, party) => party as Party);

interface Held {
  readonly record: number;
  readonly party: Party;
  readonly rank: Rank;
}

/** Records in the order in which they came, or got their rank. */
class Model {
  held: Held[] = [];

  put(record: number, party: Party, rank: Rank): void {
    this.held = [...this.held.filter((one) => one.record !== record), { record, party, rank }];
  }

  drop(record: number): void {
    this.held = this.held.filter((one) => one.record !== record);
  }

  of(party: Party): Held[] {
    return this.held.filter((one) => one.party === party);
  }

  inGroup(group: Group): Held[] {
    return this.held.filter((one) => PARTIES.group(one.party) === group);
  }

  /** Whom a table may have give way for a party: whoever has most, but nobody for one that has as much. */
  greedy(party: Party): Party[] {
    const most = Math.max(...ALL_GROUPS.map((group) => this.inGroup(group).length));
    const own = PARTIES.group(party);
    const groups = ALL_GROUPS.filter((group) => this.inGroup(group).length === most);
    return (groups.includes(own) ? [own] : groups).flatMap((group) => {
      const members = ALL_PARTIES.filter((one) => PARTIES.group(one) === group);
      const largest = Math.max(...members.map((one) => this.of(one).length));
      return group === own && this.of(party).length === largest
        ? [party]
        : members.filter((one) => this.of(one).length === largest);
    });
  }
}

test("they agree with a plain model, whatever is taken, moved and given back", () => {
  const random = new Random(16);
  const shares = new Shares(RECORDS);
  shares.follow(PARTIES);
  const model = new Model();
  const party = () => {
    if (random.chance(0.5)) return PARTIES.host(1 as Client, toAddress(0xc0a80100 + 20 + random.below(4)));
    return random.pick([PARTIES.host(0 as Client, toAddress(0)), PARTIES.uplink, PARTIES.ourselves]);
  };
  for (let i = 0; i < 500; i++) {
    const record = random.below(RECORDS);
    const rank: Rank = random.chance(0.5) ? EXPENDABLE : ASSURED;
    const known = model.held.find((one) => one.record === record);
    if (known === undefined) {
      const owner = party();
      shares.add(record, owner, rank);
      model.put(record, owner, rank);
    } else if (random.chance(0.4)) {
      shares.remove(record);
      model.drop(record);
    } else {
      shares.move(record, rank);
      model.put(record, known.party, rank);
    }
    const asker = party();
    for (const each of [EXPENDABLE, ASSURED] as const) {
      const oldest = model.of(asker).find((one) => one.rank === each)?.record ?? NO_RECORD;
      expect(shares.oldest(asker, each)).toBe(oldest);
    }
    const greediest = shares.greediest(asker);
    expect(model.greedy(asker)).toContain(greediest);
    if (greediest === asker) expect(shares.victim(asker)).toBe(NO_RECORD);
    else {
      const theirs = model.of(greediest);
      const victim = theirs.find((one) => one.rank === EXPENDABLE) ?? theirs[0];
      expect(shares.victim(asker)).toBe(victim.record);
    }
    for (const one of model.held) expect(shares.partyOf(one.record)).toBe(one.party);
  }
});
