// The firewall's own UDP and TCP: questions that control has for name servers leave from the uplink address of their family, with a random
// port that no client can have, and the answers are handed to control. Over TCP that is one segment after the other: what they mean,
// control knows (src/names/tcp-exchange.ts). Nothing else is ever received here.
import { pseudoHeaderSum, pseudoHeaderSum6, sum } from "../../wire/checksum.ts";
import { ETHERNET } from "../../wire/ethernet.ts";
import { FAULT } from "../../wire/fault.ts";
import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import { DNS_PORT, destinationPort, joinPorts, type Port, sourcePort } from "../../wire/ports.ts";
import { checkTcpSum, SYN, TCP } from "../../wire/tcp.ts";
import { checkUdpSum, checkUdpSum6, UDP, writeUdp } from "../../wire/udp.ts";
import { isIpv6, NO_NUMBER } from "../address-book.ts";
import { SHARE } from "../line-shares.ts";
import { beginPacket, PAYLOAD6_AT, payloadAtFor } from "../own-frames.ts";
import { RESERVED_LENGTH } from "../ring.ts";
import { column, type Mapping, type Neighbour, NO_FLOW, NO_MAPPING, NO_NEIGHBOUR } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import { USABLE } from "../waiting/neighbours.ts";
import type { State } from "./state.ts";
import { needsChecksum } from "./vnet.ts";

/** How long an answer may take; and a connection, all of it, where control does not end it before. */
const PATIENCE_MS = 5000;
const CONNECTION_MS = 30_000;
/** Segments that are taken of one connection: more than an answer of 64 kB needs, and no more work than that for control. */
const MOST_SEGMENTS = 1024;
/** Questions under way at a time. */
const MOST = 256;

/** Largest question, and largest segment with its header, in bytes; of either family. */
export const LONGEST_QUESTION = RESERVED_LENGTH - PAYLOAD6_AT - UDP.HEADER_LENGTH;
const LONGEST_SEGMENT = RESERVED_LENGTH - PAYLOAD6_AT;

export class Endpoint {
  // Of the questions under way, in no order: control's number; UDP or TCP; of UDP the first two bytes, which an answer repeats (RFC
  // 1035 section 4.1.1), of TCP how many segments may come yet; the server, whose number is held if it is one of IPv6; our port, and its
  // mapping; whom the server is reached by; and when it is given up.
  private readonly ids = new Float64Array(MOST);
  private readonly protocols = new Uint8Array(MOST);
  private readonly dnsIds = new Int32Array(MOST);
  private readonly segmentsLeft = new Int32Array(MOST);
  private readonly servers = column<number, Address>(new Int32Array(MOST));
  private readonly ports = column<number, Port>(new Int32Array(MOST));
  private readonly mappings = column<number, Mapping>(new Int32Array(MOST));
  private readonly neighbours = column<number, Neighbour>(new Int32Array(MOST));
  private readonly deadlines = new Float64Array(MOST);
  private count = 0;

  /**
   * @param deliver gets the number of a question and its answer, or of a connection and a segment for it: where that lies in the ring's
   * memory until the call returns
   */
  constructor(
    private readonly state: State,
    private readonly deliver: (id: number, at: number, length: number) => void,
  ) {}

  /**
   * Sends a question; one that can't be sent now is as good as lost.
   * @param id control's number for it
   * @param bytes, at, length where a DNS message is, of at most LONGEST_QUESTION bytes
   */
  ask(id: number, server: Address, bytes: Uint8Array, at: number, length: number): void {
    if (length < 2 || length > LONGEST_QUESTION) return;
    const question = this.open(id, PROTOCOL.UDP, server, PATIENCE_MS);
    if (question < 0) return;
    this.dnsIds[question] = (bytes[at] << 8) | bytes[at + 1];
    const frame = this.begin(question, UDP.HEADER_LENGTH + length);
    const udp = frame + payloadAtFor(server);
    writeUdp(this.state.view, udp, joinPorts(this.ports[question], DNS_PORT), UDP.HEADER_LENGTH + length);
    this.fill(udp + UDP.HEADER_LENGTH, bytes, at, length);
    this.transmit(question, frame, UDP.HEADER_LENGTH + length, UDP.CHECKSUM);
  }

  /**
   * Sends a segment of a connection, which begins with a SYN; one that can't be sent now is as good as lost.
   * @param id control's number for the connection
   * @param bytes, at, length where TCP header and payload are, of at most LONGEST_SEGMENT bytes; ports and checksum are filled in here
   */
  sendSegment(id: number, server: Address, bytes: Uint8Array, at: number, length: number): void {
    if (length < TCP.HEADER_LENGTH || length > LONGEST_SEGMENT) return;
    let connection = this.number(id);
    if (connection < 0) {
      if ((bytes[at + TCP.FLAGS] & SYN) === 0) return;
      connection = this.open(id, PROTOCOL.TCP, server, CONNECTION_MS);
      if (connection < 0) return;
      this.segmentsLeft[connection] = MOST_SEGMENTS;
    }
    const { view } = this.state;
    const frame = this.begin(connection, length);
    const tcp = frame + payloadAtFor(server);
    this.fill(tcp, bytes, at, length);
    view.setInt32(tcp, joinPorts(this.ports[connection], DNS_PORT));
    view.setUint16(tcp + TCP.CHECKSUM, 0);
    this.transmit(connection, frame, length, TCP.CHECKSUM);
  }

  /** Forgets a connection: nothing is received for it any more. */
  hangUp(id: number): void {
    const connection = this.number(id);
    if (connection >= 0) this.forget(connection);
  }

  /** @returns the question that has control's number, or -1 */
  private number(id: number): number {
    for (let question = 0; question < this.count; question++) if (this.ids[question] === id) return question;
    return -1;
  }

  private fill(to: number, bytes: Uint8Array, at: number, length: number): void {
    const memory = this.state.ring.bytes;
    for (let i = 0; i < length; i++) memory[to + i] = bytes[at + i];
  }

  /** @returns a new question, or -1 when there is no room for it */
  private open(id: number, protocol: number, server: Address, patience: number): number {
    const { state } = this;
    const { topology, mappings, neighbours } = state;
    const own = topology.uplinkAddressLike(server);
    if (this.count === MOST || (isIpv6(server) && (server === NO_NUMBER || own === NO_NUMBER))) return -1;
    const mapping = mappings.allocateOwn(protocol, own);
    if (mapping === NO_MAPPING) return -1;
    const neighbour = neighbours.hold(topology.uplink, topology.uplinkNextHop(server), topology.parties.ourselves);
    if (neighbour === NO_NEIGHBOUR) {
      mappings.dropUnused(mapping);
      return -1;
    }
    mappings.retain(mapping);
    if (isIpv6(server)) state.book.retain(server);
    const question = this.count++;
    this.ids[question] = id;
    this.protocols[question] = protocol;
    this.servers[question] = server;
    this.ports[question] = mappings.externalPort(mapping);
    this.mappings[question] = mapping;
    this.neighbours[question] = neighbour;
    this.deadlines[question] = state.now + patience;
    return question;
  }

  /**
   * Takes the packet in hand, if it answers a question.
   * @returns the verdict on it, or `otherwise` when it is none of ours
   */
  take(otherwise: Verdict): Verdict {
    const { packet } = this.state;
    const { protocol } = packet;
    if (protocol !== PROTOCOL.UDP && protocol !== PROTOCOL.TCP) return otherwise;
    if (packet.fragment !== 0 || sourcePort(packet.ports) !== DNS_PORT) return otherwise;
    const question = this.find(protocol, destinationPort(packet.ports), packet.source);
    if (question < 0) return otherwise;
    return protocol === PROTOCOL.TCP ? this.takeSegment(question) : this.takeAnswer(question, otherwise);
  }

  private takeSegment(connection: number): Verdict {
    const { packet, view } = this.state;
    const pseudo = this.pseudoSum(PROTOCOL.TCP, packet.length);
    const fault = needsChecksum(view, packet.at)
      ? FAULT.NONE
      : checkTcpSum(view, packet.transport, packet.length, pseudo);
    if (fault !== 0) return malformed(fault);
    if (this.segmentsLeft[connection]-- <= 0) this.forget(connection);
    else this.deliver(this.ids[connection], packet.transport, packet.length);
    return VERDICT.TAKEN;
  }

  private takeAnswer(question: number, otherwise: Verdict): Verdict {
    const { packet, view } = this.state;
    const length = view.getUint16(packet.transport + UDP.LENGTH);
    const pseudo = this.pseudoSum(PROTOCOL.UDP, length);
    const check = packet.isIpv6 ? checkUdpSum6 : checkUdpSum;
    const fault = needsChecksum(view, packet.at) ? FAULT.NONE : check(view, packet.transport, length, pseudo);
    if (fault !== 0) return malformed(fault);
    const start = packet.transport + UDP.HEADER_LENGTH;
    // Who only guessed the port does not use the question up.
    if (length < UDP.HEADER_LENGTH + 2 || view.getUint16(start) !== this.dnsIds[question]) return otherwise;
    const id = this.ids[question];
    this.forget(question);
    this.deliver(id, start, length - UDP.HEADER_LENGTH);
    return VERDICT.TAKEN;
  }

  /** @returns the sum of the pseudo-header of the packet in hand */
  private pseudoSum(protocol: number, length: number): number {
    const { packet, view, topology } = this.state;
    if (packet.isIpv6) return pseudoHeaderSum6(view, packet.ip + IPV6.SOURCE, protocol, length);
    return pseudoHeaderSum(packet.source, topology.uplinkAddress, protocol, length);
  }

  /** Gives up questions that were not answered in time. */
  expire(): void {
    for (let question = this.count - 1; question >= 0; question--) {
      if (this.deadlines[question] <= this.state.now) this.forget(question);
    }
  }

  /** Gives up all questions: our address may be another now. @returns control's numbers for the connections among them */
  clear(): number[] {
    const connections: number[] = [];
    for (; this.count > 0; this.forget(this.count - 1)) {
      if (this.protocols[this.count - 1] === PROTOCOL.TCP) connections.push(this.ids[this.count - 1]);
    }
    return connections;
  }

  /** Says of connections that they were given up: with a segment of no bytes, which no server can send. */
  tellOfEnd(connections: readonly number[]): void {
    for (const id of connections) this.deliver(id, 0, 0);
  }

  /** @returns the question that has left from one of our ports for a server, or -1. Each family has ports of its own. */
  private find(protocol: number, port: Port, server: Address): number {
    for (let question = 0; question < this.count; question++) {
      if (this.ports[question] !== port || this.protocols[question] !== protocol) continue;
      if (this.servers[question] === server) return question;
    }
    return -1;
  }

  /** The last one takes its place. */
  private forget(question: number): void {
    this.state.mappings.release(this.mappings[question], false, this.state.second);
    this.state.neighbours.release(this.neighbours[question]);
    const server = this.servers[question];
    if (isIpv6(server)) this.state.book.release(server);
    const last = --this.count;
    this.ids[question] = this.ids[last];
    this.protocols[question] = this.protocols[last];
    this.dnsIds[question] = this.dnsIds[last];
    this.segmentsLeft[question] = this.segmentsLeft[last];
    this.servers[question] = this.servers[last];
    this.ports[question] = this.ports[last];
    this.mappings[question] = this.mappings[last];
    this.neighbours[question] = this.neighbours[last];
    this.deadlines[question] = this.deadlines[last];
  }

  /** @param length bytes of the packet's payload @returns the offset of a frame to the server, complete up to that payload */
  private begin(question: number, length: number): number {
    const { ring, topology, neighbours } = this.state;
    const { uplink } = topology;
    const server = this.servers[question];
    const own = topology.uplinkAddressLike(server);
    const neighbour = this.neighbours[question];
    const head = neighbours.head[neighbour];
    const tail = neighbours.tail[neighbour];
    const protocol = this.protocols[question];
    return beginPacket(ring, topology, uplink, head, tail, 0, protocol, own, server, length);
  }

  /** Completes a frame that was begun with its checksum, which is 0 as yet, and sends it. @param checksum its offset in the payload */
  private transmit(question: number, at: number, length: number, checksum: number): void {
    const { ring, view, topology, neighbours } = this.state;
    const { uplink } = topology;
    const server = this.servers[question];
    const payloadAt = payloadAtFor(server);
    const start = at + payloadAt;
    const protocol = this.protocols[question];
    const pseudo = isIpv6(server)
      ? pseudoHeaderSum6(view, at + ETHERNET.HEADER_LENGTH + IPV6.SOURCE, protocol, length)
      : pseudoHeaderSum(topology.uplinkAddress, server, protocol, length);
    view.setUint16(start + checksum, ~sum(view, start, length, pseudo) & 0xffff || 0xffff);
    // A neighbour that is not known yet has no MAC address: the frame gets it when it leaves the queue.
    const neighbour = this.neighbours[question];
    if (neighbours.state[neighbour] < USABLE)
      neighbours.queue(neighbour, at, payloadAt + length, NO_FLOW, topology.parties.ourselves);
    else {
      ring.share = SHARE.OURSELVES;
      ring.send(uplink, at, payloadAt + length);
    }
  }
}
