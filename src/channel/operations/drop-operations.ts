// The operations `drops`, `why` and `suggest`: what was not forwarded, why something does not get through, and what rules would let it.
import { findDrops } from "../../control/views/drop-filter.ts";
import { FilterError } from "../../control/views/flow-filter.ts";
import { type SuggestAsking, suggestFor } from "../../why/suggest.ts";
import { findReasons } from "../../why/why.ts";
import { countOf, requireKnown, textOf, textsOf } from "../arguments.ts";
import type { Fields, Value } from "../cbor.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Part } from "../session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface DropsAnswering {
  readonly asking: SuggestAsking;
}

export function dropsOperation(firewall: DropsAnswering): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, ["match", "limit"]);
    const { asking } = firewall;
    const limit = countOf(args, "limit") ?? Number.POSITIVE_INFINITY;
    const found = understood(() => findDrops(asking.drops, textsOf(args, "match"), asking));
    for (const entry of found.slice(0, limit)) yield { data: entry as unknown as Value };
  };
}

export function whyOperation(firewall: DropsAnswering): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, ["source", "destination", "match"]);
    const [source, destination] = [required(args, "source"), required(args, "destination")];
    const words = textsOf(args, "match");
    const now = Date.now() / 1000;
    const reasons = understood(() => findReasons(firewall.asking, source, destination, words, now));
    for (const reason of reasons) yield { data: reason as unknown as Value };
  };
}

/** Seconds. */
const DEFAULT_SINCE = 600;

export function suggestOperation(firewall: DropsAnswering): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, ["client", "since", "match"]);
    const client = required(args, "client");
    const [words, since] = [textsOf(args, "match"), countOf(args, "since") ?? DEFAULT_SINCE];
    const entries = suggestFor(firewall.asking, client, words, since, Date.now() / 1000).catch(rethrow);
    for (const entry of await entries) yield { data: entry as unknown as Value };
  };
}

function required(args: Partial<Fields>, key: string): string {
  const text = textOf(args, key);
  if (text === undefined) throw new ChannelError("arguments", `${key} is missing`);
  return text;
}

/** @throws ChannelError where words can't be understood */
function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    return rethrow(error);
  }
}

/** @throws what the channel has for words that can't be understood; any other error as it is */
function rethrow(error: unknown): never {
  if (error instanceof FilterError) throw new ChannelError("arguments", error.message);
  throw error;
}
