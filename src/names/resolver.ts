// The addresses that host names in rules have now: every name is looked up once for each family of which rules need it, however many
// clients' rules have it, again
// before its TTL ends, and when that fails again and again, ever more slowly. Nothing here touches the network or the
// machine's clock: both are given. A name is known when a name server has said what its addresses are, or that it has none; while
// it is unknown, rules that accept it match nothing, and rules that drop it anything.

import type { Clock } from "../base/clock.ts";
import { compareIp, type Family, type IpAddress, sameIp } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { RCODE } from "../wire/dns.ts";
import { AddressTerms, type Grace } from "./address-terms.ts";
import { Budget } from "./budget.ts";
import { addressesIn, Lookup, type Outcome } from "./dns-lookup.ts";
import { canonicalName, followAliases, readAnswer } from "./dns-message.ts";
import type { NameServers } from "./name-server.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** TTLs are taken to be in here, in ms: a shorter one would keep us asking, a longer one from noticing a change. */
export const TTL = { least: 5 * SECOND, most: HOUR };

/** After how many ms at most a name is looked up again whose answer was cut: TCP may work by then. */
const CUT_REFRESH = MINUTE;

/** What part of the TTL goes by before a name is looked up again: from `least` to `most`, so that names spread out. */
const REFRESH = { least: 0.75, most: 0.9 };

/** How long an address stays in force behind its TTL. */
export const GRACE: Grace = { usual: 5 * MINUTE, unanswered: 24 * HOUR };

/** How long it is known of a name that it has no address, in ms after a name server has said so: beyond the next look-up. */
const ABSENCE = 15 * MINUTE;

/** ms between look-ups that fail: twice as long each time, give or take `jitter`. */
export const BACK_OFF = { first: SECOND, longest: 5 * MINUTE, jitter: 0.25 };

/**
 * An answer to a client tells of addresses that we don't know: then we ask until we have been told them too, ever more questions at a
 * time, for some servers give out a few of many addresses at a time. Who makes up answers gets nowhere with that, and causes no more
 * questions than its client's budget: `burst` at once, and `aSecond` in the long run. Of `atOnce`, which is for all clients, each has
 * an equal part for sure.
 */
export const CONFIRMATION = { rounds: [1, 1, 2, 4, 8, 16], burst: 64, aSecond: 8, atOnce: 96 };

/** Look-ups at a time, and ms between two of them once as many have started in short time. */
export const PACE = { atOnce: 32, spacing: 4 };

/** Addresses of one name, of one family. */
const MOST_ADDRESSES = 256;

/** Host names in rules, each with the clients whose rules have it. */
export type NameUse = ReadonlyMap<string, ReadonlySet<string>>;

export interface ResolverEvents {
  /** The addresses of these names changed, or whether they are known, all of them since the last call. */
  changed(names: ReadonlySet<string>): void;
  /** Something that users should know: that a name doesn't resolve, or does again. */
  say(line: string): void;
}

/** How it is with the host names of rules. Counts of look-ups are since the program began. */
export interface ResolverStatus {
  readonly names: number;
  /** Of the names, those whose addresses nobody knows, of a family that is needed. */
  readonly unknown: number;
  /** Those whose last look-up brought no addresses; but not those that have some of one family and none of the other. */
  readonly failing: number;
  /** That are in force, of all names together. */
  readonly addresses: number;
  readonly lookups: number;
  /** Look-ups that brought no addresses. */
  readonly failures: number;
}

/** A name, and a family of whose addresses rules have to know. */
interface Entry {
  readonly name: string;
  readonly family: Family;
  clients: ReadonlySet<string>;
  readonly addresses: AddressTerms;
  /** Until when it is known that there are none, in ms, if name servers answer. */
  absentUntil: number;
  /** Whether it is known what addresses it has, as last reported. */
  isKnown: boolean;
  /** Look-ups without addresses since the last with some. */
  failures: number;
  /** What the last look-up failed for. */
  reason: string;
  /** Whether no name server could answer. */
  unanswered: boolean;
  /** What has been said of it: so that it is said once. */
  readonly said: { unresolved: "no" | "unknown" | "absent"; truncated: boolean };
  /** Settles with its first look-up. */
  readonly lookedUp: PromiseWithResolvers<void>;
  cancelLookup(): void;
  cancelExpiry(): void;
}

export class Resolver {
  private readonly lookup: Lookup;
  /** By `keyOf`. */
  private readonly entries = new Map<string, Entry>();
  private servers: readonly IpAddress[] = [];
  /** Those whose look-up is due, in the order that they became so. */
  private readonly due = new Set<Entry>();
  private underWay = 0;
  /** When the next look-up would start if they came evenly; and what calls off a pause until then. */
  private evenly = 0;
  private cancelPause: (() => void) | undefined;
  private changed = new Set<string>();
  /** By client: questions that answers to it may cause. */
  private readonly budgets = new Map<string, Budget>();
  private confirmations = 0;
  /** Look-ups, and those that brought no addresses. */
  private lookups = 0;
  private failures = 0;

  constructor(
    way: NameServers,
    private readonly clock: Clock,
    private readonly events: ResolverEvents,
  ) {
    this.lookup = new Lookup(way, clock);
  }

  /** Names that do not resolve are tried with new servers at once. */
  setServers(servers: readonly IpAddress[]): void {
    if (servers.length === this.servers.length && servers.every((server, i) => sameIp(server, this.servers[i]))) return;
    this.servers = [...servers];
    this.lookup.setServers(this.servers);
    for (const entry of this.entries.values()) {
      if (entry.failures === 0) continue;
      entry.failures = 0;
      this.becomeDue(entry);
    }
  }

  /**
   * Looks up new names at once, keeps what is known of those that stay, and forgets the others.
   * @param names whose IPv4 addresses rules need; @param names6 whose IPv6 addresses
   */
  setNames(names: NameUse, names6: NameUse = new Map()): void {
    const wanted = new Map([...wantedOf(names, 4), ...wantedOf(names6, 6)]);
    for (const [key, entry] of this.entries) {
      if (!wanted.has(key)) this.forget(entry);
    }
    for (const [key, { name, family, clients }] of wanted) {
      const entry = this.entries.get(key);
      if (entry === undefined) this.begin(name, family, clients);
      else entry.clients = clients;
    }
    const users = new Set(Array.from(wanted.values(), ({ clients }) => [...clients]).flat());
    for (const client of this.budgets.keys()) if (!users.has(client)) this.budgets.delete(client);
  }

  /**
   * Waits until each of these names has been looked up once, of each family of which it is known.
   * @param patience ms that it waits at most
   */
  lookedUp(names: Iterable<string>, patience: number): Promise<void> {
    const first = Array.from(names, (name) => this.entriesOf(name).map((entry) => entry.lookedUp.promise)).flat();
    return new Promise((resolve) => {
      const cancel = this.clock.after(patience, resolve);
      Promise.all(first).then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Stops all look-ups and forgets all names. */
  stop(): void {
    this.setNames(new Map());
    this.cancelPause?.();
  }

  /**
   * The IPv4 addresses that are in force now: those of the last look-up and older ones in their time of grace.
   * @returns ascending; undefined while they are unknown
   */
  addressesOf(name: string): readonly number[] | undefined {
    return this.known(name, 4)?.filter((address) => typeof address === "number");
  }

  /** As `addressesOf`, of IPv6. */
  addresses6Of(name: string): readonly Uint8Array[] | undefined {
    return this.known(name, 6)?.filter((address) => typeof address !== "number");
  }

  private known(name: string, family: Family): IpAddress[] | undefined {
    const entry = this.entries.get(keyOf(canonicalName(name), family));
    return entry !== undefined && this.isKnown(entry) ? entry.addresses.addresses.sort(compareIp) : undefined;
  }

  private entriesOf(name: string): Entry[] {
    return ([4, 6] as const).flatMap((family) => this.entries.get(keyOf(canonicalName(name), family)) ?? []);
  }

  get status(): ResolverStatus {
    const entries = [...this.entries.values()];
    const count = (isCounted: (entry: Entry) => boolean) =>
      new Set(entries.filter(isCounted).map(({ name }) => name)).size;
    return {
      names: count(() => true),
      unknown: count((entry) => !this.isKnown(entry)),
      failing: count((entry) => this.isFailing(entry)),
      addresses: entries.reduce((sum, { addresses }) => sum + addresses.size, 0),
      lookups: this.lookups,
      failures: this.failures,
    };
  }

  /**
   * Looks at an answer that passes by on its way to a client. If it has other addresses for a name in that client's rules than we
   * know of, we ask ourselves. It may come from anybody whom the client wants to help it: what it says is never believed.
   * @param message from one of our name servers, as it seems, to that client; whatever it is
   * @returns settles when it is known what is true of it, or no more is asked; what has changed by then has been reported
   */
  async observe(client: string, message: Uint8Array): Promise<void> {
    const answer = readAnswer(message);
    if (typeof answer === "string" || answer.rcode !== RCODE.NO_ERROR) return;
    const entry = this.entries.get(keyOf(answer.name, answer.family));
    if (entry === undefined || !entry.clients.has(client)) return;
    const end = followAliases(answer, [answer.name]);
    const found = end && addressesIn(answer, end.name, end.ttl);
    const claims = (found?.addresses ?? []).filter((address) => !entry.addresses.has(address));
    if (claims.length === 0) return;
    await this.confirm(entry, claims, this.budgetOf(client));
    this.reportChanges();
  }

  /** Asks until all these addresses are known, or there is no use in it. */
  private async confirm(entry: Entry, claims: readonly IpAddress[], budget: Budget): Promise<void> {
    for (const questions of CONFIRMATION.rounds) {
      if (claims.every((address) => entry.addresses.has(address))) return;
      const isMuch = budget.underWay + questions > CONFIRMATION.atOnce / this.budgets.size;
      if (isMuch && this.confirmations + questions > CONFIRMATION.atOnce) return;
      if (!budget.take(questions, this.clock.now())) return;
      this.confirmations += questions;
      budget.underWay += questions;
      const outcomes = await Promise.all(Array.from({ length: questions }, () => this.resolve(entry)));
      this.confirmations -= questions;
      budget.underWay -= questions;
      if (!this.isWanted(entry)) return;
      const told = outcomes.filter(({ type }) => type === "addresses");
      for (const outcome of told) this.settle(entry, outcome);
      if (told.length === 0) return;
    }
  }

  private budgetOf(client: string): Budget {
    const budget = this.budgets.get(client) ?? new Budget(CONFIRMATION.burst, CONFIRMATION.aSecond, this.clock.now());
    this.budgets.set(client, budget);
    return budget;
  }

  /** Whether rules still have it, and have not forgotten it meanwhile. */
  private isWanted(entry: Entry): boolean {
    return this.entries.get(keyOf(entry.name, entry.family)) === entry;
  }

  private begin(name: string, family: Family, clients: ReadonlySet<string>): void {
    const entry: Entry = {
      name,
      family,
      clients,
      addresses: new AddressTerms(GRACE, MOST_ADDRESSES),
      absentUntil: Number.NEGATIVE_INFINITY,
      isKnown: false,
      failures: 0,
      reason: "",
      unanswered: false,
      said: { unresolved: "no", truncated: false },
      lookedUp: Promise.withResolvers(),
      cancelLookup() {},
      cancelExpiry() {},
    };
    this.entries.set(keyOf(name, family), entry);
    this.becomeDue(entry);
  }

  private forget(entry: Entry): void {
    this.entries.delete(keyOf(entry.name, entry.family));
    this.due.delete(entry);
    entry.lookedUp.resolve();
    entry.cancelLookup();
    entry.cancelExpiry();
  }

  private becomeDue(entry: Entry): void {
    entry.cancelLookup();
    this.due.add(entry);
    this.lookUpNext();
  }

  /** Starts what look-ups are due, as far as the pace allows. */
  private lookUpNext(): void {
    for (const entry of this.due) {
      if (this.underWay === PACE.atOnce) return;
      const now = this.clock.now();
      const early = this.evenly - PACE.atOnce * PACE.spacing - now;
      if (early > 0) {
        this.pause(early);
        return;
      }
      this.evenly = Math.max(this.evenly, now) + PACE.spacing;
      this.due.delete(entry);
      this.start(entry);
    }
  }

  private pause(delay: number): void {
    this.cancelPause ??= this.clock.after(delay, () => {
      this.cancelPause = undefined;
      this.lookUpNext();
    });
  }

  private async start(entry: Entry): Promise<void> {
    this.underWay++;
    const outcome = await this.resolve(entry);
    this.underWay--;
    if (this.isWanted(entry)) this.settle(entry, outcome);
    this.lookUpNext();
  }

  private async resolve({ name, family }: Entry): Promise<Outcome> {
    const outcome = await this.lookup.resolve(name, family);
    this.lookups++;
    if (outcome.type !== "addresses") this.failures++;
    return outcome;
  }

  private settle(entry: Entry, outcome: Outcome): void {
    entry.unanswered = outcome.type === "failed";
    let delay: number;
    if (outcome.type === "addresses") {
      entry.failures = 0;
      entry.absentUntil = Number.NEGATIVE_INFINITY;
      const ttl = usedTtl(outcome.ttl);
      // Of more than are kept always the same ones.
      const kept = outcome.addresses.toSorted(compareIp).slice(0, MOST_ADDRESSES);
      if (kept.some((address) => !entry.addresses.has(address))) this.noteChange(entry);
      entry.addresses.add(kept, ttl, this.clock.now());
      const whole = outcome.truncated ? Math.min(ttl, CUT_REFRESH) : ttl;
      delay = whole * between(REFRESH.least, REFRESH.most);
      this.sayResolved(entry, outcome);
    } else {
      const usual = Math.min(BACK_OFF.first * 2 ** entry.failures, BACK_OFF.longest);
      delay = usual * between(1 - BACK_OFF.jitter, 1 + BACK_OFF.jitter);
      entry.failures++;
      entry.reason = outcome.reason;
      if (outcome.type === "none") entry.absentUntil = this.clock.now() + ABSENCE;
      this.sayUnresolved(entry);
    }
    this.noteKnowledge(entry);
    entry.lookedUp.resolve();
    this.scheduleExpiry(entry);
    entry.cancelLookup();
    entry.cancelLookup = this.clock.after(delay, () => this.becomeDue(entry));
  }

  private scheduleExpiry(entry: Entry): void {
    entry.cancelExpiry();
    const now = this.clock.now();
    const ends = [entry.addresses.next(entry.unanswered) ?? []].flat();
    if (absenceEnd(entry) > now) ends.push(absenceEnd(entry));
    if (ends.length === 0) return;
    const delay = Math.max(0, Math.min(...ends) - now);
    entry.cancelExpiry = this.clock.after(Math.ceil(delay), () => this.expire(entry));
  }

  private expire(entry: Entry): void {
    const expired = entry.addresses.expire(this.clock.now(), entry.unanswered);
    if (expired > 0) this.noteChange(entry);
    this.noteKnowledge(entry);
    if (entry.failures > 0) this.sayUnresolved(entry);
    this.scheduleExpiry(entry);
  }

  private isKnown(entry: Entry): boolean {
    return entry.addresses.size > 0 || this.clock.now() < absenceEnd(entry);
  }

  private isFailing({ name, family, failures, unanswered }: Entry): boolean {
    const other = this.entries.get(keyOf(name, family === 4 ? 6 : 4));
    return failures > 0 && (unanswered || (other?.addresses.size ?? 0) === 0);
  }

  /** Reports where a name has become known, or unknown. */
  private noteKnowledge(entry: Entry): void {
    const isKnown = this.isKnown(entry);
    if (isKnown !== entry.isKnown) this.noteChange(entry);
    entry.isKnown = isKnown;
  }

  /** Reports all changes of one turn at once. */
  private noteChange({ name }: Entry): void {
    if (this.changed.size === 0) queueMicrotask(() => this.reportChanges());
    this.changed.add(name);
  }

  private reportChanges(): void {
    const { changed } = this;
    if (changed.size === 0) return;
    this.changed = new Set();
    this.events.changed(changed);
  }

  private sayUnresolved(entry: Entry): void {
    const { name, family, addresses, said, reason } = entry;
    const state = this.isKnown(entry) ? "absent" : "unknown";
    if (said.unresolved === state || addresses.size > 0) return;
    said.unresolved = state;
    const effect =
      state === "absent"
        ? "its rules match nothing until it does"
        : "until it does rules that accept it match nothing, and rules that drop it any address";
    this.events.say(`name ${quote(name)} does not resolve${ofFamily(family)}, ${effect}: ${reason}`);
  }

  private sayResolved(
    { name, family, said }: Entry,
    { addresses, truncated }: Extract<Outcome, { type: "addresses" }>,
  ): void {
    if (said.unresolved !== "no") this.events.say(`name ${quote(name)} resolves${ofFamily(family)} now`);
    said.unresolved = "no";
    const isCut = truncated || addresses.length > MOST_ADDRESSES;
    if (isCut && !said.truncated) {
      const reason = truncated ? "a datagram holds, and its name server does not answer over TCP" : "are kept";
      const number = Math.min(addresses.length, MOST_ADDRESSES);
      this.events.say(
        `name ${quote(name)} has more${family === 6 ? " IPv6" : ""} addresses than ${reason}: its rules know of ${number}`,
      );
    }
    said.truncated = isCut;
  }
}

function keyOf(name: string, family: Family): string {
  return `${family} ${name}`;
}

interface Wanted {
  readonly name: string;
  readonly family: Family;
  readonly clients: ReadonlySet<string>;
}

function wantedOf(names: NameUse, family: Family): [string, Wanted][] {
  return Array.from(names, ([written, clients]) => {
    const name = canonicalName(written);
    return [keyOf(name, family), { name, family, clients }];
  });
}

/** @returns of which addresses something is said, where it isn't IPv4's */
function ofFamily(family: Family): string {
  return family === 6 ? " to IPv6 addresses" : "";
}

/** @returns until when it is known that a name has no address, in ms */
function absenceEnd({ absentUntil, unanswered }: Entry): number {
  return absentUntil + (unanswered ? GRACE.unanswered : 0);
}

/** @param ttl seconds @returns ms */
function usedTtl(ttl: number): number {
  return Math.min(Math.max(ttl * SECOND, TTL.least), TTL.most);
}

function between(least: number, most: number): number {
  return least + Math.random() * (most - least);
}
