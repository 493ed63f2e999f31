// The operation `capture`: frames as they come and go, as pieces of a pcapng file. What the client does not take stays in the capture's own
// ring, and what that has no room for is lost, and counted: nobody else is kept.
import { type Captures, TooManyCaptures } from "../../control/captures/captures.ts";
import { FilterError } from "../../control/views/flow-filter.ts";
import { countOf, flagOf, requireKnown, textsOf } from "../arguments.ts";
import type { Fields } from "../cbor.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Part } from "../session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface CaptureAnswering {
  readonly captures: Pick<Captures, "open" | "record" | "stopRecording" | "last">;
}

const KNOWN = ["match", "snap", "count", "last"];
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
    const last = countOf(args, "last");
    if (last !== undefined) {
      if (args.match !== undefined || args.snap !== undefined) {
        throw new ChannelError("arguments", "last is of what was recorded: match and snap are record's");
      }
      yield* recorded(firewall, last, countOf(args, "count"));
      return;
    }
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

/** What was recorded last, and the end. @param seconds of it */
async function* recorded(firewall: CaptureAnswering, seconds: number, count = Number.POSITIVE_INFINITY) {
  const capture = await understood(async () => firewall.captures.last(seconds));
  if (capture === undefined)
    throw new ChannelError("failed", "nothing is recorded (firebreak capture --record begins)");
  let left = count;
  try {
    for (let piece = capture.take(left); piece !== undefined && left > 0; piece = capture.take(left)) {
      left -= piece.frames;
      yield { data: { ...piece } };
    }
  } finally {
    await capture.close();
  }
}

/** Bytes of a frame that are recorded, where nothing is said: its headers. */
const RECORDED = 128;

/** The operation `record`: begins to keep what comes and goes from now on, or ends that. */
export function recordOperation(firewall: CaptureAnswering): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, ["match", "snap", "off"]);
    const snap = countOf(args, "snap") ?? RECORDED;
    if (snap < LEAST_SNAP) throw new ChannelError("arguments", `snap is below ${LEAST_SNAP}`);
    const isOff = flagOf(args, "off");
    if (isOff) await firewall.captures.stopRecording();
    else await understood(() => firewall.captures.record(textsOf(args, "match"), Math.min(snap, WHOLE_FRAME)));
    yield { data: { recording: !isOff } };
  };
}

function begin(firewall: CaptureAnswering, words: readonly string[], snap: number) {
  return understood(() => firewall.captures.open(words, snap));
}

/** @throws ChannelError where words can't be understood, or there are too many captures */
async function understood<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof FilterError) throw new ChannelError("arguments", error.message);
    if (error instanceof TooManyCaptures) throw new ChannelError("busy", error.message);
    throw error;
  }
}
