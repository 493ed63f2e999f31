// What the firewall has changed of a packet: two frames compared, by the fields that it changes. Checksums follow from those.
import { type FrameSummary, type IpSummary, isArp, summarise } from "../captures/summary.ts";
import { portText } from "../captures/summary-text.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { FAULT } from "../wire/fault.ts";
import { HeaderChain } from "../wire/header-chain.ts";
import { headerLength, IPV4, PROTOCOL } from "../wire/ipv4.ts";
import { IPV6 } from "../wire/ipv6.ts";
import { maximumSegmentSize, SYN, TCP, tcpHeaderLength } from "../wire/tcp.ts";

/** A field, as it came in and as it left. */
export interface Rewriting {
  readonly field: string;
  readonly before: string;
  readonly after: string;
}

/** @param before, after the same packet's frames, or their first bytes, with all headers */
export function rewritings(before: Buffer, after: Buffer): Rewriting[] {
  const [from, to] = [summarise(before, 0, before.length), summarise(after, 0, after.length)];
  const [one, other] = [ipOf(from), ipOf(to)];
  if (one === undefined || other === undefined) return [];
  const [rest, newRest] = [moreOf(before), moreOf(after)];
  const pairs: (readonly [string, unknown, unknown])[] = [
    ["source", portText(one.source, one.sourcePort), portText(other.source, other.sourcePort)],
    ["destination", portText(one.destination, one.destinationPort), portText(other.destination, other.destinationPort)],
    ["icmp identifier", one.icmp?.identifier, other.icmp?.identifier],
    ["quoted source", quotedOf(one, "source"), quotedOf(other, "source")],
    ["quoted destination", quotedOf(one, "destination"), quotedOf(other, "destination")],
    ["ttl", one.ttl, other.ttl],
    ["mss", rest.mss, newRest.mss],
    ["identification", rest.identification, newRest.identification],
    ["type of service", rest.tos, newRest.tos],
    ["length", one.length, other.length],
    ["source mac", from.ethernet?.source, to.ethernet?.source],
    ["destination mac", from.ethernet?.destination, to.ethernet?.destination],
    ["vlan", from.ethernet?.vlan, to.ethernet?.vlan],
  ];
  return pairs.flatMap(([field, was, is]) =>
    was === is ? [] : [{ field, before: String(was ?? "none"), after: String(is ?? "none") }],
  );
}

interface More {
  readonly mss?: number;
  readonly identification?: number;
  /** Of IPv6 the traffic class. */
  readonly tos?: number;
}

/** What a summary does not say. Of frames with VLAN tags nothing: there is one at most, and its packet is otherwise left alone. */
function moreOf(frame: Buffer): More {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < ETHERNET.HEADER_LENGTH) return {};
  const type = view.getUint16(ETHERNET.TYPE);
  if (type === ETHERTYPE.IPV6) return moreOf6(view, ETHERNET.HEADER_LENGTH);
  return type === ETHERTYPE.IPV4 ? moreOf4(view, ETHERNET.HEADER_LENGTH) : {};
}

function moreOf4(view: DataView, ip: number): More {
  if (view.byteLength < ip + IPV4.HEADER_LENGTH) return {};
  const [identification, tos] = [view.getUint16(ip + IPV4.IDENTIFICATION), view.getUint8(ip + IPV4.TOS)];
  return { identification, tos, ...mssOf(view, ip + headerLength(view, ip), view.getUint8(ip + IPV4.PROTOCOL)) };
}

function moreOf6(view: DataView, ip: number): More {
  if (view.byteLength < ip + IPV6.HEADER_LENGTH) return {};
  const tos = (view.getUint16(ip) >>> 4) & 0xff;
  const chain = new HeaderChain();
  if (chain.walk(view, ip, view.byteLength - ip) !== FAULT.NONE) return { tos };
  return { tos, ...mssOf(view, chain.transport, chain.protocol) };
}

/** The MSS of a SYN that has one, and is there with its options. */
function mssOf(view: DataView, tcp: number, protocol: number): Pick<More, "mss"> {
  const isTcp = protocol === PROTOCOL.TCP && view.byteLength >= tcp + TCP.HEADER_LENGTH;
  const hasOptions = isTcp && view.byteLength >= tcp + tcpHeaderLength(view, tcp);
  if (!hasOptions || (view.getUint8(tcp + TCP.FLAGS) & SYN) === 0) return {};
  const mss = maximumSegmentSize(view, tcp);
  return mss < 0 ? {} : { mss };
}

function ipOf({ packet }: FrameSummary): IpSummary | undefined {
  return packet === undefined || isArp(packet) ? undefined : packet;
}

function quotedOf({ icmp }: IpSummary, side: "source" | "destination"): string | undefined {
  const { about } = icmp ?? {};
  return about && portText(about[side], side === "source" ? about.sourcePort : about.destinationPort);
}
