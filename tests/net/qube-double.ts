// Xen and dom0 as a whole program of a qube sees them, for programs that tests start in a namespace: doubles of their
// daemons, and what those do when clients' interfaces come and go.
import type { QubeOptions } from "../../src/config/qubes.ts";
import { QREXEC_PORT } from "../../src/qubes/qrexec-wire.ts";
import { Qube } from "../../src/qubes/qube.ts";
import { QUBESDB_PORT } from "../../src/qubes/qubesdb-wire.ts";
import type { StreamHandler } from "../../src/xen/byte-stream.ts";
import { XenStore } from "../../src/xen/xenstore.ts";
import { QrexecDouble } from "../support/qrexec-double.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { Switchboard } from "../support/vchans.ts";
import { XenStoreDouble } from "../support/xenstore-double.ts";

/** The program's own. */
const DOMAIN = 5;

export class QubeDouble {
  readonly store = new XenStoreDouble();
  readonly database: QubesDbDouble;
  private readonly board = new Switchboard();

  /** @param entries what QubesDB has at first */
  constructor(entries: Readonly<Record<string, string>>) {
    this.database = new QubesDbDouble(entries);
  }

  /** Starts the program; what it can't go on after is thrown. */
  async start(options?: QubeOptions): Promise<Qube> {
    const { board, database } = this;
    const xen = {
      store: new XenStore(this.store.connect, fail),
      connect: (_domain: number, port: number, handler: StreamHandler) => board.connect(port, handler),
      serve: (_domain: number, port: number, handler: StreamHandler) => board.serve(port, handler),
      isOffered: async (_domain: number, port: number) => board.offered.includes(port),
    };
    const qube = new Qube(xen, fail, options);
    void board.serve(QUBESDB_PORT, database.handler()).then((stream) => database.attach(stream));
    await qube.start();
    return qube;
  }

  /** Dom0's qrexec daemon, as soon as the program serves it. */
  serveQrexec(): QrexecDouble {
    const { board } = this;
    const dom0 = new QrexecDouble(DOMAIN, {
      connect: (_domain, port, handler, signal) => board.connect(port, handler, signal),
      serve: (_domain, port, handler, signal) => board.serve(port, handler, signal),
    });
    void board.connect(QREXEC_PORT, dom0.handler).then((stream) => dom0.attach(stream));
    return dom0;
  }

  /** What libxl and netback write when a client's interface has come. @returns its directory */
  attach(domain: number, address: string): string {
    const path = `backend/vif/${domain}/0`;
    for (const [key, value] of Object.entries({ ip: address, online: "1", "hotplug-status": "", state: "2" })) {
      this.store.put(`${path}/${key}`, value);
    }
    return path;
  }

  /** Waits until the program has said that the interface is connected, and lets netback connect it. */
  async connected(path: string): Promise<void> {
    await until(`${path} announced`, () => this.store.get(`${path}/hotplug-status`) === "connected");
    this.store.put(`${path}/state`, "4");
  }

  /** The interface goes. @param unplug what takes it away, as netback does before it says that it is closed */
  detach(path: string, unplug: () => void = () => {}): void {
    this.store.put(`${path}/online`, "0");
    this.store.put(`${path}/state`, "5");
    unplug();
    this.store.put(`${path}/state`, "6");
  }
}

/** Says something, and settles when the test that started this program asks it to go on, by SIGUSR2. */
export async function sayAndWait(line: string): Promise<void> {
  const asked = new Promise<void>((resolve) => process.once("SIGUSR2", () => resolve()));
  console.log(line); // the test may ask at once
  await asked;
}

/** @throws when it takes too long */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} did not come about`);
    await Bun.sleep(2);
  }
}

function fail(error: unknown): never {
  throw error;
}
