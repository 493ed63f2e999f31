// Looking one name up: one name server is asked, the next when it gives no usable answer or takes long, and again for the end of
// a chain of aliases. When to look up which name is the resolver's business (resolver.ts), what one server is like name-server.ts's.

import type { Clock } from "../base/clock.ts";
import { type Family, formatIp, type IpAddress } from "../base/ip.ts";
import { RCODE } from "../wire/dns.ts";
import { type DnsAnswer, followAliases, isHostName, LONGEST_CHAIN } from "./dns-message.ts";
import { NameServer, type NameServers } from "./name-server.ts";
import { firstGood } from "./staggered.ts";

export type Outcome =
  /** Addresses without repetition; TTL in seconds. */
  | {
      readonly type: "addresses";
      readonly addresses: readonly IpAddress[];
      readonly ttl: number;
      /** Whether there are more than an answer holds. */
      readonly truncated: boolean;
    }
  /** A name server says that there are none. */
  | { readonly type: "none"; readonly reason: string }
  /** No name server has given a usable answer. */
  | { readonly type: "failed"; readonly reason: string };

/** ms after which the next server is asked too. */
export const NEXT_SERVER = 2000;

const RCODE_NAMES = ["", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

export class Lookup {
  private servers: readonly { readonly address: IpAddress; readonly server: NameServer }[] = [];
  /** Index of the server that answered last: it is asked first. */
  private preferred = 0;

  constructor(
    private readonly way: NameServers,
    private readonly clock: Clock,
  ) {}

  setServers(addresses: readonly IpAddress[]): void {
    this.servers = addresses.map((address) => ({ address, server: new NameServer(this.way, this.clock, address) }));
    this.preferred = 0;
  }

  /** @param name in lower case. Never rejects. */
  async resolve(name: string, family: Family): Promise<Outcome> {
    if (!isHostName(name)) return failed("it is not a host name");
    const { servers, preferred } = this;
    if (servers.length === 0) return failed("there is no name server");
    const attempts = servers.map((_, i) => async () => {
      const index = (preferred + i) % servers.length;
      const { address, server } = servers[index];
      return { index, address, outcome: await this.askServer(server, name, family) };
    });
    const isUsable = ({ outcome }: { outcome: Outcome }) => outcome.type !== "failed";
    const { good, results } = await firstGood(this.clock, NEXT_SERVER, attempts, isUsable);
    if (good !== undefined) {
      if (servers === this.servers) this.preferred = good.index;
      return good.outcome;
    }
    const reasons = results.map(({ address, outcome }) => `${formatIp(address)}: ${reasonOf(outcome)}`);
    return failed(reasons.join("; "));
  }

  /** An answer that ends in an alias is followed by another question, at most LONGEST_CHAIN times. */
  private async askServer(server: NameServer, name: string, family: Family): Promise<Outcome> {
    const chain = [name];
    let ttl = Number.POSITIVE_INFINITY;
    for (let questions = 0; questions <= LONGEST_CHAIN; questions++) {
      const asked = chain[chain.length - 1];
      const answer = await server.lookUp(asked, family);
      if (typeof answer === "string") return failed(answer);
      if (answer.rcode === RCODE.NAME_ERROR) return { type: "none", reason: "there is no such name (NXDOMAIN)" };
      if (answer.rcode !== RCODE.NO_ERROR) return failed(RCODE_NAMES[answer.rcode] ?? `error ${answer.rcode}`);
      const end = followAliases(answer, chain);
      if (end === undefined) return failed("its aliases (CNAME) go in circles, or on and on");
      ttl = Math.min(ttl, end.ttl);
      const outcome = addressesIn(answer, end.name, ttl);
      if (outcome !== undefined) return outcome;
      if (end.name !== asked) continue;
      if (answer.truncated) return failed("its answer is truncated");
      return { type: "none", reason: `it has no IPv${family} address` };
    }
    return failed("its aliases (CNAME) go on and on");
  }
}

/** @returns the addresses of one name in an answer; undefined if it has none there */
export function addressesIn(answer: DnsAnswer, name: string, chainTtl: number) {
  const records = answer.addresses.get(name);
  if (records === undefined) return undefined;
  return {
    type: "addresses" as const,
    addresses: [...new Map(records.map(({ address }) => [formatIp(address), address])).values()],
    ttl: records.reduce((least, { ttl }) => Math.min(least, ttl), chainTtl),
    truncated: answer.truncated,
  };
}

function failed(reason: string): Outcome {
  return { type: "failed", reason };
}

function reasonOf(outcome: Outcome): string {
  return outcome.type === "addresses" ? "" : outcome.reason;
}
