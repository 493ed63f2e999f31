// Xen, as a guest's program sees it: XenStore, and vchans to other domains over event channels and granted pages. The
// devices are read in the event loop; nothing here blocks.

import { Poller } from "../linux/poller.ts";
import { type ByteStream, ProtocolError, type StreamHandler } from "./byte-stream.ts";
import { EventChannels } from "./evtchn.ts";
import { Grants, type SharedPages } from "./grants.ts";
import {
  formatPage,
  GRANTS,
  isAwaited,
  layOut,
  livenessOf,
  PAGE,
  type Role,
  readOffer,
  ringPages,
  VchanEnd,
  type VchanMemory,
} from "./vchan.ts";
import { VchanStream } from "./vchan-stream.ts";
import { Xenbus } from "./xenbus.ts";
import { XenStore, XenStoreError } from "./xenstore.ts";

/** Of the rings that we offer as server: 4 KiB each. Who has more to say waits. */
const ORDER = 12;

/** What vchans need of the devices. */
type Events = Pick<EventChannels, "bindInterdomain" | "bindUnbound" | "notify" | "unbind">;
type Pages = Pick<Grants, "map" | "grant">;

/** How to reach a server: as its keys have it. */
interface Offer {
  readonly reference: number;
  readonly channel: number;
}

export class Xen {
  constructor(
    readonly store: XenStore,
    private readonly events: Events,
    private readonly grants: Pages,
  ) {}

  /**
   * @param fail hears, once it is of no use any more
   * @throws Error where there is no Xen
   */
  static open(fail: (error: Error) => void): Xen {
    const opened: Xenbus[] = [];
    const store = new XenStore((handler) => {
      const xenbus = new Xenbus(handler.received);
      opened.push(xenbus);
      return xenbus;
    }, fail);
    const [xenbus] = opened;
    if (xenbus === undefined) throw new Error("XenStore did not connect");
    const events = new EventChannels();
    new Poller([xenbus, events], fail); // until the process ends
    return new Xen(store, events, new Grants());
  }

  /**
   * @param signal ends the wait, or the channel
   * @returns our end of a vchan that the domain serves, or will
   */
  async connect(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream> {
    const path = await this.pathOf(domain, port);
    for (;;) {
      const stream = await this.follow(domain, path, await this.offer(path, signal), handler);
      if (stream !== undefined) return until(signal, stream);
    }
  }

  /**
   * @returns our end, or undefined where the server has given up meanwhile. Its grants and its event channel may be another
   *   server's by then, so nothing is written before the keys have been seen to stand.
   */
  private async follow(
    domain: number,
    path: string,
    offer: Offer,
    handler: StreamHandler,
  ): Promise<VchanStream | undefined> {
    const held: SharedPages[] = [];
    try {
      const first = this.grants.map(domain, [offer.reference]);
      held.push(first);
      const { leftOrder, rightOrder, grants } = readOffer(first.bytes);
      const rings = grants.length > 0 ? this.grants.map(domain, grants) : undefined;
      if (rings !== undefined) held.push(rings);
      const memory = layOut(first.bytes, leftOrder, rightOrder, rings?.bytes ?? new Uint8Array(0));
      const stands = Bun.deepEquals(await this.readOffer(path), offer);
      if (stands && !isAwaited(first.bytes)) throw new ProtocolError("vchan: the server has a client");
      if (stands) {
        const link = new Link(this.events, (fired) => this.events.bindInterdomain(domain, offer.channel, fired));
        return link.open("client", memory, handler, held);
      }
    } catch (error) {
      for (const pages of held) pages.release();
      if (Bun.deepEquals(await this.readOffer(path), offer)) throw error;
      return undefined;
    }
    for (const pages of held) pages.release();
    return undefined;
  }

  async isOffered(domain: number, port: number): Promise<boolean> {
    return (await this.readOffer(await this.pathOf(domain, port))) !== undefined;
  }

  /**
   * @param signal ends the channel, also while nobody has come
   * @returns our end of a vchan that we serve the domain: what is sent before it comes waits for it
   */
  async serve(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream> {
    const count = 1 + 2 * ringPages(ORDER);
    const { pages, references } = this.grants.grant(domain, count);
    const page = pages.bytes.subarray(0, PAGE);
    formatPage(page, ORDER, ORDER);
    const [reference, ...rings] = references;
    const view = new DataView(page.buffer, page.byteOffset, PAGE);
    for (const [i, ring] of rings.entries()) view.setUint32(GRANTS + i * 4, ring, true);
    const memory = layOut(page, ORDER, ORDER, pages.bytes.subarray(PAGE));
    const path = `data/vchan/${domain}/${port}`;
    const link = new Link(this.events, (fired) => this.events.bindUnbound(domain, fired));
    const published = Promise.withResolvers<void>();
    // With the connection gone, so are the keys. What is still being published is withdrawn behind that.
    const withdraw = () => void published.promise.then(() => this.store.rm(path)).catch(() => {});
    const stream = until(signal, link.open("server", memory, handler, [pages], withdraw));
    try {
      await this.publish(path, domain, reference, link.port);
    } catch (error) {
      stream.close();
      throw error;
    } finally {
      published.resolve();
    }
    return stream;
  }

  /** All at once: a peer that sees the event channel may connect in that moment, and then the keys are withdrawn. */
  private async publish(path: string, domain: number, reference: number | undefined, port: number): Promise<void> {
    const permissions = [`n${await this.store.read("domid")}`, `r${domain}`];
    const keys = [
      [`${path}/ring-ref`, reference],
      [`${path}/event-channel`, port],
    ] as const;
    await this.store.transaction(async (access) => {
      for (const [key, value] of keys) {
        await access.write(key, String(value));
        await access.setPermissions(key, permissions);
      }
    });
  }

  /** Waits until a server has published how to reach it. */
  private async offer(path: string, signal?: AbortSignal): Promise<Offer> {
    const found = Promise.withResolvers<Offer>();
    found.promise.catch(() => {}); // where the watch fails first
    onAbort(signal, found.reject);
    const look = async () => {
      const offer = await this.readOffer(path);
      if (offer !== undefined) found.resolve(offer);
    };
    const remove = await this.store.watch(`${path}/event-channel`, () => look().catch(found.reject));
    try {
      return await found.promise;
    } finally {
      await remove();
    }
  }

  /** Where a domain has the keys of what it serves us. */
  private async pathOf(domain: number, port: number): Promise<string> {
    return `/local/domain/${domain}/data/vchan/${await this.store.read("domid")}/${port}`;
  }

  private async readOffer(path: string): Promise<Offer | undefined> {
    const [reference, channel] = await Promise.all([
      this.readIfAllowed(`${path}/ring-ref`),
      this.readIfAllowed(`${path}/event-channel`),
    ]);
    return reference && channel ? { reference: Number(reference), channel: Number(channel) } : undefined;
  }

  /** A key that is there may not be readable yet. */
  private async readIfAllowed(path: string): Promise<string | undefined> {
    try {
      return await this.store.read(path);
    } catch (error) {
      if (error instanceof XenStoreError && error.code === "EACCES") return undefined;
      throw error;
    }
  }
}

/** @returns the stream, which ends with the signal */
function until(signal: AbortSignal | undefined, stream: VchanStream): VchanStream {
  onAbort(signal, ({ message }) => stream.abort(message));
  return stream;
}

function onAbort(signal: AbortSignal | undefined, act: (reason: Error) => void): void {
  const hear = () => act(signal?.reason instanceof Error ? signal.reason : new Error("vchan: called off"));
  if (signal?.aborted) hear();
  else signal?.addEventListener("abort", hear, { once: true });
}

/** A vchan's event channel, and the order in which everything of it ends. */
class Link {
  readonly port: number;
  private look: () => void = () => {};

  constructor(
    private readonly events: Events,
    bind: (fired: () => void) => number,
  ) {
    this.port = bind(() => this.look());
  }

  /** @param connected is called once the peer is there, or all has ended without */
  open(
    role: Role,
    memory: VchanMemory,
    handler: StreamHandler,
    held: readonly SharedPages[],
    connected: () => void = () => {},
  ): VchanStream {
    let waits = true;
    const settle = () => {
      if (waits) connected();
      waits = false;
    };
    held[0]?.clearAtEnd(livenessOf(role), this.port);
    const end = new VchanEnd(memory, role, () => this.events.notify(this.port));
    const stream = new VchanStream(end, handler, () => {
      settle();
      for (const pages of held) pages.release();
      this.events.unbind(this.port);
    });
    this.look = () => {
      if (!end.expecting) settle();
      stream.look();
    };
    if (role === "client") queueMicrotask(() => stream.look());
    return stream;
  }
}
