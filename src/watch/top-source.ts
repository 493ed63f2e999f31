// What `firebreak top` asks a firewall, again and again over one connection.
import type { ChannelClient } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import type { NamedStatus } from "../channel/operations/services.ts";
import type { DropEntry } from "../control/views/drops.ts";
import type { FlowEntry } from "../control/views/flow-list.ts";
import { type Reason, reasonLines } from "../why/why.ts";
import { all, one } from "./asked.ts";
import { Connection } from "./connection.ts";
import { FlowRates } from "./flow-rates.ts";
import { History } from "./history.ts";
import { type Seen, type TopState, wordsOf } from "./top-state.ts";

/** Drops that are looked at: more than the ring has. */
const MOST_DROPS = 1024;

/** What a look has found, or why there is nothing new: what was asked, or the firewall itself. */
export type Found = { readonly seen: Seen; readonly message?: string } | { readonly trouble: string };

export class TopSource {
  private readonly connection: Connection;
  private history = new History();
  private readonly rates = new FlowRates();
  private uptime = 0;

  /** @param path of the firewall's socket */
  constructor(path: string) {
    this.connection = new Connection(path);
  }

  /**
   * @param rows of a list that are shown
   * @param isTick whether the numbers are the next ones of their series, which are evenly apart
   */
  async look(state: TopState, rows: number, isTick: boolean): Promise<Found> {
    try {
      return await this.connection.ask(async (client) => {
        const status = (await one(client, "status")) as unknown as NamedStatus;
        if (status.uptime < this.uptime) this.history = new History(); // it began anew
        this.uptime = status.uptime;
        if (isTick) this.history.add(status);
        const none = { flows: [], flowsFrom: 0, matching: status.flows.used, drops: [] };
        const list = await understood(() => this.lists(client, state, rows, status));
        return {
          seen: { status, history: this.history, ...none, ...list.found },
          ...(list.message !== undefined && { message: list.message }),
        };
      });
    } catch (error) {
      this.close();
      return { trouble: messageOf(error) };
    }
  }

  /** Ends flows. @returns what to say of it */
  async end(match: readonly string[]): Promise<string> {
    return await this.attempt(async (client) => {
      const ended = await all(client, "flows", { match, end: true });
      return ended.length === 0 ? "it had ended already" : `${ended.length} ended`;
    });
  }

  /** @returns lines, or undefined and what to say instead */
  async why(
    source: string,
    destination: string,
    match: readonly string[],
  ): Promise<{ lines?: string[]; message?: string }> {
    let lines: string[] | undefined;
    const message = await this.attempt(async (client) => {
      const reasons = (await all(client, "why", { source, destination, match })) as unknown as Reason[];
      lines = reasons.flatMap((reason) => reasonLines(reason, Date.now() / 1000));
      return "";
    });
    return lines === undefined ? { message } : { lines };
  }

  close(): void {
    this.connection.close();
  }

  /** Only what the list that is shown needs. */
  private async lists(
    client: ChannelClient,
    { list, looks }: TopState,
    rows: number,
    { flows, uptime }: NamedStatus,
  ): Promise<Partial<Seen>> {
    if (list === "drops") {
      const args = { match: wordsOf(looks.drops.filter), limit: MOST_DROPS };
      const drops = (await all(client, "drops", args)) as unknown as DropEntry[];
      return { drops: looks.drops.isDescending ? drops.reverse() : drops };
    }
    if (list !== "flows") return {};
    const { offset, order, isDescending, filter } = looks.flows;
    const match = wordsOf(filter);
    const sort = order === "" ? {} : { sort: `${isDescending ? "-" : ""}${order}` };
    const [page, count] = await Promise.all([
      all(client, "flows", { match, ...sort, offset, limit: rows, bytes: true }),
      match.length === 0 ? { flows: flows.used } : one(client, "flows", { match, count: true }),
    ]);
    return {
      flows: this.rates.rate(page as unknown as FlowEntry[], uptime),
      flowsFrom: offset,
      matching: Number((count as { readonly flows: number }).flows),
    };
  }

  private async attempt(ask: (client: ChannelClient) => Promise<string>): Promise<string> {
    try {
      return await this.connection.ask(ask);
    } catch (error) {
      if (!(error instanceof ChannelError)) this.close();
      return messageOf(error);
    }
  }
}

/** What can't be understood is said, and is no trouble with the firewall. */
async function understood(ask: () => Promise<Partial<Seen>>): Promise<{ found: Partial<Seen>; message?: string }> {
  try {
    return { found: await ask() };
  } catch (error) {
    if (!(error instanceof ChannelError) || error.code === "protocol") throw error;
    return { found: { matching: 0 }, message: error.message };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
