// Collects what commands leave in the memory of the dataplane's thread, a little at a time between two looks for frames. Nobody else
// does it in a thread that never leaves its loop, before there are dozens of megabytes, which a small machine does not have. What outlives
// such a collection, though nobody needs it any more, a whole one finds. That takes milliseconds: it is for when there are no frames
// (io/leisure.ts).

/** Pieces of memory that may gather, some kilobytes each. */
const MOST_LEFT = 512;
/** Pieces that a command about one client leaves; and one about all, beside one for each client and each interface. */
export const LEFT_BY_CLIENT = 4;
export const LEFT_BY_ALL = 8;
/** Collections after which a whole one is due. */
const WHOLE_AFTER = 2;
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
  private collections = 0;

  /** Whether `step` has something to do. */
  get isBusy(): boolean {
    return this.steps > 0;
  }

  /** Whether a whole collection is due. */
  get isWholeDue(): boolean {
    return this.collections >= WHOLE_AFTER;
  }

  /** Something has left so many pieces of memory. */
  note(pieces: number): void {
    this.left += pieces;
    if (this.left >= MOST_LEFT) this.begin();
  }

  /** Begins a collection, which `step` goes on with. */
  begin(): void {
    this.left = 0;
    this.steps = STEPS;
    this.collections++;
    Bun.gc(false); // does not wait for its end
  }

  /** Goes on with a collection, for some tenths of a millisecond at most. */
  step(): void {
    this.asked = --this.steps > 0 ? new ArrayBuffer(ASKED) : undefined;
  }

  /** Collects all there is, at once: in 2 to 4 ms. */
  collectWhole(): void {
    this.left = 0;
    this.collections = 0;
    Bun.gc(true);
  }
}
