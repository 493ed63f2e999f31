// The way of a frame: checks, flow look-up, and on a hit the rewriting in place (the fast path); on a miss the decision
// whether there will be a flow (the slow path). A pure machine: frames in, frames out through the ring, a clock passed in.
// No allocation per frame, no exceptions; whatever is not understood is dropped, and counted by its verdict.
import { addDeltas, delta32, fold, updateChecksum } from "../wire/checksum.ts";
import { checkEthernet, ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail, writeMac } from "../wire/ethernet.ts";
import { checkIcmp, checkIcmpSum, ICMP, ICMP_TYPE, UNREACHABLE_CODE, writeIcmpSum } from "../wire/icmp.ts";
import {
  checkIpv4,
  DONT_FRAGMENT,
  FRAGMENT_OFFSET,
  headerLength,
  IPV4,
  MORE_FRAGMENTS,
  PROTOCOL,
  TTL_DELTA,
} from "../wire/ipv4.ts";
import { ACK, checkTcp, RST, SYN, TCP, tcpHeaderLength } from "../wire/tcp.ts";
import { checkUdp, UDP } from "../wire/udp.ts";
import { FLOW, FLOW_STATE, FLOW_WORDS, FlowTable, flowKey, NO_FLOW, NO_MAPPING } from "./flows.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { MappingTable, NO_MAPPING_FREE } from "./mappings.ts";
import { NeighbourTable, NO_NEIGHBOUR, USABLE } from "./neighbours.ts";
import { RandomPool } from "./random.ts";
import { type Ring, VNET_LENGTH } from "./ring.ts";
import { judge } from "./ruleset.ts";
import type { Settings } from "./settings.ts";
import { TcpTracker, TRACK } from "./tcp-state.ts";
import { TimerWheel } from "./timer-wheel.ts";
import { NOBODY, Topology } from "./topology.ts";
import { VERDICT, VERDICT_NAMES } from "./verdict.ts";

/** Seconds that a flow lives without traffic (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-1). */
const TIMEOUT = { UDP_NEW: 30, UDP: 300, TCP_ESTABLISHED: 7440, TCP_TRANSITORY: 240, ICMP: 60 } as const;

/** linux/virtio_net.h: offsets and values of struct virtio_net_hdr, which stands VNET_LENGTH bytes before a frame. */
const VNET = { FLAGS: 0, GSO_TYPE: 1, GSO_SIZE: 4 } as const;
const VNET_NEEDS_CSUM = 1;
const VNET_GSO_NONE = 0;

/** Flows that one `advance` ends at most, so that no breath gets long. */
const EXPIRE_AT_ONCE = 256;
const TICK_MS = 1000;

/** Ports word of a packet that is no flow's: neither a query nor a reply. */
const NO_PORTS = 0;

export class Router {
  /** Frames by verdict code, in shared memory: control reads them while the worker writes. */
  readonly counters = new Float64Array(new SharedArrayBuffer(VERDICT_NAMES.length * 8));
  readonly flows: FlowTable;
  /** Of the last frame received: the rule that decided it (0: the policy, -1: none was asked), and its flow or NO_FLOW. */
  lastRule = -1;
  lastFlow = NO_FLOW;

  private readonly view: DataView;
  private readonly mappings: MappingTable;
  private readonly tcp: TcpTracker;
  private readonly wheel: TimerWheel;
  private readonly neighbours: NeighbourTable;
  private readonly errors: IcmpErrors;
  private topology: Topology;
  private gatewayNeighbour = NO_NEIGHBOUR;
  /** The clock: seconds, and ms at which the last tick ran. */
  private second = 0;
  private ticked = 0;

  /** @param fillRandom overwrites all words with random ones */
  constructor(
    private readonly ring: Ring,
    settings: Settings,
    fillRandom: (words: Uint32Array) => void,
  ) {
    this.view = ring.view;
    this.topology = new Topology(settings);
    const random = new RandomPool(fillRandom);
    const { maxFlows } = settings.nat;
    this.flows = new FlowTable(maxFlows, random.next());
    this.mappings = new MappingTable(maxFlows, random.next(), random);
    this.tcp = new TcpTracker(this.flows, { established: TIMEOUT.TCP_ESTABLISHED, transitory: TIMEOUT.TCP_TRANSITORY });
    this.wheel = new TimerWheel(maxFlows);
    this.neighbours = new NeighbourTable(ring, this.topology);
    this.errors = new IcmpErrors(ring, this.topology);
    this.holdGateway();
  }

  /** Moves the clock, and does what is due: ends flows, retries ARP. @param now ms, never going back */
  advance(now: number): void {
    this.second = Math.floor(now / 1000);
    this.neighbours.setTime(now);
    this.errors.setTime(now);
    if (now - this.ticked >= TICK_MS) {
      this.ticked = now;
      this.neighbours.tick(now);
    }
    for (let i = 0; i < EXPIRE_AT_ONCE; i++) {
      const flow = this.wheel.expire(this.second);
      if (flow < 0) return;
      const deadline = this.flows.words[flow * FLOW_WORDS + FLOW.DEADLINE];
      if (deadline > this.second) this.wheel.file(flow, deadline);
      else this.end(flow);
    }
  }

  /**
   * Handles one frame, in place.
   * @param iface number of the interface that it came in on
   * @param at offset of the frame in the ring's memory, behind its virtio_net_hdr
   * @param length bytes of the frame
   * @returns a verdict code
   */
  receive(iface: number, at: number, length: number): number {
    this.lastRule = -1;
    this.lastFlow = NO_FLOW;
    const verdict = this.ethernet(iface, at, length);
    this.counters[verdict]++;
    return verdict;
  }

  /**
   * Puts new settings in force. Flows that they still allow live on, all others end. The capacity of the flow table stays.
   */
  apply(settings: Settings): void {
    const before = this.topology;
    const after = new Topology(settings);
    const renumber = Int32Array.from(before.settings.interfaces, (iface) =>
      settings.interfaces.findIndex(({ name }) => name === iface.name),
    );
    if (this.gatewayNeighbour !== NO_NEIGHBOUR) this.neighbours.release(this.gatewayNeighbour);
    this.topology = after;
    for (let flow = 0; flow < this.flows.capacity; flow++) {
      if (this.flows.used(flow) && !this.readmit(flow, before, renumber)) this.end(flow);
    }
    this.neighbours.apply(after, renumber);
    this.errors.apply(after);
    this.holdGateway();
  }

  private ethernet(iface: number, at: number, length: number): number {
    const view = this.view;
    const fault = checkEthernet(length);
    if (fault !== 0) return VERDICT.MALFORMED + fault;
    const type = view.getUint16(at + ETHERNET.TYPE);
    if (isGroupMac(view, at)) {
      // Of broadcasts only ARP's are for a router; IPv4 in a group frame is never forwarded (RFC 1812 section 5.3.4).
      return type === ETHERTYPE.ARP ? this.neighbours.receive(iface, at, length) : VERDICT.NOT_TO_US;
    }
    const topology = this.topology;
    const toUs = macHead(view, at) === topology.macHead[iface] && macTail(view, at) === topology.macTail[iface];
    if (!toUs && !topology.settings.interfaces[iface].anyMac) return VERDICT.NOT_TO_US;
    if (type === ETHERTYPE.IPV4) return this.ipv4(iface, at, length);
    if (type === ETHERTYPE.ARP) return this.neighbours.receive(iface, at, length);
    return VERDICT.ETHERTYPE;
  }

  private ipv4(iface: number, at: number, length: number): number {
    const view = this.view;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const fault = checkIpv4(view, ip, length - ETHERNET.HEADER_LENGTH);
    if (fault !== 0) return VERDICT.MALFORMED + fault;
    if ((view.getUint16(ip + IPV4.FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0) return VERDICT.FRAGMENT;
    const header = headerLength(view, ip);
    const transport = ip + header;
    const transportLength = view.getUint16(ip + IPV4.TOTAL_LENGTH) - header;
    const protocol = view.getUint8(ip + IPV4.PROTOCOL);
    let ports: number;
    if (protocol === PROTOCOL.TCP) {
      const malformed = checkTcp(view, transport, transportLength);
      if (malformed !== 0) return VERDICT.MALFORMED + malformed;
      ports = view.getInt32(transport);
    } else if (protocol === PROTOCOL.UDP) {
      const malformed = checkUdp(view, transport, transportLength);
      if (malformed !== 0) return VERDICT.MALFORMED + malformed;
      ports = view.getInt32(transport);
    } else if (protocol === PROTOCOL.ICMP) {
      const malformed = checkIcmp(transportLength);
      if (malformed !== 0) return VERDICT.MALFORMED + malformed;
      ports = queryPorts(view, transport);
      if (ports === NO_PORTS) return this.icmpOther(iface, at, transport, transportLength);
    } else {
      return VERDICT.PROTOCOL;
    }
    const source = view.getInt32(ip + IPV4.SOURCE);
    const destination = view.getInt32(ip + IPV4.DESTINATION);
    const hit = this.flows.find(source, destination, ports, protocol, iface);
    if (hit !== NO_FLOW) return this.forward(hit >>> 1, hit & 1, iface, at, transport, transportLength);
    if (iface === this.topology.uplink) {
      return this.fromUplink(iface, at, source, destination, protocol, transport, transportLength);
    }
    return this.fromClient(iface, at, source, destination, protocol, ports, transport, transportLength);
  }

  /** The fast path: a packet of a known flow. */
  private forward(
    flow: number,
    side: number,
    iface: number,
    at: number,
    transport: number,
    transportLength: number,
  ): number {
    const view = this.view;
    const words = this.flows.words;
    const record = flow * FLOW_WORDS;
    const ip = at + ETHERNET.HEADER_LENGTH;
    this.lastFlow = flow;
    if (side === 0 && !this.hasPinnedMac(words[record + FLOW.CLIENT_RULE] >>> 16, at)) return VERDICT.MAC_SPOOFED;
    if (view.getUint8(ip + IPV4.TTL) <= 1) return this.ttlExceeded(iface, at);
    const egress = this.flows.iface(flow, side ^ 1);
    const total = transport - ip + transportLength;
    if (total > this.topology.mtu[egress] && !this.fits(at, transport, transportLength, egress)) {
      return this.tooBig(iface, at, egress);
    }
    const neighbour = words[record + FLOW.NEIGHBOUR[0] + side];
    if (this.neighbours.state[neighbour] < USABLE) {
      this.neighbours.wake(neighbour);
      if (this.neighbours.hasFailed(neighbour)) {
        this.errors.send(iface, at, ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.HOST);
        return VERDICT.UNRESOLVED;
      }
    }
    const protocol = view.getUint8(ip + IPV4.PROTOCOL);
    const outcome =
      protocol === PROTOCOL.TCP ? this.trackTcp(flow, side, transport, transportLength) : this.trackOther(flow, side);
    if (outcome > 0) return outcome;

    this.rewrite(record, side, protocol, at, transport);
    writeMac(view, at + ETHERNET.SOURCE, this.topology.macHead[egress], this.topology.macTail[egress]);
    const frameLength = ETHERNET.HEADER_LENGTH + total;
    if (this.neighbours.state[neighbour] < USABLE) return this.neighbours.queue(neighbour, at, frameLength);
    writeMac(view, at, this.neighbours.head[neighbour], this.neighbours.tail[neighbour]);
    this.ring.send(egress, at, frameLength);
    return VERDICT.FORWARDED;
  }

  /** Makes a packet from one side the inverse of what the other side sends: addresses, ports, TTL and checksums. */
  private rewrite(record: number, side: number, protocol: number, at: number, transport: number): void {
    const view = this.view;
    const words = this.flows.words;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const other = record + (side === 0 ? 3 : 0);
    const delta = words[record + FLOW.DELTA[0] + side];
    const headerDelta = delta >>> 16;
    view.setInt32(ip + IPV4.SOURCE, words[other + FLOW.DESTINATION]);
    view.setInt32(ip + IPV4.DESTINATION, words[other + FLOW.SOURCE]);
    view.setUint8(ip + IPV4.TTL, view.getUint8(ip + IPV4.TTL) - 1);
    view.setUint16(ip + IPV4.CHECKSUM, updateChecksum(view.getUint16(ip + IPV4.CHECKSUM), headerDelta));

    const ports = words[other + FLOW.PORTS];
    if (protocol === PROTOCOL.ICMP) {
      const query = isQuery(view.getUint8(transport + ICMP.TYPE));
      view.setUint16(transport + ICMP.IDENTIFIER, query ? ports & 0xffff : ports >>> 16);
      const field = transport + ICMP.CHECKSUM;
      view.setUint16(field, updateChecksum(view.getUint16(field), delta & 0xffff));
      return;
    }
    view.setInt32(transport, (ports << 16) | (ports >>> 16));
    const field = transport + (protocol === PROTOCOL.TCP ? TCP.CHECKSUM : UDP.CHECKSUM);
    const checksum = view.getUint16(field);
    if ((view.getUint8(at - VNET_LENGTH + VNET.FLAGS) & VNET_NEEDS_CSUM) !== 0) {
      // The sender left the work to its interface: the field holds the pseudo-header's sum, and the ports come later.
      view.setUint16(field, fold(checksum + addDeltas(headerDelta, ~TTL_DELTA & 0xffff)));
    } else if (protocol === PROTOCOL.TCP) {
      view.setUint16(field, updateChecksum(checksum, delta & 0xffff));
    } else if (checksum !== 0) {
      view.setUint16(field, updateChecksum(checksum, delta & 0xffff) || 0xffff); // RFC 768: 0 means none
    }
  }

  /** @returns 0, or the verdict that drops the segment */
  private trackTcp(flow: number, side: number, transport: number, transportLength: number): number {
    const at = flow * FLOW_WORDS;
    const timeout = this.flows.words[at + FLOW.TIMEOUT];
    const outcome = this.tcp.track(this.view, flow, side, transport, transportLength);
    if (outcome === TRACK.PASS) this.refresh(flow, timeout);
    return Math.max(outcome, 0);
  }

  private trackOther(flow: number, side: number): number {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    const timeout = words[at + FLOW.TIMEOUT];
    if (side === 1 && (words[at + FLOW.STATE] & FLOW_STATE.ANSWERED) === 0) {
      words[at + FLOW.STATE] |= FLOW_STATE.ANSWERED;
      if (this.flows.protocol(flow) === PROTOCOL.UDP) words[at + FLOW.TIMEOUT] = TIMEOUT.UDP;
    }
    this.refresh(flow, timeout);
    return 0;
  }

  /** Moves the deadline; the wheel is told only when it comes earlier than the wheel expects. */
  private refresh(flow: number, timeoutBefore: number): void {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    const timeout = words[at + FLOW.TIMEOUT];
    words[at + FLOW.DEADLINE] = this.second + timeout;
    if (timeout < timeoutBefore) this.wheel.file(flow, this.second + timeout);
  }

  /** A packet from the uplink that belongs to no flow. */
  private fromUplink(
    iface: number,
    at: number,
    source: number,
    destination: number,
    protocol: number,
    transport: number,
    transportLength: number,
  ): number {
    const topology = this.topology;
    if (topology.clientOf(source) !== NOBODY || topology.isOwn(source) || isMartian(source)) return VERDICT.SPOOFED;
    if (destination !== topology.uplinkAddress) return VERDICT.UNSOLICITED;
    if (protocol !== PROTOCOL.ICMP) return VERDICT.UNSOLICITED;
    return this.echo(iface, at, transport, transportLength, VERDICT.UNSOLICITED);
  }

  /** A packet from a client that belongs to no flow: it gets one, if it is the client's and its rules accept it. */
  private fromClient(
    iface: number,
    at: number,
    source: number,
    destination: number,
    protocol: number,
    ports: number,
    transport: number,
    transportLength: number,
  ): number {
    const topology = this.topology;
    const client = topology.clientOn(iface, source);
    if (client === NOBODY) return VERDICT.SPOOFED;
    if (!this.hasPinnedMac(client, at)) return VERDICT.MAC_SPOOFED;
    if (topology.isOwn(destination)) return this.toFirewall(iface, at, protocol, transport, transportLength);
    if (!topology.isRoutable(destination)) return VERDICT.UNROUTABLE;
    if (topology.clientOf(destination) !== NOBODY) return VERDICT.CLIENT_TO_CLIENT;
    if (protocol === PROTOCOL.ICMP && !isQuery(this.view.getUint8(transport + ICMP.TYPE))) return VERDICT.UNSOLICITED;
    if (protocol === PROTOCOL.TCP && (this.view.getUint8(transport + TCP.FLAGS) & (SYN | ACK | RST)) !== SYN) {
      return VERDICT.TCP_STATE;
    }
    const judgement = judge(topology.client(client).ruleset, protocol, destination, ports & 0xffff);
    this.lastRule = judgement >> 1;
    if ((judgement & 1) === 0) {
      this.errors.send(iface, at, ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.ADMIN_PROHIBITED);
      return VERDICT.REFUSED;
    }
    if (this.view.getUint8(at + ETHERNET.HEADER_LENGTH + IPV4.TTL) <= 1) return this.ttlExceeded(iface, at);

    const verdict = this.admit(client, judgement >> 1, iface, source, destination, protocol, ports);
    if (verdict !== VERDICT.FORWARDED) return verdict;
    return this.forward(this.lastFlow, 0, iface, at, transport, transportLength);
  }

  /** Makes the flow (and, where there is none yet, the mapping) of an accepted packet; lastFlow names it. */
  private admit(
    client: number,
    rule: number,
    iface: number,
    source: number,
    destination: number,
    protocol: number,
    ports: number,
  ): number {
    const topology = this.topology;
    let mapping = this.mappings.find(protocol, source, ports >>> 16);
    if (mapping === NO_MAPPING_FREE) mapping = this.mappings.allocate(protocol, source, ports >>> 16, client);
    if (mapping === NO_MAPPING_FREE) return VERDICT.NO_PORT;
    this.mappings.retain(mapping);
    const flow = this.flows.allocate();
    if (flow === NO_FLOW) {
      this.mappings.release(mapping);
      return VERDICT.TABLE_FULL;
    }
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    words[at + FLOW.SOURCE] = source;
    words[at + FLOW.DESTINATION] = destination;
    words[at + FLOW.PORTS] = ports;
    words[at + 3 + FLOW.SOURCE] = destination;
    words[at + 3 + FLOW.DESTINATION] = topology.uplinkAddress;
    words[at + 3 + FLOW.PORTS] = (ports << 16) | this.mappings.externalPort(mapping);
    words[at + FLOW.KEY] = flowKey(protocol, iface, topology.uplink);
    words[at + FLOW.TIMEOUT] = firstTimeout(protocol);
    words[at + FLOW.DEADLINE] = this.second + firstTimeout(protocol);
    words[at + FLOW.MAPPING] = mapping;
    words[at + FLOW.CLIENT_RULE] = (client << 16) | rule;
    this.setDeltas(at, protocol, 0);
    this.setDeltas(at, protocol, 1);
    words[at + FLOW.NEIGHBOUR[0]] = this.neighbours.hold(topology.uplink, topology.uplinkNextHop(destination));
    words[at + FLOW.NEIGHBOUR[1]] = this.neighbours.hold(iface, source);
    this.flows.link(flow);
    this.wheel.file(flow, words[at + FLOW.DEADLINE]);
    this.lastFlow = flow;
    if (words[at + FLOW.NEIGHBOUR[0]] === NO_NEIGHBOUR || words[at + FLOW.NEIGHBOUR[1]] === NO_NEIGHBOUR) {
      this.end(flow);
      return VERDICT.TABLE_FULL;
    }
    return VERDICT.FORWARDED;
  }

  /** What rewriting a packet from this side adds to the sums of its two headers. */
  private setDeltas(record: number, protocol: number, side: number): void {
    const words = this.flows.words;
    const from = record + FLOW.SIDE[side];
    const to = record + FLOW.SIDE[side ^ 1];
    const addresses = addDeltas(
      delta32(words[from + FLOW.SOURCE], words[to + FLOW.DESTINATION]),
      delta32(words[from + FLOW.DESTINATION], words[to + FLOW.SOURCE]),
    );
    const ports = delta32(words[from + FLOW.PORTS], words[to + FLOW.PORTS]);
    const transport = protocol === PROTOCOL.ICMP ? ports : addDeltas(addresses, ports);
    words[record + FLOW.DELTA[side]] = (addDeltas(addresses, TTL_DELTA) << 16) | transport;
  }

  /** Ends a flow, whichever state it is in. */
  private end(flow: number): void {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    this.wheel.remove(flow);
    for (const side of [0, 1]) {
      const neighbour = words[at + FLOW.NEIGHBOUR[side]];
      if (neighbour !== NO_NEIGHBOUR) this.neighbours.release(neighbour);
    }
    if (words[at + FLOW.MAPPING] !== NO_MAPPING) this.mappings.release(words[at + FLOW.MAPPING]);
    this.flows.remove(flow);
  }

  /** Judges a flow by new settings. @returns whether it may live on; then it is numbered as these settings number */
  private readmit(flow: number, before: Topology, renumber: Int32Array): boolean {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    const after = this.topology;
    const iface = renumber[this.flows.iface(flow, 0)];
    const uplink = renumber[this.flows.iface(flow, 1)];
    if (iface < 0 || uplink < 0 || uplink !== after.uplink) return false;
    if (after.uplinkAddress !== before.uplinkAddress) return false;
    const destination = words[at + FLOW.DESTINATION];
    if (before.uplinkNextHop(destination) !== after.uplinkNextHop(destination)) return false;
    if (after.clientOf(destination) !== NOBODY || after.isOwn(destination) || !after.isRoutable(destination))
      return false;
    const client = after.clientOn(iface, words[at + FLOW.SOURCE]);
    if (client === NOBODY) return false;
    const judgement = judge(
      after.client(client).ruleset,
      this.flows.protocol(flow),
      destination,
      words[at + FLOW.PORTS] & 0xffff,
    );
    if ((judgement & 1) === 0) return false;
    words[at + FLOW.CLIENT_RULE] = (client << 16) | (judgement >> 1);
    this.flows.renumber(flow, iface, uplink);
    return true;
  }

  /** A client's packet to an address of ours: echo requests are answered, all else is refused. */
  private toFirewall(iface: number, at: number, protocol: number, transport: number, transportLength: number): number {
    if (protocol === PROTOCOL.ICMP) return this.echo(iface, at, transport, transportLength, VERDICT.TO_FIREWALL);
    this.errors.send(iface, at, ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.HOST_PROHIBITED);
    return VERDICT.TO_FIREWALL;
  }

  /** Answers an echo request to us in place (RFC 1122 section 3.2.2.6); `otherwise` is the verdict on anything else. */
  private echo(iface: number, at: number, message: number, length: number, otherwise: number): number {
    const view = this.view;
    if (view.getUint8(message + ICMP.TYPE) !== ICMP_TYPE.ECHO) return otherwise;
    const fault = checkIcmpSum(view, message, length);
    if (fault !== 0) return VERDICT.MALFORMED + fault;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const source = view.getInt32(ip + IPV4.SOURCE);
    view.setInt32(ip + IPV4.SOURCE, view.getInt32(ip + IPV4.DESTINATION));
    view.setInt32(ip + IPV4.DESTINATION, source);
    const ttl = view.getUint8(ip + IPV4.TTL);
    const checksum = view.getUint16(ip + IPV4.CHECKSUM);
    view.setUint8(ip + IPV4.TTL, ECHO_TTL);
    view.setUint16(ip + IPV4.CHECKSUM, updateChecksum(checksum, fold((~(ttl << 8) & 0xffff) + (ECHO_TTL << 8))));
    view.setUint8(message + ICMP.TYPE, ICMP_TYPE.ECHO_REPLY);
    writeIcmpSum(view, message, length);
    writeMac(view, at, macHead(view, at + ETHERNET.SOURCE), macTail(view, at + ETHERNET.SOURCE));
    writeMac(view, at + ETHERNET.SOURCE, this.topology.macHead[iface], this.topology.macTail[iface]);
    this.ring.send(iface, at, message - at + length);
    return VERDICT.ANSWERED;
  }

  private icmpOther(_iface: number, _at: number, _message: number, _length: number): number {
    return VERDICT.ICMP_TYPE;
  }

  private ttlExceeded(iface: number, at: number): number {
    this.errors.send(iface, at, ICMP_TYPE.TIME_EXCEEDED, 0);
    return VERDICT.TTL;
  }

  /** A packet that the egress can't take whole: its sender learns the MTU if it forbade fragments (RFC 1191). */
  private tooBig(iface: number, at: number, egress: number): number {
    if ((this.view.getUint16(at + ETHERNET.HEADER_LENGTH + IPV4.FRAGMENT) & DONT_FRAGMENT) !== 0) {
      this.errors.send(
        iface,
        at,
        ICMP_TYPE.UNREACHABLE,
        UNREACHABLE_CODE.FRAGMENTATION_NEEDED,
        this.topology.mtu[egress],
      );
    }
    return VERDICT.TOO_BIG;
  }

  /** @returns whether a packet larger than the MTU is one of segments that each fit: the kernel cuts it when it leaves */
  private fits(at: number, transport: number, transportLength: number, egress: number): boolean {
    const view = this.view;
    if (view.getUint8(at - VNET_LENGTH + VNET.GSO_TYPE) === VNET_GSO_NONE) return false;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const isTcp = view.getUint8(ip + IPV4.PROTOCOL) === PROTOCOL.TCP;
    const headers = transport - ip + (isTcp ? tcpHeaderLength(view, transport) : UDP.HEADER_LENGTH);
    const segment = view.getUint16(at - VNET_LENGTH + VNET.GSO_SIZE, true);
    return transportLength > 0 && headers + segment <= this.topology.mtu[egress];
  }

  private hasPinnedMac(client: number, at: number): boolean {
    const pin = this.topology.pinned[client];
    if (pin === undefined) return true;
    const source = at + ETHERNET.SOURCE;
    return macHead(this.view, source) === pin.head && macTail(this.view, source) === pin.tail;
  }

  /** The gateway's MAC address is asked for at once, and kept while these settings are in force. */
  private holdGateway(): void {
    this.gatewayNeighbour = this.neighbours.hold(this.topology.uplink, this.topology.gateway);
  }
}

const ECHO_TTL = 64;

/** @returns whether an ICMP type asks for an answer that carries its identifier back */
function isQuery(type: number): boolean {
  return type === ICMP_TYPE.ECHO || type === ICMP_TYPE.TIMESTAMP;
}

/**
 * ICMP queries in the form of ports: the identifier as the asker's port, the query's type as the answerer's, so that rules
 * and the flow table treat them as they treat UDP.
 * @returns source << 16 | destination, or NO_PORTS for other messages
 */
function queryPorts(view: DataView, at: number): number {
  const identifier = view.getUint16(at + ICMP.IDENTIFIER);
  switch (view.getUint8(at + ICMP.TYPE)) {
    case ICMP_TYPE.ECHO:
      return (identifier << 16) | ICMP_TYPE.ECHO;
    case ICMP_TYPE.ECHO_REPLY:
      return (ICMP_TYPE.ECHO << 16) | identifier;
    case ICMP_TYPE.TIMESTAMP:
      return (identifier << 16) | ICMP_TYPE.TIMESTAMP;
    case ICMP_TYPE.TIMESTAMP_REPLY:
      return (ICMP_TYPE.TIMESTAMP << 16) | identifier;
    default:
      return NO_PORTS;
  }
}

/** @returns whether no host can send from this address: loopback, multicast, reserved, "this network" (RFC 6890) */
function isMartian(address: number): boolean {
  const top = address >>> 24;
  return top === 0 || top === 127 || top >= 224;
}

function firstTimeout(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TIMEOUT.TCP_TRANSITORY;
  return protocol === PROTOCOL.UDP ? TIMEOUT.UDP_NEW : TIMEOUT.ICMP;
}
