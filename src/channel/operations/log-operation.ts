// The operation `log`: what the program has said, and goes on to say. Who follows it too slowly loses the oldest lines: what is
// kept is kept for all, not for each.
import type { KeptLog } from "../../base/log.ts";
import { countOf, flagOf, requireKnown } from "../arguments.ts";
import type { Value } from "../cbor.ts";
import type { Operation, Part } from "../session.ts";

const KNOWN = ["last", "follow"];

export function logOperation(kept: KeptLog): Operation {
  return async function* (args, signal): AsyncGenerator<Part> {
    requireKnown(args, KNOWN);
    const [last, follow] = [countOf(args, "last") ?? Number.POSITIVE_INFINITY, flagOf(args, "follow")];
    let next = Math.max(kept.first, kept.end - last);
    for (let until = kept.end; ; until = follow ? kept.end : until) {
      if (next >= until) {
        if (!follow) return;
        await kept.until(next, signal);
        if (signal.aborted) return;
        continue;
      }
      const lost = Math.max(0, kept.first - next);
      next += lost;
      yield { data: { ...kept.entry(next++) } as Value, lost };
    }
  };
}
