// Looking one name up: a question to one name server, to the next when it gives no usable answer, and again for the end of a
// chain of aliases. When to look up which name is the resolver's business (resolver.ts).

import { formatAddress } from "../base/address.ts";
import { RCODE } from "../wire/dns.ts";
import {
  bareError,
  type DnsAnswer,
  followAliases,
  isHostName,
  LONGEST_CHAIN,
  makeQuestion,
  mismatch,
  type PayloadSize,
  readAnswer,
} from "./dns-message.ts";

/** The way to the name servers. */
export interface NameServers {
  /**
   * Sends one datagram from a random port.
   * @param server its IPv4 address, host order
   * @returns the datagram that comes back from that server to that port; rejects when none does for about two seconds
   */
  ask(server: number, question: Uint8Array): Promise<Uint8Array>;
}

export type Outcome =
  /** uint32 addresses in host order, without repetition; TTL in seconds. */
  | {
      readonly type: "addresses";
      readonly addresses: readonly number[];
      readonly ttl: number;
      /** Whether there are more than an answer holds. */
      readonly truncated: boolean;
    }
  /** A name server says that there are none. */
  | { readonly type: "none"; readonly reason: string }
  /** No name server has given a usable answer. */
  | { readonly type: "failed"; readonly reason: string };

/** UDP payload sizes: what gets through everywhere, and what gets through most Ethernets in one piece. */
const PAYLOAD = { usual: 1232, large: 1452 } as const;

const RCODE_NAMES = ["", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

export class Lookup {
  private servers: readonly number[] = [];
  /** Index of the server that answered last: it is asked first. */
  private preferred = 0;
  /** Servers that don't know EDNS0. */
  private readonly withoutEdns = new Set<number>();

  constructor(private readonly way: NameServers) {}

  setServers(servers: readonly number[]): void {
    this.servers = servers;
    this.preferred = 0;
    this.withoutEdns.clear();
  }

  /** @param name in lower case. Never rejects. */
  async resolve(name: string): Promise<Outcome> {
    if (!isHostName(name)) return failed("it is not a host name");
    const { servers, preferred } = this;
    if (servers.length === 0) return failed("there is no name server");
    const reasons: string[] = [];
    for (let i = 0; i < servers.length; i++) {
      const index = (preferred + i) % servers.length;
      const outcome = await this.askServer(servers[index], name);
      if (outcome.type !== "failed") {
        if (servers === this.servers) this.preferred = index;
        return outcome;
      }
      reasons.push(`${formatAddress(servers[index])}: ${outcome.reason}`);
    }
    return failed(reasons.join("; "));
  }

  /** An answer that ends in an alias is followed by another question, at most LONGEST_CHAIN times. */
  private async askServer(server: number, name: string): Promise<Outcome> {
    const chain = [name];
    let ttl = Number.POSITIVE_INFINITY;
    for (let questions = 0; questions <= LONGEST_CHAIN; questions++) {
      const asked = chain[chain.length - 1];
      const answer = await this.askFor(server, asked);
      if (typeof answer === "string") return failed(answer);
      if (answer.rcode === RCODE.NAME_ERROR) return { type: "none", reason: "there is no such name (NXDOMAIN)" };
      if (answer.rcode !== RCODE.NO_ERROR) return failed(RCODE_NAMES[answer.rcode] ?? `error ${answer.rcode}`);
      const end = followAliases(answer, chain);
      if (end === undefined) return failed("its aliases (CNAME) go in circles, or on and on");
      ttl = Math.min(ttl, end.ttl);
      const outcome = addressesIn(answer, end.name, ttl);
      if (outcome !== undefined) return outcome;
      if (end.name !== asked) continue;
      return answer.truncated ? failed("its answer is too long") : { type: "none", reason: "it has no IPv4 address" };
    }
    return failed("its aliases (CNAME) go on and on");
  }

  /** Asks again without EDNS0 where the server doesn't know it, and with a larger size where the answer was truncated. */
  private async askFor(server: number, name: string): Promise<DnsAnswer | string> {
    if (this.withoutEdns.has(server)) return this.exchange(server, name, undefined);
    const answer = await this.exchange(server, name, PAYLOAD.usual);
    if (typeof answer === "string") return answer;
    if (answer.rcode === RCODE.FORMAT_ERROR || answer.rcode === RCODE.NOT_IMPLEMENTED) {
      this.withoutEdns.add(server);
      return this.exchange(server, name, undefined);
    }
    if (!answer.truncated) return answer;
    const larger = await this.exchange(server, name, PAYLOAD.large);
    return typeof larger === "string" ? answer : larger;
  }

  /** @returns the answer, or what is wrong with it */
  private async exchange(server: number, name: string, payloadSize: PayloadSize): Promise<DnsAnswer | string> {
    const question = makeQuestion(name, payloadSize);
    let message: Uint8Array;
    try {
      message = await this.way.ask(server, question);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    const rcode = bareError(question, message);
    if (rcode !== undefined) return { name, rcode, truncated: false, addresses: new Map(), aliases: new Map() };
    const answer = readAnswer(message);
    if (typeof answer === "string") return `its answer is not accepted: ${answer}`;
    const problem = mismatch(question, message);
    return problem === undefined ? answer : `its answer is not accepted: ${problem}`;
  }
}

/** @returns the addresses of one name in an answer; undefined if it has none there */
export function addressesIn(answer: DnsAnswer, name: string, chainTtl: number) {
  const records = answer.addresses.get(name);
  if (records === undefined) return undefined;
  return {
    type: "addresses" as const,
    addresses: Array.from(new Set(records.map(({ address }) => address))),
    ttl: records.reduce((least, { ttl }) => Math.min(least, ttl), chainTtl),
    truncated: answer.truncated,
  };
}

function failed(reason: string): Outcome {
  return { type: "failed", reason };
}
