// Which host names stand behind the addresses that a client sends to, as the answers of name servers to that client had it. Only people
// are told: nothing is decided by it, for whoever can send a client a datagram may have made an answer up.
import { formatIp, type IpAddress } from "../base/ip.ts";
import { RCODE } from "../wire/dns.ts";
import { addressesIn } from "./dns-lookup.ts";
import { followAliases, isHostName, readAnswer } from "./dns-message.ts";

/** Addresses that are remembered of one client, and clients. The oldest go. */
const MOST_ADDRESSES = 512;
const MOST_CLIENTS = 64;
/** Addresses that are taken from one answer. */
const MOST_IN_ANSWER = 32;

export class SeenNames {
  /** By client's name, by the address's text: the name that was asked for last. The oldest first. */
  private readonly clients = new Map<string, Map<string, string>>();

  /** @param message that came from a name server to the client, or seems so */
  note(client: string, message: Uint8Array): void {
    const answer = readAnswer(message);
    if (typeof answer === "string" || answer.rcode !== RCODE.NO_ERROR || !isHostName(answer.name)) return;
    const end = followAliases(answer, [answer.name]);
    const found = end && addressesIn(answer, end.name, end.ttl);
    const addresses = found?.addresses.slice(0, MOST_IN_ANSWER) ?? [];
    if (addresses.length === 0) return;
    const names = this.clients.get(client) ?? new Map<string, string>();
    putLast(this.clients, client, names, MOST_CLIENTS);
    for (const address of addresses) putLast(names, formatIp(address), answer.name, MOST_ADDRESSES);
  }

  /** @returns the name that the client was told an address last for */
  nameOf(client: string, address: IpAddress): string | undefined {
    return this.clients.get(client)?.get(formatIp(address));
  }
}

function putLast<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) return;
    map.delete(oldest);
  }
}
