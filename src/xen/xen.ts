// Xen, as a guest's program sees it: XenStore, and vchans to other domains over event channels and granted pages. The
// devices are read in the event loop; nothing here blocks.

import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { Poller } from "../linux/poller.ts";
import { type PacedStream, ProtocolError, type StreamHandler } from "./byte-stream.ts";
import { EventChannels } from "./evtchn.ts";
import { Grants, type SharedPages } from "./grants.ts";
import { type Awaited, currentOffer, type Offer, Offers } from "./offers.ts";
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
import { XenStore } from "./xenstore.ts";

/** Of the rings that we offer as server: 4 KiB each. Who has more to say waits. */
const ORDER = 12;

/** What vchans need of the devices. */
type Events = Pick<EventChannels, "bindInterdomain" | "bindUnbound" | "notify" | "unbind">;
type Pages = Pick<Grants, "map" | "grant">;

export class Xen {
  private readonly offers: Offers;

  constructor(
    readonly store: XenStore,
    private readonly events: Events,
    private readonly grants: Pages,
    clock: Clock = MACHINE_CLOCK,
  ) {
    this.offers = new Offers(store, clock);
  }

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
   * @param signal ends the wait, or the channel. With one, keys that lead nowhere are those of a program that has died, and
   *   the next one's are waited for; without, they are an error.
   * @returns our end of a vchan that the domain serves, or will
   */
  async connect(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
    const isPatient = signal !== undefined;
    const awaited = this.offers.await(domain, port, isPatient);
    onAbort(signal, (reason) => awaited.callOff(reason));
    let stream: VchanStream | undefined;
    try {
      await awaited.watch();
      while (stream === undefined) {
        stream = await this.follow(awaited, await awaited.next(), handler, isPatient);
      }
      return until(signal, stream);
    } finally {
      await awaited.end(stream !== undefined);
    }
  }

  /** @returns our end, or undefined where the server has given up. @throws Error where it stands and can't be connected to */
  private async follow(
    awaited: Awaited,
    offer: Offer,
    handler: StreamHandler,
    isPatient: boolean,
  ): Promise<VchanStream | undefined> {
    const { domain } = awaited;
    const held: SharedPages[] = [];
    try {
      const first = this.grants.map(domain, [offer.reference]);
      held.push(first);
      readOffer(first.bytes); // not worth the wait where that can't be
      if (!(await this.offers.stands(awaited, offer))) throw new ProtocolError("vchan: the server has died");
      if (!isAwaited(first.bytes)) throw new ProtocolError("vchan: the server has a client");
      const { leftOrder, rightOrder, grants } = readOffer(first.bytes);
      const rings = grants.length > 0 ? this.grants.map(domain, grants) : undefined;
      if (rings !== undefined) held.push(rings);
      const memory = layOut(first.bytes, leftOrder, rightOrder, rings?.bytes ?? new Uint8Array(0));
      const link = new Link(this.events, (fired) => this.events.bindInterdomain(domain, offer.channel, fired));
      return link.open("client", memory, handler, held);
    } catch (error) {
      for (const pages of held) pages.release();
      if (isPatient || !Bun.deepEquals(await awaited.read(), offer)) return undefined;
      throw error;
    }
  }

  async isOffered(domain: number, port: number): Promise<boolean> {
    return (await currentOffer(this.store, domain, port)) !== undefined;
  }

  /**
   * @param signal ends the channel, also while nobody has come
   * @returns our end of a vchan that we serve the domain: what is sent before it comes waits for it
   */
  async serve(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
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
