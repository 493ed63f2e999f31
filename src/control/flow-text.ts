// How a flow of the dataplane's table is shown to people and programs.
import { FLOW, FLOW_WORDS } from "../dataplane/flows.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { formatAddress } from "./address.ts";

export interface FlowText {
  readonly protocol: string;
  /** Originator and responder, as the originator sees them: address:port, or of ICMP an address and an identifier. */
  readonly source: string;
  readonly destination: string;
  /** What the responder sees of the originator. */
  readonly mapped: string;
}

const NAMES = new Map<number, string>([
  [PROTOCOL.TCP, "tcp"],
  [PROTOCOL.UDP, "udp"],
  [PROTOCOL.ICMP, "icmp"],
]);

/**
 * @param words the flow table's records
 * @param flow number of a record in use
 */
export function flowText(words: Int32Array, flow: number): FlowText {
  const [one, other] = FLOW.SIDE.map((side) => flow * FLOW_WORDS + side);
  const ports = words[one + FLOW.PORTS];
  const protocol = words[flow * FLOW_WORDS + FLOW.KEY] & 0xff;
  const isIcmp = protocol === PROTOCOL.ICMP;
  // Of an ICMP query, the identifier stands in the originator's port, and the type in the responder's.
  const originator = isIcmp ? formatQuery : formatEndpoint;
  const destination = words[one + FLOW.DESTINATION];
  return {
    protocol: NAMES.get(protocol) ?? String(protocol),
    source: originator(words[one + FLOW.SOURCE], ports >>> 16),
    destination: isIcmp ? formatAddress(destination) : formatEndpoint(destination, ports & 0xffff),
    mapped: originator(words[other + FLOW.DESTINATION], words[other + FLOW.PORTS] & 0xffff),
  };
}

function formatEndpoint(address: number, port: number): string {
  return `${formatAddress(address)}:${port}`;
}

function formatQuery(address: number, identifier: number): string {
  return `${formatAddress(address)} id ${identifier}`;
}
