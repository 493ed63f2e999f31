// New settings and the flows there are: each is judged again as if it were opened now, and either lives on untouched or ends.

import { type Address, toAddress } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, sourcePort } from "../../wire/ports.ts";
import { judge } from "../rules/ruleset.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import type { Topology } from "../topology.ts";
import { type Client, type Flow, type Iface, NOBODY, type Side } from "../types.ts";
import { matchesForward } from "./admission.ts";
import type { State } from "./state.ts";

/**
 * @param before the settings that the flow was last judged by; state.topology is the new ones
 * @param renumber the new number of each old interface, or -1 where it is gone
 * @returns whether the flow may live on; then its client and rule are numbered anew
 */
export function readmit(state: State, flow: Flow, before: Topology, renumber: Int32Array): boolean {
  const { flows, topology } = state;
  const isInbound = flows.hasState(flow, FLOW_STATE.INBOUND);
  const ifaces = SIDES.map((side) => renumber[state.neighbours.interfaceOf[flows.neighbour(flow, side)]] as Iface);
  if (ifaces.includes(GONE)) return false;
  if (!flows.hasState(flow, FLOW_STATE.DIRECT)) {
    const remote = isInbound ? 0 : 1;
    if (ifaces[remote] !== topology.uplink) return false;
    if (!hasSameRoute(flows.source(flow, remote), before, topology)) return false;
  }
  return isInbound ? readmitInbound(state, flow, ifaces[1]) : readmitOutbound(state, flow, ifaces);
}

const SIDES: readonly Side[] = [0, 1];
const GONE = -1 as Iface;

/** The same where nothing but rules has changed. @returns whether the flow may live on */
export function rejudge(state: State, flow: Flow): boolean {
  const { flows } = state;
  if (flows.hasState(flow, FLOW_STATE.INBOUND)) return true; // no rules let it in
  return accept(state, flow, flows.client(flow));
}

/** Whether a remote on the uplink is reached as before, from the same address of ours. */
function hasSameRoute(remote: Address, before: Topology, after: Topology): boolean {
  if (before.uplinkAddress !== after.uplinkAddress) return false;
  if (!after.mayBeOutside(remote) || (after.isOwn(remote) && remote !== after.uplinkAddress)) return false;
  return before.uplinkNextHop(remote) === after.uplinkNextHop(remote);
}

/** Of a flow that a client opened. @returns whether the new rules accept it */
function readmitOutbound(state: State, flow: Flow, ifaces: readonly Iface[]): boolean {
  const { flows, topology } = state;
  const destination = flows.destination(flow, 0);
  const client = topology.clientOn(ifaces[0], flows.source(flow, 0));
  if (client === NOBODY) return false;
  if (flows.hasState(flow, FLOW_STATE.DIRECT)) {
    const peer = topology.clientOn(ifaces[1], destination);
    if (peer === NOBODY || !topology.client(client).reach.includes(peer)) return false;
  } else if (!topology.isRoutable(destination) || !isSentOn(state, flow) || !hasPort(state, flow)) {
    return false;
  }
  return accept(state, flow, client);
}

/** Whether the flow's external port is still its own: by its mapping, or by a forward. */
function hasPort({ flows, topology }: State, flow: Flow): boolean {
  const external = destinationPort(flows.ports(flow, 1));
  if (external === 0 || flows.hasState(flow, FLOW_STATE.MAPPED)) return true;
  return (
    topology.forwardedPort(flows.protocol(flow), flows.source(flow, 0), sourcePort(flows.ports(flow, 0))) === external
  );
}

/** Whether DNS is redirected to where the flow goes. */
function isSentOn({ flows, topology }: State, flow: Flow): boolean {
  const isDns = destinationPort(flows.ports(flow, 0)) === DNS_PORT;
  const destination = flows.destination(flow, 0);
  return flows.source(flow, 1) === (isDns ? topology.redirected(destination) : destination);
}

/** Notes a flow's client and rule anew, if the client's rules accept it. @returns whether they do */
function accept({ flows, topology }: State, flow: Flow, client: Client): boolean {
  const { ruleset } = topology.client(client);
  const selector = destinationPort(flows.ports(flow, 0));
  const judgement = judge(ruleset, flows.protocol(flow), flows.destination(flow, 0), selector);
  if ((judgement & 1) === 0) return false;
  flows.setClientRule(flow, client, judgement >> 1);
  return true;
}

/** Of a flow from the uplink. @returns whether the forward or the open mapping that let it in is still there */
function readmitInbound(state: State, flow: Flow, iface: Iface): boolean {
  const { flows, topology } = state;
  const address = flows.source(flow, 1);
  const client = topology.clientOn(iface, address);
  if (client === NOBODY) return false;
  const isMapped = flows.hasState(flow, FLOW_STATE.MAPPED);
  const stands = isMapped ? topology.client(client).openFilter : hasForward(state, flow, address);
  if (stands) flows.setClientRule(flow, client, 0);
  return stands;
}

/** @param address whom the flow goes to */
function hasForward({ flows, topology }: State, flow: Flow, address: Address): boolean {
  const port = destinationPort(flows.ports(flow, 0));
  const toPort = sourcePort(flows.ports(flow, 1));
  const source = flows.source(flow, 0);
  return topology.settings.forwards.some(
    (forward) =>
      matchesForward(forward, flows.protocol(flow), port, source) &&
      toAddress(forward.to) === address &&
      forward.toPort + port - forward.portLow === toPort,
  );
}
