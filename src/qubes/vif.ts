// Clients' interfaces as XenStore has them: netback, in our kernel, makes one for each directory backend/vif/DOMAIN/DEVICE
// that dom0 makes for us, and goes on once we say that it is connected. Who is gone, we clear away: dom0 waits for that.
// One watch for all of them, however many come and go.
import { parseMac } from "../base/address.ts";
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { parseIp } from "../base/ip.ts";
import { Pace } from "../base/pace.ts";
import type { XenStore } from "../xen/xenstore.ts";

const ROOT = "backend/vif";
const VIF_PATH = /^backend\/vif\/([0-9]+)\/([0-9]+)(?:\/|$)/;
const DOMAIN_PATH = /^backend\/vif\/([0-9]+)$/;

/**
 * How often one interface is looked at: a client changes its state at will, and each change may be one of the configuration. So
 * many changes come at once where an interface is made.
 */
const LOOKS = { settle: 0, burst: 64, interval: 1000 };

/** Of devices' states (Xen's public header io/xenbus.h) those that matter here. */
const STATE = { waits: 2, connected: 4, closed: 6 };

export interface Vif {
  readonly path: string;
  /** The interface, once netback has made it. */
  readonly name: string;
  readonly domain: number;
  /** The client's IPv4 address as an unsigned 32-bit number in host order, if it has one. */
  readonly address: number | undefined;
  /** Its IPv6 address, likewise: while dom0 has the feature ipv6 on for it. */
  readonly address6: Uint8Array | undefined;
  /** What stands there beside these: no address, or another one of the same family. */
  readonly unread: readonly string[];
  /** The client's MAC address, as dom0 gave it. */
  readonly mac: Uint8Array | undefined;
  readonly state: number;
  /** Whether we have said that it is connected. */
  readonly isAnnounced: boolean;
  /** Grows with each interface that connects: of two, the one with the larger number connected later; 0: not yet. */
  readonly connection: number;
}

export class ClientVifs {
  private readonly vifs = new Map<string, Vif>();
  /** Paths of interfaces to be looked at; the root: find out which there are. */
  private readonly stale = new Set<string>();
  /** By path, of those that are there or were looked for. */
  private readonly paces = new Map<string, Pace>();
  private looking = false;
  private connections = 0;
  private unwatch: () => Promise<void> = async () => {};

  private constructor(
    private readonly store: XenStore,
    private readonly changed: () => void,
    private readonly trouble: (problem: string) => void,
    private readonly clock: Clock,
  ) {}

  /** @param changed hears that `usable` may be others than before */
  static async start(
    store: XenStore,
    changed: () => void,
    trouble: (problem: string) => void,
    clock = MACHINE_CLOCK,
  ): Promise<ClientVifs> {
    const vifs = new ClientVifs(store, changed, trouble, clock);
    vifs.unwatch = await store.watch(ROOT, (path) => vifs.touch(path));
    return vifs;
  }

  /** How many there are, in whichever state. */
  get count(): number {
    return this.vifs.size;
  }

  /**
   * Interfaces that clients use or may use soon. Of two with one address, as a client with emulated hardware has them or one
   * that came back before its old interface was gone, only the one that connected last.
   */
  usable(): Vif[] {
    const best = new Map<number, Vif>();
    for (const vif of this.open()) {
      if (vif.address === undefined) continue;
      const other = best.get(vif.address);
      if (other === undefined || isNewer(vif, other)) best.set(vif.address, vif);
    }
    return [...best.values()];
  }

  /** @returns those that netback has made and that wait for us to say that they are connected */
  unannounced(): Vif[] {
    return this.open().filter((vif) => !vif.isAnnounced);
  }

  /** Lets netback connect it to its client. */
  async announce({ path }: Vif): Promise<void> {
    const vif = this.vifs.get(path);
    if (vif === undefined) return;
    this.vifs.set(path, { ...vif, isAnnounced: true });
    // As one: written a moment after the directory was cleared away, it would make that anew, and nobody would miss it.
    await this.store.transaction(async (access) => {
      if (isOpen(Number(await access.read(`${path}/state`)))) await access.write(`${path}/hotplug-status`, "connected");
    });
  }

  async stop(): Promise<void> {
    await this.unwatch();
    for (const pace of this.paces.values()) pace.stop();
  }

  private open(): Vif[] {
    return [...this.vifs.values()].filter(({ state }) => isOpen(state));
  }

  private touch(path: string): void {
    const [, domain, device] = VIF_PATH.exec(path) ?? [];
    if (domain === undefined) this.refresh(DOMAIN_PATH.exec(path)?.[0] ?? ROOT);
    else this.paceOf(`${ROOT}/${domain}/${device}`).ask();
  }

  private paceOf(path: string): Pace {
    const pace = this.paces.get(path) ?? new Pace(this.clock, LOOKS, () => this.refresh(path));
    this.paces.set(path, pace);
    return pace;
  }

  private refresh(path: string): void {
    this.stale.add(path);
    if (!this.looking) void this.look();
  }

  private forget(path: string): void {
    this.vifs.delete(path);
    this.paces.get(path)?.stop();
    this.paces.delete(path);
  }

  private async look(): Promise<void> {
    this.looking = true;
    while (this.stale.size > 0) {
      const paths = [...this.stale];
      this.stale.clear();
      const looks = paths.map((path) => (VIF_PATH.test(path) ? this.lookAt(path) : this.findAll()));
      for (const result of await Promise.allSettled(looks)) {
        if (result.status === "rejected") this.trouble(String(result.reason));
      }
    }
    this.looking = false;
    this.changed();
  }

  /** Finds interfaces that have come, and those whose directory went as a whole. */
  private async findAll(): Promise<void> {
    const domains = (await this.store.directory(ROOT)) ?? [];
    const there = await Promise.all(
      domains.map(async (domain) => {
        const devices = (await this.store.directory(`${ROOT}/${domain}`)) ?? [];
        return devices.map((device) => `${ROOT}/${domain}/${device}`);
      }),
    );
    const paths = new Set([...there.flat().filter((path) => VIF_PATH.test(path)), ...this.vifs.keys()]);
    await Promise.all([...paths].map((path) => this.lookAt(path)));
  }

  private async lookAt(path: string): Promise<void> {
    const keys = ["state", "online", "ip", "hotplug-status", "mac"];
    const [state, online, ip = "", status, mac = ""] = await Promise.all(
      keys.map((key) => this.store.read(`${path}/${key}`)),
    );
    const [, domain, device] = VIF_PATH.exec(path) ?? [];
    if (state === undefined) {
      this.forget(path);
      return;
    }
    if (Number(state) === STATE.closed && online === "0") {
      this.forget(path);
      await this.store.rm(path);
      return;
    }
    const before = this.vifs.get(path)?.connection ?? 0;
    const isConnected = Number(state) === STATE.connected;
    this.vifs.set(path, {
      path,
      name: `vif${domain}.${device}`,
      domain: Number(domain),
      ...readAddresses(ip),
      mac: parseMac(mac),
      state: Number(state),
      isAnnounced: status === "connected",
      connection: isConnected ? before || ++this.connections : 0,
    });
  }
}

/** Whether netback has made the interface, and is not about to take it away. */
function isOpen(state: number): boolean {
  return state >= STATE.waits && state <= STATE.connected;
}

function isNewer(vif: Vif, other: Vif): boolean {
  return vif.connection === other.connection ? vif.domain > other.domain : vif.connection > other.connection;
}

/** @param text addresses of any family, with spaces between */
function readAddresses(text: string): Pick<Vif, "address" | "address6" | "unread"> {
  const words = text.split(" ").filter((word) => word !== "");
  const addresses = words.map(parseIp);
  const address = addresses.find((one) => typeof one === "number");
  const address6 = addresses.find((one) => one instanceof Uint8Array);
  const isRead = (one: unknown) => one !== undefined && (one === address || one === address6);
  return { address, address6, unread: words.filter((_, i) => !isRead(addresses[i])) };
}

/**
 * The interface to the netvm, which Linux's netfront makes for device/vif/N.
 * @returns its MAC address in lower case, undefined while there is none that is connected
 */
export async function readUplinkMac(store: XenStore): Promise<string | undefined> {
  for (const device of (await store.directory(UPLINK_ROOT)) ?? []) {
    const [state, mac] = await Promise.all(
      ["state", "mac"].map((key) => store.read(`${UPLINK_ROOT}/${device}/${key}`)),
    );
    if (Number(state) === STATE.connected && mac !== undefined) return mac.toLowerCase();
  }
  return undefined;
}

export const UPLINK_ROOT = "device/vif";
