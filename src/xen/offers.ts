// How to reach the servers of vchans: the keys by which they offer themselves in XenStore, followed while we wait for them.
// A server that is killed leaves its keys behind, while its grants and its event channel become those of the next program in
// its domain that asks for some. So keys alone don't say whose they are: those of others are looked at too.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { type XenStore, XenStoreError } from "./xenstore.ts";

/** How long a server whose keys were there before they were watched is held back for those announced after it, in ms. */
const PATIENCE = 2000;
/**
 * And how long at least where others are waited for too. If its memory is another's, that one's keys are there by then: it has been
 * since before we mapped it.
 */
const GRACE = 250;

/** What a server's keys say. */
export interface Offer {
  readonly reference: number;
  readonly channel: number;
}

export class Offers {
  /** Oldest first. */
  private readonly awaited = new Set<Awaited>();
  private writes = 0;
  /** What stood at a port when the wait for its server was given up: that of somebody who was not waited for any more. */
  private readonly spent = new Map<string, Offer>();
  private changed = Promise.withResolvers<void>();

  constructor(
    private readonly store: XenStore,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {}

  /**
   * Begins to wait for a server.
   * @param isShared whether several programs use the port, one after the other
   */
  await(domain: number, port: number, isShared: boolean): Awaited {
    const place = `${domain} ${port}`;
    const awaited = new Awaited(this.store, domain, port, isShared ? this.spent.get(place) : undefined, {
      nextWrite: () => ++this.writes,
      changed: () => this.stir(),
      ended: (left) => {
        if (left === undefined) this.spent.delete(place);
        else this.spent.set(place, left);
        this.awaited.delete(awaited);
        this.stir();
      },
    });
    this.awaited.add(awaited);
    return awaited;
  }

  /**
   * Whether what a server offered is its own still: its keys stand, and no other server of its domain has offered the same
   * grant or event channel later. Until both are known nothing may be written to its memory, nor may it be signalled: a
   * program that waits for its client takes any signal for that, and its keys away.
   */
  async stands(awaited: Awaited, offer: Offer): Promise<boolean> {
    await this.untilOthersAreKnown(awaited);
    if (!Bun.deepEquals(await awaited.read(), offer) || awaited.isOver) return false;
    const younger = this.youngerThan(awaited);
    return this.ofSameDomain(awaited).every(
      (other) =>
        !overlap(other.offer, offer) ||
        other.written < awaited.written ||
        (other.written === awaited.written && !younger.includes(other)),
    );
  }

  /**
   * Keys that were there when we began to look may be long dead. Whoever has their grants now was announced later, and may be
   * about to write its own keys.
   */
  private async untilOthersAreKnown(awaited: Awaited): Promise<void> {
    if (awaited.written > 0) return;
    if (this.ofSameDomain(awaited).length > 0) {
      await new Promise<void>((resolve) => this.clock.after(GRACE, resolve));
    }
    let isPatient = true;
    const callOff = this.clock.after(PATIENCE - GRACE, () => {
      isPatient = false;
      this.stir();
    });
    while (isPatient && !awaited.isOver && this.youngerThan(awaited).some(({ offer }) => offer === undefined)) {
      await this.changed.promise;
    }
    callOff();
  }

  private ofSameDomain(awaited: Awaited): Awaited[] {
    return [...this.awaited].filter((other) => other !== awaited && other.domain === awaited.domain);
  }

  private youngerThan(awaited: Awaited): Awaited[] {
    return this.ofSameDomain(awaited).filter(({ number }) => number > awaited.number);
  }

  private stir(): void {
    this.changed.resolve();
    this.changed = Promise.withResolvers<void>();
  }
}

/** What a wait tells of. */
interface Listener {
  /** @returns the number of a write that was seen just now */
  nextWrite(): number;
  changed(): void;
  /** @param left what the server still offers, if it was waited for in vain */
  ended(left: Offer | undefined): void;
}

/** The wait for one server. */
export class Awaited {
  /** What its keys said when they were last looked at. */
  offer: Offer | undefined;
  /** The last write of its keys among all that were seen; 0 where they were there before they were watched. */
  written = 0;
  /** Rises with each wait. */
  readonly number = ++Awaited.count;
  private static count = 0;
  private path: string | undefined;
  private news = Promise.withResolvers<void>();
  private isNew = false;
  private failure: unknown;
  private remove: () => Promise<void> = async () => {};
  private isFirst = true;

  constructor(
    private readonly store: XenStore,
    readonly domain: number,
    private readonly port: number,
    private readonly spent: Offer | undefined,
    private readonly listener: Listener,
  ) {}

  /** Whether it was called off, or XenStore failed. */
  get isOver(): boolean {
    return this.failure !== undefined;
  }

  /** @throws XenStoreError */
  async watch(): Promise<void> {
    const path = await pathOf(this.store, this.domain, this.port);
    this.path = path;
    this.remove = await this.store.watch(`${path}/event-channel`, () => {
      if (!this.isFirst) this.written = this.listener.nextWrite();
      this.isFirst = false;
      void this.look();
    });
  }

  /** @returns what the server offers now. @throws XenStoreError */
  async read(): Promise<Offer | undefined> {
    return this.path === undefined ? undefined : readOffer(this.store, this.path);
  }

  /**
   * @returns what it offers, once its keys have been written since the last call
   * @throws Error when XenStore fails, or why the wait was called off
   */
  async next(): Promise<Offer> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure;
      const { offer, isNew } = this;
      this.isNew = false;
      if (isNew && offer !== undefined) return offer;
      this.news = Promise.withResolvers<void>();
      await this.news.promise;
    }
  }

  /** Ends the wait, now or when it begins again. */
  callOff(reason: unknown): void {
    this.failure ??= reason;
    this.news.resolve();
    this.listener.changed();
  }

  /** @param isMet whether its server was found @returns once nothing is left of it */
  async end(isMet: boolean): Promise<void> {
    try {
      this.listener.ended(isMet ? undefined : await this.read());
    } finally {
      await this.remove();
    }
  }

  private async look(): Promise<void> {
    try {
      const offer = await this.read();
      // Who comes now writes its keys anew, or has done so; those that have stood there since another was given up are that one's.
      this.offer = this.written === 0 && Bun.deepEquals(offer, this.spent) ? undefined : offer;
      this.isNew = true;
      this.news.resolve();
      this.listener.changed();
    } catch (error) {
      this.callOff(error);
    }
  }
}

function overlap(one: Offer | undefined, other: Offer): boolean {
  return one?.reference === other.reference || one?.channel === other.channel;
}

/** @returns where a domain has the keys of what it serves us */
async function pathOf(store: XenStore, domain: number, port: number): Promise<string> {
  return `/local/domain/${domain}/data/vchan/${await store.read("domid")}/${port}`;
}

/** @returns what a domain offers us on a port, undefined where nobody serves it. @throws XenStoreError */
export async function currentOffer(store: XenStore, domain: number, port: number): Promise<Offer | undefined> {
  return readOffer(store, await pathOf(store, domain, port));
}

async function readOffer(store: XenStore, path: string): Promise<Offer | undefined> {
  const [reference, channel] = await Promise.all([
    readIfAllowed(store, `${path}/ring-ref`),
    readIfAllowed(store, `${path}/event-channel`),
  ]);
  return reference && channel ? { reference: Number(reference), channel: Number(channel) } : undefined;
}

/** A key that is there may not be readable yet. */
async function readIfAllowed(store: XenStore, path: string): Promise<string | undefined> {
  try {
    return await store.read(path);
  } catch (error) {
    if (error instanceof XenStoreError && error.code === "EACCES") return undefined;
    throw error;
  }
}
