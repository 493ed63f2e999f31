// Clients' interfaces as XenStore has them: netback, in our kernel, makes one for each directory backend/vif/DOMAIN/DEVICE
// that dom0 makes for us, and goes on once we say that it is connected. Who is gone, we clear away: dom0 waits for that.
// One watch for all of them, however many come and go.
import { parseAddress } from "../base/address.ts";
import type { XenStore } from "../xen/xenstore.ts";

const ROOT = "backend/vif";
const VIF_PATH = /^backend\/vif\/([0-9]+)\/([0-9]+)(?:\/|$)/;
const DOMAIN_PATH = /^backend\/vif\/([0-9]+)$/;

/** Of devices' states (Xen's public header io/xenbus.h) those that matter here. */
const STATE = { waits: 2, connected: 4, closed: 6 };

export interface Vif {
  readonly path: string;
  /** The interface, once netback has made it. */
  readonly name: string;
  readonly domain: number;
  /** The client's IPv4 address as an unsigned 32-bit number in host order, if it has one. */
  readonly address: number | undefined;
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
  private looking = false;
  private connections = 0;
  private unwatch: () => Promise<void> = async () => {};

  private constructor(
    private readonly store: XenStore,
    private readonly changed: () => void,
    private readonly trouble: (problem: string) => void,
  ) {}

  /** @param changed hears that `usable` may be others than before */
  static async start(store: XenStore, changed: () => void, trouble: (problem: string) => void): Promise<ClientVifs> {
    const vifs = new ClientVifs(store, changed, trouble);
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
  }

  private open(): Vif[] {
    return [...this.vifs.values()].filter(({ state }) => isOpen(state));
  }

  private touch(path: string): void {
    const [, domain, device] = VIF_PATH.exec(path) ?? [];
    this.stale.add(domain === undefined ? (DOMAIN_PATH.exec(path)?.[0] ?? ROOT) : `${ROOT}/${domain}/${device}`);
    if (!this.looking) void this.look();
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
    const keys = ["state", "online", "ip", "hotplug-status"];
    const [state, online, ip = "", status] = await Promise.all(keys.map((key) => this.store.read(`${path}/${key}`)));
    const [, domain, device] = VIF_PATH.exec(path) ?? [];
    if (state === undefined) {
      this.vifs.delete(path);
      return;
    }
    if (Number(state) === STATE.closed && online === "0") {
      this.vifs.delete(path);
      await this.store.rm(path);
      return;
    }
    const before = this.vifs.get(path)?.connection ?? 0;
    const isConnected = Number(state) === STATE.connected;
    this.vifs.set(path, {
      path,
      name: `vif${domain}.${device}`,
      domain: Number(domain),
      address: firstAddress(ip),
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
function firstAddress(text: string): number | undefined {
  return text
    .split(" ")
    .map(parseAddress)
    .find((address) => address !== undefined);
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
