// The way of most packets, straight through: TCP and UDP without IP options (of IPv6: fast-path6.ts), whole, of a flow that is
// open and goes on as it is, between neighbours that are known. All else is left as it came, for the slow path (router.ts), which
// does the same to these.
//
// A closure, for speed: a thread has one, so what it closes over is constant to the compiler, and so is what that holds and
// nobody writes to twice (hence useDefineForClassFields in tsconfig.json: else every field is). Looked up anew for each
// packet, the tables' addresses take twice the time that the packet itself does. It stays so fast only while all that
// it calls is inlined: small functions, at most five deep, and constants, since a function declaration is looked up at every
// call.
import { fold } from "../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import { FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL, readAddress } from "../../wire/ipv4.ts";
import { DNS_PORT, type Ports, sourcePort } from "../../wire/ports.ts";
import { TCP, tcpHeaderLength } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { isIpv6 } from "../address-book.ts";
import { shareOf } from "../line-shares.ts";
import { MAX_INTERFACES } from "../ring.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import { column, flowOf, type Iface, NO_FLOW_SIDE, otherSide, sideOf } from "../types.ts";
import { OURSELVES, USABLE } from "../waiting/neighbours.ts";
import { type Interfaces, makeFastPath6 } from "./fast-path6.ts";
import { makeReadAheadForNew } from "./read-ahead.ts";
import { portsTowards, rewriteAddresses, rewritePorts } from "./rewrite.ts";
import type { RuleChanges } from "./rule-changes.ts";
import type { State } from "./state.ts";
import { isPlainOffload, segmentSize } from "./vnet.ts";

/** Bytes of the shortest frame that is handled here or read ahead. */
const SHORTEST = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH + UDP.HEADER_LENGTH;

/** EtherType, version and header length, as they stand in front of the TOS byte. */
const PLAIN_IPV4 = (ETHERTYPE.IPV4 << 8) | 0x45;

/** In place of the last two bytes of a MAC address: no frame has it. */
const NO_TAIL = -1;

/** Frames that are read ahead at most. */
export const READ_AHEAD = 64;

export interface FastPath {
  /**
   * Handles a frame, in place, if it is one of most.
   * @param iface, at, length as Router.receive has them
   * @returns whether it was forwarded; if not, nothing has changed
   */
  forward(iface: Iface, at: number, length: number): boolean;

  /**
   * Reads ahead what `forward` will need of the flow table for a batch of frames: so their cache misses overlap, which are most
   * of the time per packet once the table is larger than the cache. Each loop that misses does nothing else, for the processor
   * only looks so many instructions ahead: with the hash in the same loop, two misses overlapped.
   * @param offsets, lengths the frames
   * @param count how many, at most READ_AHEAD
   */
  readAhead(offsets: Int32Array, lengths: Int32Array, count: number): void;

  /** Reads anew what the state's topology says of interfaces, and which of their frames may go this way. */
  readTopology(): void;
}

/**
 * Of a router that has none, since it handles few frames. The engine knows the tables of `makeFastPath` as constants only while it has been
 * called once in a thread: where a second router had a fast path, a packet took half as long again on the first one's (82 ns for 55).
 */
export const NO_FAST_PATH: FastPath = { forward: () => false, readAhead() {}, readTopology() {} };

export function makeFastPath(state: State, changes: RuleChanges): FastPath {
  const { view, ring, flows, neighbours, tcp, timeouts } = state;
  const { interfaceOf } = neighbours;
  /** By interface: the MAC address that frames come to which may go this way; and ours. */
  const toHead = column<Iface>(new Int32Array(MAX_INTERFACES));
  const toTail = column<Iface>(new Int32Array(MAX_INTERFACES));
  const ourHead = column<Iface>(new Int32Array(MAX_INTERFACES));
  const ourTail = column<Iface>(new Int32Array(MAX_INTERFACES));
  const mtu = column<Iface>(new Int32Array(MAX_INTERFACES));
  const interfaces: Interfaces = { ourHead, ourTail, mtu, uplink: 0 as Iface };
  const ipv6 = makeFastPath6(state, changes, interfaces, READ_AHEAD);
  let uplink = 0 as Iface;
  /** Whether there was anything but plain IPv4 in the batch before: else nobody looks for IPv6, for the sake of IPv4. */
  let sawIpv6 = false;

  /** Of packets that are read ahead: offsets of their IPv4 headers; and a hash, then an index entry, then the ports in that record. */
  const headers = new Int32Array(READ_AHEAD);
  const words = new Int32Array(READ_AHEAD);
  /** Offsets of the headers of those that seem to be of no flow. */
  const unknown = new Int32Array(READ_AHEAD);
  const readAheadForNew = makeReadAheadForNew(state, READ_AHEAD);

  function readTopology(): void {
    const { topology } = state;
    for (let iface = 0 as Iface; iface < topology.mtu.length; iface++) {
      ourHead[iface] = topology.macHead[iface];
      ourTail[iface] = topology.macTail[iface];
      toHead[iface] = topology.macHead[iface];
      toTail[iface] = state.scrub.isAsked(iface) ? NO_TAIL : topology.macTail[iface];
      mtu[iface] = topology.isDown[iface] === 1 ? 0 : topology.mtu[iface]; // nothing passes: the slow path says why
    }
    uplink = topology.uplink;
    interfaces.uplink = uplink;
  }

  function forward(iface: Iface, at: number, length: number): boolean {
    if (length < SHORTEST) return false;
    if (macHead(view, at) !== toHead[iface] || macTail(view, at) !== toTail[iface]) return false;
    if (isGroupMac(view, at + ETHERNET.SOURCE)) return false;

    // A plain header, checked: what Packet.parse checks too.
    const ip = at + ETHERNET.HEADER_LENGTH;
    const typeToTos = view.getInt32(at + ETHERNET.TYPE);
    const total = view.getUint16(ip + IPV4.TOTAL_LENGTH);
    const idToOffset = view.getInt32(ip + IPV4.IDENTIFICATION);
    const ttlToChecksum = view.getInt32(ip + IPV4.TTL);
    const source = readAddress(view, ip + IPV4.SOURCE);
    const destination = readAddress(view, ip + IPV4.DESTINATION);
    if (typeToTos >>> 8 !== PLAIN_IPV4) {
      sawIpv6 = true;
      return ipv6.forward(iface, at, length);
    }
    if ((idToOffset & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0) return false;
    if (total > length - ETHERNET.HEADER_LENGTH) return false;
    const sum =
      (typeToTos & 0xffff) +
      total +
      (idToOffset >>> 16) +
      (idToOffset & 0xffff) +
      ((ttlToChecksum >>> 16) + (ttlToChecksum & 0xffff)) +
      ((source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff));
    if (fold(sum) !== 0xffff || ttlToChecksum >>> 24 <= 1) return false;
    if (isIpv6(source) || isIpv6(destination)) return false; // not to be taken for numbers of IPv6 addresses

    const transport = ip + IPV4.HEADER_LENGTH;
    const payload = total - IPV4.HEADER_LENGTH;
    const protocol = (ttlToChecksum >>> 16) & 0xff;
    const isTcp = protocol === PROTOCOL.TCP;
    if (!isTcp) {
      if (protocol !== PROTOCOL.UDP || payload < UDP.HEADER_LENGTH) return false;
      const said = view.getUint16(transport + UDP.LENGTH);
      if (said < UDP.HEADER_LENGTH || said > payload) return false;
    }
    if (!isPlainOffload(view, at, isTcp, total)) return false;

    // An open flow, its packet where and as it must be.
    const ports = view.getInt32(transport) as Ports;
    const hash = flows.hash4(source, destination, ports, protocol);
    const found = flows.findHashed4(hash, source, destination, ports, protocol);
    if (found === NO_FLOW_SIDE) {
      state.unknownHash = hash;
      state.unknownAt = at;
      return false;
    }
    const flow = flowOf(found);
    const side = sideOf(found);
    const back = otherSide(side);
    const from = flows.neighbour(flow, side);
    const next = flows.neighbour(flow, back);
    if (interfaceOf[from] !== iface || (iface !== uplink && neighbours.isImpostor(from, at))) return false;
    if (next === OURSELVES || neighbours.state[next] < USABLE || !changes.isJudged(flow)) return false;
    const egress = interfaceOf[next];
    if (total > mtu[egress]) {
      // It passes as segments; those of UDP, and fragments, are rare.
      const segment = isTcp ? segmentSize(view, at) : 0;
      if (segment === 0 || IPV4.HEADER_LENGTH + tcpHeaderLength(view, transport) + segment > mtu[egress]) return false;
    }

    // What it changes in the flow comes last: nothing sends it the slow path after that.
    if (isTcp) {
      if (!tcp.isPlain(view, flow, transport, payload)) return false;
      const end = (view.getInt32(transport + TCP.SEQUENCE) + payload - tcpHeaderLength(view, transport)) | 0;
      if (!tcp.follow(view, flow, side, transport, end)) return false;
    } else if (side === 1) {
      // The first answer changes the flow; one of a name server's may be held.
      if (!flows.hasState(flow, FLOW_STATE.ASSURED) || sourcePort(ports) === DNS_PORT) return false;
    }
    // Of UDP only the client's packets keep a flow alive (RFC 4787 REQ-6).
    if (isTcp || iface !== uplink) state.refresh(flow, timeouts.of(flow));

    // From here on it is sent.
    const addresses = rewriteAddresses(
      view,
      ip,
      source,
      destination,
      flows.destination4(flow, back),
      flows.source(flow, back),
    );
    rewritePorts(view, at, transport, protocol, ports, portsTowards(flows, flow, back), addresses);
    writeMac(view, at, neighbours.head[next], neighbours.tail[next]);
    writeMac(view, at + ETHERNET.SOURCE, ourHead[egress], ourTail[egress]);
    state.lastFlow = flow;
    ring.share = shareOf(flows.client(flow), source);
    ring.send(egress, at, ETHERNET.HEADER_LENGTH + total);
    return true;
  }

  /** @param ip offset of the IPv4 header of a plain TCP or UDP packet */
  function hashAt(ip: number): number {
    const source = readAddress(view, ip + IPV4.SOURCE);
    const destination = readAddress(view, ip + IPV4.DESTINATION);
    return flows.hash4(
      source,
      destination,
      view.getInt32(ip + IPV4.HEADER_LENGTH) as Ports,
      view.getUint8(ip + IPV4.PROTOCOL),
    );
  }

  function readAhead(offsets: Int32Array, lengths: Int32Array, count: number): void {
    let packets = 0;
    const hasIpv6 = sawIpv6;
    sawIpv6 = false;
    for (let i = 0; i < count; i++) {
      if (lengths[i] < SHORTEST) continue;
      const ip = offsets[i] + ETHERNET.HEADER_LENGTH;
      if (hasIpv6 && view.getUint8(ip) >>> 4 === 6) continue;
      headers[packets] = ip;
      words[packets++] = hashAt(ip);
    }
    if (hasIpv6) ipv6.readAhead(offsets, lengths, count);
    for (let i = 0; i < packets; i++) words[i] = flows.readIndex(words[i]);
    let unknowns = 0;
    for (let i = 0; i < packets; i++) {
      const entry = words[i];
      if (entry !== 0) words[i] = flows.readRecord(entry);
      else unknown[unknowns++] = headers[i];
    }
    if (unknowns > 0) readAheadForNew(unknown, addTaken(packets, unknowns));
  }

  /**
   * Among new flows, many packets whose place in the index is another flow's are of none either.
   * @param unknowns how many are known to be of none
   * @returns how many now seem to be
   */
  function addTaken(packets: number, unknowns: number): number {
    let count = unknowns;
    for (let i = 0; i < packets; i++) {
      if (words[i] !== 0 && words[i] !== view.getInt32(headers[i] + IPV4.HEADER_LENGTH)) unknown[count++] = headers[i];
    }
    return count;
  }

  readTopology();
  return { forward, readAhead, readTopology };
}
