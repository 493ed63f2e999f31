// What host names in rules resolve to, told in QubesDB as Qubes' Linux agent does it (qubes-core-agent-linux,
// qubesagent/firewall.py, update_dns_info): /dns/CLIENT/NAME has the text that Python gives a set of prefixes. Who lets a
// client see only the addresses that its rules know reads them there.
import { formatAddress } from "../base/address.ts";
import type { ResolvedNames } from "../control/live-rules.ts";
import type { Database } from "./client-rules.ts";
import { pathProblem, QDB_VALUE_LENGTH } from "./qubesdb-wire.ts";

/** What of QubesDB is written here. */
export interface KeyStore extends Database {
  write(path: string, value: string): void;
  remove(path: string): void;
}

const ROOT = "/dns/";
/** `'255.255.255.255/32', `, and the braces. */
const MOST_ADDRESSES = Math.floor((QDB_VALUE_LENGTH - 2) / 22);

export class NameKeys {
  /** What has been said of names that there are still. */
  private said: ReadonlySet<string> = new Set();

  constructor(
    private readonly store: KeyStore,
    private readonly say: (line: string) => void,
  ) {}

  /**
   * Makes the keys say this and nothing else: also what an earlier run of the program has left there goes.
   * @param names those without addresses get no key
   */
  show(names: ResolvedNames): void {
    const problems = new Set<string>();
    const values = this.valuesOf(names, problems);
    for (const [name] of this.store.below(ROOT)) if (!values.has(ROOT + name)) this.store.remove(ROOT + name);
    for (const [path, value] of values) if (this.store.get(path) !== value) this.store.write(path, value);
    for (const problem of problems) if (!this.said.has(problem)) this.say(problem);
    this.said = problems;
  }

  private valuesOf(names: ResolvedNames, problems: Set<string>): Map<string, string> {
    const values = new Map<string, string>();
    for (const [client, hosts] of names) {
      for (const [host, addresses] of hosts) {
        const shown = addresses.filter((address) => typeof address === "number");
        if (shown.length === 0) continue;
        const path = `${ROOT}${client}/${host}`;
        const problem = pathProblem(path);
        if (problem !== undefined)
          problems.add(`QubesDB: no key ${path}, which ${problem}; its rules work all the same`);
        else values.set(path, formatSet(shown));
        if (shown.length > MOST_ADDRESSES) problems.add(`QubesDB: ${path} has room for ${MOST_ADDRESSES} addresses`);
      }
    }
    return values;
  }
}

/** `{'192.0.2.7/32', '192.0.2.8/32'}` */
function formatSet(addresses: readonly number[]): string {
  const words = addresses.slice(0, MOST_ADDRESSES).map((address) => `'${formatAddress(address)}/32'`);
  return `{${words.join(", ")}}`;
}
