// Refused packets of clients that ask for it, as lines of the log: the first one of each flow, then counts. Whatever clients
// send, a second has ten lines at the most; the rest is counted, and no packet is left out of the counts.

import type { Clock } from "../base/clock.ts";
import type { ClientSettings } from "../dataplane/settings.ts";
import { REFUSAL, REFUSAL_RECORDS, REFUSAL_WORDS, REFUSALS_TOTAL } from "../dataplane/tables/refusals.ts";
import { packetText, ruleText } from "./flow-text.ts";

/** ms between two looks at the records. */
const LOOK_MS = 250;
/** ms over which further packets of a flow are added up. */
const SUMMARY_MS = 10_000;
/** Lines in any second, of which the count of what is not shown is one. */
const MOST_LINES = 10;
const SECOND_MS = 1000;

/** What is known of a record. */
interface Flow {
  readonly serial: number;
  readonly text: string;
  /** Its packets that have been looked at. */
  count: number;
  isShown: boolean;
  /** Packets that its next line counts, and since when they come, in ms. */
  more: number;
  since: number;
}

export class RefusalLog {
  private clients: readonly ClientSettings[] = [];
  private cancel: (() => void) | undefined;
  /** By record. */
  private readonly flows = new Map<number, Flow>();
  /** Packets recorded by the dataplane, and those of them that printed lines count. */
  private noted = 0;
  private reported = 0;
  /** When lines were printed in the last second, and when the last of them that counts the rest. */
  private printed: number[] = [];
  private counted = Number.NEGATIVE_INFINITY;

  /** @param words the dataplane's records: refusals.ts */
  constructor(
    private readonly words: Int32Array,
    private readonly clock: Clock,
    private readonly print: (line: string) => void,
  ) {}

  /** Looks from now on, if one of the clients asks for it. @param clients of the settings that are in force */
  watch(clients: readonly ClientSettings[]): void {
    if (this.cancel !== undefined) this.look(); // with the names that the records were written by
    this.stop();
    this.clients = clients;
    if (clients.some(({ log }) => log)) this.schedule();
  }

  stop(): void {
    this.cancel?.();
    this.cancel = undefined;
  }

  private schedule(): void {
    this.cancel = this.clock.after(LOOK_MS, () => {
      this.look();
      this.schedule();
    });
  }

  private look(): void {
    const now = this.clock.now();
    this.printed = this.printed.filter((time) => time > now - SECOND_MS);
    this.noted += (Atomics.load(this.words, REFUSALS_TOTAL) - this.noted) >>> 0;
    this.readRecords(now);
    const flows = Array.from(this.flows.values()).sort((one, other) => one.serial - other.serial);
    for (const flow of flows) this.printFlow(flow, now);
    this.countRest(flows, now);
  }

  private readRecords(now: number): void {
    for (let record = 0; record < REFUSAL_RECORDS; record++) {
      const serial = this.word(record, REFUSAL.SERIAL);
      if (serial === 0) continue;
      let flow = this.flows.get(record);
      const count = this.word(record, REFUSAL.COUNT);
      const isKnown = flow?.serial === serial;
      if (flow === undefined || !isKnown) {
        flow = { serial, text: this.describe(record), count: 0, isShown: false, more: 0, since: now };
      }
      if (this.word(record, REFUSAL.SERIAL) !== serial) continue; // written meanwhile: it is read at the next look
      if (!isKnown) this.flows.set(record, flow);
      if (flow.more === 0) flow.since = now;
      flow.more += (count - flow.count) >>> 0;
      flow.count = count;
    }
  }

  /** Prints a flow's line, if one is due and there is room for it. */
  private printFlow(flow: Flow, now: number): void {
    if (flow.more === 0) return;
    const hasRoom = this.printed.length < MOST_LINES - 1;
    if (!flow.isShown) {
      if (hasRoom) this.say(flow.text, 1, now);
      flow.isShown = hasRoom;
      flow.more = hasRoom ? flow.more - 1 : 0; // those of a flow that is not shown are among the rest
    } else if (hasRoom && now - flow.since >= SUMMARY_MS) {
      this.say(`${flow.text}: ${flow.more} more in ${Math.round((now - flow.since) / 1000)} s`, flow.more, now);
      flow.more = 0;
    }
  }

  /** Prints how many packets are in no line, and will be in none. */
  private countRest(flows: readonly Flow[], now: number): void {
    const rest = this.noted - this.reported - flows.reduce((sum, { more }) => sum + more, 0);
    if (rest <= 0 || now - this.counted < SECOND_MS) return;
    this.say(`… and ${rest} more refused packets not shown`, rest, now);
    this.counted = now;
  }

  private say(line: string, packets: number, now: number): void {
    this.print(line);
    this.reported += packets;
    this.printed.push(now);
  }

  /** `refused: client work, rule 3: tcp 10.137.0.10:40000 to 198.51.100.7:25` */
  private describe(record: number): string {
    const { CLIENT, RULE, PROTOCOL, SOURCE, DESTINATION, PORTS } = REFUSAL;
    const words = [CLIENT, RULE, PROTOCOL, SOURCE, DESTINATION, PORTS].map((field) => this.word(record, field));
    const [client, rule, protocol, source, destination, ports] = words;
    const packet = packetText(protocol, source, destination, ports);
    return `refused: client ${this.clients[client]?.name ?? "?"}, ${ruleText(rule)}: ${packet}`;
  }

  private word(record: number, field: number): number {
    return Atomics.load(this.words, record * REFUSAL_WORDS + field);
  }
}
