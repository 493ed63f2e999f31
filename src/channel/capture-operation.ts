// The operation `capture`: frames as they come and go, as pieces of a pcapng file. What the client does not take stays in the capture's own
// ring, and what that has no room for is lost, and counted: nobody else is kept.
import { type Captures, TooManyCaptures } from "../control/captures.ts";
import { FilterError } from "../control/flow-filter.ts";
import { countOf, requireKnown, textsOf } from "./arguments.ts";
import type { Fields } from "./cbor.ts";
import { ChannelError } from "./messages.ts";
import type { Operation, Part } from "./session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface CaptureAnswering {
  readonly captures: Pick<Captures, "open">;
}

const KNOWN = ["match", "snap", "count"];
const WHOLE_FRAME = 262_144;
/** Bytes of a frame that may be asked for at least: an Ethernet header. */
const LEAST_SNAP = 14;

/** ms between two looks into the ring: while frames come, and after none has come for a while. */
const SOON = 2;
const LATER = 20;
const PATIENCE = 25;

/** Bytes that may wait for the client: it and the firewall may run by turns, on one processor, and frames go on coming. */
const WAITING = 1024 * 1024;

export function captureOperation(firewall: CaptureAnswering): Operation {
  async function* operation(args: Partial<Fields>, signal: AbortSignal): AsyncGenerator<Part> {
    requireKnown(args, KNOWN);
    const snap = countOf(args, "snap") ?? WHOLE_FRAME;
    if (snap < LEAST_SNAP) throw new ChannelError("arguments", `snap is below ${LEAST_SNAP}`);
    let left = countOf(args, "count") ?? Number.POSITIVE_INFINITY;
    const capture = await begin(firewall, textsOf(args, "match"), Math.min(snap, WHOLE_FRAME));
    try {
      for (let idle = 0; !signal.aborted && left > 0; ) {
        const piece = capture.take(left);
        if (piece === undefined) {
          await Bun.sleep(++idle < PATIENCE ? SOON : LATER);
          continue;
        }
        idle = 0;
        left -= piece.frames;
        yield { data: { ...piece } };
      }
    } finally {
      await capture.close();
    }
  }
  return Object.assign(operation, { mostWaiting: WAITING });
}

async function begin(firewall: CaptureAnswering, words: readonly string[], snap: number) {
  try {
    return await firewall.captures.open(words, snap);
  } catch (error) {
    if (error instanceof FilterError) throw new ChannelError("arguments", error.message);
    if (error instanceof TooManyCaptures) throw new ChannelError("busy", error.message);
    throw error;
  }
}
