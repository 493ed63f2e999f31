// Asks `firebreak web` what does not come by itself.
import { type DropEntry, type FlowEntry, PATHS, type Rows, type RuleEntry, type WhyLines } from "../messages.ts";

/** Which rows of the flows, and in which order. */
export interface Wanted {
  readonly match: string;
  /** A key of the firewall's orders, with "-" for the largest first; "" as they lie in its table. */
  readonly sort: string;
  readonly offset: number;
  readonly limit: number;
}

/** Whether and how a question ended: `isRefused` once this page may ask no more. */
export class AskError extends Error {
  constructor(readonly isRefused: boolean) {
    super(
      isRefused ? "firebreak web was started anew: open the address that it printed" : "firebreak web does not answer",
    );
  }
}

export function askFlows({ match, sort, offset, limit }: Wanted): Promise<Rows<FlowEntry>> {
  return ask(PATHS.flows, { match, sort, offset: String(offset), limit: String(limit) });
}

export function askDrops(match: string): Promise<Rows<DropEntry>> {
  return ask(PATHS.drops, { match });
}

export function askRules(): Promise<Rows<RuleEntry>> {
  return ask(PATHS.rules, {});
}

/** @param source an address @param destination likewise, or with a port */
export function askWhy(source: string, destination: string, match: string): Promise<WhyLines> {
  return ask(PATHS.why, { source, destination, match });
}

/** @throws AskError */
async function ask<T>(path: string, query: Readonly<Record<string, string>>): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(query)}`, { credentials: "same-origin" });
  } catch {
    throw new AskError(false);
  }
  if (!response.ok) throw new AskError(response.status === 403);
  return (await response.json()) as T;
}
