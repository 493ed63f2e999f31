// Refused packets for the log, in shared memory: control reads and prints, as slowly as it likes; a flood of packets only
// makes counts grow. One record for each refused flow, the newest ones.
import type { Address } from "../../wire/ipv4.ts";
import type { Ports } from "../../wire/ports.ts";
import type { Client } from "../types.ts";

/** Records; words of one. */
export const REFUSAL_RECORDS = 256;
export const REFUSAL_WORDS = 8;
export const REFUSAL = {
  /** Counts up each time the record comes to be about another flow: 0 in one never used, or just being written. */
  SERIAL: 0,
  COUNT: 1,
  CLIENT: 2,
  RULE: 3,
  PROTOCOL: 4,
  /** Addresses int32 in host order; ports source << 16 | destination. */
  SOURCE: 5,
  DESTINATION: 6,
  PORTS: 7,
} as const;
/** The word behind the records: packets noted so far, modulo 2^32. */
export const REFUSALS_TOTAL = REFUSAL_RECORDS * REFUSAL_WORDS;

export class Refusals {
  readonly words = new Int32Array(new SharedArrayBuffer((REFUSALS_TOTAL + 1) * 4));
  private serial = 0;
  private next = 0;

  /** Notes one refused packet. @param rule number of the rule that refused it, 0 for the policy */
  note(client: Client, rule: number, protocol: number, source: Address, destination: Address, ports: Ports): void {
    const { words } = this;
    const known = this.find(client, rule, protocol, source, destination, ports);
    if (known >= 0) words[known + REFUSAL.COUNT]++;
    else this.begin(client, rule, protocol, source, destination, ports);
    Atomics.add(words, REFUSALS_TOTAL, 1); // last, so that who reads it first finds the packets in the records
  }

  /** @returns where the flow's record is, or -1 */
  private find(
    client: Client,
    rule: number,
    protocol: number,
    source: Address,
    destination: Address,
    ports: Ports,
  ): number {
    const { words } = this;
    for (let at = 0; at < REFUSALS_TOTAL; at += REFUSAL_WORDS) {
      if (
        words[at + REFUSAL.PORTS] === ports &&
        words[at + REFUSAL.DESTINATION] === destination &&
        words[at + REFUSAL.SOURCE] === source &&
        words[at + REFUSAL.PROTOCOL] === protocol &&
        words[at + REFUSAL.RULE] === rule &&
        words[at + REFUSAL.CLIENT] === client &&
        words[at + REFUSAL.SERIAL] !== 0
      ) {
        return at;
      }
    }
    return -1;
  }

  /** Takes the oldest record for a flow. */
  private begin(
    client: Client,
    rule: number,
    protocol: number,
    source: Address,
    destination: Address,
    ports: Ports,
  ): void {
    const { words } = this;
    const at = this.next * REFUSAL_WORDS;
    this.next = (this.next + 1) % REFUSAL_RECORDS;
    Atomics.store(words, at + REFUSAL.SERIAL, 0);
    words[at + REFUSAL.COUNT] = 1;
    words[at + REFUSAL.CLIENT] = client;
    words[at + REFUSAL.RULE] = rule;
    words[at + REFUSAL.PROTOCOL] = protocol;
    words[at + REFUSAL.SOURCE] = source;
    words[at + REFUSAL.DESTINATION] = destination;
    words[at + REFUSAL.PORTS] = ports;
    this.serial = (this.serial & 0x3fffffff) + 1;
    Atomics.store(words, at + REFUSAL.SERIAL, this.serial);
  }
}
