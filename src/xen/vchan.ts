// One end of a vchan (Xen's libxenvchan, public header xen/io/libxenvchan.h): two rings of bytes in memory shared with
// another domain. Memory only: who maps it and who carries the signals is xen.ts's business.
// The peer is not trusted: our own index of each ring is kept here and only published there, and an index of the peer's
// that can't be ends the channel. All fields little-endian.
import { ProtocolError } from "./byte-stream.ts";

export type Role = "server" | "client";

/** The shared page: for each ring u32 consumed, produced; then orders, liveness, wishes, and the grants of ring pages. */
const LEFT = 0; // words: what the client writes
const RIGHT = 2; // words: what the server writes
const CONSUMED = 0;
const PRODUCED = 1;
const LEFT_ORDER = 16;
const RIGHT_ORDER = 18;
const LIVE = { client: 20, server: 21 } as const;
/** What that side has been asked to signal: whoever has a wish writes it into the peer's byte, as libxenvchan does. */
const NOTIFY = { client: 22, server: 23 } as const;
export const GRANTS = 24;

const WRITTEN = 1;
const READ = 2;

const GONE = 0;
const THERE = 1;
const EXPECTED = 2;

export const PAGE = 4096;
const PAGE_ORDER = 12;
/**
 * Of a ring. The smallest two lie in the shared page itself, at an offset that is their size. Xen's library has rings up to order 20;
 * Qubes OS's programs have none above 16. Each page that we map takes the place of one of our own (Linux, gnttab_alloc_pages), so
 * a peer that offers more would take our memory. The grants of two such rings fit any page.
 */
const ORDERS = { least: 10, most: 16 };

export interface VchanMemory {
  /** The shared page. */
  readonly page: Uint8Array;
  readonly left: Uint8Array;
  readonly right: Uint8Array;
}

/** Where a liveness byte lies in the shared page: to be cleared when its side dies. */
export function livenessOf(role: Role): number {
  return LIVE[role];
}

/** @returns pages that a ring needs beside the shared one */
export function ringPages(order: number): number {
  return order < PAGE_ORDER ? 0 : 1 << (order - PAGE_ORDER);
}

/** Makes an empty page that of a server who waits for its client. Grants are yet to be written. */
export function formatPage(page: Uint8Array, leftOrder: number, rightOrder: number): void {
  const view = viewOf(page);
  view.setUint16(LEFT_ORDER, leftOrder, true);
  view.setUint16(RIGHT_ORDER, rightOrder, true);
  page[LIVE.client] = EXPECTED;
  page[LIVE.server] = THERE;
  page[NOTIFY.client] = WRITTEN;
  page[NOTIFY.server] = 0;
}

/** Whether a server's client has yet to come. */
export function isAwaited(page: Uint8Array): boolean {
  return Atomics.load(page, LIVE.client) === EXPECTED;
}

/** @returns what the server offers. @throws ProtocolError when that can't be */
export function readOffer(page: Uint8Array): { leftOrder: number; rightOrder: number; grants: number[] } {
  const view = viewOf(page);
  const leftOrder = view.getUint16(LEFT_ORDER, true);
  const rightOrder = view.getUint16(RIGHT_ORDER, true);
  for (const order of [leftOrder, rightOrder]) {
    if (order < ORDERS.least || order > ORDERS.most) throw new ProtocolError(`vchan: a ring of order ${order}`);
  }
  if (leftOrder === rightOrder && ringPages(leftOrder) === 0) {
    throw new ProtocolError(`vchan: both rings of order ${leftOrder} in one page`);
  }
  const count = ringPages(leftOrder) + ringPages(rightOrder);
  const grants = Array.from({ length: count }, (_, i) => view.getUint32(GRANTS + i * 4, true));
  return { leftOrder, rightOrder, grants };
}

/**
 * @param pages mapped in the order of the grants, the left ring's first
 * @returns the rings, wherever their orders put them
 */
export function layOut(page: Uint8Array, leftOrder: number, rightOrder: number, pages: Uint8Array): VchanMemory {
  const inPage = (order: number) => page.subarray(1 << order, 2 << order);
  const leftLength = ringPages(leftOrder) * PAGE;
  const rightLength = ringPages(rightOrder) * PAGE;
  return {
    page,
    left: leftLength > 0 ? pages.subarray(0, leftLength) : inPage(leftOrder),
    right: rightLength > 0 ? pages.subarray(leftLength, leftLength + rightLength) : inPage(rightOrder),
  };
}

export class VchanEnd {
  private readonly page: Uint8Array;
  private readonly indices: Uint32Array;
  private readonly incoming: Uint8Array;
  private readonly outgoing: Uint8Array;
  /** Words of our index and the peer's: of the ring that we read, and of the one that we write. */
  private readonly readIndex: number;
  private readonly writeIndex: number;
  private consumed: number;
  private produced: number;

  /**
   * A client says that it is there, and signals that.
   * @param signal makes the peer look at the memory
   */
  constructor(
    memory: VchanMemory,
    private readonly role: Role,
    private readonly signal: () => void,
  ) {
    this.page = memory.page;
    this.indices = new Uint32Array(this.page.buffer, this.page.byteOffset, 4);
    const isServer = role === "server";
    this.incoming = isServer ? memory.left : memory.right;
    this.outgoing = isServer ? memory.right : memory.left;
    this.readIndex = isServer ? LEFT : RIGHT;
    this.writeIndex = isServer ? RIGHT : LEFT;
    this.consumed = Atomics.load(this.indices, this.readIndex + CONSUMED);
    this.produced = Atomics.load(this.indices, this.writeIndex + PRODUCED);
    if (isServer) return;
    Atomics.store(this.page, LIVE.client, THERE);
    Atomics.store(this.page, NOTIFY.server, WRITTEN);
    signal();
  }

  private get peer(): Role {
    return this.role === "server" ? "client" : "server";
  }

  /** Whether the peer was there and is not any more. What it wrote before can still be read. */
  get abandoned(): boolean {
    return Atomics.load(this.page, LIVE[this.peer]) === GONE;
  }

  /** Whether a server's client has yet to come. */
  get expecting(): boolean {
    return isAwaited(this.page);
  }

  /** @returns a copy of all bytes that are there, maybe none. @throws ProtocolError when the peer's index can't be */
  read(): Uint8Array {
    // First the wish, then the look: so nothing is written between the two unnoticed.
    this.wish(WRITTEN);
    const length = this.filled();
    const bytes = new Uint8Array(length);
    if (length === 0) return bytes;
    copyOut(this.incoming, this.consumed, bytes);
    this.consumed = (this.consumed + length) >>> 0;
    Atomics.store(this.indices, this.readIndex + CONSUMED, this.consumed);
    this.tell(READ);
    return bytes;
  }

  /** @returns how many of the bytes fitted; for the others, a signal will come. @throws ProtocolError as `read` */
  write(bytes: Uint8Array): number {
    let room = this.room();
    if (room < bytes.length) {
      this.wish(READ);
      room = this.room();
    }
    const written = bytes.subarray(0, room);
    if (written.length === 0) return 0;
    copyIn(this.outgoing, this.produced, written);
    this.produced = (this.produced + written.length) >>> 0;
    Atomics.store(this.indices, this.writeIndex + PRODUCED, this.produced);
    this.tell(WRITTEN);
    return written.length;
  }

  /** Says that we are gone. The memory is not touched again. */
  leave(): void {
    Atomics.store(this.page, LIVE[this.role], GONE);
    this.signal();
  }

  /** Bytes in the ring that we read. */
  private filled(): number {
    const length = (Atomics.load(this.indices, this.readIndex + PRODUCED) - this.consumed) >>> 0;
    if (length > this.incoming.length) throw new ProtocolError(`vchan: the peer claims ${length} bytes in its ring`);
    return length;
  }

  private room(): number {
    const length = (this.produced - Atomics.load(this.indices, this.writeIndex + CONSUMED)) >>> 0;
    if (length > this.outgoing.length) throw new ProtocolError(`vchan: the peer claims ${length} bytes in our ring`);
    return this.outgoing.length - length;
  }

  /** Asks the peer for a signal when it has written, or read. */
  private wish(what: number): void {
    Atomics.or(this.page, NOTIFY[this.peer], what);
  }

  /** Signals the peer what we have done, if it asked for that. */
  private tell(what: number): void {
    const asked = Atomics.and(this.page, NOTIFY[this.role], ~what & 0xff);
    if ((asked & what) !== 0) this.signal();
  }
}

function copyOut(ring: Uint8Array, index: number, bytes: Uint8Array): void {
  const from = index & (ring.length - 1);
  const first = Math.min(bytes.length, ring.length - from);
  bytes.set(ring.subarray(from, from + first));
  bytes.set(ring.subarray(0, bytes.length - first), first);
}

function copyIn(ring: Uint8Array, index: number, bytes: Uint8Array): void {
  const from = index & (ring.length - 1);
  const first = Math.min(bytes.length, ring.length - from);
  ring.set(bytes.subarray(0, first), from);
  ring.set(bytes.subarray(first), 0);
}

function viewOf(page: Uint8Array): DataView {
  return new DataView(page.buffer, page.byteOffset, page.byteLength);
}
