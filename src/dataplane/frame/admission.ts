// Admission: whether a packet that belongs to no flow gets one. From clients, rules decide; from the uplink, only
// forwarded ports and mappings that are open to anyone do; everything else is answered or dropped here.
import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import {
  DNS_PORT,
  destinationPort,
  joinPorts,
  type Port,
  type Ports,
  sourcePort,
  swapPorts,
} from "../../wire/ports.ts";
import { ACK, RST, SYN, TCP } from "../../wire/tcp.ts";
import { ADDRESS_WORDS, type Addresses, isIpv6 } from "../address-book.ts";
import { isQuery } from "../packet.ts";
import { judge, judge6, type Ruleset } from "../rules/ruleset.ts";
import type { FlowFields } from "../tables/flow-records.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import { TIMEOUT } from "../tables/timeouts.ts";
import {
  type Client,
  type Flow,
  flowOf,
  type Iface,
  type Mapping,
  type Neighbour,
  NO_FLOW,
  NO_FLOW_SIDE,
  NO_MAPPING,
  NO_NEIGHBOUR,
  NOBODY,
  type Party,
} from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import type { Answers } from "./answers.ts";
import type { Endpoint } from "./endpoint.ts";
import { ERROR } from "./icmp-errors.ts";
import type { State } from "./state.ts";

/** What a new flow is made of; one object serves all, so that none is allocated for each. */
class NewFlow implements FlowFields {
  client = NOBODY;
  rule = 0;
  kind = 0;
  isMapped = false;
  protocol = 0;
  source = 0 as Address;
  destination = 0 as Address;
  ports = 0 as Ports;
  backSource = 0 as Address;
  backPorts = 0 as Ports;
  hash = 0;
  backHash = 0;
  timeout = 0;
}

const NO_FORWARD = -1;
/** Flows that are ended at most for the sake of one neighbour. */
const FLOWS_FOR_NEIGHBOUR = 16;

export class Admission {
  /** The flow that the last packet opened: to be read after VERDICT.FORWARDED. What returned both would be an object for each flow. */
  opened = NO_FLOW;
  private readonly newFlow = new NewFlow();

  constructor(
    private readonly state: State,
    private readonly answers: Answers,
    private readonly endpoint: Endpoint,
  ) {}

  /** @returns VERDICT.FORWARDED when the packet in hand has opened a flow (`opened`), or what became of it instead */
  fromClient(): Verdict {
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
      if (this.state.scrub.isRefusedTo(destination, packet)) return VERDICT.IP_OPTIONS;
    }
    if (!this.isOpening()) {
      if (protocol !== PROTOCOL.TCP) return VERDICT.UNSOLICITED;
      if (topology.settings.nat.resetUnknown) this.answers.reset();
      return VERDICT.TCP_STATE;
    }
    const judgement = judgeAddress(
      this.state.book,
      topology.client(client).ruleset,
      protocol,
      destination,
      packet.ports,
    );
    const rule = judgement >> 1;
    this.state.lastRule = rule;
    this.state.lastClient = client;
    if ((judgement & 1) === 0) return this.refuse(client);
    if (this.isTtlExceeded()) return VERDICT.TTL;
    if (peer === NOBODY && this.state.isMoving) return VERDICT.EGRESS_DOWN;
    const verdict = peer === NOBODY ? this.outbound(client, rule) : this.direct(client, peer, rule);
    if (verdict !== VERDICT.FORWARDED) this.prohibit(); // RFC 5508 REQ-8: also for want of room
    return verdict;
  }

  /** @param looped whether the packet is a client's own, sent to our uplink address: a hairpin */
  fromUplink(looped: boolean): Verdict {
    const { packet, topology, mappings } = this.state;
    const { source, destination } = packet;
    if (!looped && !topology.isUplinkHost(source)) return VERDICT.SPOOFED;
    const isOurs = destination === topology.uplinkAddressLike(destination);
    if (!isOurs && !packet.isIpv6) return VERDICT.UNSOLICITED; // of IPv6 it may be a host's whose network is routed to us
    if (isOurs) {
      const taken = this.endpoint.take(VERDICT.UNSOLICITED);
      if (taken !== VERDICT.UNSOLICITED) return taken;
    }
    if (this.isOpening()) {
      const number = this.forward();
      if (number !== NO_FORWARD) {
        const client = topology.settings.forwards[number].client as Client;
        const to = topology.forwardedTo(number, destination);
        const port = topology.forwardedToPort(number, destination, destinationPort(packet.ports));
        return this.inbound(topology.parties.forward(number), client, to, port, NO_MAPPING);
      }
      if (!isOurs) return VERDICT.UNSOLICITED;
      const mapping = this.openMapping();
      if (mapping !== NO_MAPPING) {
        const address = mappings.address(mapping);
        const { uplink } = topology.parties;
        return this.inbound(uplink, topology.clientOf(address), address, mappings.internalPort(mapping), mapping);
      }
    }
    return isOurs ? this.answers.echo(VERDICT.UNSOLICITED) : VERDICT.UNSOLICITED;
  }

  /**
   * The packet in hand, a SYN, opens another connection between the ports of one that is over, from the other end: admission judges
   * it as if it belonged to no flow. One from the uplink that would not be let in does not touch the flow.
   * @param flow that it seems to belong to
   * @returns as `fromClient`
   */
  instead(flow: Flow, looped: boolean): Verdict {
    const { state } = this;
    const isFromUplink = state.packet.iface === state.topology.uplink;
    if (isFromUplink && this.forward() === NO_FORWARD && this.openMapping() === NO_MAPPING) {
      return VERDICT.TCP_WINDOW;
    }
    const mapping = state.endForAnother(flow);
    const verdict = isFromUplink ? this.fromUplink(looped) : this.fromClient();
    state.letGo(mapping);
    return verdict;
  }

  /** The mapping that the packet in hand is for, if it is open to anyone. */
  private openMapping(): Mapping {
    const { packet, topology, mappings } = this.state;
    if (!isReachedByPort(packet.protocol)) return NO_MAPPING;
    const mapping = mappings.findExternal(packet.protocol, destinationPort(packet.ports), packet.isIpv6);
    if (mapping === NO_MAPPING || !mappings.isOpen(mapping, this.state.second)) return NO_MAPPING;
    const client = topology.clientOf(mappings.address(mapping));
    return client !== NOBODY && topology.client(client).openFilter ? mapping : NO_MAPPING;
  }

  /** A packet that the rules refuse is answered as its client's settings say. */
  private refuse(client: Client): Verdict {
    const { packet, topology } = this.state;
    const { refuse } = topology.client(client);
    if (refuse === "reset" && packet.protocol === PROTOCOL.TCP) this.answers.reset();
    else if (refuse !== "drop") this.prohibit();
    return VERDICT.REFUSED;
  }

  private prohibit(): void {
    const { packet, errors } = this.state;
    errors.send(packet.iface, packet.at, ERROR.PROHIBITED);
  }

  /** @returns which forward the packet in hand, from the uplink, falls under: its position, or NO_FORWARD */
  private forward(): number {
    const { packet, topology } = this.state;
    const { protocol, destination, ports, source } = packet;
    return topology.forwardFor(protocol, destination, destinationPort(ports), source);
  }

  /**
   * Whether a client's packet to an address of ours goes out and comes in again, as from the uplink (RFC 4787 REQ-9). All do that name
   * a port of the uplink address, whether it is anybody's or not: else the answer would tell which ports others have.
   */
  private isHairpin(): boolean {
    const { packet, topology } = this.state;
    const ours = topology.uplinkAddressLike(packet.destination);
    return packet.destination === ours && isReachedByPort(packet.protocol);
  }

  /** Whether the packet may be a flow's first: not a reply, and of TCP nothing but a SYN. */
  private isOpening(): boolean {
    const { packet, view } = this.state;
    if (packet.protocol === PROTOCOL.TCP) {
      return (view.getUint8(packet.transport + TCP.FLAGS) & (SYN | ACK | RST)) === SYN;
    }
    return !packet.isIcmp || isQuery(view.getUint8(packet.transport));
  }

  /** Before a flow is made for it: a packet that ends here must not make one. */
  private isTtlExceeded(): boolean {
    const { packet, view, errors } = this.state;
    if (packet.hopsLeft(view) > 1) return false;
    errors.send(packet.iface, packet.at, ERROR.TIME_EXCEEDED);
    return true;
  }

  /** A client's flow to the uplink: with our address as its source; or its own, but to ourselves, where the answer must come back. */
  private outbound(client: Client, rule: number): Verdict {
    const { packet, topology } = this.state;
    const { source, destination } = packet;
    return topology.isRouted(client, source) && destination !== topology.uplinkAddressLike(destination)
      ? this.untranslated(client, topology.uplink, rule)
      : this.translated(client, rule);
  }

  /** A client's flow to the uplink, with our address as its source. */
  private translated(client: Client, rule: number): Verdict {
    const { packet, topology, mappings } = this.state;
    const { protocol, ports, iface } = packet;
    const party = topology.host(client, packet.source);
    const refused = this.makeRoom(party, client);
    if (refused !== VERDICT.FORWARDED) return refused;
    const ours = topology.uplinkAddressLike(packet.source);
    let externalPort = this.forwardedPort();
    let mapping = NO_MAPPING;
    if (externalPort === 0 && hasPorts(protocol)) {
      mapping = this.mappingFor(party, client);
      if (mapping === NO_MAPPING) {
        return this.state.quotas.hasAllMappings(client, party) ? VERDICT.CLIENT_MAPPINGS : VERDICT.NO_PORT;
      }
      externalPort = mappings.externalPort(mapping);
    }
    const remote = this.remote();
    const backPorts = joinPorts(destinationPort(ports), externalPort);
    const newFlow = this.describe(client, rule, FLOW_STATE.OUTBOUND, remote, ours, backPorts);
    const { flows } = this.state;
    if (!flows.isVacant(newFlow.backHash) && this.isTaken(newFlow.backHash, remote, ours, backPorts)) {
      return VERDICT.NO_PORT; // without ports, two clients can't talk to one remote
    }
    return this.open(newFlow, party, iface, topology.uplink, mapping);
  }

  /** Whether there is a flow whose remote sends what the answers to the packet in hand would be. */
  private isTaken(hash: number, remote: Address, ours: Address, ports: Ports): boolean {
    const { flows, packet } = this.state;
    const before = flows.findHashed(hash, remote, ours, ports, packet.protocol);
    return before !== NO_FLOW_SIDE && this.state.admits(flowOf(before));
  }

  /** Where the packet in hand is sent on to: its destination, or for DNS what that is redirected to. */
  private remote(): Address {
    const { packet, topology } = this.state;
    const { protocol, destination } = packet;
    const isDns =
      destinationPort(packet.ports) === DNS_PORT && (protocol === PROTOCOL.UDP || protocol === PROTOCOL.TCP);
    return isDns ? topology.redirected(destination) : destination;
  }

  /** A flow between two clients. */
  private direct(client: Client, peer: Client, rule: number): Verdict {
    return this.untranslated(client, this.state.topology.clientInterface[peer], rule);
  }

  /** A client's flow out of an interface, in which nothing is translated. */
  private untranslated(client: Client, egress: Iface, rule: number): Verdict {
    const { packet, topology } = this.state;
    const { source, destination, ports, iface } = packet;
    const party = topology.host(client, source);
    const refused = this.makeRoom(party, client);
    if (refused !== VERDICT.FORWARDED) return refused;
    const newFlow = this.describe(client, rule, FLOW_STATE.DIRECT, destination, source, swapPorts(ports));
    return this.open(newFlow, party, iface, egress, NO_MAPPING);
  }

  /** A flow from the uplink to a client's address and port. It spends nothing of the client's: whoever sends it must not. */
  private inbound(party: Party, client: Client, address: Address, port: Port, mapping: Mapping): Verdict {
    const { packet, topology, scrub } = this.state;
    if (this.state.isMoving) return VERDICT.UNSOLICITED;
    if (scrub.isRefusedTo(address, packet)) return VERDICT.IP_OPTIONS;
    if (this.isTtlExceeded()) return VERDICT.TTL;
    if (!this.makeRoomInbound(party)) return VERDICT.TABLE_FULL;
    const backPorts = joinPorts(port, sourcePort(packet.ports));
    const newFlow = this.describe(client, 0, FLOW_STATE.INBOUND, address, packet.source, backPorts);
    return this.open(newFlow, party, topology.uplink, topology.clientInterface[client], mapping);
  }

  /** Says what the flow that the packet in hand opens is made of. @param backSource, backDestination, backPorts what answers carry */
  private describe(
    client: Client,
    rule: number,
    kind: number,
    backSource: Address,
    backDestination: Address,
    backPorts: Ports,
  ): NewFlow {
    const { newFlow } = this;
    const { packet } = this.state;
    newFlow.client = client;
    newFlow.rule = rule;
    newFlow.kind = kind;
    newFlow.protocol = packet.protocol;
    newFlow.source = packet.source;
    newFlow.destination = packet.destination;
    newFlow.ports = packet.ports;
    newFlow.backSource = backSource;
    newFlow.backPorts = backPorts;
    newFlow.hash = packet.hash;
    newFlow.backHash = this.state.flows.hash(backSource, backDestination, backPorts, packet.protocol);
    newFlow.timeout = firstTimeout(packet.protocol);
    return newFlow;
  }

  /** Opens a flow between two interfaces. @returns as `fromClient` */
  private open(newFlow: NewFlow, party: Party, iface: Iface, backIface: Iface, mapping: Mapping): Verdict {
    const { state } = this;
    const { neighbours } = state;
    newFlow.isMapped = mapping !== NO_MAPPING;
    const from = this.hold(iface, newFlow.source, party);
    const to = this.hold(backIface, newFlow.backSource, party);
    const areHeld = from !== NO_NEIGHBOUR && to !== NO_NEIGHBOUR;
    this.opened = areHeld ? state.open(newFlow, party, mapping, from, to) : NO_FLOW;
    if (this.opened !== NO_FLOW) return VERDICT.FORWARDED;
    if (from !== NO_NEIGHBOUR) neighbours.release(from);
    if (to !== NO_NEIGHBOUR) neighbours.release(to);
    if (mapping !== NO_MAPPING) state.mappings.dropUnused(mapping);
    return areHeld ? VERDICT.TABLE_FULL : VERDICT.NEIGHBOURS_FULL;
  }

  /**
   * The neighbour that packets to a host are handed to, held. Where a party's group has all that it may, the group's greediest gives
   * up flows for it, as far as that helps: none of the party's own, whose mapping the new flow may share.
   */
  private hold(iface: Iface, address: Address, party: Party): Neighbour {
    const { state } = this;
    for (let i = 0; ; i++) {
      const neighbour = state.hold(iface, address, party);
      if (neighbour !== NO_NEIGHBOUR || i === FLOWS_FOR_NEIGHBOUR) return neighbour;
      const greediest = state.neighbours.greediestBeside(party);
      if (greediest === party || !this.evict(state.quotas.victimOf(greediest, party, state.second)))
        return NO_NEIGHBOUR;
    }
  }

  /**
   * The external port that is forwarded to where the packet in hand comes from: it leaves from there (RFC 4787 REQ-1).
   * @returns 0 when there is none, or another client's mapping has it still from before the forward
   */
  private forwardedPort(): Port {
    const { packet, topology, mappings } = this.state;
    const port = topology.forwardedPort(packet.protocol, packet.source, sourcePort(packet.ports));
    if (port < 0 || mappings.findExternal(packet.protocol, port as Port, packet.isIpv6) !== NO_MAPPING)
      return 0 as Port;
    return port as Port;
  }

  /** The mapping that the packet's source address and port has, or gets now; NO_MAPPING when none is to be had. */
  private mappingFor(party: Party, client: Client): Mapping {
    const { packet, mappings, quotas, second } = this.state;
    const { protocol, source } = packet;
    const port = sourcePort(packet.ports);
    const hash = mappings.hash(protocol, source, port);
    const known = mappings.findAt(hash, protocol, source, port);
    if (known !== NO_MAPPING) {
      mappings.give(known, party);
      return known;
    }
    if (quotas.hasAllMappings(client, party) && !this.makeMappingRoom(party, client)) return NO_MAPPING;
    const mapping = mappings.allocate(protocol, party, source, port, hash);
    if (mapping !== NO_MAPPING || !this.evict(quotas.victimBeside(party, second))) return mapping;
    return mappings.allocate(protocol, party, source, port, hash);
  }

  /**
   * Ends a mapping of a client that has all it may have: the greediest host's, one that lingers, else a flow's; or the host's own that
   * lingers.
   * @returns whether the host may have another now
   */
  private makeMappingRoom(party: Party, client: Client): boolean {
    const { mappings, quotas, second } = this.state;
    const greediest = mappings.greediestBeside(party);
    if (!mappings.dropOldest(greediest) && !mappings.dropOldest(party)) {
      const victim = quotas.victimOf(greediest, party, second);
      if (this.evict(victim !== NO_FLOW ? victim : quotas.victimBeside(party, second))) mappings.dropOldest(greediest);
    }
    return !quotas.hasAllMappings(client, party); // the flow's mapping may have others, or there was none that may go
  }

  /** Makes room for a client's new flow. @returns VERDICT.FORWARDED, or the verdict that refuses it */
  private makeRoom(party: Party, client: Client): Verdict {
    const { quotas, flows, now, second } = this.state;
    const tooFast = quotas.take(client, party, now);
    if (tooFast !== VERDICT.FORWARDED) return tooFast;
    if (quotas.hasAllFlows(client) && !this.evict(quotas.victimBeside(party, second))) return VERDICT.CLIENT_FLOWS;
    if (flows.size < flows.capacity || this.evict(quotas.victim(party, second))) return VERDICT.FORWARDED;
    return VERDICT.TABLE_FULL;
  }

  /** Makes room for a new flow from the uplink. @returns whether there is any */
  private makeRoomInbound(party: Party): boolean {
    const { quotas, flows, second } = this.state;
    if (quotas.hasAllEmbryonic()) this.evict(quotas.embryonicVictim());
    return flows.size < flows.capacity || this.evict(quotas.victim(party, second));
  }

  /** Ends a flow in favour of another. @returns whether there was one */
  private evict(victim: Flow): boolean {
    if (victim === NO_FLOW) return false;
    this.state.end(victim);
    return true;
  }
}

function firstTimeout(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TIMEOUT.TCP_OPENING;
  if (protocol === PROTOCOL.UDP) return TIMEOUT.UDP_NEW;
  return isIcmp(protocol) ? TIMEOUT.ICMP : TIMEOUT.OTHER;
}

/** Of flows, in which neither family has the other's. */
function isIcmp(protocol: number): boolean {
  return protocol === PROTOCOL.ICMP || protocol === NEXT_HEADER.ICMPV6;
}

/** `judge` or `judge6`, as the destination is. @param ports whose destination is rules' selector */
export function judgeAddress(
  book: Addresses,
  ruleset: Ruleset,
  protocol: number,
  destination: Address,
  ports: Ports,
): number {
  const selector = destinationPort(ports);
  if (!isIpv6(destination)) return judge(ruleset, protocol, destination, selector);
  const { words } = book;
  const at = destination * ADDRESS_WORDS;
  return judge6(ruleset, protocol, words[at], words[at + 1], words[at + 2], words[at + 3], selector);
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP || isIcmp(protocol);
}

/** Whether a new packet's destination port can name a mapping; that of an ICMP query is only its type. */
function isReachedByPort(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP;
}
