// What captures see of the dataplane: each frame as it came in, with what became of it, and each that was sent because of it. It stands
// around the router, which knows nothing of it: it keeps the head of a frame before the router has it, for that is changed in place, and
// the ring shows it what is sent. While nobody captures there is none, and it costs the test whether there is.
//
// A frame that waits has a tag, by which it is known when it is sent at last. That stands in bits of the virtio_net_hdr's flags that nobody
// uses: the router copies them with the frame, and the ring clears them when it sends.
import { ARP } from "../../wire/arp.ts";
import { ETHERNET, ETHERTYPE, VLAN_TAG_LENGTH } from "../../wire/ethernet.ts";
import { FAULT } from "../../wire/fault.ts";
import { HeaderChain } from "../../wire/header-chain.ts";
import { ICMP } from "../../wire/icmp.ts";
import { type Address, FRAGMENT_OFFSET, headerLength, IPV4, PROTOCOL } from "../../wire/ipv4.ts";
import { FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "../../wire/ipv6.ts";
import { destinationPort, sourcePort } from "../../wire/ports.ts";
import { isIpv6 } from "../address-book.ts";
import type { Router } from "../frame/router.ts";
import { type Ring, VNET_LENGTH } from "../ring.ts";
import { DROPS } from "../tables/drop-records.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import { type Flow, type Iface, NO_FLOW } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { type CaptureMatch, isAbout, isAboutVerdict, NONE, Subject, seesFlows, WORDS_OF } from "./capture-match.ts";
import { CaptureFacts, CaptureProducer, type CopyFrame, offsetIn, WHAT } from "./capture-ring.ts";

/** A capture as the thread is told of it. */
export interface CaptureOrder {
  readonly id: number;
  /** Memory of its ring: its address, and how many bytes. */
  readonly address: number;
  readonly length: number;
  /** Bytes of a frame that are kept. */
  readonly snap: number;
  readonly match: CaptureMatch;
  /** It keeps what came last, of what comes to the program anyway: no flow is kept off the kernel path for it. */
  readonly isRecorder?: boolean;
}

/** Whether flows that it is about must not take the kernel path. */
function holdsFlows({ match, isRecorder = false }: CaptureOrder): boolean {
  return !isRecorder && seesFlows(match);
}

interface Capture {
  readonly order: CaptureOrder;
  readonly producer: CaptureProducer;
}

/** What is asked of the router. */
export type Tapped = Pick<Router, "lastFlow" | "lastRule" | "flows" | "addresses" | "drops" | "clientAt" | "clientAt6">;

/** Bytes of a frame that the router may change: all headers, and those of a packet that an ICMP error quotes. */
const HEAD = 256;

/** The lowest bits of virtio_net_hdr's flags are the kernel's. */
const TAG_SHIFT = 2;
const FLAGS = (1 << TAG_SHIFT) - 1;
const NEEDS_CSUM = 1;
const TAGS = 63;

/** Frames sent because of one that are noted before they are written: fewer than the ring has memory for those that the router makes. */
const MOST_SENT = 32;

/** In place of an account: what is sent is on none. */
export const NO_ACCOUNT = 255;

/** A frame that came in, and what is to be said of those that are sent because of it. */
class Event {
  /** By capture: whether it is about it. */
  mask = 0;
  packet = 0;
  rule = NONE;
  client = NONE;
  flow = NO_FLOW as number;
}

export class Tap {
  /** Whether the last frame's flow is to stay off the kernel path. */
  isHeld = false;
  private captures: readonly Capture[] = [];
  private readonly words: Int32Array;
  private readonly head = new Int32Array((HEAD >> 2) + 1);
  private readonly headView = new DataView(this.head.buffer);
  private readonly facts = new CaptureFacts();
  private readonly subject = new Subject();
  private readonly chain = new HeaderChain();
  private packets = 0;
  // The frame in hand: where it came in, its virtio_net_hdr's flags and GSO type.
  private isReceiving = false;
  private isWritten = false;
  private iface = 0;
  private at = 0;
  private length = 0;
  /** Where its head begins in `head`. */
  private headAt = 0;
  private offload = 0;
  private account = NO_ACCOUNT;
  private goesOn = false;
  private verdict: Verdict = VERDICT.FORWARDED;
  private event = new Event();
  /** By tag: those that wait; and the tag of the next one. */
  private readonly waiting = Array.from({ length: TAGS + 1 }, () => new Event());
  private tag = 1;
  // What was sent because of it and is not written yet.
  private sentCount = 0;
  private readonly sentIfaces = new Int32Array(MOST_SENT);
  private readonly sentAts = new Int32Array(MOST_SENT);
  private readonly sentLengths = new Int32Array(MOST_SENT);
  private readonly sentTags = new Int32Array(MOST_SENT);

  /**
   * @param memoryAt an ArrayBuffer over memory
   * @param now ms of the monotonic clock
   * @param copyTo how frames are copied from the ring's memory to that of a capture, if there is a faster way than word by word
   */
  constructor(
    private readonly ring: Pick<Ring, "bytes" | "view">,
    private readonly router: Tapped,
    private readonly memoryAt: (address: number, length: number) => ArrayBufferLike,
    private readonly now: () => number,
    private readonly copyTo?: (address: number) => CopyFrame,
  ) {
    const { buffer } = ring.bytes;
    this.words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
  }

  /** Whether anybody captures. */
  get isOn(): boolean {
    return this.captures.length > 0;
  }

  /**
   * Captures from now on what these are about.
   * @returns whether flows may be on the kernel path that must not be there any more
   */
  configure(orders: readonly CaptureOrder[]): boolean {
    const before = this.captures;
    this.captures = orders.map((order) => {
      const known = before.find((capture) => capture.order.id === order.id);
      const producer =
        known?.producer ??
        new CaptureProducer(this.memoryAt(order.address, order.length), order.isRecorder, this.copyTo?.(order.address));
      return { order, producer };
    });
    for (const event of [this.event, ...this.waiting]) event.mask = 0; // numbers of captures are others now
    return orders.some(holdsFlows);
  }

  /** Before the router receives a frame. @param account number of the frame in its batch; as `receive` has the others */
  begin(iface: number, at: number, length: number, account: number): void {
    const { bytes } = this.ring;
    const { head, words } = this;
    this.headAt = offsetIn(at);
    const from = at >> 2;
    for (let i = 0; i < head.length; i++) head[i] = words[from + i];
    const flags = at - VNET_LENGTH;
    this.offload = offloadOf(bytes[flags], bytes[flags + 1]);
    bytes[flags] = (bytes[flags] & FLAGS) | (this.tag << TAG_SHIFT);
    this.iface = iface;
    this.at = at;
    this.length = length;
    this.account = account;
    this.isReceiving = true;
    this.isWritten = false;
    this.sentCount = 0;
  }

  /** The ring is given a frame to send. */
  sent(iface: number, at: number, length: number): void {
    const tag = this.ring.bytes[at - VNET_LENGTH] >> TAG_SHIFT;
    if (!this.isReceiving) {
      this.account = NO_ACCOUNT;
      this.writeSent(iface, at, length, tag);
      this.publish();
      return;
    }
    if (this.sentCount === MOST_SENT) {
      // Only what is cut into many fragments is so much: it is forwarded.
      if (!this.isWritten) this.write(VERDICT.FORWARDED);
      this.writeAllSent();
    }
    const i = this.sentCount++;
    this.sentIfaces[i] = iface;
    this.sentAts[i] = at;
    this.sentLengths[i] = length;
    this.sentTags[i] = tag;
  }

  /** The router has received it. */
  end(verdict: Verdict): void {
    if (!this.isWritten) this.write(verdict);
    else if (verdict !== this.verdict) this.judge(this.account, verdict);
    this.writeAllSent();
    this.isReceiving = false;
    if (isWaiting(verdict)) {
      const done = this.waiting[this.tag];
      this.waiting[this.tag] = this.event;
      this.event = done;
      this.tag = (this.tag % TAGS) + 1;
    }
  }

  /** What was received on an account has another verdict now: it was lost when it was sent. To be called before `publish`. */
  judge(account: number, verdict: Verdict): void {
    for (let i = 0; i < this.captures.length; i++) this.captures[i].producer.judge(account, verdict);
  }

  /** Gives those who capture what there is. */
  publish(): void {
    for (let i = 0; i < this.captures.length; i++) this.captures[i].producer.publish();
  }

  /** Finds out who is to see the frame in hand, and writes it for them as it came in. */
  private write(verdict: Verdict): void {
    const { event, subject, router, headView, length } = this;
    const inHead = Math.min(length, HEAD);
    const flow = router.lastFlow;
    const isFlow = flow !== NO_FLOW && router.flows.isUsed(flow);
    if (isFlow) this.readFlow(flow);
    else this.readPacket(headView, this.headAt, inHead, this.iface, true);
    event.rule = subject.rule;
    event.client = subject.client;
    event.flow = isFlow ? flow : NO_FLOW;
    event.mask = 0;
    this.isHeld = false;
    for (let i = 0; i < this.captures.length; i++) {
      const { order } = this.captures[i];
      const { match } = order;
      if (!isAbout(match, subject)) continue;
      if (isFlow && holdsFlows(order)) this.isHeld = true;
      if (isAboutVerdict(match, verdict)) event.mask |= 1 << i;
    }
    this.isWritten = true;
    this.verdict = verdict;
    this.goesOn = verdict === VERDICT.FORWARDED || isWaiting(verdict);
    event.packet = event.mask !== 0 && isIp(headView, this.headAt, inHead) ? this.nextPacket() : 0;
    if (event.mask === 0) return;
    const asked = router.lastRule === NONE ? 0 : WHAT.ASKED;
    this.fill(event, verdict, this.offload | asked | (this.goesOn ? WHAT.PACKET : 0), this.iface);
    for (let i = 0; i < this.captures.length; i++) {
      if ((event.mask & (1 << i)) !== 0) this.add(this.captures[i], this.at, length, this.head);
    }
  }

  private nextPacket(): number {
    this.packets = (this.packets + 1) >>> 0 || 1;
    return this.packets;
  }

  private writeAllSent(): void {
    const { sentIfaces, sentAts, sentLengths, sentTags } = this;
    for (let i = 0; i < this.sentCount; i++) this.writeSent(sentIfaces[i], sentAts[i], sentLengths[i], sentTags[i]);
    this.sentCount = 0;
  }

  /** @param tag of the frame that was received with it, 0 of what the router has made */
  private writeSent(iface: number, at: number, length: number, tag: number): void {
    const { bytes, view } = this.ring;
    const isOurs = this.isReceiving && (tag === 0 || tag === this.tag);
    const event = isOurs ? this.event : this.waiting[tag];
    const offload = offloadOf(bytes[at - VNET_LENGTH], bytes[at - VNET_LENGTH + 1]);
    let mask = event.mask;
    if (isOurs || tag !== 0) {
      const isPacket = (!isOurs || this.goesOn) && isIp(view, at, length);
      const verdict = isOurs ? this.verdict : VERDICT.FORWARDED;
      const what = WHAT.SENT | offload | (isPacket ? WHAT.PACKET : 0) | (isOurs ? 0 : WHAT.WAITED);
      this.fill(event, verdict, what, iface);
      if (!isPacket) this.facts.packet = 0;
    } else {
      mask = this.ownMask(iface, at, length);
      this.fill(event, VERDICT.FORWARDED, WHAT.SENT | offload, iface);
      this.facts.packet = 0;
      this.facts.flow = NO_FLOW;
      this.facts.rule = NONE;
      this.facts.client = this.subject.client;
    }
    for (let i = 0; i < this.captures.length; i++) {
      if ((mask & (1 << i)) !== 0) this.add(this.captures[i], at, length, undefined);
    }
  }

  /** Who is to see what the firewall says of its own accord: it has no verdict. */
  private ownMask(iface: number, at: number, length: number): number {
    this.readPacket(this.ring.view, at, length, iface, false);
    let mask = 0;
    for (let i = 0; i < this.captures.length; i++) {
      const { match } = this.captures[i].order;
      if (match.verdicts === undefined && isAbout(match, this.subject)) mask |= 1 << i;
    }
    return mask;
  }

  private fill(event: Event, verdict: Verdict, what: number, iface: number): void {
    const { facts } = this;
    facts.verdict = verdict;
    facts.what = what;
    facts.iface = iface;
    facts.account = this.account;
    facts.packet = event.packet;
    facts.rule = event.rule;
    facts.client = event.client;
    facts.flow = event.flow;
    facts.settings = this.router.drops.words[DROPS.SETTINGS];
    facts.time = this.now();
  }

  /** @param head how the frame's first bytes were, where they are others now */
  private add({ order, producer }: Capture, at: number, length: number, head: Int32Array | undefined): void {
    const { match, snap } = order;
    if (match.iface !== undefined && match.iface !== this.facts.iface) return;
    const captured = Math.min(length, snap);
    if (!producer.add(this.facts, this.words, at, captured, length, this.router.flows.words)) return;
    if (head !== undefined) producer.mend(head, this.headAt, captured, Math.min(captured, HEAD));
  }

  private readFlow(flow: Flow): void {
    const { subject } = this;
    const { flows } = this.router;
    const ports = flows.ports(flow, 0);
    const source = flows.source(flow, 0);
    subject.words = isIpv6(source) ? WORDS_OF.IPV6 : WORDS_OF.IPV4;
    this.setAddress(subject.source, source);
    this.setAddress(subject.destination, flows.destination(flow, 0));
    this.setAddress(subject.reached, flows.source(flow, 1));
    subject.protocol = flows.protocol(flow);
    subject.sourcePort = sourcePort(ports);
    subject.destinationPort = destinationPort(ports);
    subject.client = flows.client(flow);
    subject.rule = flows.hasState(flow, FLOW_STATE.INBOUND) ? NONE : flows.rule(flow);
  }

  private setAddress(words: Int32Array, address: Address): void {
    if (isIpv6(address)) for (let i = 0; i < WORDS_OF.IPV6; i++) words[i] = this.router.addresses.word(address, i);
    else words[0] = address;
  }

  /** @param isReceived whether it came in: then the client is the sender's, and rules may have been asked; else the receiver's */
  private readPacket(view: DataView, at: number, length: number, iface: number, isReceived: boolean): void {
    const { subject, router } = this;
    subject.words = WORDS_OF.NONE;
    subject.protocol = subject.client = subject.sourcePort = subject.destinationPort = NONE;
    subject.rule = isReceived ? router.lastRule : NONE;
    const type = typeAt(view, at, length);
    const content = at + type + 2;
    const left = length - type - 2;
    const etherType = left < 0 ? 0 : view.getUint16(at + type);
    if (etherType === ETHERTYPE.ARP && left >= ARP.LENGTH) {
      this.readAddresses(view, content + ARP.SENDER_IP, content + ARP.TARGET_IP, WORDS_OF.IPV4);
    } else if (etherType === ETHERTYPE.IPV4 && left >= IPV4.HEADER_LENGTH) {
      this.readAddresses(view, content + IPV4.SOURCE, content + IPV4.DESTINATION, WORDS_OF.IPV4);
      subject.protocol = view.getUint8(content + IPV4.PROTOCOL);
      const header = headerLength(view, content);
      const isLater = (view.getUint16(content + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0;
      if (!isLater) this.readTransport(view, content + header, left - header);
    } else if (etherType === ETHERTYPE.IPV6 && left >= IPV6.HEADER_LENGTH) {
      this.readAddresses(view, content + IPV6.SOURCE, content + IPV6.DESTINATION, WORDS_OF.IPV6);
      this.readChain(view, content, left);
    }
    if (subject.words === WORDS_OF.NONE) return;
    const address = isReceived ? subject.source : subject.destination;
    subject.client =
      subject.words === WORDS_OF.IPV6
        ? router.clientAt6(iface as Iface, address[0], address[1], address[2], address[3])
        : router.clientAt(iface as Iface, address[0] as Address);
  }

  private readAddresses(view: DataView, source: number, destination: number, words: number): void {
    const { subject } = this;
    subject.words = words;
    for (let i = 0; i < words; i++) {
      subject.source[i] = view.getInt32(source + 4 * i);
      subject.destination[i] = subject.reached[i] = view.getInt32(destination + 4 * i);
    }
  }

  private readChain(view: DataView, ip: number, left: number): void {
    const { chain } = this;
    if (chain.walk(view, ip, left) !== FAULT.NONE) return;
    this.subject.protocol = chain.protocol;
    if ((chain.fragment & FRAGMENT6_OFFSET) === 0) this.readTransport(view, chain.transport, chain.length);
  }

  private readTransport(view: DataView, at: number, left: number): void {
    const { subject } = this;
    if (left < 4) return;
    if (subject.protocol === PROTOCOL.ICMP || subject.protocol === NEXT_HEADER.ICMPV6) {
      subject.destinationPort = view.getUint8(at + ICMP.TYPE);
    } else {
      subject.sourcePort = view.getUint16(at);
      subject.destinationPort = view.getUint16(at + 2);
    }
  }
}

function isWaiting(verdict: Verdict): boolean {
  return verdict === VERDICT.QUEUED || verdict === VERDICT.HELD || verdict === VERDICT.ANSWER_HELD;
}

function offloadOf(flags: number, gsoType: number): number {
  return ((flags & NEEDS_CSUM) !== 0 ? WHAT.UNSUMMED : 0) | (gsoType !== 0 ? WHAT.UNCUT : 0);
}

/** @returns where a frame's EtherType is, from its beginning, behind a tag */
function typeAt(view: DataView, at: number, length: number): number {
  if (length < ETHERNET.HEADER_LENGTH) return ETHERNET.TYPE;
  const type = view.getUint16(at + ETHERNET.TYPE);
  return type === ETHERTYPE.VLAN || type === ETHERTYPE.SERVICE_VLAN ? ETHERNET.TYPE + VLAN_TAG_LENGTH : ETHERNET.TYPE;
}

function isIp(view: DataView, at: number, length: number): boolean {
  const type = typeAt(view, at, length);
  if (length < type + 2) return false;
  const etherType = view.getUint16(at + type);
  return etherType === ETHERTYPE.IPV4 || etherType === ETHERTYPE.IPV6;
}
