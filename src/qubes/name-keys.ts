// What host names in rules resolve to, told in QubesDB as Qubes' Linux agent does it (qubes-core-agent-linux,
// qubesagent/firewall.py, update_dns_info): /dns/CLIENT/NAME has the text that Python gives a set of prefixes. Who lets a
// client see only the addresses that its rules know reads them there.
import { type Family, familyOf, formatIpPrefix, hostPrefix, type IpAddress } from "../base/ip.ts";
import type { ResolvedNames } from "../control/live-rules.ts";
import type { Database } from "./client-rules.ts";
import { pathProblem, QDB_VALUE_LENGTH } from "./qubesdb-wire.ts";

/** What of QubesDB is written here. */
export interface KeyStore extends Database {
  write(path: string, value: string): void;
  remove(path: string): void;
}

const ROOT = "/dns/";
/** `'255.255.255.255/32', `, or as much as an IPv6 address may take, and the braces. */
const MOST_ADDRESSES = {
  4: Math.floor((QDB_VALUE_LENGTH - 2) / 22),
  6: Math.floor((QDB_VALUE_LENGTH - 2) / 47),
} as const;

/** By a client's name, its address of each family. */
export type NameOwners = ReadonlyMap<string, Readonly<Record<Family, string | undefined>>>;

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
   * @param owners all who have names
   */
  show(names: ResolvedNames, owners: NameOwners): void {
    const problems = new Set<string>();
    const values = this.valuesOf(names, owners, problems);
    for (const [name] of this.store.below(ROOT)) if (!values.has(ROOT + name)) this.store.remove(ROOT + name);
    for (const [path, value] of values) if (this.store.get(path) !== value) this.store.write(path, value);
    for (const problem of problems) if (!this.said.has(problem)) this.say(problem);
    this.said = problems;
  }

  private valuesOf(names: ResolvedNames, owners: NameOwners, problems: Set<string>): Map<string, string> {
    const values = new Map<string, string>();
    for (const [client, hosts] of names) {
      for (const family of FAMILIES) {
        const owner = owners.get(client)?.[family];
        if (owner === undefined) continue;
        for (const [host, addresses] of hosts) {
          const shown = addresses.filter((address) => familyOf(address) === family);
          if (shown.length > 0) this.add(`${ROOT}${owner}/${host}`, shown, MOST_ADDRESSES[family], values, problems);
        }
      }
    }
    return values;
  }

  private add(
    path: string,
    addresses: readonly IpAddress[],
    most: number,
    values: Map<string, string>,
    problems: Set<string>,
  ): void {
    const problem = pathProblem(path);
    if (problem !== undefined) problems.add(`QubesDB: no key ${path}, which ${problem}; its rules work all the same`);
    else values.set(path, formatSet(addresses.slice(0, most)));
    if (addresses.length > most) problems.add(`QubesDB: ${path} has room for ${most} addresses`);
  }
}

const FAMILIES: readonly Family[] = [4, 6];

/** `{'192.0.2.7/32', '192.0.2.8/32'}` */
function formatSet(addresses: readonly IpAddress[]): string {
  const words = addresses.map((address) => `'${formatIpPrefix(hostPrefix(address))}'`);
  return `{${words.join(", ")}}`;
}
