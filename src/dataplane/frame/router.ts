// The way of a frame: most go the fast path (fast-path.ts); the others go the slow path, which is here: checks, flow
// look-up, and on a hit the rewriting in place; on a miss admission decides whether there will be a flow. A pure machine:
// frames in, frames out through the ring, a clock passed in. No allocation per frame, no exceptions; whatever is not
// understood is dropped, and counted by its verdict. It is long, since a frame's way reads best from top to bottom in one file;
// what is done on that way lies in the other files of this folder.
import { updateChecksum } from "../../wire/checksum.ts";
import {
  checkEthernet,
  ETHERNET,
  ETHERTYPE,
  isGroupMac,
  MAC_LENGTH,
  macHead,
  macTail,
  VLAN_ID,
  VLAN_TAG_LENGTH,
  writeMac,
} from "../../wire/ethernet.ts";
import { FAULT } from "../../wire/fault.ts";
import { NO_PROBLEM } from "../../wire/header-chain.ts";
import { isOfLink6 } from "../../wire/icmpv6.ts";
import { type Address, DONT_FRAGMENT, IPV4, PROTOCOL, toAddress } from "../../wire/ipv4.ts";
import { ADDRESS6_LENGTH, IPV6, LEAST_MTU6 } from "../../wire/ipv6.ts";
import { DNS_PORT, type Ports, sourcePort } from "../../wire/ports.ts";
import { ACK, clampMss, SYN, TCP, tcpHeaderLength } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { type AddressBook, isIpv6, type Number6 } from "../address-book.ts";
import { type Concerned, concernedBy, EVERYBODY } from "../concerned.ts";
import { SHARE, shareOf } from "../line-shares.ts";
import { isQuery, KIND, type Packet } from "../packet.ts";
import type { Parties } from "../parties.ts";
import { type Ring, VNET_LENGTH } from "../ring.ts";
import type { ClientSettings, Settings } from "../settings.ts";
import type { Drops } from "../tables/drops.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import type { FlowTable } from "../tables/flows.ts";
import { TRACK } from "../tables/tcp.ts";
import { TIMEOUT } from "../tables/timeouts.ts";
import { TokenBuckets } from "../tables/token-buckets.ts";
import { hasSameInterfaces, hasSameLayout, Topology } from "../topology.ts";
import {
  type Client,
  type Flow,
  type FlowSide,
  flowOf,
  type Iface,
  type Neighbour,
  NO_FLOW,
  NO_FLOW_SIDE,
  NOBODY,
  otherSide,
  type Party,
  type Side,
  sideOf,
} from "../types.ts";
import { malformed, VERDICT, VERDICT_NAMES, type Verdict } from "../verdict.ts";
import { type Fragmented, Fragments, NOT_FRAGMENTED } from "../waiting/fragments.ts";
import { HeldAnswers } from "../waiting/held-answers.ts";
import { OURSELVES, USABLE } from "../waiting/neighbours.ts";
import { NO_SLOT } from "../waiting/parked.ts";
import { Admission } from "./admission.ts";
import { Answers } from "./answers.ts";
import { DropNotes } from "./drop-notes.ts";
import { Endpoint } from "./endpoint.ts";
import { type FastPath, makeFastPath, NO_FAST_PATH } from "./fast-path.ts";
import { ERROR } from "./icmp-errors.ts";
import { IcmpRelay } from "./icmp-relay.ts";
import { rewrite, rewriteHeader } from "./rewrite.ts";
import { RuleChanges } from "./rule-changes.ts";
import { NOWHERE, State } from "./state.ts";
import { hasSoundOffload, isCutIntoFew, needsChecksum, segmentSize } from "./vnet.ts";

/** Records of each table that one `step` looks at, at most: whoever calls it may have frames that wait. */
export const RECORDS_AT_ONCE = 16;
/** Steps that `advance` makes. */
const STEPS = 32;
const TICK_MS = 1000;

/** @returns an int32, the lowest byte first */
const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);

/** What the router tells control of: DNS messages, as they lie in the ring's memory until the call returns. */
export interface ControlEvents {
  /**
   * The answer to a question of `ask`, or a segment for a connection of `sendSegment`.
   * @param at, length the message; 0 of a connection that new settings have cut
   */
  answered(id: number, at: number, length: number): void;
  /**
   * A name server's answer to a client with `watchNames`: it is held until `releaseAnswer`, or for three seconds.
   * @param at, length the message
   */
  passing(id: number, client: Client, at: number, length: number): void;
  /**
   * A name server's answer to any other client, which has gone on: so many of each a second.
   * @param at, length the message
   */
  seen?(client: Client, at: number, length: number): void;
  /**
   * Somebody else has an address of ours on the uplink: it is not used.
   * @param address 16 bytes in wire order
   * @param mac his MAC address
   */
  duplicated?(address: Uint8Array, mac: Uint8Array): void;
  /** Our address on the uplink, which was somebody else's, is looked for anew, or is another. */
  freed?(): void;
}

/** Answers to one client that control is told of: in a row, and a second. It may make nobody else wait, and people want to know names. */
const SEEN = { most: 16, perSecond: 8 };

/** What the router asks of a kernel path (kernel/path.ts). It knows no more of it: tests and replay have none. */
export interface KernelPath {
  /** Has a flow's frames forwarded in the kernel from now on, as far as it is fit for that. As Router.enterKernelPath. */
  enter(flow: Flow): void;
  /** A flow ends. */
  leave(flow: Flow): void;
  /** From now on no flow's frames are forwarded there; or none of a client's, or to a neighbour: until they are entered anew. */
  revoke(): void;
  revokeClient(client: Client): void;
  revokeNeighbour(neighbour: Neighbour): void;
  /** There are other parties. */
  follow(parties: Parties): void;
  /** @param second whole seconds of the clock, as State has it */
  setSecond(second: number): void;
}

/** What the router shares with the kernel. */
export interface KernelSide {
  /** Memory for the flow table's records, all zero. */
  readonly flowRecords?: Int32Array;
  /** Makes the kernel path, where there is to be one, over the router's tables. */
  readonly makePath?: (state: State, changes: RuleChanges) => KernelPath | undefined;
}

export class Router {
  /** Frames by verdict code, in shared memory: control reads them while the worker writes. */
  readonly counters = new Float64Array(new SharedArrayBuffer(VERDICT_NAMES.length * 8));

  private readonly state: State;
  private readonly changes: RuleChanges;
  private readonly fastPath: FastPath;
  private readonly kernelPath: KernelPath | undefined;
  private readonly endpoint: Endpoint;
  private readonly heldAnswers: HeldAnswers | undefined;
  /** By client: answers that control may still be told of. */
  private readonly seen = new TokenBuckets();
  private readonly view: DataView;
  private readonly packet: Packet;
  private readonly answers: Answers;
  private readonly admission: Admission;
  private readonly relay: IcmpRelay;
  private readonly fragments: Fragments;
  private readonly notes: DropNotes;
  /** The frame in hand on the slow path: what is left of it without a tag of VLAN 0. */
  private frameAt = NOWHERE;
  private frameLength = 0;
  private ticked = 0;
  /** Whether there may be flows that are over. */
  private mayExpire = false;
  private wasFragment = false;

  /**
   * @param fillRandom overwrites all words with random ones
   * @param control hears of DNS answers; without it, clients' answers are not held
   * @param kernel what it shares with the kernel, where there is to be a kernel path
   * @param isFast whether it has a fast path: at most one router of a thread, else all are slower
   */
  constructor(
    private readonly ring: Ring,
    settings: Settings,
    fillRandom: (words: Uint32Array) => void,
    private readonly control?: ControlEvents,
    kernel: KernelSide = {},
    isFast = true,
  ) {
    this.state = new State(ring, settings, fillRandom, kernel.flowRecords);
    this.view = ring.view;
    this.packet = this.state.packet;
    this.answers = new Answers(this.state);
    this.changes = new RuleChanges(this.state, this.answers);
    this.endpoint = new Endpoint(this.state, (id, at, length) => control?.answered(id, at, length));
    this.state.admits = (flow: Flow) => this.changes.admits(flow);
    this.state.discovery.onDuplicate = (address, head, tail) => {
      const mac = new DataView(new ArrayBuffer(MAC_LENGTH));
      writeMac(mac, 0, head, tail);
      control?.duplicated?.(this.state.book.bytes(address), new Uint8Array(mac.buffer));
    };
    this.state.discovery.onFreed = () => control?.freed?.();
    this.heldAnswers = control && new HeldAnswers(ring, this.state.flows, control.passing, this.state.admits);
    this.admission = new Admission(this.state, this.answers, this.endpoint);
    this.relay = new IcmpRelay(this.state);
    this.fragments = new Fragments(ring, this.state.flows, this.state.book);
    this.notes = new DropNotes(this.state);
    this.numberParties();
    this.fastPath = isFast ? makeFastPath(this.state, this.changes) : NO_FAST_PATH;
    const kernelPath = kernel.makePath?.(this.state, this.changes);
    if (kernelPath !== undefined) {
      this.state.onEnd = (flow) => kernelPath.leave(flow);
      this.state.neighbours.onChange = (neighbour) => kernelPath.revokeNeighbour(neighbour);
      this.kernelPath = kernelPath;
    }
  }

  /** The flow table, in shared memory. */
  get flows(): FlowTable {
    return this.state.flows;
  }

  /** What the numbers of IPv6 addresses mean, in shared memory. */
  get addresses(): AddressBook {
    return this.state.book;
  }

  /** What became of frames that were not forwarded, in shared memory. */
  get drops(): Drops {
    return this.notes.drops;
  }

  /** How often each rule has decided something, in shared memory. */
  get ruleHits(): SharedArrayBuffer {
    return this.state.ruleHits.memory;
  }

  /** Of the last frame received: the rule that decided it (0: the policy), or -1 when none was asked. */
  get lastRule(): number {
    return this.state.lastRule;
  }

  /** Of the last frame received: its flow, or NO_FLOW. */
  get lastFlow(): Flow {
    return this.state.lastFlow;
  }

  /** Of the last frame received: its flow, unless it was a fragment, which others follow that must not be overtaken. */
  get flowToEnter(): Flow {
    return this.wasFragment ? NO_FLOW : this.state.lastFlow;
  }

  /** @returns the client that a host on an interface belongs to, or NOBODY */
  clientAt(iface: Iface, address: Address): Client {
    return this.state.topology.clientOn(iface, address);
  }

  /** The same of IPv6. @param a, b, c, d words of the address, which need not be in use */
  clientAt6(iface: Iface, a: number, b: number, c: number, d: number): Client {
    const { clientInterface, ipv6 } = this.state.topology;
    const client = ipv6.clientOfWords(a, b, c, d);
    return client !== NOBODY && clientInterface[client] === iface ? client : NOBODY;
  }

  /** @returns the side of a flow that is on an interface; side 0 where both are */
  sideOn(flow: Flow, iface: Iface): Side {
    return this.state.interfaceOf(flow, 0) === iface ? 0 : 1;
  }

  /**
   * Has a flow take the kernel path from now on, if there is one and the flow is fit for it.
   * @param flow what `flowToEnter` was for a frame; it may have ended
   */
  enterKernelPath(flow: Flow): void {
    if (flow !== NO_FLOW) this.kernelPath?.enter(flow);
  }

  /** Whether `step` has something to do, which does not wait for frames. */
  get isBusy(): boolean {
    const { neighbours, mappings, isMoving } = this.state;
    return this.changes.isSweeping || neighbours.isBusy || mappings.isBusy || this.mayExpire || isMoving;
  }

  /** Moves the clock: what is due then, `step` does. @param now ms, never going back */
  setTime(now: number): void {
    const { state } = this;
    const { second } = state;
    state.setTime(now);
    this.drops.setTime(now);
    this.mayExpire ||= state.second !== second;
    this.kernelPath?.setSecond(state.second);
    this.heldAnswers?.expire(now);
    if (now - this.ticked < TICK_MS) return;
    this.ticked = now;
    state.neighbours.tick(now);
    state.arp.tick();
    state.discovery.tick(now);
    state.mappings.tick();
    this.fragments.expire(now);
    this.endpoint.expire();
  }

  /**
   * A little of what is to be done beside frames: ends flows and mappings whose time is up, asks by ARP, looks at flows by new
   * settings. It takes a few dozen µs at most.
   */
  step(): void {
    const { state, changes } = this;
    if (changes.isSweeping) changes.sweep(RECORDS_AT_ONCE);
    if (state.neighbours.isBusy) state.neighbours.step(RECORDS_AT_ONCE);
    if (state.mappings.isBusy) state.mappings.expire(state.second, RECORDS_AT_ONCE);
    if (this.mayExpire) this.expire();
    if (state.isMoving && !changes.isFollowing && !state.mappings.isBusy) state.hasMoved();
  }

  /** Moves the clock, and does so much of what is due as one batch of frames can wait for. @param now ms, never going back */
  advance(now: number): void {
    this.setTime(now);
    for (let i = 0; i < STEPS && this.isBusy; i++) this.step();
  }

  private expire(): void {
    const { state } = this;
    for (let i = 0; i < RECORDS_AT_ONCE; i++) {
      const flow = state.wheel.expire(state.second);
      if (flow === NO_FLOW) {
        this.mayExpire = false;
        return;
      }
      const deadline = state.flows.deadline(flow);
      if (deadline > state.second) state.wheel.file(flow, deadline);
      else state.end(flow);
    }
  }

  /**
   * Handles one frame, in place.
   * @param iface number of the interface that it came in on
   * @param at offset of the frame in the ring's memory, behind its virtio_net_hdr
   * @param length bytes of the frame
   */
  receive(iface: number, at: number, length: number): Verdict {
    this.state.lastRule = -1;
    if (!this.fastPath.forward(iface as Iface, at, length)) {
      const verdict = this.receiveSlowly(iface, at, length);
      this.state.unknownAt = NOWHERE;
      return verdict;
    }
    this.wasFragment = false;
    this.counters[VERDICT.FORWARDED]++;
    return VERDICT.FORWARDED;
  }

  /**
   * A frame that had the verdict "forwarded" was lost in transmission.
   * @param verdict that it has instead
   * @param iface, at, length as `receive` had them
   * @param flow what `flowToEnter` was for it
   */
  countLost(verdict: Verdict, iface: number, at: number, length: number, flow: Flow): void {
    this.counters[VERDICT.FORWARDED]--;
    this.counters[verdict]++;
    this.notes.noteLost(verdict, iface as Iface, at, length, flow);
  }

  /** The slow path: what `receive` does, for frames of all kinds. */
  receiveSlowly(iface: number, at: number, length: number): Verdict {
    this.state.lastRule = -1;
    this.state.lastFlow = NO_FLOW;
    this.packet.at = NOWHERE;
    this.ring.share = SHARE.OUTSIDE; // as long as it is not known to be of a client's flow
    const verdict = this.ethernet(iface as Iface, at, length);
    this.state.countRule();
    this.wasFragment = this.packet.fragment !== 0;
    this.counters[verdict]++;
    if (verdict !== VERDICT.FORWARDED) this.notes.note(verdict, iface as Iface, this.frameAt, this.frameLength);
    this.packet.letGo();
    return verdict;
  }

  /** Reads ahead what `receive` will need for a batch of frames. @param count how many there are, at most READ_AHEAD */
  readAhead(offsets: Int32Array, lengths: Int32Array, count: number): void {
    this.fastPath.readAhead(offsets, lengths, count);
  }

  /**
   * Whether new settings, or a client's new rules, can be put in force now; else once enough of `step` has been done. No flow is to be
   * so far behind that it can't be told, and none that is of other clients or interfaces when these change again.
   * @param client its number, or undefined for settings
   */
  mayApply(client?: number): boolean {
    if (client !== undefined) return this.changes.mayChange(client as Client);
    return this.changes.mayChangeAll() && !this.changes.isFollowing && !this.state.isMoving;
  }

  /**
   * Puts new settings in force, between two frames, and does all that follows from that. Flows that they still allow live on, all
   * others end: at once where there are other interfaces or addresses, else each before its next packet.
   */
  apply(settings: Settings): void {
    while (!this.mayApply()) this.step();
    for (const _ of this.applying(settings));
    while (this.changes.isFollowing || this.state.isMoving || this.state.neighbours.isSettling) this.step();
  }

  /**
   * The same a little at a time: between two of these frames may be handled. When it is done, no frame passes any more that these
   * settings refuse; what no frame depends on, `step` does.
   * @param settings such as `mayApply` allows
   * @param enforce is called when they come into force: then and not before interfaces are numbered as they say. It says whether that can
   * be; if not, the old settings stay in force
   */
  *applying(settings: Settings, enforce = () => true): Generator<void> {
    const beforeTopology = this.state.topology;
    const before = beforeTopology.settings;
    const isSame = hasSameLayout(settings, before);
    yield;
    const concerned = this.kernelPath === undefined ? [] : concernedBy(before, settings);
    yield;
    const topology = topologyFor(settings, beforeTopology, isSame);
    yield;
    if (!enforce()) {
      topology?.release();
      return;
    }
    this.drops.countSettings();
    this.revoke(concerned);
    if (isSame) {
      this.applyRules(settings, topology);
      if (topology !== undefined) yield* this.state.followingLinks(beforeTopology);
      return;
    }
    const cut = this.endpoint.clear();
    this.state.follow(topology ?? beforeTopology);
    this.changes.follow();
    this.numberParties();
    this.notes.leaveBehind(before);
    this.fastPath.readTopology();
    this.endpoint.tellOfEnd(cut);
    yield* this.state.followingLinks(beforeTopology);
    yield;
    this.notes.catchUp();
  }

  /** Puts settings in force that have the same layout as those before. @param topology with their interfaces, where those are in another state */
  private applyRules(settings: Settings, topology: Topology | undefined): void {
    if (topology !== undefined) {
      this.heldAnswers?.reset(this.state.topology.parties); // they are made for the interface as it was
      this.state.followInterfaces(topology);
    }
    this.changes.replaceRules(settings);
    this.fastPath.readTopology();
  }

  private revoke(concerned: Concerned): void {
    if (concerned === EVERYBODY) this.kernelPath?.revoke();
    else for (const client of concerned) this.kernelPath?.revokeClient(client);
  }

  /** Gives one client new rules, as `apply` would, but without a look at the other clients. */
  setClient(client: number, { ruleset }: Pick<ClientSettings, "ruleset">): void {
    while (!this.mayApply(client)) this.step();
    this.kernelPath?.revokeClient(client as Client);
    this.changes.setRules(client as Client, ruleset);
  }

  /** As `setClient`, of rules that rules/packed.ts has written: nothing is made for them, but for a client's first since new settings. */
  takeClientRules(client: number, packed: Int32Array<ArrayBufferLike>, at: number): void {
    while (!this.mayApply(client)) this.step();
    this.kernelPath?.revokeClient(client as Client);
    this.changes.takeRules(client as Client, packed, at);
  }

  /** Tells everybody on our interfaces of our addresses there, when the program starts. */
  announce(): void {
    this.state.followLinks();
  }

  /** Asks a name server; the answer comes to ControlEvents.answered, if one comes. @param server uint32, host order */
  ask(id: number, server: number, bytes: Uint8Array, at = 0, length = bytes.length): void {
    this.endpoint.ask(id, toAddress(server), bytes, at, length);
  }

  /** Sends a segment to a name server; those that come back come to ControlEvents.answered. As Endpoint.sendSegment. */
  sendSegment(id: number, server: number, bytes: Uint8Array, at = 0, length = bytes.length): void {
    this.endpoint.sendSegment(id, toAddress(server), bytes, at, length);
  }

  /** As `ask`, of a server of IPv6: its address, in wire order, is the first ADDRESS6_LENGTH of the bytes. */
  ask6(id: number, bytes: Uint8Array, at = 0, length = bytes.length): void {
    const server = this.takeAddress(bytes, at);
    this.endpoint.ask(id, server, bytes, at + ADDRESS6_LENGTH, length - ADDRESS6_LENGTH);
    this.state.book.release(server);
  }

  /** As `sendSegment`, to a server that is told as to `ask6`. */
  sendSegment6(id: number, bytes: Uint8Array, at = 0, length = bytes.length): void {
    const server = this.takeAddress(bytes, at);
    this.endpoint.sendSegment(id, server, bytes, at + ADDRESS6_LENGTH, length - ADDRESS6_LENGTH);
    this.state.book.release(server);
  }

  /** @returns the number of an address in wire order, held until it is released */
  private takeAddress(bytes: Uint8Array, at: number): Number6 {
    const { book } = this.state;
    return book.take(wireWord(bytes, at), wireWord(bytes, at + 4), wireWord(bytes, at + 8), wireWord(bytes, at + 12));
  }

  /** Forgets a connection to a name server. */
  hangUp(id: number): void {
    this.endpoint.hangUp(id);
  }

  /**
   * Ends a flow, and tells its originator, as new rules do that refuse it. Where there is none, there is nothing to do.
   * @param bytes, at source, destination and ports of what the originator sends, four bytes each, the lowest first
   */
  endFlow(protocol: number, bytes: Uint8Array, at: number): void {
    const source = wordAt(bytes, at) as Address;
    const destination = wordAt(bytes, at + 4) as Address;
    const found = this.state.flows.find(source, destination, wordAt(bytes, at + 8) as Ports, protocol);
    if (found === NO_FLOW_SIDE || sideOf(found) !== 0) return;
    if (this.changes.admits(flowOf(found))) this.changes.cut(flowOf(found));
  }

  /** Lets go of a client's answer that ControlEvents.passing has shown. */
  releaseAnswer(id: number): void {
    this.heldAnswers?.release(id);
  }

  /** From now on the kernel forwards nothing either. */
  close(): void {
    this.kernelPath?.revoke();
  }

  /** What waits and has no neighbour to wait for does not outlive a change of interfaces and parties. */
  private numberParties(): void {
    const { parties } = this.state.topology;
    this.fragments.reset(parties);
    this.heldAnswers?.reset(parties);
    this.seen.grow(this.state.topology.settings.clients.length);
    this.kernelPath?.follow(parties);
  }

  private ethernet(iface: Iface, at: number, length: number): Verdict {
    this.frameAt = at;
    this.frameLength = length;
    const { view } = this;
    const { topology, arp, discovery } = this.state;
    const fault = checkEthernet(length);
    if (fault !== 0) return malformed(fault);
    const type = view.getUint16(at + ETHERNET.TYPE);
    if (type === ETHERTYPE.VLAN || type === ETHERTYPE.SERVICE_VLAN) return this.tagged(iface, at, length);
    if (type === ETHERTYPE.IPV6 && topology.hasIpv6[iface] === 0) return VERDICT.NO_IPV6;
    const isToGroup = isGroupMac(view, at);
    if (isToGroup) {
      // Of broadcasts only ARP's are for a router; IPv4 in a group frame is never forwarded (RFC 1812 section 5.3.4).
      if (type === ETHERTYPE.ARP) return arp.receive(iface, at, length);
      if (type !== ETHERTYPE.IPV6) return VERDICT.NOT_TO_US;
    }
    const toUs = macHead(view, at) === topology.macHead[iface] && macTail(view, at) === topology.macTail[iface];
    if (!toUs && !isToGroup && !topology.settings.interfaces[iface].anyMac) return VERDICT.NOT_TO_US;
    if (type === ETHERTYPE.ARP) return arp.receive(iface, at, length);
    if (type !== ETHERTYPE.IPV4 && type !== ETHERTYPE.IPV6) return VERDICT.ETHERTYPE;
    // A group is nobody's source address (IEEE 802.3 section 3.2.3): what we answered would go to all of it.
    if (isGroupMac(view, at + ETHERNET.SOURCE)) return VERDICT.MAC_SPOOFED;
    const defect = this.packet.parse(view, iface, at, length);
    if (defect !== 0) {
      this.tellOfProblem();
      return malformed(defect);
    }
    // Of IPv6 in a group frame only what is of the link alone is for a router.
    if (this.isOfLink()) return discovery.receive(this.packet);
    if (isToGroup) return VERDICT.NOT_TO_US;
    if (!hasSoundOffload(view, this.packet)) return VERDICT.OFFLOAD;
    if (!isCutIntoFew(view, at, this.packet.total)) return VERDICT.SEGMENTS;
    const nobodys = this.packet.isIpv6 ? !this.packet.hasNumbers : this.isOfNumbers();
    if (nobodys) return this.fromOrToNobody();
    const verdict = this.route(false);
    if (verdict === VERDICT.SPOOFED) this.tellOfSource();
    return verdict;
  }

  /** Tells a host of a network whose prefix has become another that it sends from the old one (RFC 7084 L-14, RFC 4443 section 3.1). */
  private tellOfSource(): void {
    const { packet, state } = this;
    const { iface, at, source } = packet;
    if (!packet.isIpv6 || !state.topology.mayHaveBeenOn(iface, source as Number6)) return;
    if (state.topology.hasPinnedMac(this.view, state.topology.firstOn(iface), at)) {
      state.errors.send(iface, at, ERROR.SOURCE_POLICY);
    }
  }

  /** Whether the packet in hand is a message that passes no router: of Neighbour Discovery, of listeners. */
  private isOfLink(): boolean {
    const { packet, view } = this;
    return packet.isIpv6 && packet.kind === KIND.ICMP_OTHER && isOfLink6(view.getUint8(packet.transport));
  }

  /** Whether an IPv4 packet has addresses of 0.0.0.0/8, which are not to be taken for the numbers of IPv6 addresses. */
  private isOfNumbers(): boolean {
    return isIpv6(this.packet.source) || isIpv6(this.packet.destination);
  }

  /** A packet with an address that is nobody's, or has no number: nothing is looked up for it. */
  private fromOrToNobody(): Verdict {
    const { packet, state } = this;
    if (packet.isIpv6 && state.book.size === state.book.capacity) return VERDICT.TABLE_FULL;
    if (isIpv6(packet.source) && !packet.isIpv6) return VERDICT.SPOOFED;
    if (this.sender(false) === SPOOFED) return VERDICT.SPOOFED;
    return packet.iface === state.topology.uplink ? VERDICT.UNSOLICITED : VERDICT.UNROUTABLE;
  }

  /** Tells the sender of an IPv6 packet what of its headers is at fault, where they are such that he is to be told (RFC 4443). */
  private tellOfProblem(): void {
    const { packet, state } = this;
    const { chain } = packet;
    if (!packet.isIpv6 || chain.problem === NO_PROBLEM || !packet.hasNumbers || this.sender(false) === SPOOFED) return;
    state.errors.sendProblem(packet.iface, packet.at, chain.problem, chain.problemAt - packet.ip, chain.evenGroups);
  }

  /** A frame with a VLAN tag in front of its EtherType. VLAN 0 is none: such a tag only says a priority (802.1Q section 6.9). */
  private tagged(iface: Iface, at: number, length: number): Verdict {
    const { view, ring } = this;
    const untagged = length - VLAN_TAG_LENGTH;
    const fault = checkEthernet(untagged);
    if (fault !== 0) return malformed(fault);
    if ((view.getUint16(at + ETHERNET.TYPE + 2) & VLAN_ID) !== 0) return VERDICT.VLAN;
    const start = at - VNET_LENGTH;
    ring.bytes.copyWithin(start + VLAN_TAG_LENGTH, start, at + ETHERNET.TYPE);
    return this.ethernet(iface, at + VLAN_TAG_LENGTH, untagged);
  }

  /** @param looped whether the packet in hand is a client's own to our uplink address, turned round: a hairpin */
  private route(looped: boolean): Verdict {
    const { kind, fragment } = this.packet;
    if (this.state.scrub.isRefused(this.packet)) return VERDICT.IP_OPTIONS;
    if (kind === KIND.FLOW)
      return fragment === 0 ? this.flowPacket(looped, NOT_FRAGMENTED) : this.firstFragment(looped);
    if (kind === KIND.ICMP_ERROR) return this.icmpError(looped);
    return kind === KIND.LATER_FRAGMENT ? this.laterFragment(looped) : VERDICT.ICMP_TYPE;
  }

  /**
   * A packet that can belong to a flow: of the flow it fits, or of one that it opens, if admission lets it.
   * @param fragmented the packet that the one in hand is the first fragment of, or NOT_FRAGMENTED
   */
  private flowPacket(looped: boolean, fragmented: Fragmented): Verdict {
    const { packet, state } = this;
    const isPlain = packet.at === state.unknownAt && packet.protocol === PROTOCOL.UDP;
    const found = state.findPacket();
    const { admission } = this;
    let verdict: Verdict;
    if (found !== NO_FLOW_SIDE && this.isFromSide(sideOf(found)) && this.changes.admits(flowOf(found))) {
      if (!this.isAnother(found)) return this.forward(flowOf(found), sideOf(found), fragmented);
      verdict = admission.instead(flowOf(found), looped);
    } else {
      verdict = packet.iface === state.topology.uplink ? admission.fromUplink(looped) : admission.fromClient();
    }
    if (verdict !== VERDICT.FORWARDED) return verdict;
    const flow = admission.opened;
    this.changes.stamp(flow);
    // The fast path left it only because it had no flow.
    if (isPlain && this.fastPath.forward(packet.iface, packet.at, this.frameLength)) return VERDICT.FORWARDED;
    return this.forward(flow, 0, fragmented);
  }

  /** Whether the packet in hand opens a connection from side 1 of one that is over. */
  private isAnother(found: FlowSide): boolean {
    const { view, packet, state } = this;
    if (sideOf(found) === 0 || packet.protocol !== PROTOCOL.TCP) return false;
    if ((view.getUint8(packet.transport + TCP.FLAGS) & (SYN | ACK)) !== SYN) return false;
    return state.tcp.isOver(flowOf(found));
  }

  /**
   * ICMP: queries come from side 0, replies from side 1. A query whose identifier happens to be a type's number looks, in
   * the form of ports, like the other side's reply.
   */
  private isFromSide(side: Side): boolean {
    const { view, packet } = this;
    return !packet.isIcmp || isQuery(view.getUint8(packet.transport)) === (side === 0);
  }

  /** A packet of a known flow. */
  private forward(flow: Flow, side: Side, fragmented: Fragmented): Verdict {
    const { view, packet, state } = this;
    state.lastFlow = flow;
    const obstacle = this.obstacle(flow, side);
    if (obstacle !== VERDICT.FORWARDED) return obstacle;
    if (packet.protocol !== PROTOCOL.TCP) {
      this.trackOther(flow, side);
    } else {
      const verdict = this.trackTcp(flow, side);
      if (verdict !== VERDICT.FORWARDED) return verdict;
    }
    if (fragmented !== NOT_FRAGMENTED) this.settle(fragmented, flow, side);
    rewrite(view, state.flows, state.book, flow, side, packet);
    return this.transmit(flow, side);
  }

  /**
   * Looks for what keeps a flow's packet, still as it came in, from going on.
   * @returns VERDICT.FORWARDED if nothing does, or the verdict that drops it, after telling its sender
   */
  private obstacle(flow: Flow, side: Side): Verdict {
    const { view, packet } = this;
    const { flows, neighbours, errors, topology } = this.state;
    const { iface, at } = packet;
    if (iface !== topology.uplink && neighbours.isImpostor(flows.neighbour(flow, side), at)) return VERDICT.MAC_SPOOFED;
    if (packet.hopsLeft(view) <= 1) {
      errors.send(iface, at, ERROR.TIME_EXCEEDED);
      return VERDICT.TTL;
    }
    const next = flows.neighbour(flow, otherSide(side));
    const egress = neighbours.interfaceOf[next];
    if (topology.isDown[egress] === 1 && next !== OURSELVES) {
      errors.send(iface, at, ERROR.NO_HOST);
      return VERDICT.EGRESS_DOWN;
    }
    const mtu = topology.mtu[egress];
    if (packet.total > mtu && !this.canBeCut(mtu)) {
      errors.send(iface, at, ERROR.TOO_BIG, packet.isIpv6 ? Math.max(mtu, LEAST_MTU6) : mtu);
      return VERDICT.TOO_BIG;
    }
    if (this.state.scrub.isRefusedTo(flows.source(flow, otherSide(side)), packet)) return VERDICT.IP_OPTIONS;
    if (neighbours.state[next] >= USABLE || neighbours.mayAnswer(next)) return VERDICT.FORWARDED;
    errors.send(iface, at, ERROR.NO_HOST);
    return VERDICT.UNRESOLVED;
  }

  /** Whether a packet larger than the MTU passes: as segments that the kernel makes of it, or as fragments that we make. */
  private canBeCut(mtu: number): boolean {
    const { view, packet } = this;
    const segment = segmentSize(view, packet.at);
    if (segment === 0 && packet.isIpv6) return false; // no router cuts them (RFC 8200 section 5)
    if (segment === 0) return (view.getUint16(packet.ip + IPV4.FRAGMENT) & DONT_FRAGMENT) === 0;
    const transportHeader =
      packet.protocol === PROTOCOL.TCP ? tcpHeaderLength(view, packet.transport) : UDP.HEADER_LENGTH;
    return packet.transport - packet.ip + transportHeader + segment <= mtu;
  }

  /** Sends a rewritten packet to the side other than `side`. */
  private transmit(flow: Flow, side: Side): Verdict {
    const { view, packet, ring } = this;
    const { flows, neighbours, topology } = this.state;
    const { at } = packet;
    const next = flows.neighbour(flow, otherSide(side));
    this.state.scrub.change(packet);
    if (next === OURSELVES) return this.hairpin(flow);
    ring.share = shareOf(flows.client(flow), flows.source(flow, side));
    const egress = neighbours.interfaceOf[next];
    writeMac(view, at + ETHERNET.SOURCE, topology.macHead[egress], topology.macTail[egress]);
    const isKnown = neighbours.state[next] >= USABLE;
    if (isKnown) writeMac(view, at, neighbours.head[next], neighbours.tail[next]);
    const length = ETHERNET.HEADER_LENGTH + packet.total;
    if (packet.total > topology.mtu[egress] && segmentSize(view, at) === 0) {
      return this.transmitFragments(flow, egress, next, isKnown);
    }
    if (!isKnown) return neighbours.queue(next, at, length, flow, this.state.quotas.partyOf(flow));
    if (this.isHeld(flow, side, egress, length)) return VERDICT.ANSWER_HELD;
    ring.send(egress, at, length);
    return VERDICT.FORWARDED;
  }

  /** Whether the packet in hand, ready to be sent, waits until control has seen it: a name server's answer to a client. */
  private isHeld(flow: Flow, side: Side, egress: Iface, length: number): boolean {
    const { packet, heldAnswers } = this;
    const { flows, topology, quotas, now } = this.state;
    if (heldAnswers === undefined || side !== 1 || packet.protocol !== PROTOCOL.UDP || packet.fragment !== 0)
      return false;
    if (sourcePort(packet.ports) !== DNS_PORT || !topology.isNameServer(packet.source)) return false;
    if (!flows.hasState(flow, FLOW_STATE.OUTBOUND)) return false;
    const client = flows.client(flow);
    if (!topology.client(client).watchNames) {
      this.tellSeen(client);
      return false;
    }
    return heldAnswers.hold(egress, packet.at, length, packet.transport, flow, quotas.partyOf(flow), now);
  }

  /** Shows control the answer in hand. */
  private tellSeen(client: Client): void {
    const { packet, view } = this;
    if (!this.seen.take(client, SEEN.perSecond, SEEN.most, this.state.now)) return;
    const length = view.getUint16(packet.transport + UDP.LENGTH) - UDP.HEADER_LENGTH;
    this.control?.seen?.(client, packet.transport + UDP.HEADER_LENGTH, length);
  }

  private transmitFragments(flow: Flow, egress: Iface, next: Neighbour, isKnown: boolean): Verdict {
    const { ring } = this;
    const { neighbours, topology, quotas, splitter } = this.state;
    let verdict = VERDICT.FORWARDED;
    splitter.begin(this.packet.at, topology.mtu[egress]);
    while (splitter.next()) {
      if (isKnown) ring.send(egress, splitter.at, splitter.length);
      else verdict = neighbours.queue(next, splitter.at, splitter.length, flow, quotas.partyOf(flow));
    }
    return verdict;
  }

  /** A packet to our own uplink address has become one from it: it comes in again, as if the uplink had sent it back. */
  private hairpin(flow: Flow): Verdict {
    const { packet, state } = this;
    const fault = packet.parse(this.view, state.topology.uplink, packet.at, ETHERNET.HEADER_LENGTH + packet.total);
    const verdict = fault !== 0 ? malformed(fault) : this.route(true);
    this.returnError();
    state.lastFlow = flow;
    return verdict;
  }

  /** An error about the second half of a hairpin goes the way of all errors: to our uplink address, and to its flow's client. */
  private returnError(): void {
    const { errors, topology } = this.state;
    const length = errors.returnedLength;
    errors.returnedLength = 0;
    if (length !== 0 && this.packet.parse(this.view, topology.uplink, errors.returnedAt, length) === 0)
      this.route(true);
  }

  /** @returns VERDICT.FORWARDED, or the verdict that drops the segment */
  private trackTcp(flow: Flow, side: Side): Verdict {
    const { view, packet, state } = this;
    const timeout = state.timeouts.of(flow);
    const wasAssured = state.flows.hasState(flow, FLOW_STATE.ASSURED);
    const tracked = state.tcp.track(view, flow, side, packet.transport, packet.length);
    if (tracked === TRACK.PASS) state.refresh(flow, timeout);
    else if (tracked !== TRACK.PASS_UNREFRESHED) return tracked;
    if (state.flows.hasState(flow, FLOW_STATE.ASSURED) !== wasAssured) state.assure(flow);
    if ((view.getUint8(packet.transport + TCP.FLAGS) & SYN) !== 0) this.clamp(flow, side);
    return VERDICT.FORWARDED;
  }

  /** Lowers a SYN's MSS, where one of its interfaces asks for it: it counts neither IP's header nor TCP's (RFC 9293 section 3.7.1). */
  private clamp(flow: Flow, side: Side): void {
    const { view, packet } = this;
    const { topology, flows, neighbours } = this.state;
    const egress = neighbours.interfaceOf[flows.neighbour(flow, otherSide(side))];
    const { interfaces } = topology.settings;
    if (!interfaces[packet.iface].clampMss && !interfaces[egress].clampMss) return;
    const mtu = Math.min(topology.mtu[packet.iface], topology.mtu[egress]);
    const headers = (packet.isIpv6 ? IPV6.HEADER_LENGTH : IPV4.HEADER_LENGTH) + TCP.HEADER_LENGTH;
    const delta = clampMss(view, packet.transport, mtu - headers);
    const field = packet.transport + TCP.CHECKSUM;
    if (delta !== 0 && !needsChecksum(view, packet.at)) {
      view.setUint16(field, updateChecksum(view.getUint16(field), delta));
    }
  }

  /** The first answer assures a flow. Of UDP only the client's packets keep it alive (RFC 4787 REQ-6). */
  private trackOther(flow: Flow, side: Side): void {
    const { state, packet } = this;
    const timeout = state.timeouts.of(flow);
    const isFirstAnswer = side === 1 && !state.flows.hasState(flow, FLOW_STATE.ASSURED);
    if (isFirstAnswer) {
      state.flows.setState(flow, state.flows.state(flow) | FLOW_STATE.ASSURED);
      state.assure(flow);
      if (packet.protocol === PROTOCOL.UDP) {
        state.flows.setTimeout(flow, sourcePort(packet.ports) === DNS_PORT ? TIMEOUT.DNS : TIMEOUT.UDP);
      }
    }
    const fromUplink = packet.iface === state.topology.uplink;
    if (isFirstAnswer || !fromUplink || packet.protocol !== PROTOCOL.UDP) state.refresh(flow, timeout);
  }

  private icmpError(looped: boolean): Verdict {
    const { view, packet, state, relay } = this;
    if (this.sender(looped) === SPOOFED) return VERDICT.SPOOFED;
    if (packet.hopsLeft(view) <= 1) return VERDICT.TTL;
    const verdict = relay.check();
    if (verdict !== VERDICT.FORWARDED) return verdict;
    const from = relay.find();
    if (from === NO_FLOW_SIDE) return VERDICT.ICMP_ORPHAN;
    // One that is looped is our own about a hairpin, or has been judged.
    const untrue = looped ? VERDICT.FORWARDED : relay.judgeMtu();
    if (untrue !== VERDICT.FORWARDED) return untrue;
    const flow = flowOf(from);
    if (!this.changes.admits(flow)) return VERDICT.ICMP_ORPHAN;
    const side = sideOf(from);
    if (state.scrub.isRefusedTo(state.flows.source(flow, otherSide(side)), packet)) return VERDICT.IP_OPTIONS;
    state.lastFlow = flow;
    relay.rewrite(from);
    packet.lowerHops(view);
    // About an error there is no error (RFC 1122 section 3.2.2): one that is too big is lost.
    const next = state.flows.neighbour(flow, otherSide(side));
    const egress = state.neighbours.interfaceOf[next];
    if (state.topology.isDown[egress] === 1 && next !== OURSELVES) return VERDICT.EGRESS_DOWN;
    const mtu = state.topology.mtu[egress];
    if (packet.total > mtu && !this.canBeCut(mtu)) return VERDICT.TOO_BIG;
    return this.transmit(flow, side);
  }

  private firstFragment(looped: boolean): Verdict {
    const { packet, fragments, state } = this;
    const { iface } = packet;
    const sender = this.sender(looped);
    if (sender === SPOOFED) return VERDICT.SPOOFED;
    const fragmented = fragments.packetOf(packet, sender, state.now);
    const refused = fragments.mark(fragmented, packet);
    if (refused !== VERDICT.FORWARDED) return refused;
    const verdict = this.flowPacket(looped, fragmented);
    if (verdict === VERDICT.ANSWERED) fragments.answer(fragmented);
    else if (verdict !== VERDICT.FORWARDED && verdict !== VERDICT.QUEUED) {
      fragments.condemn(fragmented);
      return verdict;
    }
    this.releaseHeld(fragmented, iface);
    return verdict;
  }

  /** Notes which flow a packet belongs to whose first fragment, still as it came in, is in hand. */
  private settle(fragmented: Fragmented, flow: Flow, side: Side): void {
    const { view, packet } = this;
    const at = packet.transport;
    const isTcp = packet.protocol === PROTOCOL.TCP;
    const before = packet.carried - packet.length; // extension headers
    const sequence = isTcp ? (view.getInt32(at + TCP.SEQUENCE) - tcpHeaderLength(view, at) - before) | 0 : 0;
    this.fragments.settle(fragmented, flow, side, sequence);
  }

  /** Forwards or answers the fragments of a packet that came before its first one. @param iface where they came in */
  private releaseHeld(fragmented: Fragmented, iface: Iface): void {
    const { view, packet, fragments } = this;
    const { held } = fragments;
    for (let slot = held.oldest(fragmented); slot !== NO_SLOT; slot = held.oldest(fragmented)) {
      const length = held.length(slot);
      const fault = packet.parse(view, iface, held.take(slot), length);
      const from = fragments.flowSideOf(fragmented);
      if (fault !== FAULT.NONE) continue;
      if (fragments.isAnswered(fragmented)) this.answers.sendBack();
      else if (from !== NO_FLOW_SIDE) this.forwardLater(fragmented, from);
    }
    fragments.forgetIfWhole(fragmented);
  }

  private laterFragment(looped: boolean): Verdict {
    const { packet, fragments, state } = this;
    const sender = this.sender(looped);
    if (sender === SPOOFED) return VERDICT.SPOOFED;
    const fragmented = fragments.packetOf(packet, sender, state.now);
    const refused = fragments.mark(fragmented, packet);
    if (refused !== VERDICT.FORWARDED) return refused;
    if (fragments.isWaiting(fragmented)) {
      return fragments.hold(fragmented, packet, ETHERNET.HEADER_LENGTH + packet.total);
    }
    if (fragments.isAnswered(fragmented)) {
      const verdict = this.answers.sendBack();
      fragments.forgetIfWhole(fragmented);
      return verdict;
    }
    const from = fragments.flowSideOf(fragmented);
    if (from === NO_FLOW_SIDE || !this.changes.admits(flowOf(from))) return VERDICT.FRAGMENT;
    const verdict = this.forwardLater(fragmented, from);
    fragments.forgetIfWhole(fragmented);
    return verdict;
  }

  /** A fragment without transport header, of a packet whose flow is known. */
  private forwardLater(fragmented: Fragmented, from: FlowSide): Verdict {
    const { view, packet, state } = this;
    const flow = flowOf(from);
    const side = sideOf(from);
    state.lastFlow = flow;
    const obstacle = this.obstacle(flow, side);
    if (obstacle !== VERDICT.FORWARDED) return obstacle;
    if (state.flows.protocol(flow) === PROTOCOL.TCP) {
      state.tcp.extend(flow, side, this.fragments.sequenceEnd(fragmented, packet));
    }
    rewriteHeader(view, state.flows, state.book, flow, side, packet);
    return this.transmit(flow, side);
  }

  /** @returns the party that sent the packet in hand, or SPOOFED when nobody can have. A hairpin comes from the uplink */
  private sender(looped: boolean): Party {
    const { topology } = this.state;
    const { iface, source, at } = this.packet;
    if (looped) return topology.parties.uplink;
    if (iface === topology.uplink) return topology.isUplinkHost(source) ? topology.parties.uplink : SPOOFED;
    const client = topology.clientOn(iface, source);
    if (client === NOBODY || !topology.hasPinnedMac(this.view, client, at)) return SPOOFED;
    return topology.host(client, source);
  }
}

const SPOOFED = -1 as Party;

/** @returns int32 of four bytes in wire order */
function wireWord(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

/**
 * @param isSame whether settings have the same layout as those before
 * @returns what is to be in force with them; undefined where all that a topology has of them, but for rules, is as before
 */
function topologyFor(settings: Settings, before: Topology, isSame: boolean): Topology | undefined {
  if (!isSame) return new Topology(settings, before);
  if (hasSameInterfaces(settings, before.settings)) return undefined;
  return new Topology({ ...before.settings, interfaces: settings.interfaces }, before);
}
