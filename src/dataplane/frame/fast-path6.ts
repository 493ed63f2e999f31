// The fast path's way for packets of IPv6: TCP, UDP and echo without extension headers, of a flow that is open and goes on as it is. It
// begins where fast-path.ts has looked at the Ethernet header. A closure of its own, by the same rules, so that the compiler has
// IPv4's way for itself.
import { delta32 } from "../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, writeMac } from "../../wire/ethernet.ts";
import { ICMPV6, ICMPV6_TYPE } from "../../wire/icmpv6.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { IPV6, NEXT_HEADER } from "../../wire/ipv6.ts";
import { DNS_PORT, destinationPort, joinPorts, type Port, type Ports, sourcePort } from "../../wire/ports.ts";
import { TCP, tcpHeaderLength } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { ADDRESS_WORDS, isIpv6, type Number6 } from "../address-book.ts";
import { shareOf } from "../line-shares.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import { type Column, flowOf, type Iface, NO_FLOW_SIDE, otherSide, sideOf } from "../types.ts";
import { OURSELVES, USABLE } from "../waiting/neighbours.ts";
import { portsTowards, rewriteEcho, rewritePorts } from "./rewrite.ts";
import type { RuleChanges } from "./rule-changes.ts";
import type { State } from "./state.ts";
import { isPlainOffload6, isUntouched, segmentSize } from "./vnet.ts";

const HEADERS = ETHERNET.HEADER_LENGTH + IPV6.HEADER_LENGTH;
/** Bytes of the shortest frame that is handled here or read ahead. */
const SHORTEST = HEADERS + UDP.HEADER_LENGTH;

/** EtherType and version, as they stand in front of the traffic class. */
const PLAIN_IPV6 = (ETHERTYPE.IPV6 << 4) | 6;

/** What the topology says of interfaces, as the fast path has it. */
export interface Interfaces {
  readonly ourHead: Column<Iface>;
  readonly ourTail: Column<Iface>;
  readonly mtu: Column<Iface>;
  uplink: Iface;
}

export interface FastPath6 {
  /** As FastPath.forward, of a frame that is to us and not from a group. */
  forward(iface: Iface, at: number, length: number): boolean;
  /** Reads ahead what `forward` will need, as FastPath.readAhead: one pass more, since a flow's record tells where its addresses are. */
  readAhead(offsets: Int32Array, lengths: Int32Array, count: number): void;
}

/** @param most frames that are read ahead at a time */
export function makeFastPath6(state: State, changes: RuleChanges, interfaces: Interfaces, most: number): FastPath6 {
  const { view, ring, flows, book, neighbours, tcp, timeouts } = state;
  const { interfaceOf } = neighbours;
  const { ourHead, ourTail, mtu } = interfaces;
  const words = new Int32Array(most);
  /**
   * Hashes of what has been read ahead, by the frames' offsets, in the order in which they will come: half of a look-up's time. What
   * is found by one is what fits; where nothing is, the hash is made anew, since another frame may lie there by now.
   */
  const hashed = new Int32Array(most);
  const hashes = new Int32Array(most);
  let ahead = 0;
  let turn = 0;

  /** @param ip offset of the IPv6 header of a packet with these ports */
  const hashAt = (ip: number, ports: Ports, protocol: number): number =>
    flows.hash6(
      book.sum(view.getInt32(ip + 8), view.getInt32(ip + 12), view.getInt32(ip + 16), view.getInt32(ip + 20)),
      book.sum(view.getInt32(ip + 24), view.getInt32(ip + 28), view.getInt32(ip + 32), view.getInt32(ip + 36)),
      ports,
      protocol,
    );

  /** Puts an address in place of the one at an offset, whose words these are. @returns the delta, not folded: below 2^20 */
  const replace = (at: number, a: number, b: number, c: number, d: number, address: Number6): number => {
    const word = address * ADDRESS_WORDS;
    const { words: known } = book;
    const toA = known[word];
    const toB = known[word + 1];
    const toC = known[word + 2];
    const toD = known[word + 3];
    view.setInt32(at, toA);
    view.setInt32(at + 4, toB);
    view.setInt32(at + 8, toC);
    view.setInt32(at + 12, toD);
    return delta32(a, toA) + delta32(b, toB) + delta32(c, toC) + delta32(d, toD);
  };

  /** The ports of echo or its reply, as Packet has them. */
  const echoPorts = (transport: number): Ports => {
    const identifier = view.getUint16(transport + ICMPV6.IDENTIFIER) as Port;
    const type = ICMPV6_TYPE.ECHO as number as Port;
    return view.getUint8(transport) === ICMPV6_TYPE.ECHO ? joinPorts(identifier, type) : joinPorts(type, identifier);
  };

  function forward(iface: Iface, at: number, length: number): boolean {
    // A plain header, checked: what Packet.parse checks too.
    if (length < SHORTEST || view.getInt32(at + ETHERNET.TYPE) >>> 12 !== PLAIN_IPV6) return false;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const payload = view.getUint16(ip + IPV6.PAYLOAD_LENGTH);
    const nextHops = view.getUint16(ip + IPV6.NEXT_HEADER);
    if (payload > length - HEADERS || payload < UDP.HEADER_LENGTH || (nextHops & 0xff) <= 1) return false;
    const protocol = nextHops >>> 8;
    const transport = ip + IPV6.HEADER_LENGTH;
    const total = IPV6.HEADER_LENGTH + payload;
    const isTcp = protocol === PROTOCOL.TCP;
    const isUdp = protocol === PROTOCOL.UDP;
    if (isUdp) {
      const said = view.getUint16(transport + UDP.LENGTH);
      if (said < UDP.HEADER_LENGTH || said > payload || view.getUint16(transport + UDP.CHECKSUM) === 0) return false;
    } else if (!isTcp) {
      // Echo and its reply, which differ in one bit.
      if (protocol !== NEXT_HEADER.ICMPV6 || (view.getUint8(transport) & ~1) !== ICMPV6_TYPE.ECHO) return false;
      if (!isUntouched(view, at)) return false;
    }
    if (!isPlainOffload6(view, at, isTcp, total)) return false;

    // An open flow, its packet where and as it must be.
    const hasPorts = isTcp || isUdp;
    const ports = hasPorts ? (view.getInt32(transport) as Ports) : echoPorts(transport);
    const s0 = view.getInt32(ip + 8);
    const s1 = view.getInt32(ip + 12);
    const s2 = view.getInt32(ip + 16);
    const s3 = view.getInt32(ip + 20);
    const d0 = view.getInt32(ip + 24);
    const d1 = view.getInt32(ip + 28);
    const d2 = view.getInt32(ip + 32);
    const d3 = view.getInt32(ip + 36);
    let found = NO_FLOW_SIDE;
    while (turn < ahead && hashed[turn] !== at) turn++; // those that went another way
    if (turn < ahead) found = flows.likely6(hashes[turn++], ports, protocol);
    if (found === NO_FLOW_SIDE) {
      const hash = flows.hash6(book.sum(s0, s1, s2, s3), book.sum(d0, d1, d2, d3), ports, protocol);
      found = flows.likely6(hash, ports, protocol);
      if (found === NO_FLOW_SIDE) {
        state.unknownHash = hash;
        state.unknownAt = at;
        return false;
      }
    }
    const flow = flowOf(found);
    const side = sideOf(found);
    const back = otherSide(side);
    // Else it is another's, or an IPv4 flow: the slow path finds its own.
    const source = flows.source(flow, side);
    const destination = flows.destination6(flow, side);
    if (!isIpv6(source) || !book.is(source, s0, s1, s2, s3) || !book.is(destination, d0, d1, d2, d3)) return false;
    const from = flows.neighbour(flow, side);
    const next = flows.neighbour(flow, back);
    if (interfaceOf[from] !== iface || (iface !== interfaces.uplink && neighbours.isImpostor(from, at))) return false;
    if (next === OURSELVES || neighbours.state[next] < USABLE || !changes.isJudged(flow)) return false;
    const egress = interfaceOf[next];
    if (total > mtu[egress]) {
      const segment = isTcp ? segmentSize(view, at) : 0;
      if (segment === 0 || IPV6.HEADER_LENGTH + tcpHeaderLength(view, transport) + segment > mtu[egress]) return false;
    }

    // What it changes in the flow comes last: nothing sends it the slow path after that.
    if (isTcp) {
      if (!tcp.isPlain(view, flow, transport, payload)) return false;
      const end = (view.getInt32(transport + TCP.SEQUENCE) + payload - tcpHeaderLength(view, transport)) | 0;
      if (!tcp.follow(view, flow, side, transport, end)) return false;
    } else {
      // A request comes from side 0, its reply from side 1 (Router.isFromSide).
      if (!isUdp && (view.getUint8(transport) & 1) !== side) return false;
      // The first answer changes the flow; one of a name server's may be held.
      if (side === 1 && (!flows.hasState(flow, FLOW_STATE.ASSURED) || (isUdp && sourcePort(ports) === DNS_PORT)))
        return false;
    }
    // Of UDP only the client's packets keep a flow alive (RFC 4787 REQ-6).
    if (!isUdp || iface !== interfaces.uplink) state.refresh(flow, timeouts.of(flow));

    // From here on it is sent.
    const toSource = flows.destination6(flow, back);
    const toDestination = flows.source(flow, back) as Number6;
    let addresses = 0;
    if (toSource !== source) addresses += replace(ip + IPV6.SOURCE, s0, s1, s2, s3, toSource);
    if (toDestination !== destination) {
      addresses += replace(ip + IPV6.DESTINATION, d0, d1, d2, d3, toDestination);
    }
    view.setUint8(ip + IPV6.HOP_LIMIT, (nextHops & 0xff) - 1);
    const after = portsTowards(flows, flow, back);
    if (hasPorts) rewritePorts(view, at, transport, protocol, ports, after, addresses);
    else rewriteEcho(view, at, transport, side === 0 ? sourcePort(after) : destinationPort(after), addresses);
    writeMac(view, at, neighbours.head[next], neighbours.tail[next]);
    writeMac(view, at + ETHERNET.SOURCE, ourHead[egress], ourTail[egress]);
    state.lastFlow = flow;
    ring.share = shareOf(flows.client(flow), flows.source(flow, side));
    ring.send(egress, at, ETHERNET.HEADER_LENGTH + total);
    return true;
  }

  function readAhead(offsets: Int32Array, lengths: Int32Array, count: number): void {
    let packets = 0;
    for (let i = 0; i < count; i++) {
      const at = offsets[i];
      if (lengths[i] < SHORTEST || view.getUint16(at + ETHERNET.TYPE) !== ETHERTYPE.IPV6) continue;
      const ip = at + ETHERNET.HEADER_LENGTH;
      const protocol = view.getUint8(ip + IPV6.NEXT_HEADER);
      const transport = ip + IPV6.HEADER_LENGTH;
      const isEcho = protocol === NEXT_HEADER.ICMPV6;
      const hash = hashAt(ip, isEcho ? echoPorts(transport) : (view.getInt32(transport) as Ports), protocol);
      hashed[packets] = at;
      hashes[packets] = hash;
      words[packets++] = hash;
    }
    ahead = packets;
    turn = 0;
    for (let i = 0; i < packets; i++) words[i] = flows.readIndex(words[i]);
    for (let i = 0; i < packets; i++) words[i] = flows.readRemote(words[i]);
    for (let i = 0; i < packets; i++) words[i] = book.read(words[i]);
  }

  return { forward, readAhead };
}
