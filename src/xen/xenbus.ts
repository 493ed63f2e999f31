// /dev/xen/xenbus: XenStore's daemon, reached through the kernel, which forwards whole messages and cleans up after us.
import { openDevice, readDevice, writeDevice } from "../linux/device.ts";
import { libc } from "../linux/libc.ts";
import type { Polled } from "../linux/poller.ts";

/** There where the kernel runs under Xen. */
export const XENBUS = "/dev/xen/xenbus";

export class Xenbus implements Polled {
  readonly fd = openDevice(XENBUS);
  private readonly buffer = new Uint8Array(8192);
  private open = true;

  /** @param received takes what comes */
  constructor(private readonly received: (bytes: Uint8Array) => void) {}

  send(bytes: Uint8Array): void {
    if (this.open) writeDevice(this.fd, bytes, XENBUS);
  }

  ready(): void {
    while (this.open) {
      const length = readDevice(this.fd, this.buffer, XENBUS);
      if (length === 0) return;
      this.received(this.buffer.slice(0, length));
    }
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    libc.close(this.fd);
  }
}
