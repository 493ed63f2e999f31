// What the page asks beside the news: lists, a page of them at a time, and why something was dropped. All of it only reads.

import type { ChannelClient } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import { all, one } from "../watch/asked.ts";
import type { Connection } from "../watch/connection.ts";
import { wordsOf } from "../watch/top-state.ts";
import { type Reason, reasonLines } from "../why/why.ts";
import {
  type DropEntry,
  type FlowEntry,
  MOST_ROWS,
  type NamedStatus,
  PATHS,
  type Rows,
  type RuleEntry,
  type WhyLines,
} from "./messages.ts";

/** Drops that are looked at: more than the firewall remembers. */
const MOST_DROPS = 2048;

/** What can't be a question of our page's. */
export class BadQuestion extends Error {}

/** By path. */
export const QUESTIONS: ReadonlyMap<string, (connection: Connection, query: URLSearchParams) => Promise<unknown>> =
  new Map<string, (connection: Connection, query: URLSearchParams) => Promise<unknown>>([
    [PATHS.flows, askFlows],
    [PATHS.drops, askDrops],
    [PATHS.rules, askRules],
    [PATHS.why, askWhy],
  ]);

async function askFlows(connection: Connection, query: URLSearchParams): Promise<Rows<FlowEntry>> {
  const match = wordsOf(textOf(query, "match"));
  const sort = textOf(query, "sort");
  const [offset, limit] = [numberOf(query, "offset"), Math.min(numberOf(query, "limit"), MOST_ROWS)];
  return await attempt(connection, async (client) => {
    const [rows, total] = await Promise.all([
      all(client, "flows", { match, ...(sort !== "" && { sort }), offset, limit, bytes: true }),
      countFlows(client, match),
    ]);
    return { rows: rows as unknown as FlowEntry[], total };
  });
}

/** All of them the status counts anyway, faster. */
async function countFlows(client: ChannelClient, match: readonly string[]): Promise<number> {
  if (match.length === 0) return ((await one(client, "status")) as unknown as NamedStatus).flows.used;
  return Number(((await one(client, "flows", { match: [...match], count: true })) as { readonly flows: number }).flows);
}

async function askDrops(connection: Connection, query: URLSearchParams): Promise<Rows<DropEntry>> {
  const match = wordsOf(textOf(query, "match"));
  return await attempt(connection, async (client) =>
    whole((await all(client, "drops", { match, limit: MOST_DROPS })) as unknown as DropEntry[]),
  );
}

async function askRules(connection: Connection): Promise<Rows<RuleEntry>> {
  return await attempt(connection, async (client) => whole((await all(client, "rules")) as unknown as RuleEntry[]));
}

async function askWhy(connection: Connection, query: URLSearchParams): Promise<WhyLines> {
  const [source, destination] = [textOf(query, "source"), textOf(query, "destination")];
  const match = wordsOf(textOf(query, "match"));
  return await attempt(connection, async (client) => {
    const reasons = (await all(client, "why", { source, destination, match })) as unknown as Reason[];
    return { lines: reasons.flatMap((reason) => reasonLines(reason, Date.now() / 1000)) };
  });
}

function whole<Row>(rows: readonly Row[]): { readonly rows: readonly Row[]; readonly total: number } {
  return { rows, total: rows.length };
}

/** What the firewall refuses, or that it does not answer, is an answer to the page too. */
async function attempt<T>(
  connection: Connection,
  asked: (client: ChannelClient) => Promise<T>,
): Promise<T | { readonly problem: string }> {
  try {
    return await connection.ask(asked);
  } catch (error) {
    if (error instanceof ChannelError || error instanceof Error) return { problem: error.message };
    throw error;
  }
}

/** @throws BadQuestion */
export function textOf(query: URLSearchParams, name: string): string {
  const values = query.getAll(name);
  if (values.length > 1) throw new BadQuestion(`${name} is there twice`);
  return values[0] ?? "";
}

/** @throws BadQuestion */
export function numberOf(query: URLSearchParams, name: string): number {
  const text = textOf(query, name);
  if (!/^\d{1,9}$/.test(text)) throw new BadQuestion(`${name} is no number`);
  return Number(text);
}
