// How a flow of the dataplane's table is shown to people and programs.

import { formatAddress } from "../base/address.ts";
import type { FlowRecords } from "../dataplane/tables/flow-records.ts";
import type { Flow } from "../dataplane/types.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { destinationPort, sourcePort } from "../wire/ports.ts";

export interface FlowText {
  readonly protocol: string;
  /** Originator and responder, as the originator sees them: address:port, or of ICMP an address and an identifier. */
  readonly source: string;
  readonly destination: string;
  /** What the responder sees of the originator. */
  readonly mapped: string;
  /** The responder itself, where the originator sees another address or port: a forwarded port. */
  readonly reached?: string;
}

/** @param flow number of a record in use */
export function flowText(records: FlowRecords, flow: Flow): FlowText {
  const protocol = records.protocol(flow);
  const ports = records.ports(flow, 0);
  const backPorts = records.ports(flow, 1);
  const formats = FORMATS.get(protocol) ?? WITHOUT_PORTS;
  const destination = formats.responder(records.destination(flow, 0), destinationPort(ports));
  const reached = formats.responder(records.source(flow, 1), sourcePort(backPorts));
  return {
    protocol: formats.name ?? String(protocol),
    source: formats.originator(records.source(flow, 0), sourcePort(ports)),
    destination,
    mapped: formats.originator(records.destination(flow, 1), destinationPort(backPorts)),
    ...(reached !== destination && { reached }),
  };
}

/** `tcp 10.137.0.10:40000 to 198.51.100.7:25`. @param ports source << 16 | destination, or those of an ICMP query */
export function packetText(protocol: number, source: number, destination: number, ports: number): string {
  const { name = protocol, originator, responder } = FORMATS.get(protocol) ?? WITHOUT_PORTS;
  return `${name} ${originator(source, ports >>> 16)} to ${responder(destination, ports & 0xffff)}`;
}

/** @param rule the user's number, 0 for the policy */
export function ruleText(rule: number): string {
  return rule === 0 ? "policy" : `rule ${rule}`;
}

interface Formats {
  readonly name?: string;
  originator(address: number, port: number): string;
  responder(address: number, port: number): string;
}

const WITHOUT_PORTS: Formats = { originator: formatAddress, responder: formatAddress };

const FORMATS = new Map<number, Formats>([
  [PROTOCOL.TCP, { name: "tcp", originator: formatEndpoint, responder: formatEndpoint }],
  [PROTOCOL.UDP, { name: "udp", originator: formatEndpoint, responder: formatEndpoint }],
  // Of an ICMP query, the identifier stands in the originator's port, and the type in the responder's.
  [PROTOCOL.ICMP, { name: "icmp", originator: formatQuery, responder: formatAddress }],
]);

function formatEndpoint(address: number, port: number): string {
  return `${formatAddress(address)}:${port}`;
}

function formatQuery(address: number, identifier: number): string {
  return `${formatAddress(address)} id ${identifier}`;
}
