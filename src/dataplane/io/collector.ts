// Collects what commands leave in the memory of the dataplane's thread, a little at a time between two looks for frames. Nobody else
// does it in a thread that never leaves its loop, before there are dozens of megabytes, which a small machine does not have. The longest of
// its steps takes about a millisecond, most of it for the compiled functions that ran since the last one, so it is best done when there are
// no frames (io/leisure.ts); where there always are some, once much has gathered. What outlives such a collection, though nobody needs it any
// more, a whole one finds. That takes several milliseconds: it is done only when there are no frames.

/**
 * Pieces of memory that may gather, some kilobytes each. With a tenth of these the longest step was no shorter, and the engine took what
 * outlived so many collections for a reason to make a whole one, of 12 ms.
 */
const MOST_LEFT = 512;
/** Pieces that are worth a collection when there are no frames: what one or two commands about all leave. */
const WORTH = 64;
/** Pieces that a command about one client leaves; and one about all, beside one for each client and each interface. */
export const LEFT_BY_CLIENT = 4;
export const LEFT_BY_ALL = 8;
/** Pieces that have been collected, after which a whole collection is due. */
const WHOLE_AFTER = 1024;
/** Steps in which a collection has come to its end: it took 16 at most, with 64 interfaces. */
const STEPS = 64;
/**
 * Bytes that are asked for so that the engine does the next part of a collection that is under way: it does where memory beside its heap
 * is taken, of more than 256 bytes (JavaScriptCore's Heap::collectIfNecessaryOrDefer). Threads of its own do most of the work meanwhile.
 */
const ASKED = 512;

export class Collector {
  /** Kept, so that the engine can't do without making it. */
  asked: ArrayBuffer | undefined;
  private left = 0;
  private steps = 0;
  /** Since the last whole collection. */
  private collected = 0;

  /** Whether `step` has something to do. */
  get isBusy(): boolean {
    return this.steps > 0;
  }

  /** Whether `begin` is worth its time when there are no frames. */
  get isWorthwhile(): boolean {
    return this.left >= WORTH;
  }

  /** Whether a whole collection is due. */
  get isWholeDue(): boolean {
    return this.collected >= WHOLE_AFTER;
  }

  /** Something has left so many pieces of memory. */
  note(pieces: number): void {
    this.left += pieces;
    if (this.left >= MOST_LEFT) this.begin();
  }

  /** Begins a collection, which `step` goes on with. */
  begin(): void {
    this.collected += this.left;
    this.left = 0;
    this.steps = STEPS;
    Bun.gc(false); // does not wait for its end
  }

  /** Goes on with a collection, for a millisecond or so at most. */
  step(): void {
    this.asked = --this.steps > 0 ? new ArrayBuffer(ASKED) : undefined;
  }

  /** Collects all there is, at once: in 2 to 8 ms. */
  collectWhole(): void {
    this.left = 0;
    this.collected = 0;
    Bun.gc(true);
  }
}
