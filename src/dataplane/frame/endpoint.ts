// The firewall's own UDP: questions that control has for name servers leave from the uplink address, with a random
// port that no client can have, and the answers are handed to control. Nothing else is ever received here.
import { pseudoHeaderSum, sum } from "../../wire/checksum.ts";
import { FAULT } from "../../wire/fault.ts";
import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, joinPorts, type Port, sourcePort } from "../../wire/ports.ts";
import { checkUdpSum, UDP, writeUdp } from "../../wire/udp.ts";
import { beginPacket, PAYLOAD_AT } from "../own-frames.ts";
import { RESERVED_LENGTH } from "../ring.ts";
import { USABLE } from "../tables/neighbours.ts";
import { column, type Mapping, type Neighbour, NO_FLOW, NO_MAPPING, NO_NEIGHBOUR } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import type { State } from "./state.ts";
import { needsChecksum } from "./vnet.ts";

/** How long an answer may take. */
const PATIENCE_MS = 5000;
/** Questions under way at a time. */
const MOST = 256;
const HEADERS = PAYLOAD_AT + UDP.HEADER_LENGTH;

/** Largest question, in bytes. */
export const LONGEST_QUESTION = RESERVED_LENGTH - HEADERS;

export class Endpoint {
  // Of the questions under way, in no order: control's number; the first two bytes, which an answer repeats (RFC 1035 section
  // 4.1.1); the server; our port, and its mapping; whom the server is reached by; and when it is given up.
  private readonly ids = new Float64Array(MOST);
  private readonly dnsIds = new Int32Array(MOST);
  private readonly servers = column<number, Address>(new Int32Array(MOST));
  private readonly ports = column<number, Port>(new Int32Array(MOST));
  private readonly mappings = column<number, Mapping>(new Int32Array(MOST));
  private readonly neighbours = column<number, Neighbour>(new Int32Array(MOST));
  private readonly deadlines = new Float64Array(MOST);
  private count = 0;

  /** @param deliver gets the number of a question and its answer: where it lies in the ring's memory until the call returns */
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
    const { state } = this;
    const { topology, mappings, neighbours } = state;
    if (length < 2 || length > LONGEST_QUESTION || this.count === MOST) return;
    const mapping = mappings.allocateOwn(topology.uplinkAddress);
    if (mapping === NO_MAPPING) return;
    const neighbour = neighbours.hold(topology.uplink, topology.uplinkNextHop(server), topology.parties.ourselves);
    if (neighbour === NO_NEIGHBOUR) {
      mappings.dropUnused(mapping);
      return;
    }
    mappings.retain(mapping);
    const port = mappings.externalPort(mapping);
    const question = this.count++;
    this.ids[question] = id;
    this.dnsIds[question] = (bytes[at] << 8) | bytes[at + 1];
    this.servers[question] = server;
    this.ports[question] = port;
    this.mappings[question] = mapping;
    this.neighbours[question] = neighbour;
    this.deadlines[question] = state.now + PATIENCE_MS;
    this.transmit(server, port, neighbour, bytes, at, length);
  }

  /**
   * Takes the packet in hand, if it answers a question.
   * @returns the verdict on it, or `otherwise` when it is none of ours
   */
  take(otherwise: Verdict): Verdict {
    const { packet, view, topology } = this.state;
    if (packet.protocol !== PROTOCOL.UDP || packet.fragment !== 0 || sourcePort(packet.ports) !== DNS_PORT)
      return otherwise;
    const question = this.find(destinationPort(packet.ports));
    if (question < 0 || this.servers[question] !== packet.source) return otherwise;
    const length = view.getUint16(packet.transport + UDP.LENGTH);
    const pseudo = pseudoHeaderSum(packet.source, topology.uplinkAddress, PROTOCOL.UDP, length);
    const fault = needsChecksum(view, packet.at) ? FAULT.NONE : checkUdpSum(view, packet.transport, length, pseudo);
    if (fault !== 0) return malformed(fault);
    const start = packet.transport + UDP.HEADER_LENGTH;
    // Who only guessed the port does not use the question up.
    if (length < UDP.HEADER_LENGTH + 2 || view.getUint16(start) !== this.dnsIds[question]) return otherwise;
    const id = this.ids[question];
    this.forget(question);
    this.deliver(id, start, length - UDP.HEADER_LENGTH);
    return VERDICT.TAKEN;
  }

  /** Gives up questions that were not answered in time. */
  expire(): void {
    for (let question = this.count - 1; question >= 0; question--) {
      if (this.deadlines[question] <= this.state.now) this.forget(question);
    }
  }

  /** Gives up all questions: our address may be another now. */
  clear(): void {
    while (this.count > 0) this.forget(this.count - 1);
  }

  /** @returns the question that has left from one of our ports, or -1 */
  private find(port: Port): number {
    for (let question = 0; question < this.count; question++) if (this.ports[question] === port) return question;
    return -1;
  }

  /** The last one takes its place. */
  private forget(question: number): void {
    this.state.mappings.release(this.mappings[question], false, this.state.second);
    this.state.neighbours.release(this.neighbours[question]);
    const last = --this.count;
    this.ids[question] = this.ids[last];
    this.dnsIds[question] = this.dnsIds[last];
    this.servers[question] = this.servers[last];
    this.ports[question] = this.ports[last];
    this.mappings[question] = this.mappings[last];
    this.neighbours[question] = this.neighbours[last];
    this.deadlines[question] = this.deadlines[last];
  }

  private transmit(
    server: Address,
    port: Port,
    neighbour: Neighbour,
    bytes: Uint8Array,
    from: number,
    bytesLength: number,
  ): void {
    const { ring, view, topology, neighbours } = this.state;
    const { uplink, uplinkAddress } = topology;
    const head = neighbours.head[neighbour];
    const tail = neighbours.tail[neighbour];
    const length = UDP.HEADER_LENGTH + bytesLength;
    const at = beginPacket(ring, topology, uplink, head, tail, 0, PROTOCOL.UDP, uplinkAddress, server, length);
    const udp = at + PAYLOAD_AT;
    writeUdp(view, udp, joinPorts(port, DNS_PORT), length);
    for (let i = 0; i < bytesLength; i++) ring.bytes[udp + UDP.HEADER_LENGTH + i] = bytes[from + i];
    const pseudo = pseudoHeaderSum(uplinkAddress, server, PROTOCOL.UDP, length);
    view.setUint16(udp + UDP.CHECKSUM, ~sum(view, udp, length, pseudo) & 0xffff || 0xffff);
    // A neighbour that is not known yet has no MAC address: the frame gets it when it leaves the queue.
    if (neighbours.state[neighbour] < USABLE)
      neighbours.queue(neighbour, at, PAYLOAD_AT + length, NO_FLOW, topology.parties.ourselves);
    else ring.send(uplink, at, PAYLOAD_AT + length);
  }
}
