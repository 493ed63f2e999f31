// The firewall's own voice in UDP: questions that control has for name servers leave from the uplink address, with a random
// port that is reserved like any mapping, and the answers are handed to control. Nothing else is ever received here.
import { pseudoHeaderSum, sum } from "../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, writeMac } from "../../wire/ethernet.ts";
import { FAULT } from "../../wire/fault.ts";
import { IPV4, PROTOCOL, writeIpv4 } from "../../wire/ipv4.ts";
import { checkUdpSum, UDP } from "../../wire/udp.ts";
import { RESERVED_LENGTH } from "../ring.ts";
import { NO_FLOW, NO_MAPPING } from "../tables/flows.ts";
import { NO_NEIGHBOUR, USABLE } from "../tables/neighbours.ts";
import { malformed, VERDICT } from "../verdict.ts";
import { DNS_PORT, type State } from "./state.ts";
import { needsChecksum } from "./vnet.ts";

const TTL = 64;
/** How long an answer may take. */
const PATIENCE_MS = 5000;
/** Questions under way at a time. */
const MOST = 256;
const HEADERS = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH + UDP.HEADER_LENGTH;

/** Largest question, in bytes. */
export const LONGEST_QUESTION = RESERVED_LENGTH - HEADERS;

interface Question {
  readonly id: number;
  /** The first two bytes, which an answer repeats (RFC 1035 section 4.1.1). */
  readonly dnsId: number;
  /** int32, host order. */
  readonly server: number;
  readonly mapping: number;
  readonly neighbour: number;
  readonly deadline: number;
}

export class Endpoint {
  /** By our port. */
  private readonly questions = new Map<number, Question>();

  /** @param deliver gets the number of a question and its answer: a copy */
  constructor(
    private readonly state: State,
    private readonly deliver: (id: number, answer: Uint8Array) => void,
  ) {}

  /**
   * Sends a question; one that can't be sent now is as good as lost.
   * @param id control's number for it
   * @param server uint32, host order
   * @param payload a DNS message of at most LONGEST_QUESTION bytes
   */
  ask(id: number, server: number, payload: Uint8Array): void {
    const { state } = this;
    const { topology, mappings, neighbours } = state;
    if (payload.length > LONGEST_QUESTION || this.questions.size >= MOST) return;
    const wanted = 1024 + state.random.below(64512);
    const mapping = mappings.allocate(PROTOCOL.UDP, topology.uplinkAddress, wanted);
    if (mapping === NO_MAPPING) return;
    const neighbour = neighbours.hold(topology.uplink, topology.uplinkNextHop(server | 0));
    if (neighbour === NO_NEIGHBOUR) {
      mappings.dropUnused(mapping);
      return;
    }
    mappings.retain(mapping);
    const port = mappings.externalPort(mapping);
    const dnsId = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
    const deadline = state.now + PATIENCE_MS;
    this.questions.set(port, { id, dnsId, server: server | 0, mapping, neighbour, deadline });
    this.transmit(server | 0, port, payload, neighbour);
  }

  /**
   * Takes the packet in hand, if it answers a question.
   * @returns the verdict on it, or `otherwise` when it is none of ours
   */
  take(otherwise: number): number {
    const { packet, view, topology, ring } = this.state;
    if (packet.protocol !== PROTOCOL.UDP || packet.fragment !== 0 || packet.ports >>> 16 !== DNS_PORT) return otherwise;
    const port = packet.ports & 0xffff;
    const question = this.questions.get(port);
    if (question === undefined || question.server !== packet.source) return otherwise;
    const length = view.getUint16(packet.transport + UDP.LENGTH);
    const pseudo = pseudoHeaderSum(packet.source, topology.uplinkAddress, PROTOCOL.UDP, length);
    const fault = needsChecksum(view, packet.at) ? FAULT.NONE : checkUdpSum(view, packet.transport, length, pseudo);
    if (fault !== 0) return malformed(fault);
    const start = packet.transport + UDP.HEADER_LENGTH;
    // Who only guessed the port does not use the question up.
    if (length < UDP.HEADER_LENGTH + 2 || view.getUint16(start) !== question.dnsId) return otherwise;
    this.forget(port, question);
    this.deliver(question.id, ring.bytes.slice(start, packet.transport + length));
    return VERDICT.TAKEN;
  }

  /** Gives up questions that were not answered in time. */
  expire(): void {
    for (const [port, question] of this.questions) {
      if (question.deadline <= this.state.now) this.forget(port, question);
    }
  }

  /** Gives up all questions: our address may be another now. */
  clear(): void {
    for (const [port, question] of this.questions) this.forget(port, question);
  }

  private forget(port: number, { mapping, neighbour }: Question): void {
    this.questions.delete(port);
    this.state.mappings.release(mapping, false, this.state.second);
    this.state.neighbours.release(neighbour);
  }

  private transmit(server: number, port: number, payload: Uint8Array, neighbour: number): void {
    const { ring, view, topology, neighbours } = this.state;
    const { uplink, uplinkAddress } = topology;
    const at = ring.reserve();
    const ip = at + ETHERNET.HEADER_LENGTH;
    const udp = ip + IPV4.HEADER_LENGTH;
    const length = UDP.HEADER_LENGTH + payload.length;
    writeMac(view, at + ETHERNET.SOURCE, topology.macHead[uplink], topology.macTail[uplink]);
    view.setUint16(at + ETHERNET.TYPE, ETHERTYPE.IPV4);
    writeIpv4(view, ip, 0, IPV4.HEADER_LENGTH + length, TTL, PROTOCOL.UDP, uplinkAddress, server);
    view.setInt32(udp, (port << 16) | DNS_PORT);
    view.setUint16(udp + UDP.LENGTH, length);
    view.setUint16(udp + UDP.CHECKSUM, 0);
    ring.bytes.set(payload, udp + UDP.HEADER_LENGTH);
    const pseudo = pseudoHeaderSum(uplinkAddress, server, PROTOCOL.UDP, length);
    view.setUint16(udp + UDP.CHECKSUM, ~sum(view, udp, length, pseudo) & 0xffff || 0xffff);
    if (neighbours.state[neighbour] < USABLE) {
      neighbours.queue(neighbour, at, HEADERS + payload.length, NO_FLOW);
    } else {
      writeMac(view, at, neighbours.head[neighbour], neighbours.tail[neighbour]);
      ring.send(uplink, at, HEADERS + payload.length);
    }
  }
}
