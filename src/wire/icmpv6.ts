// ICMPv6 (RFC 4443): offsets from the message's first byte, its types, and its checksum, which covers a pseudo-header too.
import { sum } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";

export const ICMPV6 = {
  TYPE: 0,
  CODE: 1,
  CHECKSUM: 2,
  /** Of echo. */
  IDENTIFIER: 4,
  /** Of "packet too big": uint32. */
  MTU: 4,
  /** Of "parameter problem": uint32, offset in the quoted packet. */
  POINTER: 4,
  HEADER_LENGTH: 8,
} as const;

/** IANA "ICMPv6 Parameters". */
export const ICMPV6_TYPE = {
  UNREACHABLE: 1,
  PACKET_TOO_BIG: 2,
  TIME_EXCEEDED: 3,
  PARAMETER_PROBLEM: 4,
  ECHO: 128,
  ECHO_REPLY: 129,
  LISTENER_QUERY: 130,
  LISTENER_REPORT: 131,
  LISTENER_DONE: 132,
  ROUTER_SOLICITATION: 133,
  ROUTER_ADVERTISEMENT: 134,
  NEIGHBOUR_SOLICITATION: 135,
  NEIGHBOUR_ADVERTISEMENT: 136,
  REDIRECT: 137,
  INVERSE_SOLICITATION: 141,
  INVERSE_ADVERTISEMENT: 142,
  LISTENER_REPORT_2: 143,
  CERTIFICATION_PATH_SOLICITATION: 148,
  CERTIFICATION_PATH_ADVERTISEMENT: 149,
  MULTICAST_ROUTER_ADVERTISEMENT: 151,
  MULTICAST_ROUTER_TERMINATION: 153,
  DUPLICATE_ADDRESS_REQUEST: 157,
  DUPLICATE_ADDRESS_CONFIRMATION: 158,
} as const;

/** Codes of UNREACHABLE (RFC 4443 section 3.1). */
export const UNREACHABLE6_CODE = {
  NO_ROUTE: 0,
  ADMIN_PROHIBITED: 1,
  BEYOND_SCOPE: 2,
  ADDRESS: 3,
  PORT: 4,
  SOURCE_POLICY: 5,
  REJECT_ROUTE: 6,
} as const;

/** Codes of PARAMETER_PROBLEM (RFC 4443 section 3.4, RFC 7112 section 5). */
export const PARAMETER_PROBLEM6_CODE = { FIELD: 0, NEXT_HEADER: 1, OPTION: 2, CHAIN: 3 } as const;

/** @returns whether messages of a type are errors, known or not (RFC 4443 section 2.1): no error answers one */
export const isError6 = (type: number): boolean => type < 128;

/** @returns whether a type asks for an answer that carries its identifier back */
export const isQuery6 = (type: number): boolean => type === ICMPV6_TYPE.ECHO;

/** Types of which messages mean something on their own link alone (RFC 4890 sections 4.3.3, 4.3.4, 4.4.3). */
const OF_LINK = new Uint8Array(256);
for (const [first, last] of [
  [ICMPV6_TYPE.LISTENER_QUERY, ICMPV6_TYPE.REDIRECT],
  [ICMPV6_TYPE.INVERSE_SOLICITATION, ICMPV6_TYPE.LISTENER_REPORT_2],
  [ICMPV6_TYPE.CERTIFICATION_PATH_SOLICITATION, ICMPV6_TYPE.CERTIFICATION_PATH_ADVERTISEMENT],
  [ICMPV6_TYPE.MULTICAST_ROUTER_ADVERTISEMENT, ICMPV6_TYPE.MULTICAST_ROUTER_TERMINATION],
  [ICMPV6_TYPE.DUPLICATE_ADDRESS_REQUEST, ICMPV6_TYPE.DUPLICATE_ADDRESS_CONFIRMATION],
] as const) {
  OF_LINK.fill(1, first, last + 1);
}

/** @returns whether messages of a type pass no router: of listeners, Neighbour Discovery, multicast routers, certification paths */
export const isOfLink6 = (type: number): boolean => OF_LINK[type] === 1;

/** @param length bytes of the message */
export function checkIcmpv6(length: number): Fault {
  return length < ICMPV6.HEADER_LENGTH ? FAULT.ICMPV6_TRUNCATED : FAULT.NONE;
}

/** @param length bytes of the whole message @param pseudo the pseudo-header's sum, of protocol NEXT_HEADER.ICMPV6 */
export function checkIcmpv6Sum(view: DataView, at: number, length: number, pseudo: number): Fault {
  return sum(view, at, length, pseudo) === 0xffff ? FAULT.NONE : FAULT.ICMPV6_CHECKSUM;
}

/** Writes the checksum of a message that is complete but for it. */
export function writeIcmpv6Sum(view: DataView, at: number, length: number, pseudo: number): void {
  view.setUint16(at + ICMPV6.CHECKSUM, 0);
  view.setUint16(at + ICMPV6.CHECKSUM, ~sum(view, at, length, pseudo) & 0xffff);
}
