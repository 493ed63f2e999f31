// What the dataplane is doing, for people to read: frames by what became of them, and the flows.

import { RING_COUNTERS } from "../dataplane/io/packet-ring.ts";
import type { SharedState } from "../dataplane/io/protocol.ts";
import type { KernelCounters } from "../dataplane/kernel/loader.ts";
import type { Settings } from "../dataplane/settings.ts";
import { FLOW_WORDS, FlowRecords } from "../dataplane/tables/flow-records.ts";
import { tcpStateName } from "../dataplane/tables/tcp.ts";
import type { Flow } from "../dataplane/types.ts";
import { VERDICT, VERDICT_NAMES } from "../dataplane/verdict.ts";
import { toAddress } from "../wire/ipv4.ts";
import { flowText, ruleText } from "./flow-text.ts";

/** What control may read while the dataplane runs. */
export interface DataplaneState extends SharedState {
  /** The flow table's records. */
  readonly flows: Int32Array;
  /** Frames that took the kernel path. */
  readonly kernel: Pick<KernelCounters, "forwarded" | "failed">;
}

/**
 * @returns a line for each counter that is not zero, then one for each flow, made when it is asked for: a million flows need no
 * memory here. Frames that took the kernel path are counted among all frames, and once more by themselves.
 */
export function* describeState(state: DataplaneState, settings: Settings): Generator<string> {
  const byKernel = new Float64Array(VERDICT_NAMES.length);
  byKernel[VERDICT.FORWARDED] = state.kernel.forwarded;
  byKernel[VERDICT.KERNEL] = state.kernel.failed;
  const frames = state.verdicts.map((count, verdict) => count + byKernel[verdict]);
  yield* describeCounters("ring", state.ring, RING_COUNTERS);
  yield* describeCounters("frames", frames, VERDICT_NAMES);
  yield* describeCounters("kernel path", byKernel, VERDICT_NAMES);
  const records = new FlowRecords(state.flows, toAddress(settings.uplink.address));
  let count = 0;
  for (const _ of usedFlows(records, state.flows.length / FLOW_WORDS)) count++;
  yield `flows: ${count}`;
  for (const flow of usedFlows(records, state.flows.length / FLOW_WORDS)) yield describeFlow(records, flow, settings);
}

function describeCounters(title: string, counters: Float64Array, names: readonly string[]): string[] {
  return names.flatMap((name, i) => (counters[i] === 0 ? [] : [`${title}: ${counters[i]} ${name}`]));
}

/** Those of the table's records. They may change while they are read: a line can be wrong, reading can't fail. */
function* usedFlows(records: FlowRecords, capacity: number): Generator<Flow> {
  for (let flow = 0 as Flow; flow < capacity; flow++) {
    if (records.isUsed(flow)) yield flow;
  }
}

/** `flow: tcp 10.137.0.10:40000 to 192.0.2.1:80 as 192.0.2.254:40000, ESTABLISHED, client work, rule 1` */
function describeFlow(records: FlowRecords, flow: Flow, { clients }: Settings): string {
  const { protocol, source, destination, mapped, reached } = flowText(records, flow);
  const client = clients[records.client(flow)]?.name ?? "?";
  const parts = [
    `flow: ${protocol} ${source} to ${destination} as ${mapped}${reached === undefined ? "" : ` at ${reached}`}`,
    ...(protocol === "tcp" ? [tcpStateName(records.state(flow))] : []),
    `client ${client}`,
    ruleText(records.rule(flow)),
  ];
  return parts.join(", ");
}
