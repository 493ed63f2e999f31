// New settings and the flows there are: each is judged again as if it were opened now, and either lives on untouched or ends.
import { matchesForward } from "./admission.ts";
import { FLOW, FLOW_STATE, FLOW_WORDS, NO_MAPPING } from "./flows.ts";
import { judge } from "./ruleset.ts";
import type { State } from "./state.ts";
import { NOBODY, type Topology } from "./topology.ts";

/**
 * @param before the settings that the flow was last judged by; state.topology is the new ones
 * @param renumber the new number of each old interface, or -1 where it is gone
 * @returns whether the flow may live on; then its interfaces, client and rule are numbered anew
 */
export function readmit(state: State, flow: number, before: Topology, renumber: Int32Array): boolean {
  const { flows, topology } = state;
  const iface0 = renumber[flows.iface(flow, 0)];
  const iface1 = renumber[flows.iface(flow, 1)];
  if (iface0 < 0 || iface1 < 0) return false;
  const isDirect = flows.has(flow, FLOW_STATE.DIRECT);
  const isInbound = flows.has(flow, FLOW_STATE.INBOUND);
  if (!isDirect) {
    const side = isInbound ? 0 : 1; // the uplink's
    if (
      (side === 0 ? iface0 : iface1) !== topology.uplink ||
      !hasSameRoute(flows.words, flow, side, before, topology)
    ) {
      return false;
    }
  }
  const owner = isInbound ? inboundOwner(state, flow, iface1) : outboundOwner(state, flow, iface0, iface1, isDirect);
  if (owner === NOBODY) return false;
  flows.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] = owner;
  flows.renumber(flow, iface0, iface1);
  return true;
}

/** Whether the remote on the uplink is reached as before, from the same address of ours. */
function hasSameRoute(words: Int32Array, flow: number, side: number, before: Topology, after: Topology): boolean {
  const remote = words[flow * FLOW_WORDS + FLOW.SIDE[side] + FLOW.SOURCE];
  if (before.uplinkAddress !== after.uplinkAddress) return false;
  if (after.clientOf(remote) !== NOBODY || (after.isOwn(remote) && remote !== after.uplinkAddress)) return false;
  return before.uplinkNextHop(remote) === after.uplinkNextHop(remote);
}

/** @returns CLIENT_RULE of a flow that a client opened, by the new rules, or NOBODY when they refuse it */
function outboundOwner(state: State, flow: number, iface0: number, iface1: number, isDirect: boolean): number {
  const { flows, topology } = state;
  const at = flow * FLOW_WORDS;
  const destination = flows.words[at + FLOW.DESTINATION];
  const client = topology.clientOn(iface0, flows.words[at + FLOW.SOURCE]);
  if (client === NOBODY) return NOBODY;
  if (isDirect) {
    const peer = topology.clientOn(iface1, destination);
    if (peer === NOBODY || !topology.client(client).reach.includes(peer)) return NOBODY;
  } else if (!topology.isRoutable(destination)) {
    return NOBODY;
  }
  const ports = flows.words[at + FLOW.PORTS];
  const judgement = judge(topology.client(client).ruleset, flows.protocol(flow), destination, ports & 0xffff);
  return (judgement & 1) === 0 ? NOBODY : (client << 16) | (judgement >> 1);
}

/** @returns CLIENT_RULE of a flow from the uplink, if the forward or the open mapping that let it in is still there */
function inboundOwner(state: State, flow: number, iface1: number): number {
  const { flows, topology } = state;
  const at = flow * FLOW_WORDS;
  const address = flows.words[at + FLOW.SIDE[1] + FLOW.SOURCE];
  const client = topology.clientOn(iface1, address);
  if (client === NOBODY) return NOBODY;
  if (flows.words[at + FLOW.MAPPING] !== NO_MAPPING) return topology.client(client).openFilter ? client << 16 : NOBODY;
  const port = flows.words[at + FLOW.PORTS] & 0xffff;
  const toPort = flows.words[at + FLOW.SIDE[1] + FLOW.PORTS] >>> 16;
  const source = flows.words[at + FLOW.SOURCE];
  const stands = topology.settings.forwards.some(
    (forward) =>
      matchesForward(forward, flows.protocol(flow), port, source) &&
      (forward.to | 0) === address &&
      forward.toPort + port - forward.portLow === toPort,
  );
  return stands ? client << 16 : NOBODY;
}
