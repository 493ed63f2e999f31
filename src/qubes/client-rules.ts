// The rules of clients as QubesDB has them: below /qubes-firewall/ADDRESS/ a policy and numbered rules, which are in force
// only from the write to /qubes-firewall/ADDRESS on. What can't be understood whole drops everything of that client.
import { parseAddress } from "../control/address.ts";
import type { Policy } from "../control/config-values.ts";
import { quote } from "../control/quote.ts";
import { forFamily, parseRule, type Rule } from "./rules.ts";

/** What of QubesDB is read here. */
export interface Database {
  get(path: string): string | undefined;
  below(path: string): readonly [name: string, value: string][];
}

export interface ClientRules {
  readonly policy: Policy;
  readonly rules: readonly Rule[];
  /** Why everything is dropped, if it is for an error. */
  readonly error?: string;
}

/** What a client gets that nobody has written rules for. */
export const DROP_EVERYTHING: ClientRules = { policy: "drop", rules: [] };

const ROOT = "/qubes-firewall/";
const RULE_NUMBER = /^[0-9]{4}$/;

/** @param address the client's, of IPv4. @returns its rules as they stand in the database now */
export function readClientRules(database: Database, address: string): ClientRules {
  const fail = (error: string): ClientRules => ({ ...DROP_EVERYTHING, error: `client ${address}: ${error}` });
  const rules: Rule[] = [];
  let policy: string | undefined;
  for (const [name, text] of database.below(`${ROOT}${address}/`)) {
    if (name === "policy") {
      policy = text;
      continue;
    }
    if (!RULE_NUMBER.test(name)) return fail(`${quote(name)} is neither policy nor a rule's number of four digits`);
    const result = forFamily(parseRule(text), 4);
    if (!result.ok) return fail(`rule ${name}: ${result.error}`);
    rules.push(result.rule);
  }
  if (policy === undefined) return fail("there is no policy");
  if (policy !== "accept" && policy !== "drop") return fail(`policy ${quote(policy)} is neither accept nor drop`);
  return { policy, rules };
}

/** The rules that are in force, by the client's address as text. */
export class CommittedRules {
  private readonly committed = new Map<string, ClientRules>();

  constructor(private readonly database: Database) {}

  get(address: string): ClientRules | undefined {
    return this.committed.get(address);
  }

  /** @returns what is wrong with rules, a line for each client that has an error in them */
  errors(): string[] {
    return [...this.committed.values()].flatMap(({ error }) => error ?? []);
  }

  /** Everything was read anew: what is there is in force. @returns the clients whose rules are others than before */
  readAll(): string[] {
    const addresses = new Set(this.database.below(ROOT).map(([name]) => name.split("/")[0] ?? ""));
    for (const address of this.committed.keys()) if (!addresses.has(address)) this.committed.delete(address);
    return [...addresses].filter((address) => this.commit(address));
  }

  /** @param path one that was written. @returns the client whose rules are in force by that */
  written(path: string): string | undefined {
    const address = clientOf(path);
    if (address !== undefined) this.commit(address);
    return address;
  }

  /** @param path one that was removed. @returns whether a client has no rules any more by that */
  removed(path: string): boolean {
    if (path === ROOT) {
      const had = this.committed.size > 0;
      this.committed.clear();
      return had;
    }
    const address = clientOf(path);
    return address !== undefined && this.committed.delete(address);
  }

  /** @returns whether that changed anything */
  private commit(address: string): boolean {
    if (parseAddress(address) === undefined) return false;
    const rules = readClientRules(this.database, address);
    const changed = !Bun.deepEquals(rules, this.committed.get(address));
    this.committed.set(address, rules);
    return changed;
  }
}

/** @returns the IPv4 address of a path /qubes-firewall/ADDRESS, undefined of any other */
function clientOf(path: string): string | undefined {
  if (!path.startsWith(ROOT)) return undefined;
  const address = path.slice(ROOT.length);
  return parseAddress(address) === undefined ? undefined : address;
}
