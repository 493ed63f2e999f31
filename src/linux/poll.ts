// poll(2) over a fixed set of descriptors.
import { EINTR, errno, libc, must } from "./libc.ts";

const POLLIN = 0x01; // asm-generic/poll.h
const POLLERR = 0x08;
const POLLNVAL = 0x20;

const ENTRY = 8; // struct pollfd: i32 fd, i16 events, i16 revents

export class PollSet {
  private readonly entries: DataView<ArrayBuffer>;

  constructor(readonly descriptors: readonly number[]) {
    this.entries = new DataView(new ArrayBuffer(descriptors.length * ENTRY));
    for (const [i, fd] of descriptors.entries()) {
      this.entries.setInt32(i * ENTRY, fd, true);
      this.entries.setInt16(i * ENTRY + 4, POLLIN, true);
    }
  }

  /**
   * Sleeps until a descriptor is readable or in error, a signal arrives or time is up.
   * @param timeout ms
   * @returns how many descriptors have something to say
   */
  wait(timeout: number): number {
    const ready = libc.poll(this.entries, this.descriptors.length, timeout);
    if (ready >= 0) return ready;
    return errno() === EINTR ? 0 : must(ready, "poll");
  }

  /** Whether the last `wait` found the i-th descriptor readable. */
  readable(i: number): boolean {
    return (this.events(i) & POLLIN) !== 0;
  }

  /** Whether the last `wait` found an error pending on the i-th descriptor. */
  failed(i: number): boolean {
    const events = this.events(i);
    if ((events & POLLNVAL) !== 0) throw new Error(`poll: descriptor ${this.descriptors[i]} is not open`);
    return (events & POLLERR) !== 0;
  }

  private events(i: number): number {
    return this.entries.getInt16(i * ENTRY + 6, true);
  }
}
