// How many bytes a second flows have: from what a firewall has counted of them at two looks. Only flows of the last look have a
// rate: of a list with pages, those that are shown.
import type { FlowEntry } from "../control/views/flow-list.ts";

export interface RatedFlow extends FlowEntry {
  /** Bytes of IP a second, both ways together. */
  readonly rate?: number;
}

interface Look {
  readonly bytes: number;
  /** Seconds. */
  readonly time: number;
}

export class FlowRates {
  private before = new Map<string, Look>();

  /** @param time of the look, in seconds */
  rate(flows: readonly FlowEntry[], time: number): RatedFlow[] {
    const now = new Map<string, Look>();
    const rated = flows.map((flow) => {
      const { sent, received } = flow;
      if (sent === undefined || received === undefined) return flow;
      const key = JSON.stringify([flow.proto, flow.source, flow.destination, flow.mapped]);
      const look = { bytes: sent.bytes + received.bytes, time };
      now.set(key, look);
      const last = this.before.get(key);
      // Fewer than before: it is another flow, or counting began anew.
      if (last === undefined || time <= last.time || look.bytes < last.bytes) return flow;
      return { ...flow, rate: (look.bytes - last.bytes) / (time - last.time) };
    });
    this.before = now;
    return rated;
  }
}
