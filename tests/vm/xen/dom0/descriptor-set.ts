// Descriptors that come and go, as one that the poller can wait for: an epoll set (epoll(7)).
import { dlopen, ptr } from "bun:ffi";
import { must } from "../../../../src/linux/libc.ts";
import type { Polled } from "../../../../src/linux/poller.ts";

const library = dlopen("libc.so.6", {
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
}).symbols;

// sys/epoll.h
const CTL_ADD = 1;
const CTL_DEL = 2;
const EPOLLIN = 1;
/** struct epoll_event, packed: u32 events, u64 data. */
const EVENT = 12;
const DATA = 4;

export class DescriptorSet implements Polled {
  readonly fd = must(library.epoll_create1(0), "epoll_create1");
  private readonly callbacks = new Map<number, () => void>();
  private readonly event = new DataView(new ArrayBuffer(EVENT));

  /** @param readable is called again and again until there is nothing to read */
  add(fd: number, readable: () => void): void {
    this.callbacks.set(fd, readable);
    this.control(CTL_ADD, fd);
  }

  /** To be called before the descriptor is closed. */
  remove(fd: number): void {
    this.callbacks.delete(fd);
    this.control(CTL_DEL, fd);
  }

  ready(): void {
    // One at a time: a callback may close other descriptors, and open some that get the same numbers.
    while (must(library.epoll_wait(this.fd, ptr(this.event), 1, 0), "epoll_wait") > 0) {
      this.callbacks.get(this.event.getInt32(DATA, true))?.();
    }
  }

  private control(operation: number, fd: number): void {
    const event = new DataView(new ArrayBuffer(EVENT));
    event.setUint32(0, EPOLLIN, true);
    event.setInt32(DATA, fd, true);
    must(library.epoll_ctl(this.fd, operation, fd, ptr(event)), "epoll_ctl");
  }
}
