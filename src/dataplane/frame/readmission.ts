// New settings and the flows there are: each is judged again as if it were opened now, and either lives on untouched or ends.

import { judge } from "../rules/ruleset.ts";
import { FLOW, FLOW_STATE, FLOW_WORDS } from "../tables/flows.ts";
import { NOBODY, type Topology } from "../topology.ts";
import { matchesForward } from "./admission.ts";
import { DNS_PORT, type State } from "./state.ts";

/**
 * @param before the settings that the flow was last judged by; state.topology is the new ones
 * @param renumber the new number of each old interface, or -1 where it is gone
 * @returns whether the flow may live on; then its client and rule are numbered anew
 */
export function readmit(state: State, flow: number, before: Topology, renumber: Int32Array): boolean {
  const { flows, topology } = state;
  const isInbound = flows.has(flow, FLOW_STATE.INBOUND);
  const places = [0, 1].map((side) => renumber[state.neighbours.interfaceOf[flows.hop(flow, side)]]);
  if (places.includes(GONE)) return false;
  if (!flows.has(flow, FLOW_STATE.DIRECT)) {
    const remote = isInbound ? 0 : 1;
    if (places[remote] !== topology.uplink) return false;
    if (!hasSameRoute(flows.source(flow, remote), before, topology)) return false;
  }
  const owner = isInbound ? inboundOwner(state, flow, places[1]) : outboundOwner(state, flow, places);
  if (owner === NOBODY) return false;
  flows.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] = owner;
  return true;
}

const GONE = -1;

/** The same where nothing but rules has changed. @returns whether the flow may live on */
export function rejudge(state: State, flow: number): boolean {
  const { flows } = state;
  if (flows.has(flow, FLOW_STATE.INBOUND)) return true; // no rules let it in
  const owner = judgedOwner(state, flow, flows.client(flow));
  if (owner !== NOBODY) flows.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] = owner;
  return owner !== NOBODY;
}

/** Whether a remote on the uplink is reached as before, from the same address of ours. */
function hasSameRoute(remote: number, before: Topology, after: Topology): boolean {
  if (before.uplinkAddress !== after.uplinkAddress) return false;
  if (!after.mayBeOutside(remote) || (after.isOwn(remote) && remote !== after.uplinkAddress)) return false;
  return before.uplinkNextHop(remote) === after.uplinkNextHop(remote);
}

/** @returns CLIENT_RULE of a flow that a client opened, by the new rules, or NOBODY when they refuse it */
function outboundOwner(state: State, flow: number, places: readonly number[]): number {
  const { flows, topology } = state;
  const destination = flows.destination(flow, 0);
  const client = topology.clientOn(places[0], flows.source(flow, 0));
  if (client === NOBODY) return NOBODY;
  if (flows.has(flow, FLOW_STATE.DIRECT)) {
    const peer = topology.clientOn(places[1], destination);
    if (peer === NOBODY || !topology.client(client).reach.includes(peer)) return NOBODY;
  } else if (!topology.isRoutable(destination) || !isSentOn(state, flow)) {
    return NOBODY;
  }
  return judgedOwner(state, flow, client);
}

/** Whether DNS is redirected to where the flow goes. */
function isSentOn({ flows, topology }: State, flow: number): boolean {
  const isDns = (flows.ports(flow, 0) & 0xffff) === DNS_PORT;
  const destination = flows.destination(flow, 0);
  return flows.source(flow, 1) === (isDns ? topology.redirected(destination) : destination);
}

function judgedOwner({ flows, topology }: State, flow: number, client: number): number {
  const { ruleset } = topology.client(client);
  const selector = flows.ports(flow, 0) & 0xffff;
  const judgement = judge(ruleset, flows.protocol(flow), flows.destination(flow, 0), selector);
  return (judgement & 1) === 0 ? NOBODY : (client << 16) | (judgement >> 1);
}

/** @returns CLIENT_RULE of a flow from the uplink, if the forward or the open mapping that let it in is still there */
function inboundOwner(state: State, flow: number, place: number): number {
  const { flows, topology } = state;
  const address = flows.source(flow, 1);
  const client = topology.clientOn(place, address);
  if (client === NOBODY) return NOBODY;
  if (flows.has(flow, FLOW_STATE.MAPPED)) return topology.client(client).openFilter ? client << 16 : NOBODY;
  const port = flows.ports(flow, 0) & 0xffff;
  const toPort = flows.ports(flow, 1) >>> 16;
  const source = flows.source(flow, 0);
  const stands = topology.settings.forwards.some(
    (forward) =>
      matchesForward(forward, flows.protocol(flow), port, source) &&
      (forward.to | 0) === address &&
      forward.toPort + port - forward.portLow === toPort,
  );
  return stands ? client << 16 : NOBODY;
}
