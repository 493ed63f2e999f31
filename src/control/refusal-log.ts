// Refused packets of clients that ask for it, as lines of the log: the first one of each flow, then counts. Whatever clients
// send, a second has ten lines at the most; the rest is counted, and no packet is left out of the counts.

import type { Clock } from "../base/clock.ts";
import type { ClientSettings } from "../dataplane/settings.ts";
import { DROP, DROP_RECORDS, DROP_WORDS, DROPS, DropCopy } from "../dataplane/tables/drop-records.ts";
import { packetText, ruleText } from "./views/flow-text.ts";

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
  /** Of the record when it was read. */
  version: number;
  /** The settings that its numbers are of, and what it says by them. */
  settings: number;
  text: string;
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
  private readonly copy = new DropCopy();
  /** Packets recorded by the dataplane, and those of them that printed lines count. */
  private noted = 0;
  private reported = 0;
  /** When lines were printed in the last second, and when the last of them that counts the rest. */
  private printed: number[] = [];
  private counted = Number.NEGATIVE_INFINITY;

  /** @param drops the dataplane's records: tables/drop-records.ts */
  constructor(
    private readonly drops: Int32Array,
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
    this.noted += (Atomics.load(this.drops, DROPS.LOGGED) - this.noted) >>> 0;
    this.readRecords(now);
    const flows = Array.from(this.flows.values()).sort((one, other) => one.serial - other.serial);
    for (const flow of flows) this.printFlow(flow, now);
    this.countRest(flows, now);
  }

  private readRecords(now: number): void {
    const { copy, drops } = this;
    for (let record = 0; record < DROP_RECORDS; record++) {
      const at = record * DROP_WORDS;
      let flow = this.flows.get(record);
      if (flow?.version === Atomics.load(drops, at + DROP.VERSION) || Atomics.load(drops, at + DROP.LOGGED) === 0)
        continue;
      if (!copy.read(drops, record) || copy.word(DROP.LOGGED) === 0) continue;
      const version = copy.word(DROP.VERSION);
      const serial = copy.word(DROP.SERIAL);
      const settings = copy.word(DROP.SETTINGS);
      if (flow?.serial !== serial) {
        flow = { serial, version, settings, text: this.describe(copy), count: 0, isShown: false, more: 0, since: now };
        this.flows.set(record, flow);
      } else if (flow.settings !== settings) {
        this.renew(flow, settings, this.describe(copy));
      }
      if (flow.more === 0) flow.since = now;
      flow.more += (copy.word(DROP.LOGGED) - flow.count) >>> 0;
      flow.count = copy.word(DROP.LOGGED);
      flow.version = version;
    }
  }

  /** Where other settings refuse a flow by another rule, its next line says so. */
  private renew(flow: Flow, settings: number, text: string): void {
    if (flow.text !== text) flow.isShown = false;
    flow.settings = settings;
    flow.text = text;
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
  private describe(copy: DropCopy): string {
    const client = this.clients[copy.word(DROP.CLIENT)]?.name ?? "?";
    const protocol = (copy.word(DROP.WHAT) >>> 8) & 0xff;
    const packet = packetText(
      protocol,
      copy.address(DROP.SOURCE),
      copy.address(DROP.DESTINATION),
      copy.word(DROP.PORTS),
    );
    return `refused: client ${client}, ${ruleText(copy.word(DROP.RULE))}: ${packet}`;
  }
}
