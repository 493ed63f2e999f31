// Captured frames as the router got them. A snapshot length cuts frames: what is missing is made up, where the headers are
// there to judge by. A capture on the sender's own machine shows TCP segments before the network card has cut them, with
// checksums that it has yet to fill in: the router got them with a virtio_net_hdr that says so, and here gets one too.
import { VNET_LENGTH } from "../dataplane/ring.ts";
import { fold, pseudoHeaderSum, sum } from "../wire/checksum.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE } from "../wire/icmp.ts";
import { FRAGMENT_OFFSET, headerLength, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../wire/ipv4.ts";
import { TCP, tcpHeaderLength } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

/** Fields of struct virtio_net_hdr (linux/virtio_net.h, little-endian), from its beginning, and their values; hdr_len is ring.ts's. */
const VNET = { FLAGS: 0, GSO_TYPE: 1, GSO_SIZE: 4, CHECKSUM_START: 6, CHECKSUM_OFFSET: 8 } as const;
const NEEDS_CHECKSUM = 1;
const GSO_TCPV4 = 1;
const GSO_UDP_L4 = 5;

const IP = ETHERNET.HEADER_LENGTH;

/**
 * @param at where the frame is, with a virtio_net_hdr of zeros in front, and room behind it for the longest IPv4 packet
 * @param captured bytes of it that are there @param original bytes that it had
 * @param mtu of the interface that it came in on
 * @returns bytes of the frame, as it is now; `captured` where nothing was made up
 */
export function makeAsSent(view: DataView, at: number, captured: number, original: number, mtu: number): number {
  if (captured < IP + IPV4.HEADER_LENGTH || view.getUint16(at + ETHERNET.TYPE) !== ETHERTYPE.IPV4) return captured;
  const total = view.getUint16(at + IP + IPV4.TOTAL_LENGTH);
  const isWhole = IP + total <= captured;
  const headers = headersLength(view, at, captured);
  if (headers > captured || IP + total < headers || (!isWhole && IP + total > original)) return captured;
  if (!isWhole) {
    for (let i = at + captured; i < at + IP + total; i++) view.setUint8(i, 0);
    if (isWholeIcmp(view, at)) mendIcmp(view, at, captured, IP + total);
  }
  setOffload(view, at, total, headers, mtu, isWhole);
  return isWhole ? captured : IP + total;
}

/** @returns bytes of all headers that the router reads; more than `captured` if that can't even be told */
function headersLength(view: DataView, at: number, captured: number): number {
  const transport = IP + headerLength(view, at + IP);
  if ((view.getUint16(at + IP + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0) return transport;
  switch (view.getUint8(at + IP + IPV4.PROTOCOL)) {
    case PROTOCOL.TCP:
      if (captured < transport + TCP.HEADER_LENGTH) return captured + 1;
      return transport + tcpHeaderLength(view, at + transport);
    case PROTOCOL.UDP:
      return transport + UDP.HEADER_LENGTH;
    case PROTOCOL.ICMP:
      return icmpHeadersLength(view, at, transport, captured);
    default:
      return transport;
  }
}

/** ICMP errors quote a packet, and 8 bytes of what it carries. */
function icmpHeadersLength(view: DataView, at: number, transport: number, captured: number): number {
  const quoted = transport + ICMP.HEADER_LENGTH;
  if (captured < quoted) return quoted;
  const type = view.getUint8(at + transport + ICMP.TYPE);
  const isQuery = type === ICMP_TYPE.ECHO || type === ICMP_TYPE.ECHO_REPLY;
  if (isQuery || captured < quoted + IPV4.HEADER_LENGTH) return isQuery ? quoted : quoted + IPV4.HEADER_LENGTH;
  return quoted + headerLength(view, at + quoted) + UDP.HEADER_LENGTH;
}

function isUnfragmented(view: DataView, at: number): boolean {
  return (view.getUint16(at + IP + IPV4.FRAGMENT) & (FRAGMENT_OFFSET | MORE_FRAGMENTS)) === 0;
}

function isWholeIcmp(view: DataView, at: number): boolean {
  return view.getUint8(at + IP + IPV4.PROTOCOL) === PROTOCOL.ICMP && isUnfragmented(view, at);
}

/** The router checks ICMP's sum: a word of what is missing is chosen so that it is right, as it surely was. */
function mendIcmp(view: DataView, at: number, captured: number, end: number): void {
  const start = IP + headerLength(view, at + IP);
  const word = captured + ((captured - start) & 1);
  if (word + 2 > end) return;
  view.setUint16(at + word, ~sum(view, at + start, end - start) & 0xffff);
}

function setOffload(view: DataView, at: number, total: number, headers: number, mtu: number, isWhole: boolean): void {
  const protocol = view.getUint8(at + IP + IPV4.PROTOCOL);
  const isTcp = protocol === PROTOCOL.TCP;
  if ((!isTcp && protocol !== PROTOCOL.UDP) || !isUnfragmented(view, at)) return;
  const header = at - VNET_LENGTH;
  const transport = at + IP + headerLength(view, at + IP);
  const length = at + IP + total - transport;
  const field = isTcp ? TCP.CHECKSUM : UDP.CHECKSUM;
  const pseudo = pseudoHeaderSum(
    view.getUint32(at + IP + IPV4.SOURCE),
    view.getUint32(at + IP + IPV4.DESTINATION),
    protocol,
    length,
  );
  // The field holds the pseudo-header's sum alone; once in 65 536 frames that is the right checksum by chance.
  if (
    view.getUint16(transport + field) === pseudo &&
    !(isWhole && fold(sum(view, transport, length) + pseudo) === 0xffff)
  ) {
    view.setUint8(header + VNET.FLAGS, NEEDS_CHECKSUM);
    view.setUint16(header + VNET.CHECKSUM_START, transport - at, true);
    view.setUint16(header + VNET.CHECKSUM_OFFSET, field, true);
  }
  // No interface carries more than its MTU: what is longer was captured before it was cut, or after it was put together.
  if (total > mtu) {
    view.setUint8(header + VNET.GSO_TYPE, isTcp ? GSO_TCPV4 : GSO_UDP_L4);
    view.setUint16(header + VNET.GSO_SIZE, mtu + IP - headers, true);
  }
}
