// What the dataplane is doing, for people to read: frames by what became of them, and the flows.
import { FLOW, FLOW_WORDS } from "../dataplane/flows.ts";
import { RING_COUNTERS } from "../dataplane/packet-ring.ts";
import type { Settings } from "../dataplane/settings.ts";
import { VERDICT_NAMES } from "../dataplane/verdict.ts";
import type { SharedState } from "../dataplane/worker.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { formatAddress } from "./address.ts";

const PROTOCOL_NAMES = new Map<number, string>(Object.entries(PROTOCOL).map(([name, number]) => [number, name]));

/** @returns a line for each counter that is not zero, then one for each flow */
export function describeState(state: SharedState, settings: Settings): string[] {
  const flows = describeFlows(state.flows, settings);
  return [
    ...describeCounters("ring", state.ring, RING_COUNTERS),
    ...describeCounters("frames", state.verdicts, VERDICT_NAMES),
    `flows: ${flows.length}`,
    ...flows,
  ];
}

function describeCounters(title: string, counters: Float64Array, names: readonly string[]): string[] {
  return names.flatMap((name, i) => (counters[i] === 0 ? [] : [`${title}: ${counters[i]} ${name}`]));
}

/** Flows of the table's records. They may change while they are read: a line can be wrong, reading can't fail. */
function describeFlows(words: Int32Array, settings: Settings): string[] {
  const lines: string[] = [];
  for (let at = 0; at < words.length; at += FLOW_WORDS) {
    if (words[at + FLOW.STATE] !== 0) lines.push(describeFlow(words.subarray(at, at + FLOW_WORDS), settings));
  }
  return lines;
}

/** `flow: TCP 10.137.0.10:40000 to 192.0.2.1:80 as 192.0.2.254:40000, client work, rule 1` */
function describeFlow(flow: Int32Array, { clients }: Settings): string {
  const [there, back] = FLOW.SIDE;
  const number = flow[FLOW.KEY] & 0xff;
  const protocol = PROTOCOL_NAMES.get(number) ?? `protocol ${number}`;
  const source = endpoint(flow[there + FLOW.SOURCE], flow[there + FLOW.PORTS] >>> 16);
  const destination =
    number === PROTOCOL.ICMP // which has an identifier, as it were a source port, and no more
      ? formatAddress(flow[there + FLOW.DESTINATION] >>> 0)
      : endpoint(flow[there + FLOW.DESTINATION], flow[there + FLOW.PORTS] & 0xffff);
  const outside = endpoint(flow[back + FLOW.DESTINATION], flow[back + FLOW.PORTS] & 0xffff);
  const client = clients[flow[FLOW.CLIENT_RULE] >>> 16]?.name ?? "?";
  const rule = flow[FLOW.CLIENT_RULE] & 0xffff;
  const reason = rule === 0 ? "policy" : `rule ${rule}`;
  return `flow: ${protocol} ${source} to ${destination} as ${outside}, client ${client}, ${reason}`;
}

function endpoint(address: number, port: number): string {
  return `${formatAddress(address >>> 0)}:${port}`;
}
