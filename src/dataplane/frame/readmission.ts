// New settings and the flows there are: each is judged again as if it were opened now, and either lives on untouched or ends. Settings
// may have changed more than once since it was judged last: all that it was judged by then, its record and its neighbours tell. Every
// flow comes here after new settings: no object is made.

import type { Address } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, sourcePort } from "../../wire/ports.ts";
import type { FlowRecords } from "../tables/flow-records.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import type { Topology } from "../topology.ts";
import { type Client, type Flow, type Iface, NOBODY, otherSide, type Side } from "../types.ts";
import { GONE } from "../waiting/neighbours.ts";
import { judgeAddress } from "./admission.ts";

/** What a flow is judged by: the router's state, or what somebody has who asks what would become of it under other settings. */
export interface Judged {
  readonly flows: FlowRecords;
  readonly topology: Topology;
  /** @returns the interface that a side of a flow is on, by the number that it has in `topology`, or GONE */
  interfaceOf(flow: Flow, side: Side): Iface;
  /** @returns the address of the host that packets to a side are handed to; undefined where they come back to us */
  nextHopOf(flow: Flow, side: Side): Address | undefined;
}

/** @returns whether a flow may live on by the settings in force, whatever they were before; then its client and rule are theirs */
export function readmit(state: Judged, flow: Flow): boolean {
  const { flows, topology } = state;
  const isInbound = flows.hasState(flow, FLOW_STATE.INBOUND);
  const iface = state.interfaceOf(flow, 0);
  const backIface = state.interfaceOf(flow, 1);
  if (iface === GONE || backIface === GONE) return false;
  const remote = isInbound ? 0 : 1;
  const isOutside = (isInbound ? iface : backIface) === topology.uplink;
  if (isOutside !== isOutsideKind(state, flow)) return false;
  if (isOutside && !hasSameRoute(state, flow, remote)) return false;
  return isInbound ? readmitInbound(state, flow, backIface) : readmitOutbound(state, flow, iface, backIface);
}

/** The same where nothing but rules has changed. @returns whether the flow may live on */
export function rejudge(state: Judged, flow: Flow): boolean {
  const { flows } = state;
  if (flows.hasState(flow, FLOW_STATE.INBOUND)) return true; // no rules let it in
  return accept(state, flow, flows.client(flow));
}

/** Whether a flow's kind leads to the uplink: all but those between clients, and of these where a client's network is routed. */
function isOutsideKind({ flows, topology }: Judged, flow: Flow): boolean {
  if (!flows.hasState(flow, FLOW_STATE.DIRECT)) return true;
  return topology.clientOf(flows.destination(flow, 0)) === NOBODY;
}

/** Whether the remote at a side, on the uplink, is reached as before, from the same address of ours or the client's own. */
function hasSameRoute(state: Judged, flow: Flow, side: Side): boolean {
  const { flows, topology } = state;
  const remote = flows.source(flow, side);
  const inside = flows.source(flow, otherSide(side));
  const seenAs = flows.destination(flow, side);
  const ours = topology.uplinkAddressLike(remote);
  const isRouted = remote !== ours && topology.isRouted(topology.clientOf(inside), inside);
  if (seenAs !== (isRouted ? inside : ours)) return false;
  const nextHop = state.nextHopOf(flow, side);
  if (remote === ours) return nextHop === undefined;
  if (nextHop === undefined || !topology.mayBeOutside(remote) || topology.isOwn(remote)) return false;
  return nextHop === topology.uplinkNextHop(remote);
}

/** Of a flow that a client opened. @returns whether the new rules accept it */
function readmitOutbound(state: Judged, flow: Flow, iface: Iface, backIface: Iface): boolean {
  const { flows, topology } = state;
  const destination = flows.destination(flow, 0);
  const client = topology.clientOn(iface, flows.source(flow, 0));
  if (client === NOBODY) return false;
  const isDirect = flows.hasState(flow, FLOW_STATE.DIRECT);
  if (isDirect && backIface !== topology.uplink) {
    const peer = topology.clientOn(backIface, destination);
    if (peer === NOBODY || !topology.client(client).reach.includes(peer)) return false;
  } else if (!topology.isRoutable(destination) || !isSentOn(state, flow) || !(isDirect || hasPort(state, flow))) {
    return false;
  }
  return accept(state, flow, client);
}

/** Whether the flow's external port is still its own: by its mapping, or by a forward. */
function hasPort({ flows, topology }: Judged, flow: Flow): boolean {
  const external = destinationPort(flows.ports(flow, 1));
  if (external === 0 || flows.hasState(flow, FLOW_STATE.MAPPED)) return true;
  return (
    topology.forwardedPort(flows.protocol(flow), flows.source(flow, 0), sourcePort(flows.ports(flow, 0))) === external
  );
}

/** Whether DNS is redirected to where the flow goes. */
function isSentOn({ flows, topology }: Judged, flow: Flow): boolean {
  const isDns = destinationPort(flows.ports(flow, 0)) === DNS_PORT;
  const destination = flows.destination(flow, 0);
  return flows.source(flow, 1) === (isDns ? topology.redirected(destination) : destination);
}

/** Notes a flow's client and rule anew, if the client's rules accept it. @returns whether they do */
function accept({ flows, topology }: Judged, flow: Flow, client: Client): boolean {
  const { ruleset } = topology.client(client);
  const { book } = topology.ipv6;
  const judgement = judgeAddress(book, ruleset, flows.protocol(flow), flows.destination(flow, 0), flows.ports(flow, 0));
  if ((judgement & 1) === 0) return false;
  flows.setClientRule(flow, client, judgement >> 1);
  return true;
}

/** Of a flow from the uplink. @returns whether the forward or the open mapping that let it in is still there */
function readmitInbound(state: Judged, flow: Flow, iface: Iface): boolean {
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
function hasForward({ flows, topology }: Judged, flow: Flow, address: Address): boolean {
  const destination = flows.destination(flow, 0);
  const port = destinationPort(flows.ports(flow, 0));
  const forward = topology.forwardFor(flows.protocol(flow), destination, port, flows.source(flow, 0));
  if (forward < 0 || topology.forwardedTo(forward, destination) !== address) return false;
  return topology.forwardedToPort(forward, destination, port) === sourcePort(flows.ports(flow, 1));
}
