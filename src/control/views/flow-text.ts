// How a flow of the dataplane's table is shown to people and programs.

import { formatIp, type IpAddress } from "../../base/ip.ts";
import type { FlowRecords } from "../../dataplane/tables/flow-records.ts";
import type { Flow } from "../../dataplane/types.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import { destinationPort, sourcePort } from "../../wire/ports.ts";

/** An end of a flow as somebody sees it. */
export interface FlowEnd {
  readonly address: string;
  /** Of TCP and UDP. */
  readonly port?: number;
  /** Of an ICMP query, that of whoever asks: its identifier. */
  readonly id?: number;
}

/** Who a flow is between. */
export interface FlowEnds {
  /** IANA's number, and its name where rules have one, else the number as text. */
  readonly protocol: number;
  readonly proto: string;
  /** Originator and responder, as the originator sees them. */
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
  /** What the responder sees of the originator. */
  readonly mapped: FlowEnd;
  /** The responder itself, where the originator sees another address or port: a forwarded port. */
  readonly reached?: FlowEnd;
}

/** `FlowEnds` as text, its ends as address:port, or of ICMP an address and an identifier. */
export interface FlowText {
  readonly protocol: string;
  readonly source: string;
  readonly destination: string;
  readonly mapped: string;
  readonly reached?: string;
}

/** @param flow number of a record in use */
export function flowEnds(records: FlowRecords, flow: Flow): FlowEnds {
  const protocol = records.protocol(flow);
  const ports = records.ports(flow, 0);
  const backPorts = records.ports(flow, 1);
  const { name = String(protocol), originator, responder } = KINDS.get(protocol) ?? WITHOUT_PORTS;
  const destination = responder(records.ip(records.destination(flow, 0)), destinationPort(ports));
  const reached = responder(records.ip(records.source(flow, 1)), sourcePort(backPorts));
  const isReached = reached.address !== destination.address || reached.port !== destination.port;
  return {
    protocol,
    proto: name,
    source: originator(records.ip(records.source(flow, 0)), sourcePort(ports)),
    destination,
    mapped: originator(records.ip(records.destination(flow, 1)), destinationPort(backPorts)),
    ...(isReached && { reached }),
  };
}

export function flowText(records: FlowRecords, flow: Flow): FlowText {
  return textOf(flowEnds(records, flow));
}

export function textOf({ proto, source, destination, mapped, reached }: FlowEnds): FlowText {
  return {
    protocol: proto,
    source: endText(source),
    destination: endText(destination),
    mapped: endText(mapped),
    ...(reached !== undefined && { reached: endText(reached) }),
  };
}

/** `tcp 10.137.0.10:40000 to 198.51.100.7:25`. @param ports as `packetEnds` takes them */
export function packetText(protocol: number, source: IpAddress, destination: IpAddress, ports: number): string {
  const ends = packetEnds(protocol, source, destination, ports);
  return `${ends.proto} ${endText(ends.source)} to ${endText(ends.destination)}`;
}

/** @param ports source << 16 | destination, or those of an ICMP query; undefined where there are none */
export function packetEnds(
  protocol: number,
  source: IpAddress,
  destination: IpAddress,
  ports: number | undefined,
): Pick<FlowEnds, "protocol" | "proto" | "source" | "destination"> {
  const kind = KINDS.get(protocol) ?? WITHOUT_PORTS;
  const { originator, responder } = ports === undefined ? WITHOUT_PORTS : kind;
  const [from, to] = ports === undefined ? [0, 0] : [ports >>> 16, ports & 0xffff];
  const proto = kind.name ?? String(protocol);
  return { protocol, proto, source: originator(source, from), destination: responder(destination, to) };
}

/** @param rule the user's number, 0 for the policy */
export function ruleText(rule: number): string {
  return rule === 0 ? "policy" : `rule ${rule}`;
}

export function endText({ address, port, id }: FlowEnd): string {
  if (port !== undefined) return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  return id === undefined ? address : `${address} id ${id}`;
}

/** What the two halves of a flow's ports are. */
interface Kind {
  readonly name?: string;
  originator(address: IpAddress, port: number): FlowEnd;
  responder(address: IpAddress, port: number): FlowEnd;
}

const WITHOUT_PORTS: Kind = { originator: host, responder: host };

const KINDS = new Map<number, Kind>([
  [PROTOCOL.TCP, { name: "tcp", originator: endpoint, responder: endpoint }],
  [PROTOCOL.UDP, { name: "udp", originator: endpoint, responder: endpoint }],
  // Of an ICMP query, the identifier stands in the originator's port, and the type in the responder's.
  [PROTOCOL.ICMP, { name: "icmp", originator: query, responder: host }],
  [NEXT_HEADER.ICMPV6, { name: "icmp", originator: query, responder: host }],
]);

function host(address: IpAddress): FlowEnd {
  return { address: formatIp(address) };
}

function endpoint(address: IpAddress, port: number): FlowEnd {
  return { address: formatIp(address), port };
}

function query(address: IpAddress, id: number): FlowEnd {
  return { address: formatIp(address), id };
}
