// Vchans from their keys in XenStore to their end: whatever ends the wait or the channel, nothing of it is left.
import { beforeEach, expect, test } from "bun:test";
import type { SharedPages } from "../../src/xen/grants.ts";
import { formatPage, GRANTS, layOut, PAGE, VchanEnd } from "../../src/xen/vchan.ts";
import { Xen } from "../../src/xen/xen.ts";
import { XenStore } from "../../src/xen/xenstore.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { XenStoreDouble } from "../support/xenstore-double.ts";

const DOM0 = 0;
const KEYS = "data/vchan/0/513";
const OFFER = "/local/domain/0/data/vchan/5/513";
const CALLED_OFF = "called off";

/** The machine's pages, by grant reference, and its event channels. */
class Machine {
  readonly memory = new Uint8Array(64 * PAGE);
  private pages = 1;
  private ports = 0;
  readonly fired = new Map<number, () => void>();
  held = 0;
  mapping: () => void = () => {};

  map(_: number, references: readonly number[]): SharedPages {
    this.mapping();
    const [first = 0] = references;
    return this.share(first, references.length);
  }

  grant(_: number, count: number): { pages: SharedPages; references: number[] } {
    const first = this.pages;
    this.pages += count;
    return { pages: this.share(first, count), references: Array.from({ length: count }, (__, i) => first + i) };
  }

  bindUnbound(_: number, fired: () => void): number {
    this.fired.set(++this.ports, fired);
    return this.ports;
  }

  bindInterdomain(domain: number, _: number, fired: () => void): number {
    return this.bindUnbound(domain, fired);
  }

  notify(): void {}

  unbind(port: number): void {
    this.fired.delete(port);
  }

  private share(first: number, count: number): SharedPages {
    this.held++;
    const bytes = this.memory.subarray(first * PAGE, (first + count) * PAGE);
    return { bytes, clearAtEnd: () => {}, release: () => this.held-- };
  }
}

let store: XenStoreDouble;
let machine: Machine;
let xen: Xen;
let clock: SimulatedClock;
let reasons: string[];
let end: AbortController;

const handler = { received: () => {}, closed: (reason: string) => reasons.push(reason) };

beforeEach(() => {
  store = new XenStoreDouble();
  store.put("domid", "5");
  machine = new Machine();
  const client = new XenStore(store.connect, (error) => {
    throw error;
  });
  clock = new SimulatedClock();
  xen = new Xen(client, machine, machine, clock);
  reasons = [];
  end = new AbortController();
});

async function settle(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function left(): unknown {
  const keys = [`${KEYS}/ring-ref`, `${KEYS}/event-channel`, KEYS].filter((path) => store.get(path) !== undefined);
  return { keys, pages: machine.held, ports: machine.fired.size, watches: store.watched };
}

const NOTHING = { keys: [], pages: 0, ports: 0, watches: 0 };

/** Dom0 serves the port: it has the pages from 32 on. */
function offer(): Uint8Array {
  const page = machine.memory.subarray(32 * PAGE, 33 * PAGE);
  formatPage(page, 12, 12);
  new DataView(page.buffer, page.byteOffset).setUint32(GRANTS, 33, true);
  new DataView(page.buffer, page.byteOffset).setUint32(GRANTS + 4, 34, true);
  store.put(`${OFFER}/ring-ref`, "32");
  store.put(`${OFFER}/event-channel`, "7");
  return page;
}

test("a channel that we serve has its keys until its client has come", async () => {
  await xen.serve(DOM0, 513, handler, end.signal);
  expect([store.get(`${KEYS}/ring-ref`), store.get(`${KEYS}/event-channel`)]).toEqual(["1", "1"]);
  const memory = layOut(machine.memory.subarray(PAGE, 2 * PAGE), 12, 12, machine.memory.subarray(2 * PAGE, 4 * PAGE));
  new VchanEnd(memory, "client", () => machine.fired.get(1)?.());
  await settle();
  expect(left()).toEqual({ keys: [], pages: 1, ports: 1, watches: 0 });
  end.abort(new Error(CALLED_OFF));
  expect([reasons, left(), machine.memory[PAGE + 21]]).toEqual([[CALLED_OFF], NOTHING, 0]);
});

test("a channel that nobody comes to leaves nothing when it is called off", async () => {
  await xen.serve(DOM0, 513, handler, end.signal);
  end.abort(new Error(CALLED_OFF));
  await settle();
  expect([reasons, left()]).toEqual([[CALLED_OFF], NOTHING]);
});

test("nor does one that is called off while its keys are being written", async () => {
  for (const turns of [0, 1, 2, 3, 4, 5, 6]) {
    const signal = new AbortController();
    const serving = xen.serve(DOM0, 513, handler, signal.signal);
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
    signal.abort(new Error(CALLED_OFF));
    await serving;
    await settle();
    expect(left()).toEqual(NOTHING);
  }
});

test("a wait for a server ends when it is called off, and nothing is left of it", async () => {
  const outcome = xen.connect(DOM0, 513, handler, end.signal).catch(String);
  await settle();
  expect(left()).toEqual({ ...NOTHING, watches: 1 });
  end.abort(new Error(CALLED_OFF));
  expect(await outcome).toBe(`Error: ${CALLED_OFF}`);
  await settle();
  expect([reasons, left()]).toEqual([[], NOTHING]);
  offer();
  await settle();
  expect(left()).toEqual(NOTHING);
});

test("a wait that is called off before it began, too", async () => {
  offer();
  end.abort(new Error(CALLED_OFF));
  expect(await xen.connect(DOM0, 513, handler, end.signal).catch(String)).toBe(`Error: ${CALLED_OFF}`);
  await settle();
  expect(left()).toEqual(NOTHING);
});

test("a channel that we are the client of ends when it is called off: the server sees us gone", async () => {
  const page = offer();
  await xen.connect(DOM0, 513, handler, end.signal);
  await settle();
  expect([page[20], left()]).toEqual([1, { keys: [], pages: 2, ports: 1, watches: 0 }]);
  end.abort(new Error(CALLED_OFF));
  expect([page[20], reasons, left()]).toEqual([0, [CALLED_OFF], NOTHING]);
});

test("a server that gives up while it is being followed is not connected to: its page may be another's by then", async () => {
  const page = offer();
  machine.mapping = () => {
    machine.mapping = () => {};
    for (const key of ["ring-ref", "event-channel"]) store.remove(`${OFFER}/${key}`);
  };
  const connected = xen.connect(DOM0, 513, handler, end.signal);
  await settle();
  expect([page[20], left()]).toEqual([2, { ...NOTHING, watches: 1 }]);
  offer();
  await connected;
  expect([page[20], left()]).toEqual([1, { keys: [], pages: 2, ports: 1, watches: 0 }]);
});

test("nor does one whose grants are gone end the wait", async () => {
  offer();
  machine.mapping = () => {
    for (const key of ["ring-ref", "event-channel"]) store.remove(`${OFFER}/${key}`);
    machine.mapping = () => {};
    throw new Error("no such grant");
  };
  const connected = xen.connect(DOM0, 513, handler);
  await settle();
  expect(left()).toEqual({ ...NOTHING, watches: 1 });
  offer();
  await connected;
  expect(left()).toEqual({ keys: [], pages: 2, ports: 1, watches: 0 });
});

/** What keys can say of a server that has died: nothing is mapped by them, or what another has by now. */
const DEAD: readonly [string, string, () => void][] = [
  [
    "can't be mapped",
    "Error: no such grant",
    () => {
      machine.mapping = () => {
        throw new Error("no such grant");
      };
    },
  ],
  ["has a client", "Error: vchan: the server has a client", () => offer().fill(1, 20, 21)],
  ["has had one", "Error: vchan: the server has a client", () => offer().fill(0, 20, 21)],
  ["is no vchan's", "ProtocolError: vchan: a ring of order 0", () => offer().fill(0)],
];

test.each(DEAD)("a server whose page %s is an error to who won't wait", async (_, error, die) => {
  offer();
  die();
  expect(await xen.connect(DOM0, 513, handler).catch(String)).toContain(error.replace("ProtocolError", "Error"));
  await settle();
  expect(left()).toEqual(NOTHING);
});

test.each(DEAD)(
  "to who waits, a server whose page %s has died, and the next one's keys are waited for",
  async (_, __, die) => {
    const page = offer();
    die();
    const live = page[20];
    const connected = xen.connect(DOM0, 513, handler, end.signal);
    await settle();
    expect([page[20], left()]).toEqual([live, { ...NOTHING, watches: 1 }]);
    machine.mapping = () => {};
    offer(); // the same grant and event channel: they were free again
    await connected;
    expect([page[20], left()]).toEqual([1, { keys: [], pages: 2, ports: 1, watches: 0 }]);
  },
);

/** Dom0 serves another port, with these keys and a page of its own. */
function offerAt(port: number, reference: number, channel: number): Uint8Array {
  const page = machine.memory.subarray(reference * PAGE, (reference + 1) * PAGE);
  formatPage(page, 12, 12);
  const view = new DataView(page.buffer, page.byteOffset);
  view.setUint32(GRANTS, reference + 1, true);
  view.setUint32(GRANTS + 4, reference + 2, true);
  store.put(`/local/domain/0/data/vchan/5/${port}/ring-ref`, String(reference));
  store.put(`/local/domain/0/data/vchan/5/${port}/event-channel`, String(channel));
  return page;
}

test.each([
  ["grant and event channel", 40, 9],
  ["grant", 40, 8],
  ["event channel", 44, 9],
])(
  "keys left behind whose %s became another server's are not followed, whichever was written first",
  async (_, reference, channel) => {
    for (const isWatched of [false, true]) {
      const ports: string[] = [];
      const connect = (port: number) => {
        void xen.connect(DOM0, port, handler, end.signal).then(
          () => ports.push(`${port} of ${machine.fired.size}`),
          () => {},
        );
      };
      if (isWatched) connect(513);
      offerAt(513, reference, channel);
      const page = offerAt(514, 40, 9); // its owner's process is alive, that of 513 is not
      if (!isWatched) connect(513);
      connect(514);
      await settle();
      await clock.advance(250);
      await settle();
      expect([ports, page[20]]).toEqual([["514 of 1"], 1]);
      end.abort(new Error(CALLED_OFF));
      end = new AbortController();
      for (const port of [513, 514]) {
        for (const key of ["ring-ref", "event-channel"]) store.remove(`/local/domain/0/data/vchan/5/${port}/${key}`);
      }
      await settle();
    }
  },
);

test("keys that were there already wait for those of who was announced later: theirs may the grants be by now", async () => {
  const page = offerAt(513, 40, 9);
  const old = xen.connect(DOM0, 513, handler, end.signal).catch(String);
  const connected = xen.connect(DOM0, 514, handler, end.signal);
  await settle();
  expect([page[20], machine.fired.size]).toEqual([2, 0]);
  await clock.advance(1999);
  offerAt(514, 40, 9);
  await connected;
  await clock.advance(10_000);
  expect([page[20], machine.fired.size]).toEqual([1, 1]);
  end.abort(new Error(CALLED_OFF));
  expect(await old).toBe(`Error: ${CALLED_OFF}`);
});

test("nor are they followed at once where others are waited for: whose they are now may have yet to be announced", async () => {
  const other = xen.connect(DOM0, 512, handler, end.signal).catch(() => {});
  const page = offerAt(513, 40, 9);
  const old = xen.connect(DOM0, 513, handler, end.signal).catch(() => {});
  await settle();
  await clock.advance(249);
  const connected = xen.connect(DOM0, 514, handler, end.signal);
  await settle();
  expect(page[20]).toBe(2);
  offerAt(514, 40, 9);
  await connected;
  await clock.advance(10_000);
  expect([page[20], machine.fired.size]).toEqual([1, 1]);
  end.abort(new Error(CALLED_OFF));
  await Promise.all([other, old]);
});

test("but not for ever, nor where they were seen to be written", async () => {
  const page = offerAt(513, 40, 9);
  const connected = xen.connect(DOM0, 513, handler, end.signal);
  const never = xen.connect(DOM0, 514, handler, end.signal).catch(() => {});
  await settle();
  expect(page[20]).toBe(2);
  await clock.advance(2000);
  await connected;
  const watched = xen.connect(DOM0, 515, handler, end.signal);
  const later = xen.connect(DOM0, 516, handler, end.signal).catch(() => {});
  await settle();
  offerAt(515, 44, 10);
  await watched;
  end.abort(new Error(CALLED_OFF));
  await Promise.all([never, later]);
});

test("keys that stood when the wait for them was given up are not the next one's, whoever lives", async () => {
  const page = offerAt(513, 40, 9);
  const given = xen.connect(DOM0, 513, handler, end.signal).catch(String);
  end.abort(new Error(CALLED_OFF));
  expect(await given).toBe(`Error: ${CALLED_OFF}`);
  end = new AbortController();
  const connected = xen.connect(DOM0, 513, handler, end.signal);
  await settle();
  await clock.advance(10_000);
  expect([page[20], left()]).toEqual([2, { ...NOTHING, watches: 1 }]);
  const own = offerAt(513, 44, 10);
  await connected;
  expect([page[20], own[20]]).toEqual([2, 1]);
  end.abort(new Error(CALLED_OFF));
  end = new AbortController();
  offerAt(513, 44, 10);
  await xen.connect(DOM0, 513, handler, end.signal);
  expect(own[20]).toBe(1);
});

test("keys that a dead server left at a port that is announced again don't take a live one's memory", async () => {
  offerAt(513, 40, 9);
  void xen.connect(DOM0, 514, handler, end.signal);
  await settle();
  const page = offerAt(514, 40, 9);
  const late = xen.connect(DOM0, 513, handler, end.signal);
  await settle();
  expect([page[20], machine.fired.size]).toEqual([1, 1]);
  const own = offerAt(513, 44, 10);
  await late;
  expect(own[20]).toBe(1);
});

test("whether a port is offered is what its keys say", async () => {
  expect(await xen.isOffered(DOM0, 513)).toBe(false);
  offer();
  expect(await xen.isOffered(DOM0, 513)).toBe(true);
  store.remove(`${OFFER}/event-channel`);
  expect(await xen.isOffered(DOM0, 513)).toBe(false);
});
