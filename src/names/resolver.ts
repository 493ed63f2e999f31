// The addresses that host names in rules have now: every name is looked up once however many clients' rules have it, again
// before its TTL ends, and when that fails again and again, ever more slowly. Nothing here touches the network or the
// machine's clock: both are given. A name without addresses is no error: its rules match nothing until it has some.

import type { Clock } from "../base/clock.ts";
import { quote } from "../base/quote.ts";
import { RCODE } from "../wire/dns.ts";
import { AddressTerms, type Grace } from "./address-terms.ts";
import { addressesIn, Lookup, type NameServers, type Outcome } from "./dns-lookup.ts";
import { canonicalName, followAliases, readAnswer } from "./dns-message.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** TTLs are taken to be in here, in ms: a shorter one would keep us asking, a longer one from noticing a change. */
export const TTL = { least: 5 * SECOND, most: HOUR };

/** What part of the TTL goes by before a name is looked up again: from `least` to `most`, so that names spread out. */
const REFRESH = { least: 0.75, most: 0.9 };

/** How long an address stays in force behind its TTL. */
export const GRACE: Grace = { usual: 5 * MINUTE, unanswered: 24 * HOUR };

/** ms between look-ups that fail: twice as long each time, give or take `jitter`. */
export const BACK_OFF = { first: SECOND, longest: 5 * MINUTE, jitter: 0.25 };

/** Look-ups at a time, and ms between two of them once as many have started in short time. */
export const PACE = { atOnce: 32, spacing: 4 };

/** Addresses of one name, or of one name as one client has seen it. */
const MOST_ADDRESSES = 256;

/** Host names in rules, each with the clients whose rules have it. */
export type NameUse = ReadonlyMap<string, ReadonlySet<string>>;

export interface ResolverEvents {
  /** The addresses of these names changed, all of them since the last call. */
  changed(names: ReadonlySet<string>): void;
  /** Something that users should know: that a name doesn't resolve, or does again. */
  say(line: string): void;
}

interface Entry {
  readonly name: string;
  clients: ReadonlySet<string>;
  readonly own: AddressTerms;
  /** By client, what passed by in an answer to it. */
  readonly seen: Map<string, AddressTerms>;
  /** Look-ups without addresses since the last with some. */
  failures: number;
  /** What the last look-up failed for. */
  reason: string;
  /** Whether no name server could answer. */
  unanswered: boolean;
  /** What has been said of it: so that it is said once. */
  readonly said: { unresolved: boolean; truncated: boolean };
  cancelLookup(): void;
  cancelExpiry(): void;
}

export class Resolver {
  private readonly lookup: Lookup;
  private readonly entries = new Map<string, Entry>();
  private servers: readonly number[] = [];
  /** Those whose look-up is due, in the order that they became so. */
  private readonly due = new Set<Entry>();
  private underWay = 0;
  /** When the next look-up would start if they came evenly; and what calls off a pause until then. */
  private evenly = 0;
  private cancelPause: (() => void) | undefined;
  private changed = new Set<string>();

  constructor(
    way: NameServers,
    private readonly clock: Clock,
    private readonly events: ResolverEvents,
  ) {
    this.lookup = new Lookup(way);
  }

  /** @param servers IPv4 addresses, host order; those of the names that do not resolve are tried at once */
  setServers(servers: readonly number[]): void {
    if (servers.length === this.servers.length && servers.every((server, i) => server === this.servers[i])) return;
    this.servers = [...servers];
    this.lookup.setServers(this.servers);
    for (const entry of this.entries.values()) {
      if (entry.failures === 0) continue;
      entry.failures = 0;
      this.becomeDue(entry);
    }
  }

  /** Looks up new names at once, keeps what is known of those that stay, and forgets the others. */
  setNames(names: NameUse): void {
    const wanted = new Map(Array.from(names, ([name, clients]) => [canonicalName(name), clients]));
    for (const entry of this.entries.values()) {
      if (!wanted.has(entry.name)) this.forget(entry);
    }
    for (const [name, clients] of wanted) {
      const entry = this.entries.get(name);
      if (entry === undefined) this.begin(name, clients);
      else this.setClients(entry, clients);
    }
  }

  /** Stops all look-ups and forgets all names. */
  stop(): void {
    this.setNames(new Map());
    this.cancelPause?.();
  }

  /**
   * The addresses that are in force now: those of the last look-up and older ones in their time of grace.
   * @param client who also has what was in answers to itself
   * @returns uint32 in host order, ascending
   */
  addressesOf(name: string, client?: string): readonly number[] {
    const entry = this.entries.get(canonicalName(name));
    if (entry === undefined) return [];
    const seen = client === undefined ? undefined : entry.seen.get(client);
    return Array.from(new Set([...entry.own.addresses, ...(seen?.addresses ?? [])])).sort((one, other) => one - other);
  }

  /**
   * Takes an answer that passes by on its way to a client: if it is about a name in its rules, the client may use its
   * addresses from now on.
   * @param message from one of our name servers, to a question of that client; whatever it is
   * @returns whether that changed the client's addresses; there is no event for it
   */
  observe(client: string, message: Uint8Array): boolean {
    const answer = readAnswer(message);
    if (typeof answer === "string" || answer.rcode !== RCODE.NO_ERROR) return false;
    const entry = this.entries.get(answer.name);
    if (entry === undefined || !entry.clients.has(client)) return false;
    const end = followAliases(answer, [answer.name]);
    const found = end && addressesIn(answer, end.name, end.ttl);
    if (found === undefined) return false;
    const seen = entry.seen.get(client) ?? newTerms();
    const isNew = found.addresses.some((address) => !entry.own.has(address) && !seen.has(address));
    seen.add(found.addresses, usedTtl(found.ttl), this.clock.now());
    entry.seen.set(client, seen);
    this.scheduleExpiry(entry);
    return isNew;
  }

  private begin(name: string, clients: ReadonlySet<string>): void {
    const entry: Entry = {
      name,
      clients,
      own: newTerms(),
      seen: new Map(),
      failures: 0,
      reason: "",
      unanswered: false,
      said: { unresolved: false, truncated: false },
      cancelLookup() {},
      cancelExpiry() {},
    };
    this.entries.set(name, entry);
    this.becomeDue(entry);
  }

  private setClients(entry: Entry, clients: ReadonlySet<string>): void {
    entry.clients = clients;
    for (const client of entry.seen.keys()) {
      if (!clients.has(client)) entry.seen.delete(client);
    }
  }

  private forget(entry: Entry): void {
    this.entries.delete(entry.name);
    this.due.delete(entry);
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
    const outcome = await this.lookup.resolve(entry.name);
    this.underWay--;
    if (this.entries.get(entry.name) === entry) this.settle(entry, outcome);
    this.lookUpNext();
  }

  private settle(entry: Entry, outcome: Outcome): void {
    entry.unanswered = outcome.type === "failed";
    let delay: number;
    if (outcome.type === "addresses") {
      entry.failures = 0;
      const ttl = usedTtl(outcome.ttl);
      if (outcome.addresses.some((address) => !entry.own.has(address))) this.noteChange(entry);
      entry.own.add(outcome.addresses, ttl, this.clock.now());
      delay = ttl * between(REFRESH.least, REFRESH.most);
      this.sayResolved(entry, outcome.addresses.length, outcome.truncated);
    } else {
      const usual = Math.min(BACK_OFF.first * 2 ** entry.failures, BACK_OFF.longest);
      delay = usual * between(1 - BACK_OFF.jitter, 1 + BACK_OFF.jitter);
      entry.failures++;
      entry.reason = outcome.reason;
      this.sayUnresolved(entry);
    }
    this.scheduleExpiry(entry);
    entry.cancelLookup();
    entry.cancelLookup = this.clock.after(delay, () => this.becomeDue(entry));
  }

  private scheduleExpiry(entry: Entry): void {
    entry.cancelExpiry();
    const ends = termsOf(entry).flatMap((terms) => terms.next(entry.unanswered) ?? []);
    if (ends.length === 0) return;
    const delay = Math.max(0, Math.min(...ends) - this.clock.now());
    entry.cancelExpiry = this.clock.after(Math.ceil(delay), () => this.expire(entry));
  }

  private expire(entry: Entry): void {
    const { own, seen, unanswered } = entry;
    const now = this.clock.now();
    let hasChanged = own.expire(now, unanswered).length > 0;
    for (const [client, terms] of seen) {
      hasChanged = terms.expire(now, unanswered).some((address) => !own.has(address)) || hasChanged;
      if (terms.size === 0) seen.delete(client);
    }
    if (hasChanged) this.noteChange(entry);
    if (entry.failures > 0) this.sayUnresolved(entry);
    this.scheduleExpiry(entry);
  }

  /** Reports all changes of one turn at once. */
  private noteChange({ name }: Entry): void {
    if (this.changed.size === 0) queueMicrotask(() => this.reportChanges());
    this.changed.add(name);
  }

  private reportChanges(): void {
    const { changed } = this;
    this.changed = new Set();
    this.events.changed(changed);
  }

  private sayUnresolved({ name, own, said, reason }: Entry): void {
    if (said.unresolved || own.size > 0) return;
    said.unresolved = true;
    this.events.say(`name ${quote(name)} does not resolve, its rules match nothing until it does: ${reason}`);
  }

  private sayResolved({ name, said }: Entry, number: number, truncated: boolean): void {
    if (said.unresolved) this.events.say(`name ${quote(name)} resolves now`);
    said.unresolved = false;
    if (truncated && !said.truncated) {
      this.events.say(`name ${quote(name)} has more addresses than an answer holds: its rules know of ${number}`);
    }
    said.truncated = truncated;
  }
}

function newTerms(): AddressTerms {
  return new AddressTerms(GRACE, MOST_ADDRESSES);
}

function termsOf(entry: Entry): AddressTerms[] {
  return [entry.own, ...entry.seen.values()];
}

/** @param ttl seconds @returns ms */
function usedTtl(ttl: number): number {
  return Math.min(Math.max(ttl * SECOND, TTL.least), TTL.most);
}

function between(least: number, most: number): number {
  return least + Math.random() * (most - least);
}
