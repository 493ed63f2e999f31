// What those who watch a firewall ask it, again and again: each time all of it, or an error, in bounded time, whatever state it is in.
import type { Fields, Value } from "../channel/cbor.ts";
import { type ChannelClient, connectTo } from "../channel/client.ts";
import type { NamedStatus } from "../channel/operations/services.ts";
import { nameOfSocket } from "../channel/socket-file.ts";
import type { RuleEntry } from "../control/rule-list.ts";
import type { Answers } from "./metrics.ts";

/** ms that a firewall has for all that is asked of it at once. Prometheus waits for ten seconds. */
const PATIENCE = 5000;

/** @returns what a firewall is called in all that is said of it, also while it does not answer */
export function nameAt(path: string): string {
  return nameOfSocket(path) ?? path;
}

/** @param path of its socket @throws Error where it does not answer, or not all of it in time */
export async function askAnswers(path: string): Promise<Answers> {
  return await inTime(path, async (client) => {
    const [status, rules] = await Promise.all([one(client, "status"), all(client, "rules")]);
    return { status: status as unknown as NamedStatus, rules: rules as unknown as RuleEntry[] };
  });
}

/** The connection ends with the asking, or with the patience. */
async function inTime<T>(path: string, ask: (client: ChannelClient) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const { client } = await connectTo(path, abort.signal);
    try {
      return await ask(client);
    } finally {
      client.close();
    }
  } finally {
    clearTimeout(timer);
  }
}

/** @returns the only record of an answer. @throws Error */
export async function one(client: ChannelClient, op: string, args: Fields = {}): Promise<Value> {
  const [record] = await all(client, op, args);
  if (record === undefined) throw new Error(`the firewall's answer can't be understood: no ${op}`);
  return record;
}

/** @returns all records of an answer. @throws Error */
export async function all(client: ChannelClient, op: string, args: Fields = {}): Promise<Value[]> {
  const records: Value[] = [];
  for await (const { data } of client.ask(op, args)) records.push(data);
  return records;
}
