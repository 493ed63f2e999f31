// The operation `trace`: the steps of the next packets that somebody asks about. It ends by itself, after so many or so long:
// meanwhile the flows that it is about stay off the kernel path.
import { type Captures, TooManyCaptures } from "../../control/captures/captures.ts";
import { FilterError } from "../../control/views/flow-filter.ts";
import { LiveTrace, TRACE_SNAP, type TraceNames } from "../../why/live-trace.ts";
import { countOf, requireKnown, textsOf } from "../arguments.ts";
import type { Value } from "../cbor.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Part } from "../session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface TraceAnswering {
  readonly captures: Pick<Captures, "openRing">;
  readonly asking: TraceNames;
}

/** Packets, and seconds: where nothing is said, and at most. */
const COUNT = { usual: 10, most: 1000 };
const SECONDS = { usual: 60, most: 3600 };
/** ms between two looks. */
const PAUSE = 10;

export function traceOperation(firewall: TraceAnswering): Operation {
  return async function* (args, signal): AsyncGenerator<Part> {
    requireKnown(args, ["match", "count", "seconds"]);
    const words = textsOf(args, "match");
    let left = within("count", countOf(args, "count"), COUNT);
    const until = performance.now() + 1000 * within("seconds", countOf(args, "seconds"), SECONDS);
    const trace = await begin(firewall, words);
    try {
      while (left > 0 && !signal.aborted) {
        const { entries, lost } = trace.take();
        let unsaid = lost;
        for (const entry of entries.slice(0, left)) {
          yield { data: entry as unknown as Value, lost: unsaid };
          unsaid = 0;
          left--;
        }
        if (performance.now() >= until) return;
        if (entries.length === 0) await Bun.sleep(PAUSE);
      }
    } finally {
      await trace.close();
    }
  };
}

async function begin(firewall: TraceAnswering, words: readonly string[]): Promise<LiveTrace> {
  try {
    return new LiveTrace(await firewall.captures.openRing(words, TRACE_SNAP), () => firewall.asking);
  } catch (error) {
    if (error instanceof FilterError) throw new ChannelError("arguments", error.message);
    if (error instanceof TooManyCaptures) throw new ChannelError("busy", error.message);
    throw error;
  }
}

function within(
  key: string,
  value: number | undefined,
  { usual, most }: { readonly usual: number; readonly most: number },
): number {
  const number = value ?? usual;
  if (number >= 1 && number <= most) return number;
  throw new ChannelError("arguments", `${key} is not a number from 1 to ${most}`);
}
