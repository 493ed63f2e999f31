// One packet tried out: the first of a flow that a client, or somebody outside, would open goes through a dataplane of its own,
// over plain memory, so that what is said of it is what the appliance does.

import { flowText } from "../control/flow-text.ts";
import { Router } from "../dataplane/frame/router.ts";
import { MemoryRing, type SentFrame } from "../dataplane/memory-ring.ts";
import { isQuery } from "../dataplane/packet.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import { VERDICT } from "../dataplane/verdict.ts";
import type { Asked } from "../rules/mismatch.ts";
import { ARP, ARP_REPLY, ARP_REQUEST, writeArp } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, macHead, macTail, writeMac } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE, writeIcmpSum } from "../wire/icmp.ts";
import { DEFAULT_TTL, IPV4, maskOf, PROTOCOL, readAddress, writeIpv4 } from "../wire/ipv4.ts";
import { SYN, TCP, writeTcp } from "../wire/tcp.ts";
import { UDP, writeUdp } from "../wire/udp.ts";

/** Whose packet it is: a client's, by its number, or that of a host behind the uplink. */
export type Sender = { readonly client: number } | { readonly address: number; readonly port: number };

export interface Outcome {
  /** A verdict code. */
  readonly verdict: number;
  /** The rule that decided it, 0 for the policy; -1 when none was asked. */
  readonly rule: number;
  /** What the sender gets for an answer. */
  readonly answer: string | undefined;
  /** The name of the interface that the packet leaves on, if it does. */
  readonly egress: string | undefined;
  /** What its receiver sees as its source. */
  readonly mapped: string | undefined;
  /** Where the packet is sent on to, if that is not its destination. */
  readonly reached: string | undefined;
}

/** Nobody's: a client's where none is configured. */
const SOME_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const SOME_PORT = 49152;
const START_MS = 1000;
/** Flows of the trial's table: a small one. */
const CAPACITY = 1024;
const TO = ETHERNET.HEADER_LENGTH + IPV4.DESTINATION;
const HEADERS = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH;

/** ICMP errors that the firewall answers clients with, by code of "unreachable". */
const PROHIBITIONS = new Map<number, string>([
  [UNREACHABLE_CODE.HOST_PROHIBITED, 'ICMP "host administratively prohibited"'],
  [UNREACHABLE_CODE.ADMIN_PROHIBITED, 'ICMP "administratively prohibited"'],
]);

/** @param asked the packet */
export function tryPacket(settings: Settings, sender: Sender, asked: Asked<number>): Outcome {
  const ring = new MemoryRing();
  const small = { ...settings, nat: { ...settings.nat, maxFlows: CAPACITY } };
  const router = new Router(ring, small, (words) => words.fill(0x5eed));
  router.advance(START_MS);
  packetsSent(router, ring); // the gateway is asked for at the start
  const origin = originOf(settings, sender);
  const frame = frameOf(settings, origin, asked);
  const verdict = router.receive(origin.iface, ring.put(frame), frame.length);
  const { lastFlow, lastRule, flows } = router;
  const flow = lastFlow >= 0 && flows.isUsed(lastFlow) ? flowText(flows, lastFlow) : undefined;
  const packets = packetsSent(router, ring);
  const isToSender = ({ bytes }: SentFrame) => viewOf(bytes).getUint32(TO) === origin.address;
  const answer = packets.find(isToSender);
  const onward = packets.find((packet) => !isToSender(packet));
  return {
    verdict: flow && onward ? VERDICT.FORWARDED : verdict, // all who are asked for by ARP have answered
    rule: lastRule,
    answer: answer && answerOf(answer.bytes),
    egress: flow && onward && settings.interfaces[onward.iface].name,
    mapped: flow?.mapped,
    reached: flow?.reached,
  };
}

/** Plays the hosts around: each answers ARP. @returns the IPv4 packets that were sent, at once or then */
function packetsSent(router: Router, ring: MemoryRing): SentFrame[] {
  return ring.takeSent().flatMap((sent) => {
    if (viewOf(sent.bytes).getUint16(ETHERNET.TYPE) === ETHERTYPE.IPV4) return [sent];
    const reply = arpReply(viewOf(sent.bytes));
    if (reply === undefined) return [];
    router.receive(sent.iface, ring.put(reply), reply.length);
    return packetsSent(router, ring);
  });
}

/** @returns the answer of the host that an ARP request asks for; undefined where the frame is none */
function arpReply(request: DataView): Uint8Array | undefined {
  if (request.getUint16(ETHERNET.HEADER_LENGTH + ARP.OPERATION) !== ARP_REQUEST) return undefined;
  const reply = new Uint8Array(ETHERNET.HEADER_LENGTH + ARP.LENGTH);
  const view = viewOf(reply);
  const us = { head: macHead(request, ETHERNET.SOURCE), tail: macTail(request, ETHERNET.SOURCE) };
  const them = { head: macHead(viewOf(SOME_MAC), 0), tail: macTail(viewOf(SOME_MAC), 0) };
  writeMac(view, ETHERNET.DESTINATION, us.head, us.tail);
  writeMac(view, ETHERNET.SOURCE, them.head, them.tail);
  const asked = readAddress(request, ETHERNET.HEADER_LENGTH + ARP.TARGET_IP);
  const asker = readAddress(request, ETHERNET.HEADER_LENGTH + ARP.SENDER_IP);
  writeArp(view, ETHERNET.HEADER_LENGTH, ARP_REPLY, them.head, them.tail, asked, us.head, us.tail, asker);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.ARP);
  return reply;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Where a packet comes from. */
interface Origin {
  readonly iface: number;
  readonly mac: Uint8Array;
  readonly address: number;
  readonly port: number;
}

function originOf({ clients, uplink }: Settings, sender: Sender): Origin {
  if ("address" in sender) return { ...sender, iface: uplink.iface, mac: uplink.gatewayMac ?? SOME_MAC };
  const client = clients[sender.client];
  return { iface: client.iface, mac: client.mac ?? SOME_MAC, address: hostOf(client), port: SOME_PORT };
}

/** @returns what a frame to the sender says, if it is an answer and no ARP request */
function answerOf(frame: Uint8Array): string | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (view.getUint16(ETHERNET.TYPE) !== ETHERTYPE.IPV4) return undefined;
  const protocol = view.getUint8(ETHERNET.HEADER_LENGTH + IPV4.PROTOCOL);
  if (protocol === PROTOCOL.TCP) return "RST";
  if (protocol !== PROTOCOL.ICMP) return undefined;
  const type = view.getUint8(HEADERS + ICMP.TYPE);
  if (type === ICMP_TYPE.ECHO_REPLY) return "an echo reply";
  return type === ICMP_TYPE.UNREACHABLE ? PROHIBITIONS.get(view.getUint8(HEADERS + ICMP.CODE)) : undefined;
}

/** @returns the packet in a frame from its sender: of TCP a SYN, else without payload */
function frameOf({ interfaces }: Settings, origin: Origin, asked: Asked<number>): Uint8Array {
  const { protocol, destination, selector } = asked;
  const length = payloadLength(protocol);
  const frame = new Uint8Array(HEADERS + length);
  const view = new DataView(frame.buffer);
  frame.set(interfaces[origin.iface].mac, ETHERNET.DESTINATION);
  frame.set(origin.mac, ETHERNET.SOURCE);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV4);
  const total = IPV4.HEADER_LENGTH + length;
  const source = origin.address;
  writeIpv4(view, ETHERNET.HEADER_LENGTH, 0, total, DEFAULT_TTL, protocol, source, destination);
  const ports = (origin.port << 16) | selector;
  if (protocol === PROTOCOL.TCP) {
    writeTcp(view, HEADERS, ports, 0, 0, SYN, 65535);
  } else if (protocol === PROTOCOL.UDP) {
    writeUdp(view, HEADERS, ports, length);
  } else if (protocol === PROTOCOL.ICMP) {
    view.setUint8(HEADERS + ICMP.TYPE, selector);
    if (isQuery(selector)) view.setUint16(HEADERS + ICMP.IDENTIFIER, origin.port);
    // Errors quote a packet: here one that nobody sent.
    const quoted = HEADERS + ICMP.HEADER_LENGTH;
    writeIpv4(view, quoted, 0, IPV4.HEADER_LENGTH + UDP.HEADER_LENGTH, DEFAULT_TTL, PROTOCOL.UDP, destination, source);
    writeIcmpSum(view, HEADERS, length);
  }
  return frame;
}

function payloadLength(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TCP.HEADER_LENGTH;
  if (protocol === PROTOCOL.ICMP) return ICMP.HEADER_LENGTH + IPV4.HEADER_LENGTH + UDP.HEADER_LENGTH;
  return UDP.HEADER_LENGTH;
}

/** @returns the client's address, or the first one of its network that a host can have */
function hostOf({ network, prefix, gateway }: ClientSettings): number {
  const first = (network & maskOf(prefix)) + (prefix >= 31 ? 0 : 1);
  return (prefix < 32 && first >>> 0 === gateway ? first + 1 : first) >>> 0;
}
