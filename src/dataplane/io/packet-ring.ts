// The appliance's ring: frames come and go through one AF_PACKET socket an interface. All memory of frames, receive rings
// included, lies in one reserved stretch of addresses, so that one array covers it: a frame is changed where the kernel
// put it and is transmitted from there, and its slot goes back to the kernel afterwards.
// Per frame: plain loops, no allocation. What cannot be received or transmitted whole is dropped and counted.
// It is long, since receiving, transmitting and settling are about the same slots of one memory.
import { toArrayBuffer } from "bun:ffi";
import { drainEvent } from "../../linux/eventfd.ts";
import {
  EAGAIN,
  EBADF,
  EINTR,
  ENETDOWN,
  ENOBUFS,
  ENODEV,
  ENXIO,
  errno,
  libc,
  mapMemory,
  pointer,
  releaseAddresses,
  reserveAddresses,
  unmapToReservation,
} from "../../linux/libc.ts";
import {
  type Arrivals,
  addArrivals,
  mapPacketRing,
  SLOT_CAPTURED,
  SLOT_FRAME,
  SLOT_LENGTH,
  SLOT_STATUS,
  SLOT_VLAN_TAG,
  SLOT_VLAN_TYPE,
  TP_STATUS_COPY,
  TP_STATUS_KERNEL,
  TP_STATUS_VLAN_VALID,
  takeSocketError,
} from "../../linux/net/packet-socket.ts";
import { FIRST_MARK } from "../../linux/net/shaping.ts";
import { MSG_DONTWAIT, MSG_TRUNC, SO_MARK, SOL_SOCKET } from "../../linux/net/socket.ts";
import { PollSet } from "../../linux/poll.ts";
import { ETHERNET, VLAN_TAG_LENGTH } from "../../wire/ethernet.ts";
import type { Gate } from "../kernel/gates.ts";
import { MAX_INTERFACES, RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../ring.ts";
import { NO_SOCKET, type PacketSocket, RING_SHAPE } from "./packet-sockets.ts";
import { NO_ACCOUNT, type Tap } from "./tap.ts";

/** What `next` returns when there is no frame. */
export const NO_FRAME = -1;

// Frames by what became of them in the ring: indexes of `PacketRing.counters`, named by RING_COUNTERS.
const RECEIVED = 0;
const TRANSMITTED = 1;
const RING_FULL = 2; // received: the slots were all in use
const TRUNCATED = 3; // received: was not to be had whole
const QUEUE_FULL = 4; // transmit: the device does not keep up
const LINK_DOWN = 5; // transmit: the interface is down or gone
const REFUSED = 6; // transmit: the kernel would not have this frame
/** Why a frame was lost in transmission. */
export const NOT_SENT = { NONE: 0, QUEUE_FULL: 1, DOWN: 2, REFUSED: 3 } as const;

/** Names of the counters, in order. */
export const RING_COUNTERS: readonly string[] = [
  "received",
  "transmitted",
  "receive ring full",
  "truncated",
  "transmit queue full",
  "interface down",
  "transmit refused",
];

export { NO_ACCOUNT };

const SLOT_MASK = RING_SHAPE.slots - 1;

/** Frames queued for one interface before they are transmitted without waiting for the flush. */
const QUEUE_LENGTH = 128;
const MESSAGE_LENGTH = 64; // struct mmsghdr: at 16 the address of its vectors, at 24 how many; at 32 that of its control data, at 40 bytes
const VECTOR_LENGTH = 16; // struct iovec: address, length

/** struct cmsghdr, and in it the mark of the frame (cmsg(3), sock_cmsg_send in net/core/sock.c); and how much room it takes. */
const MARK = { LENGTH: 0, LEVEL: 8, TYPE: 12, VALUE: 16 } as const;
const MARK_LENGTH = 24;

// A frame longer than a slot (a TCP segment to be cut up later) is fetched into one of these.
const LONG_LENGTH = 68 * 1024;
const LONG_FRAMES = 16;
/** Room in front, for a VLAN tag. */
const LONG_HEADROOM = VLAN_TAG_LENGTH;
const LONGEST_RECEIVED = LONG_LENGTH - LONG_HEADROOM;

const ORIGINATED_LENGTH = VNET_LENGTH + RESERVED_LENGTH;
const ORIGINATED_FRAMES = 64;

// A region of memory for each interface, which takes addresses but no memory before it is there: receive ring, then messages,
// vectors and marks of its transmit queue.
const RECEIVE_LENGTH = RING_SHAPE.slotSize * RING_SHAPE.slots;
const TRANSMIT_LENGTH = pages(QUEUE_LENGTH * (MESSAGE_LENGTH + VECTOR_LENGTH + MARK_LENGTH));
const REGION_LENGTH = RECEIVE_LENGTH + TRANSMIT_LENGTH;

const LONG_AT = MAX_INTERFACES * REGION_LENGTH;
const ORIGINATED_AT = LONG_AT + LONG_FRAMES * LONG_LENGTH;
const TOTAL_LENGTH = ORIGINATED_AT + pages(ORIGINATED_FRAMES * ORIGINATED_LENGTH);

const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1; // linux/virtio_net.h

function pages(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

/** One interface, or all that are not there: its socket and how far its slots and its transmit queue are used. */
class Port implements Arrivals {
  /** Slot that the next frame will be in. */
  cursor = 0;
  /** Slots before the cursor that are not given back yet. */
  held = 0;
  /** Frames in the transmit queue; and for each, on whose account it is. */
  queued = 0;
  readonly accounts = new Uint8Array(QUEUE_LENGTH);
  /** Whether its frames are marked with whose they are. */
  isMarked = false;
  // Since the socket was opened: frames whose slots were given back, and what the kernel told of the others.
  done = 0;
  placed = 0;
  dropped = 0;
  // A milestone, where there is one: `passed` of the gate is settled once `done` is this. Fields, for there is one for many a batch.
  hasMilestone = false;
  milestonePassed = 0;
  milestoneDone = 0;

  constructor(
    readonly fd: number,
    readonly gate: Gate | undefined,
    /** Offset of its region of memory: that of its receive ring. */
    readonly region: number,
  ) {}
}

export class PacketRing implements Ring {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** By RING_COUNTERS, in shared memory. */
  readonly counters = new Float64Array(new SharedArrayBuffer(RING_COUNTERS.length * 8));
  /** The frame in hand, on whose account is what is sent: a number below NO_ACCOUNT. */
  account = NO_ACCOUNT;
  /** By such numbers: NOT_SENT, where something on that account was lost in transmission. Whoever has read it clears it. */
  readonly lost = new Uint8Array(NO_ACCOUNT + 1);
  /** Whether anything was lost. */
  hasLost = false;
  share = 0;
  /** Length of the frame that `next` returned, in bytes. */
  length = 0;
  /** Who sees what is sent, while somebody captures. */
  tap: Tap | undefined = undefined;

  private readonly base: number;
  private readonly baseLow: number;
  private readonly baseHigh: number;
  private readonly words: Int32Array;
  private readonly freeRegions: number[] = [];
  private ports: Port[] = [];
  private poll: PollSet;
  private readonly draining: Port[] = []; // with slots to give back
  private readonly filling: Port[] = []; // with frames to transmit
  private reason: number = NOT_SENT.NONE;
  private longFrames = 0; // in use since the last flush
  private originated = 0;

  /**
   * @param wake an eventfd that ends `wait`
   * @param gateOf by its number
   */
  constructor(
    private readonly wake: number,
    private readonly gateOf?: (gate: number) => Gate,
  ) {
    this.base = reserveAddresses(TOTAL_LENGTH);
    this.baseLow = this.base % 2 ** 32;
    this.baseHigh = Math.floor(this.base / 2 ** 32);
    mapMemory(this.base + LONG_AT, TOTAL_LENGTH - LONG_AT);
    const memory = toArrayBuffer(pointer(this.base), 0, TOTAL_LENGTH);
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.words = new Int32Array(memory);
    for (let i = MAX_INTERFACES - 1; i >= 0; i--) this.freeRegions.push(i * REGION_LENGTH);
    this.poll = new PollSet([wake]);
  }

  /** Of `bytes`. */
  get address(): number {
    return this.base;
  }

  /** @returns how many interfaces there are: numbers from 0 */
  get interfaces(): number {
    return this.ports.length;
  }

  /**
   * Changes which interfaces there are, between flushes. Those whose sockets stay lose nothing.
   * @param sockets of the interfaces, in the order of their numbers; they stay the caller's, to be closed when they are not
   * configured any more
   * @param marked number of the one whose frames are marked with their share, for the queue that shares its line
   * @throws where one's ring can't be had; then nothing has changed
   */
  configure(sockets: readonly PacketSocket[], marked?: number): void {
    const opened: Port[] = [];
    const ports: Port[] = [];
    try {
      for (const socket of sockets) {
        let port = [...this.ports, ...opened].find((open) => open.fd === socket.fd);
        if (port === undefined) {
          port = this.open(socket);
          opened.push(port);
        }
        ports.push(port);
      }
    } catch (error) {
      for (const port of opened) this.freeRegion(port.region);
      throw error;
    }
    const gone = this.ports.filter((port) => !ports.includes(port));
    this.ports = ports;
    this.poll = new PollSet([this.wake, ...ports.map((port) => port.fd)]);
    for (const port of gone) this.freeRegion(port.region);
    for (const [iface, port] of ports.entries()) this.setMarked(port, iface === marked);
  }

  /** Gives the memory back: `bytes` and `view` must not be touched any more. */
  close(): void {
    this.ports = [];
    releaseAddresses(this.base, TOTAL_LENGTH);
  }

  /**
   * Takes the next received frame of an interface. It stays in memory until `flush`.
   * @returns the frame's offset, its length is in `length`; NO_FRAME when there is none, or none before the next flush
   */
  next(iface: number): number {
    const port = this.ports[iface];
    for (;;) {
      const slot = port.region + port.cursor * RING_SHAPE.slotSize;
      const status = Atomics.load(this.words, (slot + SLOT_STATUS) >> 2);
      if (status === TP_STATUS_KERNEL || port.held === RING_SHAPE.slots) return NO_FRAME;
      const long = (status & TP_STATUS_COPY) !== 0;
      if (long && this.longFrames === LONG_FRAMES) return NO_FRAME;

      if (port.held++ === 0) this.draining.push(port);
      port.cursor = (port.cursor + 1) & SLOT_MASK;
      const at = long ? this.fetch(port, slot) : this.inSlot(slot);
      if (at === NO_FRAME) this.counters[TRUNCATED]++;
      else return (status & TP_STATUS_VLAN_VALID) === 0 ? at : this.tagged(at, slot);
    }
  }

  /** @returns the gate of an interface, if it has one */
  gate(iface: number): Gate | undefined {
    return this.ports[iface].gate;
  }

  /**
   * Tells an interface's gate, after a flush, how far its frames are settled. That is so of all that had been counted when there
   * were as many as have been dealt with. In a ring that is never empty that moment is not seen: there, at a moment when all that
   * were counted had a slot or none, it is noted how many have one.
   */
  settle(iface: number): void {
    const port = this.ports[iface];
    const { gate } = port;
    if (gate === undefined) return;
    const { passed, settled } = gate;
    if (passed === settled) return;
    if (((port.done + port.dropped) | 0) === passed) {
      port.hasMilestone = false;
      gate.settle(passed);
      return;
    }
    if (!port.hasMilestone) {
      this.addArrivals(port);
      if (((port.placed + port.dropped) | 0) !== passed || gate.passed !== passed) return;
      port.hasMilestone = true;
      port.milestonePassed = passed;
      port.milestoneDone = port.placed;
    }
    if (port.done < port.milestoneDone) return;
    gate.settle(port.milestonePassed);
    port.hasMilestone = false;
  }

  reserve(): number {
    if (this.originated === ORIGINATED_FRAMES) {
      this.transmitAll();
      this.originated = 0;
    }
    const header = ORIGINATED_AT + this.originated++ * ORIGINATED_LENGTH;
    this.bytes.fill(0, header, header + VNET_LENGTH);
    return header + VNET_LENGTH;
  }

  send(iface: number, at: number, length: number): void {
    if (this.tap !== undefined) this.tap.sent(iface, at, length);
    const port = this.ports[iface];
    if (port.queued === QUEUE_LENGTH) this.transmit(port);
    if (port.queued === 0) this.filling.push(port);
    // What the receiving interface said of the checksum (DATA_VALID) is not for the transmitting one.
    this.bytes[at - VNET_LENGTH] &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    port.accounts[port.queued] = this.account;
    const vector = vectorOf(port.region, port.queued++);
    this.setAddress(vector, at - VNET_LENGTH);
    this.words[(vector >> 2) + 2] = length + VNET_LENGTH;
    if (port.isMarked) this.words[(markOf(port.region, port.queued - 1) + MARK.VALUE) >> 2] = FIRST_MARK + this.share;
  }

  /** Transmits what is queued and gives the received frames' slots back to the kernel. */
  flush(): void {
    this.transmitAll();
    for (let i = 0; i < this.draining.length; i++) this.giveBack(this.draining[i]);
    this.draining.length = 0;
    this.longFrames = 0;
    this.originated = 0;
  }

  /**
   * Sleeps until a frame or the wake event arrives.
   * @param timeout ms, at most
   * @returns whether the wake event was signalled; it is cleared
   */
  wait(timeout: number): boolean {
    if (this.poll.wait(timeout) === 0) return false;
    for (let i = 0; i < this.ports.length; i++) {
      // An interface that went down leaves an error to be fetched, once; it receives again when it is up again.
      if (this.poll.failed(i + 1)) takeSocketError(this.ports[i].fd);
    }
    if (!this.poll.readable(0)) return false;
    drainEvent(this.wake);
    return true;
  }

  /** Brings the counter of what the kernel dropped for want of slots up to date: a system call for each interface. */
  countDrops(): void {
    for (const port of this.ports) this.addArrivals(port);
  }

  private addArrivals(port: Port): void {
    const before = port.dropped;
    addArrivals(port.fd, port);
    this.counters[RING_FULL] += port.dropped - before;
  }

  private inSlot(slot: number): number {
    this.length = this.words[(slot + SLOT_LENGTH) >> 2];
    if (this.length !== this.words[(slot + SLOT_CAPTURED) >> 2]) return NO_FRAME;
    return slot + this.view.getUint16(slot + SLOT_FRAME, true);
  }

  /** Fetches the frame that did not fit its slot. The socket queues such frames in the order of their slots. */
  private fetch(port: Port, slot: number): number {
    const header = LONG_AT + this.longFrames * LONG_LENGTH + LONG_HEADROOM;
    const address = pointer(this.base + header);
    let received = libc.recv(port.fd, address, LONGEST_RECEIVED, MSG_DONTWAIT | MSG_TRUNC);
    // An error that was pending on the socket is told first, once; the frame is still there.
    if (received < 0) received = libc.recv(port.fd, address, LONGEST_RECEIVED, MSG_DONTWAIT | MSG_TRUNC);
    this.length = received - VNET_LENGTH;
    if (this.length !== this.words[(slot + SLOT_LENGTH) >> 2] || received > LONGEST_RECEIVED) return NO_FRAME;
    this.longFrames++;
    return header + VNET_LENGTH;
  }

  /**
   * Puts the VLAN tag that the kernel took off a frame in front of its EtherType again: what a tag means, the router says.
   * @returns the frame's offset, VLAN_TAG_LENGTH before where it was; there is room
   */
  private tagged(at: number, slot: number): number {
    const start = at - VNET_LENGTH;
    this.bytes.copyWithin(start - VLAN_TAG_LENGTH, start, at + ETHERNET.TYPE);
    const type = at - VLAN_TAG_LENGTH + ETHERNET.TYPE;
    this.view.setUint16(type, this.view.getUint16(slot + SLOT_VLAN_TYPE, true));
    this.view.setUint16(type + 2, this.view.getUint16(slot + SLOT_VLAN_TAG, true));
    this.length += VLAN_TAG_LENGTH;
    return at - VLAN_TAG_LENGTH;
  }

  private giveBack(port: Port): void {
    this.counters[RECEIVED] += port.held;
    port.done += port.held;
    for (; port.held > 0; port.held--) {
      const slot = port.region + ((port.cursor - port.held) & SLOT_MASK) * RING_SHAPE.slotSize;
      Atomics.store(this.words, (slot + SLOT_STATUS) >> 2, TP_STATUS_KERNEL);
    }
  }

  private transmitAll(): void {
    for (let i = 0; i < this.filling.length; i++) this.transmit(this.filling[i]);
    this.filling.length = 0;
  }

  private transmit(port: Port): void {
    let done = 0;
    while (done < port.queued) {
      const message = this.base + port.region + RECEIVE_LENGTH + done * MESSAGE_LENGTH;
      const sent = libc.sendmmsg(port.fd, pointer(message), port.queued - done, MSG_DONTWAIT);
      if (sent > 0) {
        this.counters[TRANSMITTED] += sent;
        done += sent;
      } else {
        const given = this.giveUp(errno(), port.queued - done);
        for (const end = done + given; done < end; done++) this.lost[port.accounts[done]] = this.reason;
      }
    }
    port.queued = 0;
  }

  /**
   * Counts what the first of `waiting` frames could not be transmitted for, and notes it in `reason`.
   * @returns how many frames to pass over: a fault may be the frame's own or the same for all that wait
   */
  private giveUp(error: number, waiting: number): number {
    this.hasLost = true;
    switch (error) {
      case EINTR:
        return 0;
      case EAGAIN: // as many bytes as the socket may have wait for the device already
        this.counters[QUEUE_FULL] += waiting;
        this.reason = NOT_SENT.QUEUE_FULL;
        return waiting;
      case ENOBUFS: // the device's queue had no room for this frame
        this.counters[QUEUE_FULL]++;
        this.reason = NOT_SENT.QUEUE_FULL;
        return 1;
      case EBADF: // NO_SOCKET: there is no such interface
      case ENETDOWN:
      case ENXIO:
      case ENODEV:
        this.counters[LINK_DOWN] += waiting;
        this.reason = NOT_SENT.DOWN;
        return waiting;
      default: // EINVAL, EMSGSIZE: the frame is not one for this interface
        this.counters[REFUSED]++;
        this.reason = NOT_SENT.REFUSED;
        return 1;
    }
  }

  private open({ name, fd, gate }: PacketSocket): Port {
    const region = this.freeRegions.pop();
    if (region === undefined) throw new Error(`${name}: no more than ${MAX_INTERFACES} interfaces at a time`);
    try {
      mapMemory(this.base + region + RECEIVE_LENGTH, TRANSMIT_LENGTH);
      for (let i = 0; i < QUEUE_LENGTH; i++) {
        const message = region + RECEIVE_LENGTH + i * MESSAGE_LENGTH;
        this.setAddress(message + 16, vectorOf(region, i));
        this.words[(message + 24) >> 2] = 1;
      }
      if (fd === NO_SOCKET)
        mapMemory(this.base + region, pages(1)); // of the ring: a slot that stays empty
      else mapPacketRing(fd, this.base + region, RING_SHAPE);
      return new Port(fd, gate === undefined ? undefined : this.gateOf?.(gate), region);
    } catch (error) {
      this.freeRegion(region);
      throw error;
    }
  }

  /** Has each message of a port's queue say a mark, or none. */
  private setMarked(port: Port, isMarked: boolean): void {
    if (port.isMarked === isMarked) return;
    port.isMarked = isMarked;
    for (let i = 0; i < QUEUE_LENGTH; i++) {
      const mark = markOf(port.region, i);
      this.words[(mark + MARK.LENGTH) >> 2] = MARK.VALUE + 4;
      this.words[(mark + MARK.LEVEL) >> 2] = SOL_SOCKET;
      this.words[(mark + MARK.TYPE) >> 2] = SO_MARK;
      const message = port.region + RECEIVE_LENGTH + i * MESSAGE_LENGTH;
      this.setAddress(message + 32, mark);
      this.words[(message + 40) >> 2] = isMarked ? MARK_LENGTH : 0;
    }
  }

  private freeRegion(region: number): void {
    unmapToReservation(this.base + region, REGION_LENGTH);
    this.freeRegions.push(region);
  }

  /** Writes the address of the byte at offset `target` as the 64-bit pointer at offset `at`. */
  private setAddress(at: number, target: number): void {
    const low = this.baseLow + target;
    this.words[at >> 2] = low;
    this.words[(at >> 2) + 1] = low >= 2 ** 32 ? this.baseHigh + 1 : this.baseHigh;
  }
}

/** Where the vector of a queue's i-th message is. */
function vectorOf(region: number, i: number): number {
  return region + RECEIVE_LENGTH + QUEUE_LENGTH * MESSAGE_LENGTH + i * VECTOR_LENGTH;
}

/** Where its mark is. */
function markOf(region: number, i: number): number {
  return region + RECEIVE_LENGTH + QUEUE_LENGTH * (MESSAGE_LENGTH + VECTOR_LENGTH) + i * MARK_LENGTH;
}
