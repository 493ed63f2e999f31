// What comes to every open page by itself: a look at the firewall each second, whoever watches. The rates are kept, so that a page that is
// opened, or was not shown for a while, has them all. A page that takes them too slowly loses looks and is told how many.
import { formatJson } from "../base/quote.ts";
import type { NamedStatus } from "../channel/operations/services.ts";
import { one } from "../watch/asked.ts";
import type { Connection } from "../watch/connection.ts";
import type { Sink } from "../watch/http.ts";
import { INTERVAL, type News } from "./messages.ts";
import { RateBook } from "./rates.ts";

type NewsSink = Pick<Sink, "offer" | "end" | "onEnd">;

/** Of a page: where news go, and how many were lost since the last that went there. */
interface Reader {
  readonly sink: NewsSink;
  lost: number;
}

/** News but for how many were lost before. */
type Found =
  | { readonly type: "look"; readonly status: NamedStatus }
  | { readonly type: "trouble"; readonly text: string };

export class Feed {
  private readonly rates = new RateBook();
  private readonly readers = new Set<Reader>();
  private latest: Found | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isOver = false;

  /** @param firewall its name @param interval ms between two looks */
  constructor(
    private readonly firewall: string,
    private readonly connection: Connection,
    private readonly interval = INTERVAL,
  ) {}

  /** Begins to look, at once. */
  start(): void {
    const begun = performance.now();
    void this.look().then(() => {
      if (!this.isOver)
        this.timer = setTimeout(() => this.start(), Math.max(0, begun + this.interval - performance.now()));
    });
  }

  stop(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    for (const { sink } of this.readers) sink.end();
  }

  get readerCount(): number {
    return this.readers.size;
  }

  /** Tells a page what there has been and is, then what comes, as server-sent events (HTML, section 9.2), until it goes. */
  join(sink: NewsSink): void {
    const reader: Reader = { sink, lost: 0 };
    this.readers.add(reader);
    sink.onEnd(() => this.readers.delete(reader));
    const { firewall, latest } = this;
    const begin: News = { type: "begin", firewall, past: this.rates.kept };
    sink.offer(eventText(begin) + (latest === undefined ? "" : eventText({ ...latest, lost: 0 })));
  }

  /** Never fails: what goes wrong is news too. */
  private async look(): Promise<void> {
    try {
      const status = (await this.connection.ask((client) => one(client, "status"))) as unknown as NamedStatus;
      const rates = this.rates.add(status);
      this.latest = { type: "look", status };
      this.tell((lost) => ({ type: "look", status, ...(rates !== undefined && { rates }), lost }));
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.latest = { type: "trouble", text };
      this.tell((lost) => ({ type: "trouble", text, lost }));
    }
  }

  private tell(news: (lost: number) => News): void {
    for (const reader of this.readers) {
      if (reader.sink.offer(eventText(news(reader.lost)))) reader.lost = 0;
      else reader.lost++;
    }
  }
}

/** JSON has no line ends in it, and so is one line of data. */
function eventText(news: News): string {
  return `data: ${formatJson(news)}\n\n`;
}
