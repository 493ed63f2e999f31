// The slow path: whether a packet that belongs to no flow gets one. From clients, rules decide; from the uplink, only
// forwarded ports and mappings that are open to anyone do; everything else is answered or dropped here.
import { ICMP_TYPE, UNREACHABLE_CODE } from "../../wire/icmp.ts";
import { IPV4, maskOf, PROTOCOL } from "../../wire/ipv4.ts";
import { ACK, RST, SYN, TCP } from "../../wire/tcp.ts";
import { judge } from "../rules/ruleset.ts";
import type { ForwardSettings } from "../settings.ts";
import { FLOW_STATE, NO_FLOW, NO_MAPPING } from "../tables/flows.ts";
import type { Refusals } from "../tables/refusals.ts";
import { TIMEOUT } from "../tables/timeouts.ts";
import { NOBODY } from "../topology.ts";
import { VERDICT } from "../verdict.ts";
import type { Answers } from "./answers.ts";
import type { Endpoint } from "./endpoint.ts";
import { DNS_PORT, type State } from "./state.ts";

export class Admission {
  constructor(
    private readonly state: State,
    private readonly answers: Answers,
    private readonly endpoint: Endpoint,
    private readonly refusals: Refusals,
  ) {}

  /** @returns VERDICT.FORWARDED when the packet in hand now has a flow (state.flow), or what became of it instead */
  fromClient(): number {
    const { packet, topology } = this.state;
    const { source, destination, protocol } = packet;
    const client = topology.clientOn(packet.iface, source);
    if (client === NOBODY) return VERDICT.SPOOFED;
    if (!topology.hasPinnedMac(this.state.view, client, packet.at)) return VERDICT.MAC_SPOOFED;
    if (topology.isOwn(destination) && !this.isHairpin()) return this.answers.toFirewall();
    const peer = topology.clientOf(destination);
    if (peer === NOBODY) {
      if (!topology.isRoutable(destination)) return VERDICT.UNROUTABLE;
    } else {
      if (!topology.client(client).reach.includes(peer)) return VERDICT.CLIENT_TO_CLIENT;
      if (topology.clientOn(topology.clientInterface[peer], destination) === NOBODY) return VERDICT.UNROUTABLE;
    }
    if (!this.isOpening()) {
      if (protocol !== PROTOCOL.TCP) return VERDICT.UNSOLICITED;
      if (topology.settings.nat.resetUnknown) this.answers.reset();
      return VERDICT.TCP_STATE;
    }
    const judgement = judge(topology.client(client).ruleset, protocol, destination, packet.ports & 0xffff);
    this.state.rule = judgement >> 1;
    if ((judgement & 1) === 0) return this.refuse(client);
    if (this.hasNoHopLeft()) return VERDICT.TTL;
    const verdict = peer === NOBODY ? this.translated(client) : this.direct(client, peer);
    if (verdict !== VERDICT.FORWARDED) this.prohibit(); // RFC 5508 REQ-8: also for want of room
    return verdict;
  }

  /** @param looped whether the packet is a client's own, sent to our uplink address: a hairpin */
  fromUplink(looped: boolean): number {
    const { packet, topology, mappings } = this.state;
    const { source, destination, protocol } = packet;
    if (!looped && !topology.isUplinkHost(source)) return VERDICT.SPOOFED;
    if (destination !== topology.uplinkAddress) return VERDICT.UNSOLICITED;
    const taken = this.endpoint.take(VERDICT.UNSOLICITED);
    if (taken !== VERDICT.UNSOLICITED) return taken;
    if (this.isOpening()) {
      const forward = this.forwardFor(source);
      if (forward !== undefined) {
        const port = forward.toPort + (packet.ports & 0xffff) - forward.portLow;
        return this.inbound(forward.client, forward.to | 0, port, NO_MAPPING);
      }
      const mapping = isReachedByPort(protocol) ? mappings.findExternal(protocol, packet.ports & 0xffff) : NO_MAPPING;
      if (mapping !== NO_MAPPING) {
        const client = topology.clientOf(mappings.address(mapping));
        if (client !== NOBODY && topology.client(client).openFilter) {
          return this.inbound(client, mappings.address(mapping), mappings.internalPort(mapping), mapping);
        }
      }
    }
    return this.answers.echo(VERDICT.UNSOLICITED);
  }

  /** A packet that the rules refuse is answered as its client's settings say, and noted if they ask for it. */
  private refuse(client: number): number {
    const { packet, topology, rule } = this.state;
    const { refuse, log } = topology.client(client);
    const { protocol, source, destination, ports } = packet;
    if (log) this.refusals.note(client, rule, protocol, source, destination, ports);
    if (refuse === "reset" && protocol === PROTOCOL.TCP) this.answers.reset();
    else if (refuse !== "drop") this.prohibit();
    return VERDICT.REFUSED;
  }

  private prohibit(): void {
    const { packet, errors } = this.state;
    errors.send(packet.iface, packet.at, ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.ADMIN_PROHIBITED);
  }

  /** The forward that the packet in hand, sent to our uplink address, falls under. @param source int32, host order */
  forwardFor(source: number): ForwardSettings | undefined {
    const { packet, topology } = this.state;
    const port = packet.ports & 0xffff;
    for (const forward of topology.settings.forwards) {
      if (matchesForward(forward, packet.protocol, port, source)) return forward;
    }
    return undefined;
  }

  /** Whether a packet to the uplink address is for a forwarded port, or another client's mapping (RFC 4787 REQ-9). */
  private isHairpin(): boolean {
    const { packet, topology, mappings } = this.state;
    if (packet.destination !== topology.uplinkAddress || !isReachedByPort(packet.protocol)) return false;
    if (this.forwardFor(packet.destination) !== undefined) return true;
    return mappings.findExternal(packet.protocol, packet.ports & 0xffff) !== NO_MAPPING;
  }

  /** Whether the packet may be a flow's first: not a reply, and of TCP nothing but a SYN. */
  private isOpening(): boolean {
    const { packet, view } = this.state;
    if (packet.protocol === PROTOCOL.TCP) {
      return (view.getUint8(packet.transport + TCP.FLAGS) & (SYN | ACK | RST)) === SYN;
    }
    if (packet.protocol !== PROTOCOL.ICMP) return true;
    const type = view.getUint8(packet.transport);
    return type === ICMP_TYPE.ECHO || type === ICMP_TYPE.TIMESTAMP;
  }

  /** Before a flow is made for it: a packet that ends here must not make one. */
  private hasNoHopLeft(): boolean {
    const { packet, view, errors } = this.state;
    if (view.getUint8(packet.ip + IPV4.TTL) > 1) return false;
    errors.send(packet.iface, packet.at, ICMP_TYPE.TIME_EXCEEDED, 0);
    return true;
  }

  /** A client's flow to the uplink, with our address as its source. */
  private translated(client: number): number {
    const { packet, topology, mappings, newFlow } = this.state;
    const { protocol, ports, iface } = packet;
    const refused = this.makeRoom(client);
    if (refused !== 0) return refused;
    let externalPort = 0;
    newFlow.mapping = NO_MAPPING;
    if (hasPorts(protocol)) {
      newFlow.mapping = this.mappingFor(client);
      if (newFlow.mapping === NO_MAPPING) {
        return this.state.shares.hasAllMappings(client) ? VERDICT.CLIENT_MAPPINGS : VERDICT.NO_PORT;
      }
      externalPort = mappings.externalPort(newFlow.mapping);
    }
    const remote = this.remote();
    const backPorts = (ports << 16) | externalPort;
    if (this.state.flows.find(remote, topology.uplinkAddress, backPorts, protocol) !== NO_FLOW) {
      return VERDICT.NO_PORT; // without ports, two clients can't talk to one remote
    }
    this.describe(client, FLOW_STATE.OUTBOUND, iface, topology.uplink, this.state.rule);
    return this.open(remote, backPorts);
  }

  /** Where the packet in hand is sent on to: its destination, or for DNS what that is redirected to. */
  private remote(): number {
    const { packet, topology } = this.state;
    const { protocol, destination } = packet;
    const isDns = (packet.ports & 0xffff) === DNS_PORT && (protocol === PROTOCOL.UDP || protocol === PROTOCOL.TCP);
    return isDns ? topology.redirected(destination) : destination;
  }

  /** A flow between two clients: nothing is translated. */
  private direct(client: number, peer: number): number {
    const { packet, topology, newFlow } = this.state;
    const { destination, ports, iface } = packet;
    const refused = this.makeRoom(client);
    if (refused !== 0) return refused;
    newFlow.mapping = NO_MAPPING;
    this.describe(client, FLOW_STATE.DIRECT, iface, topology.clientInterface[peer], this.state.rule);
    return this.open(destination, (ports << 16) | (ports >>> 16));
  }

  /** A flow from the uplink to a client's address and port. It counts as the client's. */
  private inbound(client: number, address: number, port: number, mapping: number): number {
    const { packet, topology, newFlow } = this.state;
    if (this.hasNoHopLeft()) return VERDICT.TTL;
    const refused = this.makeRoom(client);
    if (refused !== 0) return refused;
    newFlow.mapping = mapping;
    this.describe(client, FLOW_STATE.INBOUND, topology.uplink, topology.clientInterface[client], 0);
    return this.open(address, (port << 16) | (packet.ports >>> 16));
  }

  private describe(client: number, kind: number, iface: number, backIface: number, rule: number): void {
    const { newFlow, packet } = this.state;
    newFlow.client = client;
    newFlow.rule = rule;
    newFlow.kind = kind;
    newFlow.iface = iface;
    newFlow.backIface = backIface;
    newFlow.protocol = packet.protocol;
    newFlow.timeout = firstTimeout(packet.protocol);
  }

  /** @param backSource, backPorts what answers carry when they arrive */
  private open(backSource: number, backPorts: number): number {
    const { newFlow, packet } = this.state;
    newFlow.source = packet.source;
    newFlow.destination = packet.destination;
    newFlow.ports = packet.ports;
    newFlow.backSource = backSource;
    newFlow.backPorts = backPorts;
    return this.state.open();
  }

  /** The mapping that the packet's source address and port has, or gets now; NO_MAPPING when none is to be had. */
  private mappingFor(client: number): number {
    const { packet, mappings, shares } = this.state;
    const { protocol, source } = packet;
    const port = packet.ports >>> 16;
    const known = mappings.find(protocol, source, port);
    if (known !== NO_MAPPING && mappings.isUsed(known)) return known;
    if (shares.hasAllMappings(client)) this.evict(client, client);
    if (shares.hasAllMappings(client)) return NO_MAPPING; // it had others of its flows, or none that may go
    return known !== NO_MAPPING ? known : mappings.allocate(protocol, source, port);
  }

  /** Sees to it that the client's new flow has a place. @returns 0, or the verdict that refuses it */
  private makeRoom(client: number): number {
    const { shares, flows, now } = this.state;
    const tooFast = shares.take(client, now);
    if (tooFast !== 0) return tooFast;
    if (shares.hasAllFlows(client) && !this.evict(client, client)) return VERDICT.CLIENT_FLOWS;
    if (flows.size < flows.capacity) return 0;
    return this.evict(shares.greediest(), client) || this.evict(client, client) ? 0 : VERDICT.TABLE_FULL;
  }

  /** Ends a flow of `owner` in favour of `client`. @returns whether there was one that may go */
  private evict(owner: number, client: number): boolean {
    const victim = this.state.shares.victim(owner, owner === client, this.state.second);
    if (victim === NO_FLOW) return false;
    this.state.end(victim);
    return true;
  }
}

function firstTimeout(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TIMEOUT.TCP_OPENING;
  if (protocol === PROTOCOL.UDP) return TIMEOUT.UDP_NEW;
  return protocol === PROTOCOL.ICMP ? TIMEOUT.ICMP : TIMEOUT.OTHER;
}

/** @param port destination port @param source int32, host order */
export function matchesForward(forward: ForwardSettings, protocol: number, port: number, source: number): boolean {
  if (forward.protocol !== protocol || port < forward.portLow || port > forward.portHigh) return false;
  if (forward.from.length === 0) return true;
  for (const { address, prefix } of forward.from) if (((source ^ address) & maskOf(prefix)) === 0) return true;
  return false;
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP || protocol === PROTOCOL.ICMP;
}

/** Whether a new packet's destination port can name a mapping; that of an ICMP query is only its type. */
function isReachedByPort(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP;
}
