// Rules whose meaning changes while nobody changes them: names in them get other addresses, and rules expire. The clients
// that it concerns get their rules compiled anew; everything else about them stays as the settings in force have it.

import type { Clock } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import type { ClientConfig } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { serversToAsk } from "../config/name-servers.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import type { NameServers } from "../names/name-server.ts";
import { type NameUse, Resolver, type ResolverStatus } from "../names/resolver.ts";
import { compileRules, isAbout, isExpired, nextExpiry } from "../rules/compile.ts";
import { circumstancesOf, type KnownNames } from "./settings.ts";

/** What is asked of the dataplane (dataplane-thread.ts). */
export interface RulesDataplane extends NameServers {
  setClient(client: number, settings: ClientSettings): Promise<void>;
  onPassing: (client: number, answer: Uint8Array) => Promise<void>;
}

export interface RulesEvents {
  /** Something that users should know of names. */
  say(line: string): void;
  /** A client's rules were compiled anew while its settings stay: `resolvedNames` may be others than before. */
  updated(): void;
}

/** By the client's name, the host names in its rules, each with the addresses that it has now: ascending, those of IPv4 first. */
export type ResolvedNames = ReadonlyMap<string, ReadonlyMap<string, readonly IpAddress[]>>;

/** A configuration, and what was made of it. */
interface InForce {
  readonly config: Config;
  readonly settings: Settings;
}

/** Longest wait for names that a new configuration drops, in ms: one name server's answer. */
const PATIENCE = 1000;

/** Longest wait for the next expiry, in ms: the time may be set meanwhile, and timers are limited. */
const LONGEST_WAIT = 60_000;

export class LiveRules {
  private readonly resolver: Resolver;
  private inForce: InForce | undefined;
  /** Whether other settings are on their way; then clients have no certain number. */
  private changing = false;
  /** Names of clients whose rules have to be compiled anew after that. */
  private readonly missed = new Set<string>();
  /** Unix time in seconds that rules were last judged by. */
  private judgedAt = 0;
  private cancelExpiry: () => void = () => {};

  constructor(
    private readonly dataplane: RulesDataplane,
    private readonly clock: Clock,
    private readonly events: RulesEvents,
  ) {
    this.resolver = new Resolver(dataplane, clock, {
      changed: (names) => this.namesChanged(names),
      say: (line) => events.say(line),
    });
    dataplane.onPassing = (client, answer) => this.passing(client, answer);
  }

  /** The addresses that a name has now, undefined while they are unknown, for compiling settings. */
  readonly addressesOf = (name: string): readonly number[] | undefined => this.resolver.addressesOf(name);

  /** Its IPv6 addresses, likewise, where some client that has IPv6 has it in its rules. */
  readonly addresses6Of = (name: string): readonly Uint8Array[] | undefined => this.resolver.addresses6Of(name);

  get knownNames(): KnownNames {
    const { addressesOf, addresses6Of } = this;
    return { addressesOf, addresses6Of };
  }

  get resolverStatus(): ResolverStatus {
    return this.resolver.status;
  }

  /** What host names in the rules in force mean. */
  get resolvedNames(): ResolvedNames {
    const clients = this.inForce?.config.clients ?? [];
    return new Map(clients.map((client) => [client.name, this.namesIn(client)]));
  }

  /**
   * Keeps the rules of settings that have just been put in force up to date, and no longer those before.
   * @param judgedAt Unix time in seconds, no later than the settings were made: a rule that has expired since is looked at again
   */
  follow(config: Config, settings: Settings, judgedAt: number): void {
    this.inForce = { config, settings };
    this.judgedAt = judgedAt;
    this.resolver.setServers(serversToAsk(config));
    this.resolver.setNames(...nameUse(config.clients));
    this.scheduleExpiry();
  }

  /**
   * Puts other settings in force, once it is known what names mean that they drop: while such a name is unknown, its rule would end
   * flows that it is not meant for. That takes a second at most.
   * @param apply makes the settings and puts them in force; while it goes on, no rules are posted
   * @throws what `apply` throws; then the old settings are followed on
   */
  async replace(config: Config, apply: () => Promise<Settings>): Promise<void> {
    try {
      await this.learn(config);
      this.changing = true;
      const judgedAt = this.clock.unixTime();
      this.follow(config, await apply(), judgedAt);
    } catch (error) {
      this.resolver.setNames(...nameUse(this.inForce?.config.clients ?? []));
      throw error;
    } finally {
      this.changing = false;
      for (const client of this.missed) this.update(client);
      this.missed.clear();
    }
  }

  /** Does something while it is known what names mean that a configuration drops, as it would be if that were put in force. */
  async withNamesOf<T>(config: Config, use: () => T): Promise<T> {
    try {
      await this.learn(config);
      return use();
    } finally {
      this.resolver.setNames(...nameUse(this.inForce?.config.clients ?? []));
    }
  }

  /** Has names looked up that a configuration drops and the one in force does not have. */
  private async learn({ clients }: Config): Promise<void> {
    const known = nameUse(this.inForce?.config.clients ?? []);
    const coming = nameUse(clients);
    const names = clients.flatMap(({ rules }) =>
      rules.flatMap(({ action, dsthost }) => (action === "drop" && dsthost) || []),
    );
    const added = names.filter((name) => coming.some((use, i) => use.has(name) && !known[i].has(name)));
    if (added.length === 0) return;
    const [ipv4, ipv6] = coming.map((use, i) => new Map([...use, ...known[i]]));
    this.resolver.setNames(ipv4, ipv6);
    await this.resolver.lookedUp(added, PATIENCE);
  }

  stop(): void {
    this.inForce = undefined;
    this.resolver.stop();
    this.cancelExpiry();
  }

  private namesChanged(names: ReadonlySet<string>): void {
    for (const { name, rules } of this.inForce?.config.clients ?? []) {
      if (rules.some(({ dsthost }) => dsthost !== undefined && names.has(dsthost))) this.update(name);
    }
  }

  /** The client gets the answer when that settles, after what is posted until then. */
  private async passing(number: number, answer: Uint8Array): Promise<void> {
    const client = this.inForce?.config.clients[number];
    if (client !== undefined) await this.resolver.observe(client.name, answer);
  }

  /** Has a client's rules compiled anew, now or as soon as it is certain which it is. */
  private update(name: string): void {
    if (this.changing) {
      this.missed.add(name);
      return;
    }
    if (this.inForce === undefined) return;
    const { config, settings } = this.inForce;
    const number = config.clients.findIndex((client) => client.name === name);
    if (number < 0) return;
    const client = config.clients[number];
    const circumstances = circumstancesOf(config, client, this.clock.unixTime(), this.knownNames);
    const ruleset = compileRules(client.rules, client.policy, circumstances);
    // A dataplane that died is reported by itself (Dataplane.failed).
    this.dataplane.setClient(number, { ...settings.clients[number], ruleset }).catch(() => {});
    this.events.updated();
  }

  private namesIn({ rules, ipv6 }: ClientConfig): Map<string, readonly IpAddress[]> {
    const hosts = rules.flatMap(({ dsthost }) => dsthost ?? []);
    return new Map(
      hosts.map((host) => [host, [...(this.addressesOf(host) ?? []), ...((ipv6 && this.addresses6Of(host)) ?? [])]]),
    );
  }

  private scheduleExpiry(): void {
    this.cancelExpiry();
    const rules = this.inForce?.config.clients.flatMap((client) => client.rules) ?? [];
    if (rules.every(({ expire }) => expire === undefined)) return;
    const next = nextExpiry(rules, this.judgedAt) ?? Number.POSITIVE_INFINITY;
    const wait = Math.ceil((next - this.clock.unixTime()) * 1000);
    this.cancelExpiry = this.clock.after(Math.min(Math.max(wait, 0), LONGEST_WAIT), () => this.expire());
  }

  /** Has rules compiled anew that have expired since, or that hold again because the time was set back. */
  private expire(): void {
    const now = this.clock.unixTime();
    for (const { name, rules } of this.inForce?.config.clients ?? []) {
      if (rules.some((rule) => isExpired(rule, now) !== isExpired(rule, this.judgedAt))) this.update(name);
    }
    this.judgedAt = now;
    this.scheduleExpiry();
  }
}

/** The names of clients whose rules have a name, by that, whose IPv4 addresses they need, and whose IPv6 ones. */
type BothUses = readonly [ipv4: NameUse, ipv6: NameUse];

/** @returns the host names in rules, each with the names of the clients whose rules have it */
function nameUse(clients: readonly ClientConfig[]): BothUses {
  const uses = [new Map<string, Set<string>>(), new Map<string, Set<string>>()] as const;
  for (const { name, rules, ipv6 } of clients) {
    for (const rule of rules) {
      if (rule.dsthost === undefined) continue;
      for (const [i, use] of uses.entries()) {
        if (!isAbout(rule, i === 0 ? 4 : 6) || (i === 1 && ipv6 === undefined)) continue;
        use.set(rule.dsthost, (use.get(rule.dsthost) ?? new Set()).add(name));
      }
    }
  }
  return uses;
}
