// Multicast Listener Discovery (RFC 2710, RFC 3810), a listener's half: queries are read, and reports written, so that bridges that
// look at them go on bringing us what is sent to our solicited-node groups.
import { pseudoHeaderSum6 } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";
import { checkIcmpv6Sum, ICMPV6, ICMPV6_TYPE, writeIcmpv6Sum } from "./icmpv6.ts";
import { IPV6, isLinkLocal6, NEXT_HEADER, writeIpv6 } from "./ipv6.ts";
import { writeSolicitedGroup } from "./ndp.ts";

/** Offsets from the ICMPv6 message's first byte (RFC 2710 section 3, RFC 3810 sections 5.1, 5.2). */
const MLD = { MAX_RESPONSE: 4, GROUP: 8, LENGTH: 24, LENGTH_2: 28 } as const;
const RECORD_LENGTH = 20;

/** A query reaches its own link alone. */
const MLD_HOP_LIMIT = 1;
/** Maximum response codes from this on are three bits of exponent and twelve of mantissa (RFC 3810 section 5.1.3). */
const EXPONENTIAL = 0x8000;

/** Hop-by-hop options with a router alert (RFC 2711): by these, snooping bridges know such messages. */
const ROUTER_ALERT = [0x05020000, 0x0100] as const;
const ALERT_LENGTH = 8;
const MESSAGE_AT = IPV6.HEADER_LENGTH + ALERT_LENGTH;

/** Records of a report (RFC 3810 section 5.2.12): what is so, and what has become so. We exclude no source. */
export const MODE_IS_EXCLUDE = 2;
export const CHANGE_TO_EXCLUDE = 4;

/** ff02::16, all routers that know MLDv2: the last four bytes, behind ff02:: */
export const ALL_MLD2_ROUTERS = 0x16;

/** The query that was read last. */
export class ListenerQuery {
  /** 1 or 2. */
  version = 0;
  /** Longest time to the answer, in ms. */
  maxResponse = 0;
  /** Offset of the group that it is about: the unspecified address for all. */
  group = 0;

  /**
   * Reads and checks a query (RFC 2710 section 5, RFC 3810 sections 6.2, 8.1).
   * @param ip offset of the IPv6 header
   * @param at, length offset and bytes of the ICMPv6 message
   * @param hasOptions whether there are hop-by-hop options; that there is a router alert among them is not looked at
   */
  read(view: DataView, ip: number, at: number, length: number, hasOptions: boolean): Fault {
    if (!hasOptions) return FAULT.MLD_FORMAT;
    if (view.getUint8(ip + IPV6.HOP_LIMIT) !== MLD_HOP_LIMIT) return FAULT.MLD_FORMAT;
    if (!isLinkLocal6(view, ip + IPV6.SOURCE)) return FAULT.MLD_FORMAT;
    if (length !== MLD.LENGTH && length < MLD.LENGTH_2) return FAULT.MLD_FORMAT;
    const pseudo = pseudoHeaderSum6(view, ip + IPV6.SOURCE, NEXT_HEADER.ICMPV6, length);
    const fault = checkIcmpv6Sum(view, at, length, pseudo);
    if (fault !== 0) return fault;
    this.version = length === MLD.LENGTH ? 1 : 2;
    this.group = at + MLD.GROUP;
    const code = view.getUint16(at + MLD.MAX_RESPONSE);
    const isNumber = this.version === 1 || code < EXPONENTIAL;
    this.maxResponse = isNumber ? code : ((code & 0xfff) | 0x1000) << (((code >>> 12) & 7) + 3);
    return FAULT.NONE;
  }
}

/**
 * Writes a report of version 2 to ff02::16; its source address stands where it belongs.
 * @param at offset of the IPv6 header
 * @param mode MODE_IS_EXCLUDE or CHANGE_TO_EXCLUDE
 * @param addresses the last four bytes of addresses, whose solicited-node groups are reported
 * @returns bytes of the packet
 */
export function writeReport2(view: DataView, at: number, mode: number, addresses: Int32Array): number {
  const message = at + MESSAGE_AT;
  const length = ICMPV6.HEADER_LENGTH + addresses.length * RECORD_LENGTH;
  view.setInt32(at + IPV6.DESTINATION, 0xff020000);
  for (let i = 4; i < 12; i += 4) view.setInt32(at + IPV6.DESTINATION + i, 0);
  view.setInt32(at + IPV6.DESTINATION + 12, ALL_MLD2_ROUTERS);
  view.setUint32(message + ICMPV6.TYPE, ICMPV6_TYPE.LISTENER_REPORT_2 << 24);
  view.setUint32(message + MLD.MAX_RESPONSE, addresses.length);
  for (let i = 0; i < addresses.length; i++) {
    const record = message + ICMPV6.HEADER_LENGTH + i * RECORD_LENGTH;
    view.setInt32(record, mode << 24);
    writeSolicitedGroup(view, record + 4, addresses[i]);
  }
  return finish(view, at, length);
}

/** Writes a report of version 1, which goes to the group that it is about. @param lastWord the last four bytes of one address */
export function writeReport1(view: DataView, at: number, lastWord: number): number {
  const message = at + MESSAGE_AT;
  writeSolicitedGroup(view, at + IPV6.DESTINATION, lastWord);
  view.setUint32(message + ICMPV6.TYPE, ICMPV6_TYPE.LISTENER_REPORT << 24);
  view.setUint32(message + MLD.MAX_RESPONSE, 0);
  writeSolicitedGroup(view, message + MLD.GROUP, lastWord);
  return finish(view, at, MLD.LENGTH);
}

/** The headers, and the checksum. @param length bytes of the message */
function finish(view: DataView, at: number, length: number): number {
  writeIpv6(view, at, 0, ALERT_LENGTH + length, NEXT_HEADER.HOP_BY_HOP, MLD_HOP_LIMIT);
  view.setUint16(at + IPV6.HEADER_LENGTH, NEXT_HEADER.ICMPV6 << 8);
  view.setInt32(at + IPV6.HEADER_LENGTH + 2, ROUTER_ALERT[0]);
  view.setUint16(at + IPV6.HEADER_LENGTH + 6, ROUTER_ALERT[1]);
  const pseudo = pseudoHeaderSum6(view, at + IPV6.SOURCE, NEXT_HEADER.ICMPV6, length);
  writeIcmpv6Sum(view, at + MESSAGE_AT, length, pseudo);
  return MESSAGE_AT + length;
}
