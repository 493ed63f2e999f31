// The rules of clients as QubesDB has them: below /qubes-firewall/ADDRESS/ a policy and numbered rules, which are in force
// only from the write to /qubes-firewall/ADDRESS on. A client that has IPv6 has a second list below that address, for IPv6 alone. What
// can't be understood whole drops everything of that address. In a database that is filled anew an address keeps its last rules until its
// own are written, or it is connected no more.
import { familyOf, formatIp, type IpAddress, parseIp } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { forFamily, type Policy, parseRule, type Rule } from "../rules/parse.ts";

/** What of QubesDB is read here. */
export interface Database {
  get(path: string): string | undefined;
  below(path: string): readonly [name: string, value: string][];
}

export interface ClientRules {
  readonly policy: Policy;
  readonly rules: readonly Rule[];
  /** Dom0's number of each: of the rule in `qvm-firewall`'s list, of which those of the other family are left out here. */
  readonly numbers: readonly number[];
  /** Why everything is dropped, if it is for an error. */
  readonly error?: string;
}

/** What a client gets that nobody has written rules for. */
export const DROP_EVERYTHING: ClientRules = { policy: "drop", rules: [], numbers: [] };

const ROOT = "/qubes-firewall/";
const MAPPED = "/mapped-ip/";
/** By family. */
const CONNECTED = { 4: "/connected-ips", 6: "/connected-ips6" } as const;
const RULE_NUMBER = /^[0-9]{4}$/;

/** @param address one of a client's. @returns its rules as they stand in the database now */
export function readClientRules(database: Database, address: string): ClientRules {
  const fail = (error: string): ClientRules => ({ ...DROP_EVERYTHING, error: `client ${address}: ${error}` });
  const rules: Rule[] = [];
  const numbers: number[] = [];
  const family = familyOf(parseIp(address) ?? 0);
  let policy: string | undefined;
  for (const [name, text] of database.below(`${ROOT}${address}/`)) {
    if (name === "policy") {
      policy = text;
      continue;
    }
    if (!RULE_NUMBER.test(name)) return fail(`${quote(name)} is neither policy nor a rule's number of four digits`);
    const result = forFamily(parseRule(text), family);
    if (!result.ok) return fail(`rule ${name}: ${result.error}`);
    rules.push(result.rule);
    numbers.push(Number(name));
  }
  if (policy === undefined) return fail("there is no policy");
  if (policy !== "accept" && policy !== "drop") return fail(`policy ${quote(policy)} is neither accept nor drop`);
  return { policy, rules, numbers };
}

/** The rules that are in force, by each of a client's addresses as text. */
export class CommittedRules {
  private readonly committed = new Map<string, ClientRules>();
  /** Keys of clients whose last rules are in force because the database has none yet: what dom0 had given them. */
  private readonly kept = new Map<string, ReadonlyMap<string, string>>();

  constructor(private readonly database: Database) {}

  get(address: string): ClientRules | undefined {
    return this.committed.get(address);
  }

  /** The database as it is in force: of clients with their last rules, so is what they were told of addresses. */
  get inForce(): Pick<Database, "get"> {
    const kept = new Map([...this.kept.values()].flatMap((keys) => [...keys]));
    return { get: (path) => kept.get(path) ?? this.database.get(path) };
  }

  /** @returns what is wrong with rules, a line for each client that has an error in them */
  errors(): string[] {
    return [...this.committed.values()].flatMap(({ error }) => error ?? []);
  }

  /**
   * Everything was read anew: what has been written whole is in force. Where only our connection broke, while dom0 was rewriting
   * a client's rules, their commit key is there from before, and with it the beginning of the new ones: never more than they
   * allow, because the policy is written first and qubesd knows only drop (qubes-core-admin, Firewall.policy).
   * @param before the database as it was until now
   * @returns the clients whose rules are others than before
   */
  readAll(before: Database): string[] {
    const present = this.database.below(ROOT).map(([name]) => name);
    for (const address of this.committed.keys()) {
      if (!present.includes(address) && !this.kept.has(address)) this.kept.set(address, mappingOf(before, address));
    }
    this.forgetDisconnected();
    return present.filter((address) => this.commit(address));
  }

  /** @param path one that was written. @returns the client whose rules are in force by that */
  written(path: string): string | undefined {
    if (path === CONNECTED[4] || path === CONNECTED[6]) this.forgetDisconnected();
    const address = clientOf(path);
    if (address !== undefined) this.commit(address);
    return address;
  }

  /** @param path one that was removed. @returns whether a client has no rules any more by that */
  removed(path: string): boolean {
    if (path === ROOT) {
      const had = this.committed.size > 0;
      this.committed.clear();
      this.kept.clear();
      return had;
    }
    const address = clientOf(path);
    return address !== undefined && this.forget(address);
  }

  /** Of the clients that keep their last rules, those that dom0 does not count among the connected ones any more have none. */
  private forgetDisconnected(): void {
    const listed = Object.values(CONNECTED).flatMap((key) => (this.database.get(key) ?? "").split(" "));
    const connected = new Set(listed);
    for (const [address, mapping] of this.kept) {
      // Dom0 lists a client by the address that it was told.
      const seen = mapping.get(`${MAPPED}${address}/visible-ip`) ?? address;
      if (!connected.has(address) && !connected.has(seen)) this.forget(address);
    }
  }

  private forget(address: string): boolean {
    this.kept.delete(address);
    return this.committed.delete(address);
  }

  /** @returns whether that changed anything */
  private commit(address: string): boolean {
    if (addressOf(address) === undefined) return false;
    const rules = readClientRules(this.database, address);
    const changed = !Bun.deepEquals(rules, this.committed.get(address));
    this.committed.set(address, rules);
    this.kept.delete(address);
    return changed;
  }
}

/** @returns a client's keys below /mapped-ip */
function mappingOf(database: Database, address: string): ReadonlyMap<string, string> {
  const root = `${MAPPED}${address}/`;
  return new Map(database.below(root).map(([name, value]) => [root + name, value]));
}

/** @returns the address of a path /qubes-firewall/ADDRESS, undefined of any other */
function clientOf(path: string): string | undefined {
  if (!path.startsWith(ROOT)) return undefined;
  const address = path.slice(ROOT.length);
  return addressOf(address) === undefined ? undefined : address;
}

/** Of several ways to write one, dom0 has the canonical one, by which a client's rules are looked up. */
function addressOf(text: string): IpAddress | undefined {
  const address = parseIp(text);
  return address !== undefined && formatIp(address) === text ? address : undefined;
}
