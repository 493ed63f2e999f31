// The flows of the running firewall, one by one, as values and as lines. They are read from memory that the dataplane writes to
// meanwhile: a flow can be wrong, reading can't fail, and nobody waits for it.

import { hostPrefix, isInside, sameIp } from "../../base/ip.ts";
import { printable } from "../../base/quote.ts";
import type { ForwardSettings, Settings } from "../../dataplane/settings.ts";
import { bytesOf, packetsOf } from "../../dataplane/tables/flow-counts.ts";
import { FLOW_WORDS, type FlowRecords } from "../../dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../dataplane/tables/flow-state.ts";
import { tcpStateName } from "../../dataplane/tables/tcp.ts";
import { matchesForward } from "../../dataplane/topology.ts";
import type { Flow, Side } from "../../dataplane/types.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { destinationPort } from "../../wire/ports.ts";
import { type FlowEnds, flowEnds, ruleText, textOf } from "./flow-text.ts";
import { clientName, type FlowMemory, recordsOf } from "./status.ts";

/** The keys are those of `firebreak flows --json`: docs/CONTROL.md has them. */
export interface FlowEntry extends FlowEnds {
  readonly client: string;
  /** What let it in. Of one that a client opened: number of the rule, 0 for the policy. */
  readonly rule?: number;
  /** Of one from the uplink: number of the forward, from 1 on; 0 where that is in the settings no more. */
  readonly forward?: number;
  /** Likewise: that it came in by a mapping which is open to anyone. */
  readonly open_mapping?: true;
  /** Of TCP, as RFC 9293 names it; RESET too. */
  readonly state?: string;
  /** Where flows are counted: what came from the source and was sent on, and what came from the destination, since then. */
  readonly sent?: Counts;
  readonly received?: Counts;
}

/** Bytes of IP packets, and how many, modulo 2^32. What is to be cut into segments, counts as one, as it does for an interface. */
export interface Counts {
  readonly bytes: number;
  readonly packets: number;
}

/** The flow table, and the settings that say whose the flows are. */
export interface FlowTableView {
  readonly records: FlowRecords;
  /** Records. */
  readonly capacity: number;
  readonly settings: Settings;
  /** As tables/flow-counts.ts has them, while flows are counted. */
  readonly counts?: Int32Array | undefined;
}

export function viewFlows(state: FlowMemory, settings: Settings, counts?: Int32Array): FlowTableView {
  return { records: recordsOf(state, settings), capacity: state.flows.length / FLOW_WORDS, settings, counts };
}

/** @returns each flow, made when it is asked for: a million flows need no memory here */
export function* listFlows(view: FlowTableView): Generator<FlowEntry> {
  for (let flow = 0 as Flow; flow < view.capacity; flow++) {
    if (view.records.isUsed(flow)) yield flowEntry(view, flow);
  }
}

/** @param flow number of a record in use */
export function flowEntry({ records, settings, counts }: FlowTableView, flow: Flow): FlowEntry {
  const ends = flowEnds(records, flow);
  const isTcp = ends.protocol === PROTOCOL.TCP;
  return {
    ...ends,
    client: clientName(settings, records.client(flow)),
    ...admission(records, flow, settings),
    ...(isTcp && { state: tcpStateName(records.state(flow)) }),
    ...(counts !== undefined && { sent: countsOf(counts, flow, 0), received: countsOf(counts, flow, 1) }),
  };
}

function countsOf(counts: Int32Array, flow: Flow, side: Side): Counts {
  return { bytes: bytesOf(counts, flow, side), packets: packetsOf(counts, flow, side) };
}

/** `flow: tcp 10.137.0.10:40000 to 192.0.2.1:80 as 192.0.2.254:40000, ESTABLISHED, client work, rule 1` */
export function flowLine(entry: FlowEntry): string {
  const { protocol, source, destination, mapped, reached } = textOf(entry);
  const parts = [
    `flow: ${protocol} ${source} to ${destination} as ${mapped}${reached === undefined ? "" : ` at ${reached}`}`,
    ...(entry.state === undefined ? [] : [entry.state]),
    `client ${printable(entry.client)}`,
    admissionText(entry),
    ...(entry.sent === undefined ? [] : [`sent ${countsText(entry.sent)}`]),
    ...(entry.received === undefined ? [] : [`received ${countsText(entry.received)}`]),
  ];
  return parts.join(", ");
}

function countsText({ bytes, packets }: Counts): string {
  return `${bytes} bytes in ${packets} packets`;
}

type Admission = Pick<FlowEntry, "rule" | "forward" | "open_mapping">;

/** What let the flow in: of the uplink's no rule does. */
function admission(records: FlowRecords, flow: Flow, { forwards, clients }: Settings): Admission {
  if (!records.hasState(flow, FLOW_STATE.INBOUND)) return { rule: records.rule(flow) };
  if (records.hasState(flow, FLOW_STATE.MAPPED)) return { open_mapping: true };
  return { forward: 1 + forwards.findIndex((forward) => isBy(forward, records, flow, clients)) };
}

/** Whether a flow from the uplink is one that a forward lets in. */
function isBy(forward: ForwardSettings, records: FlowRecords, flow: Flow, clients: Settings["clients"]): boolean {
  const [protocol, source] = [records.protocol(flow), records.source(flow, 0)];
  const port = destinationPort(records.ports(flow, 0));
  if (!records.isIpv6(flow)) return matchesForward(forward, protocol, port, source);
  const { to6, from6 = [], portLow, portHigh, toPort } = forward;
  if (forward.protocol !== protocol || to6 === undefined) return false;
  const host = hostPrefix(records.ip(source));
  if (from6.length > 0 && !from6.some((prefix) => isInside(host, prefix))) return false;
  // Of a client whose network is routed to us it is the host's own port (ForwardSettings).
  const low = clients[forward.client]?.ipv6?.nat === "route" ? toPort : portLow;
  return low <= port && port <= low + portHigh - portLow && sameIp(records.ip(records.source(flow, 1)), to6);
}

function admissionText({ rule, forward, open_mapping }: Admission): string {
  if (rule !== undefined) return ruleText(rule);
  if (open_mapping) return "open mapping";
  return forward ? `forward ${forward}` : "a forward that is no more";
}
