// Dom0's end of vchans as Qubes OS has it: by Xen's own library, libxenvchan (Debian's libxenmisc), not by the code under
// test. Only waiting for the domain's keys in XenStore is done here: the library takes what is there, or fails.
import { dlopen, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { must } from "../../../../src/linux/libc.ts";
import { Poller } from "../../../../src/linux/poller.ts";
import type { QrexecChannels } from "../../../../src/qubes/qrexec-calls.ts";
import type { ByteStream, StreamHandler } from "../../../../src/xen/byte-stream.ts";
import type { XenStore } from "../../../../src/xen/xenstore.ts";
import { DescriptorSet } from "./descriptor-set.ts";

/** libxenvchan.h. A vchan is a pointer to its struct; -1 is failure. */
const library = dlopen("libxenvchan.so.4.17", {
  libxenvchan_server_init: { args: ["ptr", "i32", "ptr", "u64", "u64"], returns: "ptr" },
  libxenvchan_client_init: { args: ["ptr", "i32", "ptr"], returns: "ptr" },
  libxenvchan_close: { args: ["ptr"], returns: "void" },
  libxenvchan_read: { args: ["ptr", "ptr", "u64"], returns: "i32" },
  libxenvchan_write: { args: ["ptr", "ptr", "u64"], returns: "i32" },
  libxenvchan_wait: { args: ["ptr"], returns: "i32" },
  libxenvchan_is_open: { args: ["ptr"], returns: "i32" },
  libxenvchan_fd_for_select: { args: ["ptr"], returns: "i32" },
}).symbols;

/** struct libxenvchan: three pointers, u32 port, and then bits, of which one says that calls wait. */
const FLAGS = 28;
const BLOCKING = 4;

/** Bytes of each ring of a server, as Qubes OS's daemons ask for. */
const RING = 4096;
/** What libxenvchan_is_open says; 1 is open. */
const CLOSED = 0;
const WAITING = 2;

export class LibxenvchanChannels implements QrexecChannels {
  private readonly descriptors = new DescriptorSet();

  /** @param fail hears, once nothing is heard of any vchan any more */
  constructor(
    private readonly store: XenStore,
    fail: (error: Error) => void,
  ) {
    new Poller([this.descriptors], fail); // until the process ends
  }

  async serve(domain: number, port: number, handler: StreamHandler): Promise<ByteStream> {
    const path = text(`data/vchan/${domain}/${port}`);
    const vchan = library.libxenvchan_server_init(null, domain, ptr(path), RING, RING);
    if (vchan === null) throw new Error(`libxenvchan_server_init(${domain}, ${port}) failed`);
    const withdraw = () => this.store.rm(`data/vchan/${domain}/${port}`);
    return new LibxenvchanStream(vchan as Pointer, handler, this.descriptors, withdraw);
  }

  async connect(domain: number, port: number, handler: StreamHandler): Promise<ByteStream> {
    const path = `/local/domain/${domain}/data/vchan/${await this.store.read("domid")}/${port}`;
    const encoded = text(path);
    const found = Promise.withResolvers<Pointer>();
    let isFound = false;
    const look = () => {
      if (isFound) return;
      const vchan = library.libxenvchan_client_init(null, domain, ptr(encoded));
      if (vchan === null) return; // until the key changes
      isFound = true;
      found.resolve(vchan as Pointer);
    };
    const remove = await this.store.watch(`${path}/event-channel`, look);
    const vchan = await found.promise;
    await remove();
    return new LibxenvchanStream(vchan, handler, this.descriptors);
  }
}

class LibxenvchanStream implements ByteStream {
  private readonly queue: Uint8Array[] = [];
  private readonly buffer = new Uint8Array(RING);
  private readonly fd: number;
  private isClosing = false;
  private isMet = false;
  private isClosed = false;

  constructor(
    private readonly vchan: Pointer,
    private readonly handler: StreamHandler,
    private readonly descriptors: DescriptorSet,
    /** A server's: takes its keys away. */
    private withdraw?: () => Promise<void>,
  ) {
    doNotBlock(vchan);
    this.fd = must(library.libxenvchan_fd_for_select(vchan), "libxenvchan_fd_for_select");
    descriptors.add(this.fd, () => this.wake());
    queueMicrotask(() => this.look()); // the peer may have written before we came
  }

  send(bytes: Uint8Array): void {
    if (this.isClosing || this.isClosed || bytes.length === 0) return;
    this.queue.push(bytes.slice());
    this.flush();
  }

  close(): void {
    if (this.isClosing || this.isClosed) return;
    this.isClosing = true;
    this.look();
  }

  private wake(): void {
    must(library.libxenvchan_wait(this.vchan), "libxenvchan_wait");
    this.look();
  }

  private look(): void {
    if (this.isClosed) return;
    const state = library.libxenvchan_is_open(this.vchan); // before the last look at what the peer wrote
    const isOpen = state !== CLOSED;
    if (this.withdraw !== undefined && state !== WAITING) void this.meet(this.withdraw);
    this.receive();
    this.flush();
    if (this.isClosed || (isOpen && !(this.isClosing && this.queue.length === 0))) return;
    this.leave();
    if (!this.isClosing) this.handler.closed("the peer closed the channel");
  }

  /** As Qubes OS's libvchan: with the client there the keys go, and only then is anything said. */
  private async meet(withdraw: () => Promise<void>): Promise<void> {
    if (this.isMet) return;
    this.isMet = true;
    await withdraw();
    this.withdraw = undefined;
    this.look();
  }

  private receive(): void {
    while (!this.isClosed) {
      const length = library.libxenvchan_read(this.vchan, ptr(this.buffer), this.buffer.length);
      if (length <= 0) return;
      if (!this.isClosing) this.handler.received(this.buffer.slice(0, length));
    }
  }

  private flush(): void {
    if (this.withdraw !== undefined) return;
    while (!this.isClosed) {
      const [bytes] = this.queue;
      if (bytes === undefined) return;
      const written = library.libxenvchan_write(this.vchan, ptr(bytes), bytes.length);
      if (written <= 0) return;
      if (written < bytes.length) this.queue[0] = bytes.subarray(written);
      else this.queue.shift();
    }
  }

  private leave(): void {
    this.isClosed = true;
    this.descriptors.remove(this.fd);
    library.libxenvchan_close(this.vchan);
  }
}

/** The library leaves it to its callers, and what malloc returned as it was. Without it, what can't be done now returns 0. */
function doNotBlock(vchan: Pointer): void {
  const flags = new Uint8Array(toArrayBuffer(vchan, FLAGS, 1));
  flags[0] = (flags[0] ?? 0) & ~BLOCKING;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}
