// One packet tried out: the first of a flow that a client would open goes through a dataplane of its own, over plain memory,
// so that what is said of it is what the appliance does.

import { flowText } from "../control/flow-text.ts";
import { Router } from "../dataplane/frame/router.ts";
import { MemoryRing } from "../dataplane/memory-ring.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import type { Asked } from "../rules/mismatch.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE, writeIcmpSum } from "../wire/icmp.ts";
import { DEFAULT_TTL, IPV4, maskOf, PROTOCOL, writeIpv4 } from "../wire/ipv4.ts";
import { SYN, TCP, writeTcp } from "../wire/tcp.ts";
import { UDP, writeUdp } from "../wire/udp.ts";

export interface Outcome {
  /** A verdict code. */
  readonly verdict: number;
  /** The rule that decided it, 0 for the policy; -1 when none was asked. */
  readonly rule: number;
  /** What the client gets for an answer. */
  readonly answer: string | undefined;
  /** Where the packet is sent on to, if that is not its destination. */
  readonly reached: string | undefined;
}

/** Nobody's: a client's where none is configured. */
const SOME_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const SOME_PORT = 49152;
const START_MS = 1000;
/** Flows of the trial's table: a small one. */
const CAPACITY = 1024;
const HEADERS = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH;

/** ICMP errors that the firewall answers clients with, by code of "unreachable". */
const PROHIBITIONS = new Map<number, string>([
  [UNREACHABLE_CODE.HOST_PROHIBITED, 'ICMP "host administratively prohibited"'],
  [UNREACHABLE_CODE.ADMIN_PROHIBITED, 'ICMP "administratively prohibited"'],
]);

/** @param client its number @param asked the packet */
export function tryPacket(settings: Settings, client: number, asked: Asked): Outcome {
  const ring = new MemoryRing();
  const small = { ...settings, nat: { ...settings.nat, maxFlows: CAPACITY } };
  const router = new Router(ring, small, (words) => words.fill(0x5eed));
  router.advance(START_MS);
  ring.takeSent();
  const { iface } = settings.clients[client];
  const frame = frameOf(settings, settings.clients[client], asked);
  const verdict = router.receive(iface, ring.put(frame), frame.length);
  const sent = ring.takeSent().filter((other) => other.iface === iface);
  const { lastFlow, lastRule, flows } = router;
  const hasFlow = lastFlow >= 0 && flows.isUsed(lastFlow);
  return {
    verdict,
    rule: lastRule,
    answer: sent.map(({ bytes }) => answerOf(bytes)).find((answer) => answer !== undefined),
    reached: hasFlow ? flowText(flows, lastFlow).reached : undefined,
  };
}

/** @returns what a frame to the client says, if it is an answer and no ARP request */
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

/** @returns the packet in a frame from the client: of TCP a SYN, else without payload */
function frameOf({ interfaces }: Settings, client: ClientSettings, asked: Asked): Uint8Array {
  const { protocol, destination, selector } = asked;
  const length = payloadLength(protocol);
  const frame = new Uint8Array(HEADERS + length);
  const view = new DataView(frame.buffer);
  frame.set(interfaces[client.iface].mac, ETHERNET.DESTINATION);
  frame.set(client.mac ?? SOME_MAC, ETHERNET.SOURCE);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV4);
  const total = IPV4.HEADER_LENGTH + length;
  const source = hostOf(client);
  writeIpv4(view, ETHERNET.HEADER_LENGTH, 0, total, DEFAULT_TTL, protocol, source, destination);
  const ports = (SOME_PORT << 16) | selector;
  if (protocol === PROTOCOL.TCP) {
    writeTcp(view, HEADERS, ports, 0, 0, SYN, 65535);
  } else if (protocol === PROTOCOL.UDP) {
    writeUdp(view, HEADERS, ports, length);
  } else if (protocol === PROTOCOL.ICMP) {
    view.setUint8(HEADERS + ICMP.TYPE, selector);
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
