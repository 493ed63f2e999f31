// New settings are put in force a little at a time, with frames between: whatever comes when, it must come out as if all had been done
// at once at the moment that they came into force. And no piece of that work is long.
import { describe, expect, test } from "bun:test";
import { ethernet, IPV4_TYPE, ip, mac, payload, tcp, udp } from "../../../lab/frames.ts";
import { UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import {
  ACCEPT_ALL,
  ANYTHING,
  GATEWAY,
  HOST_MAC,
  INTERFACES,
  interfaceOf,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  Lab,
  NEIGHBOUR,
  OUR_MAC,
  OUTSIDE,
  type Outcome,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  UPLINK_SETTINGS,
  WORK,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../../lab/router-lab.ts";
import { RECORDS_AT_ONCE } from "../../../src/dataplane/frame/router.ts";
import type { State } from "../../../src/dataplane/frame/state.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, ForwardSettings, Settings } from "../../../src/dataplane/settings.ts";
import { FLOW_WORDS } from "../../../src/dataplane/tables/flow-records.ts";
import { withGeneration } from "../../../src/dataplane/tables/flow-state.ts";
import type { Client, Flow, Group } from "../../../src/dataplane/types.ts";

const HOSTS = [WORK_HOST, LAN_HOST, LAN_HOST_2];
const REMOTES = [REMOTE, REMOTE_2, GATEWAY, NEIGHBOUR];
const NO_WEB = compileRuleset([{ ...ANYTHING, accept: false, portLow: 80, portHigh: 80 }], true);
const MAX_FLOWS = 256;
const NAT = { ...SETTINGS.nat, maxFlows: MAX_FLOWS };
/** Of a firewall whose address is another one than that of its flows. */
const MOVED = "192.0.2.200";

const FORWARD: ForwardSettings = {
  protocol: 17,
  portLow: 7000,
  portHigh: 7010,
  client: 0,
  to: ip(WORK_HOST),
  toPort: 7000,
  from: [],
};

/** Has everybody open to be reached, so that all kinds of flows are there. */
const BEFORE: Settings = {
  ...SETTINGS,
  clients: [
    { ...WORK_SETTINGS, reach: [1] },
    { ...LAN_SETTINGS, reach: [0], openFilter: true },
  ],
  forwards: [FORWARD],
  nat: NAT,
};

const STRANGER: ClientSettings = { ...WORK_SETTINGS, name: "stranger", network: ip("172.16.0.7") };
const [WORK_BEFORE, LAN_BEFORE] = BEFORE.clients;
const HALVES = ["192.168.1.0", "192.168.1.128"].map((network) => ({
  ...LAN_BEFORE,
  name: network,
  network: ip(network),
  prefix: 25,
}));

/** Another order of interfaces, and of clients. */
const TURNED: Settings = {
  ...BEFORE,
  interfaces: INTERFACES.toReversed(),
  uplink: { ...UPLINK_SETTINGS, iface: 2 },
  clients: [
    { ...LAN_BEFORE, iface: 0, reach: [1] },
    { ...WORK_BEFORE, iface: 1, reach: [0] },
  ],
  forwards: [{ ...FORWARD, client: 1 }],
};

const CHANGES: Readonly<Record<string, Settings>> = {
  "a client more, before the others": {
    ...BEFORE,
    clients: [STRANGER, { ...WORK_BEFORE, reach: [2] }, { ...LAN_BEFORE, reach: [1] }],
    forwards: [{ ...FORWARD, client: 1 }],
  },
  "a client less": { ...BEFORE, clients: [{ ...LAN_BEFORE, reach: [] }], forwards: [] },
  "another client less": { ...BEFORE, clients: [{ ...WORK_BEFORE, reach: [] }] },
  "no clients": { ...BEFORE, clients: [], forwards: [] },
  "interfaces and clients in another order": TURNED,
  "an interface less": {
    ...BEFORE,
    interfaces: INTERFACES.slice(0, 2),
    clients: [{ ...WORK_BEFORE, reach: [] }],
  },
  "a network in two": {
    ...BEFORE,
    clients: [{ ...WORK_BEFORE, reach: [] }, ...HALVES.map((half) => ({ ...half, reach: [] }))],
  },
  "another client's rules, and a client more": {
    ...BEFORE,
    clients: [{ ...WORK_BEFORE, ruleset: NO_WEB }, { ...LAN_BEFORE, ruleset: NO_WEB }, STRANGER],
  },
  "a client where a remote host was": { ...BEFORE, clients: [...BEFORE.clients, { ...STRANGER, network: ip(REMOTE) }] },
  "clients who do not reach each other": {
    ...BEFORE,
    clients: BEFORE.clients.map((client) => ({ ...client, reach: [] })),
  },
  "no endpoint-independent filter": {
    ...BEFORE,
    clients: BEFORE.clients.map((client) => ({ ...client, openFilter: false })),
  },
  "another forward": { ...BEFORE, forwards: [{ ...FORWARD, toPort: 7001 }] },
  "no forward": { ...BEFORE, forwards: [] },
  "DNS sent elsewhere": { ...BEFORE, redirects: [{ from: ip(REMOTE), to: ip(REMOTE_2) }] },
  "another gateway": { ...BEFORE, uplink: { ...UPLINK_SETTINGS, gateway: ip(NEIGHBOUR) } },
  "a smaller network at the uplink": { ...BEFORE, uplink: { ...UPLINK_SETTINGS, prefix: 27 } },
  "addresses that are inside": { ...BEFORE, uplink: { ...UPLINK_SETTINGS, inside: [ip(REMOTE)] } },
  "a client with another gateway": { ...BEFORE, clients: [{ ...WORK_BEFORE, gateway: ip(REMOTE_2) }, LAN_BEFORE] },
  "a client pinned to another MAC address": {
    ...BEFORE,
    clients: [{ ...WORK_BEFORE, mac: mac("02:00:00:00:0b:ad") }, LAN_BEFORE],
  },
  "a client pinned to its own": { ...BEFORE, clients: [{ ...WORK_BEFORE, mac: mac(HOST_MAC[WORK_HOST]) }, LAN_BEFORE] },
  "another address of ours": { ...BEFORE, uplink: { ...UPLINK_SETTINGS, address: ip(MOVED) } },
};

/** A packet, and by whom. */
interface Spoken {
  readonly host: string;
  readonly packet: Uint8Array;
}

/** Packets of flows of all kinds: each is the next one of a flow, and if there is none it may open one. */
function conversations(): Spoken[] {
  const spoken: Spoken[] = [];
  const say = (source: string, sourcePort: number, destination: string, destinationPort: number, isTcp = false) => {
    const ends = { source, sourcePort, destination, destinationPort };
    spoken.push({ host: source, packet: isTcp ? tcp({ ...ends, flags: "S" }) : udp(ends, payload(5)) });
  };
  let port = 5000;
  for (const host of HOSTS) {
    for (const remote of REMOTES) {
      for (const to of [53, 80, 443]) {
        say(host, ++port, remote, to, to === 443);
        say(remote, to, OUTSIDE, port);
      }
    }
    for (const peer of HOSTS) if (peer !== host) say(host, ++port, peer, 80);
    say(host, ++port, OUTSIDE, 7005);
  }
  for (const [i, remote] of [REMOTE, REMOTE_2, NEIGHBOUR].entries()) {
    say(remote, 900, OUTSIDE, 7000 + i);
    say(WORK_HOST, 7000 + i, remote, 900);
    say(remote, 901, OUTSIDE, 5016); // open to anyone
  }
  return spoken;
}

const SPOKEN = conversations();

/** Whether it is of a flow that the host has opened: others are answered from ports that are forwarded. */
function isOpenedBy(host: string, spoken: Spoken): boolean {
  return spoken.host === host && new DataView(spoken.packet.buffer, spoken.packet.byteOffset).getUint16(20) < 7000;
}

function stateOf(lab: Lab): State {
  return Reflect.get(lab.router, "state");
}

/** A lab and its model: to that the settings come at once. */
class Pair {
  readonly tried = new Lab({ settings: BEFORE });
  readonly model = new Lab({ settings: BEFORE });
  /** The settings in force: interfaces may have other numbers. */
  private settings = BEFORE;
  private readonly names = INTERFACES.map(({ name }) => name);

  constructor() {
    for (const spoken of SPOKEN) this.say(spoken);
  }

  /** Has a packet come to both. @returns what became of it in each */
  say({ host, packet }: Spoken): readonly [Outcome, Outcome] {
    const name = this.names[interfaceOf(host)];
    const iface = this.settings.interfaces.findIndex((one) => one.name === name);
    if (iface < 0) return [NOTHING, NOTHING];
    const frame = ethernet(HOST_MAC[host] ?? HOST_MAC[GATEWAY], OUR_MAC[interfaceOf(host)], IPV4_TYPE, packet);
    const [tried, model] = [this.tried, this.model].map((lab) => lab.receive(iface, frame));
    return [tried, model];
  }

  /** Puts settings in force. @param between is called after each piece of work, with whether they are in force */
  apply(settings: Settings, between: (isInForce: boolean) => void): void {
    const { tried, model } = this;
    let isInForce = false;
    const job = tried.router.applying(settings, () => {
      isInForce = true;
      model.apply(settings);
      this.settings = settings;
      return true;
    });
    for (let isOver = false; !isOver; between(isInForce)) {
      tried.command(() => {
        isOver = job.next().done === true;
      });
    }
    while (tried.router.isBusy) {
      tried.command((router) => router.step());
      between(true);
    }
  }
}

const NOTHING: Outcome = { verdict: "no such interface", sent: [] };

/** What flows, parties and mappings there are, in words that do not depend on when which was made. */
function summary(lab: Lab): unknown {
  const { flows, quotas, mappings, topology } = stateOf(lab);
  const records = Array.from({ length: flows.end }, (_, number) => number as Flow)
    .filter((flow) => flows.isUsed(flow))
    .map((flow) => {
      const { words } = flows;
      const at = flow * FLOW_WORDS;
      const state = withGeneration(flows.state(flow), 0);
      const rule = `${flows.client(flow)} ${flows.rule(flow)}`;
      return `${words.slice(at, at + 5)} ${flows.protocol(flow)} ${state} ${rule} of ${quotas.partyOf(flow)}`;
    });
  const groups = Array.from({ length: topology.parties.groups }, (_, group) => mappings.mappingsOf(group as Group));
  return { records: records.sort(), groups, counts: quotaCounts(lab) };
}

function quotaCounts(lab: Lab): boolean[] {
  const { quotas, topology } = stateOf(lab);
  return topology.settings.clients.map((_, client) => quotas.hasAllFlows(client as Client));
}

/** Of two outcomes the first may be that nothing goes to the uplink for now, while our address is another than that of flows. */
function isSame([tried, model]: readonly [Outcome, Outcome], isMoving: boolean): boolean {
  if (Bun.deepEquals(tried, model)) return true;
  const isWaiting = ["dropped: egress interface down", "dropped: unsolicited"].includes(tried.verdict);
  return isMoving && isWaiting && tried.sent.length === 0;
}

describe("new settings, put in force a piece at a time:", () => {
  for (const [name, settings] of Object.entries(CHANGES)) {
    const isMoving = name === "another address of ours";

    test(`${name}: after each piece, the next packet of every flow is judged as if they had come at once`, () => {
      let pieces = 0;
      new Pair().apply(settings, () => pieces++);
      expect(pieces).toBeGreaterThan(SPOKEN.length / 2 / RECORDS_AT_ONCE);
      for (let moment = 1; moment <= pieces; moment++) {
        const pair = new Pair();
        let piece = 0;
        pair.apply(settings, () => {
          if (++piece !== moment) return;
          const wrong = SPOKEN.map((spoken) => pair.say(spoken)).filter((both) => !isSame(both, isMoving));
          expect(wrong).toEqual([]);
        });
        if (!isMoving) expect(summary(pair.tried)).toEqual(summary(pair.model));
      }
    });

    test(`${name}: likewise where one packet comes after each piece`, () => {
      const random = new Random(11);
      for (let round = 0; round < 6; round++) {
        const pair = new Pair();
        const wrong: unknown[] = [];
        pair.apply(settings, (isInForce) => {
          const both = pair.say(random.pick(SPOKEN));
          if (!isSame(both, isMoving && isInForce)) wrong.push(both);
        });
        expect(wrong).toEqual([]);
        if (isMoving) continue;
        expect(summary(pair.tried)).toEqual(summary(pair.model));
        expect(SPOKEN.map((spoken) => pair.say(spoken)).filter((both) => !isSame(both, false))).toEqual([]);
      }
    });
  }

  test("rules that change meanwhile hold from then on, whether a flow has been looked at or not", () => {
    const settings = CHANGES["a client more, before the others"];
    for (let moment = 0; moment < 9; moment++) {
      const pair = new Pair();
      let piece = 0;
      pair.apply(settings, (isInForce) => {
        if (!isInForce || piece++ !== moment) return;
        const client = { ...settings.clients[1], ruleset: compileRuleset([], false) };
        for (const lab of [pair.tried, pair.model]) lab.command((router) => router.setClient(1, client));
        for (const spoken of SPOKEN) {
          const [tried, model] = pair.say(spoken);
          expect(tried.verdict).toBe(model.verdict);
          if (isOpenedBy(WORK_HOST, spoken)) expect(tried.verdict).not.toBe("forwarded");
        }
      });
    }
  });

  test("a flow that is ended by hand meanwhile ends, whether it would have lived on or not", () => {
    for (const [host, port] of [
      [WORK_HOST, 5001],
      [LAN_HOST, 5016],
    ] as const) {
      const { tried } = new Pair();
      for (const _ of tried.router.applying(CHANGES["an interface less"]));
      const { size } = tried.router.flows;
      const key = Int32Array.of(ip(host), ip(REMOTE), (port << 16) | 53);
      expect(tried.command((router) => router.endFlow(UDP, new Uint8Array(key.buffer), 0))).toEqual([]);
      expect(tried.router.flows.size).toBe(size - 1);
    }
  });

  test("others are not put in force before all flows have followed; then they are", () => {
    const { tried } = new Pair();
    for (const _ of tried.router.applying(TURNED));
    expect(tried.router.mayApply()).toBe(false);
    while (tried.router.isBusy) tried.router.step();
    expect(tried.router.mayApply()).toBe(true);
    tried.apply(BEFORE);
    expect(tried.from(WORK_HOST, SPOKEN[0].packet).verdict).toBe("forwarded");
  });

  test("a client's rules that change again and again wait once for the sweep, and no flow is taken for judged", () => {
    const { tried } = new Pair();
    let changes = 0;
    for (; tried.router.mayApply(0); changes++) {
      tried.router.setClient(0, { ...WORK_BEFORE, ruleset: changes % 2 === 0 ? NO_WEB : ACCEPT_ALL });
    }
    expect(changes).toBe(15);
    expect(tried.router.mayApply(1)).toBe(true);
    while (tried.router.isBusy) tried.router.step();
    expect(tried.router.mayApply(0)).toBe(true);
  });
});

describe("between two looks for frames", () => {
  const FLOWS = 20_000;
  /** A flow that ends has neighbours in the index, in its list and in the wheel, whose records are read or written. */
  const MOST_TOUCHED = RECORDS_AT_ONCE * 16;

  /** A lab with many flows, whose table counts how many records are touched. */
  class Counted {
    private readonly touched = new Set<number>();
    readonly lab: Lab;
    readonly settings: Settings;

    constructor() {
      const flowRecords = this.counting(new Int32Array(2 * FLOWS * FLOW_WORDS));
      this.settings = { ...BEFORE, nat: { ...NAT, maxFlows: 2 * FLOWS } };
      this.lab = new Lab({ settings: this.settings, kernel: { flowRecords } });
      const packet = udp({ source: WORK_HOST, destination: REMOTE, sourcePort: 1, destinationPort: 1 }, payload(4));
      packet.fill(0, 26, 28); // no checksum
      const frame = ethernet(HOST_MAC[WORK_HOST], OUR_MAC[WORK], IPV4_TYPE, packet);
      this.lab.from(WORK_HOST, packet);
      for (let i = 0; i < FLOWS; i++) {
        new DataView(frame.buffer).setUint32(34, (3000 + (i >> 10)) * 65536 + 3000 + (i & 1023));
        this.lab.router.receive(WORK, this.lab.ring.put(frame), frame.length);
        this.lab.ring.takeSent();
      }
      expect(this.lab.router.flows.size).toBe(FLOWS + 1);
    }

    private counting(words: Int32Array): Int32Array {
      const note = (key: string | symbol) => {
        if (typeof key === "string" && key !== "length") this.touched.add(Math.floor(Number(key) / FLOW_WORDS));
      };
      return new Proxy(words, {
        get(target, key) {
          note(key);
          return Reflect.get(target, key, target);
        },
        set(target, key, value) {
          note(key);
          return Reflect.set(target, key, value, target);
        },
      });
    }

    /** @returns how many records are touched while something is done */
    by(work: () => void): number {
      this.touched.clear();
      work();
      this.lab.ring.takeSent();
      return this.touched.size;
    }

    /** @returns the most that one step touches, of all that are to be done now */
    bySteps(): number {
      let most = 0;
      while (this.lab.router.isBusy)
        most = Math.max(
          most,
          this.by(() => this.lab.router.step()),
        );
      return most;
    }

    /** @returns the most that one piece of putting settings in force touches, and one step after that */
    byApplying(settings: Settings): [number, number] {
      const job = this.lab.router.applying(settings);
      let most = 0;
      for (let isOver = false; !isOver; ) {
        const touched = this.by(() => {
          isOver = job.next().done === true;
        });
        most = Math.max(most, touched);
      }
      return [most, this.bySteps()];
    }
  }

  function expectShort(touched: readonly number[]): void {
    for (const count of touched) expect(count).toBeLessThanOrEqual(MOST_TOUCHED);
  }

  test("no more than some records of flows are touched for other clients or interfaces, though all flows live on", () => {
    const counted = new Counted();
    const { settings, lab } = counted;
    const clients = [STRANGER, { ...WORK_BEFORE, reach: [2] }, { ...LAN_BEFORE, reach: [1] }];
    expectShort(counted.byApplying({ ...settings, clients, forwards: [{ ...FORWARD, client: 1 }] }));
    expectShort(counted.byApplying({ ...TURNED, nat: settings.nat }));
    expect(lab.router.flows.size).toBe(FLOWS + 1);
  });

  test.each([
    ["their client is gone", { clients: [{ ...LAN_BEFORE, reach: [] }], forwards: [] }],
    ["our address is another", { uplink: { ...UPLINK_SETTINGS, address: ip(MOVED) } }],
    ["rules refuse them", { clients: [{ ...WORK_BEFORE, ruleset: compileRuleset([], false) }, LAN_BEFORE] }],
  ] as [string, Partial<Settings>][])("nor where all end, since %s", (_, change) => {
    const counted = new Counted();
    expectShort(counted.byApplying({ ...counted.settings, ...change }));
    expect(counted.lab.router.flows.size).toBe(0);
  });

  test("nor for a client's new rules, nor for the sixteenth", () => {
    const counted = new Counted();
    const { router } = counted.lab;
    const ruleset = compileRuleset([], false);
    for (let i = 0; router.mayApply(0); i++) {
      const client = { ...WORK_BEFORE, ruleset: i < 14 ? ACCEPT_ALL : ruleset };
      expectShort([counted.by(() => router.setClient(0, client))]);
    }
    expectShort([counted.bySteps()]);
    expect(router.flows.size).toBe(0);
  });

  test("nor when the time of all is up at once", () => {
    const counted = new Counted();
    const { router } = counted.lab;
    expectShort([counted.by(() => router.setTime(counted.lab.now + 1e6)), counted.bySteps()]);
    expect(router.flows.size).toBe(0);
  });
});

test("an address of ours that changes and changes back leaves no flow, and new ones open", () => {
  const lab = new Lab({ settings: BEFORE });
  const out = udp({ source: LAN_HOST, sourcePort: 4000, destination: REMOTE, destinationPort: 5000 }, payload(1));
  expect(lab.from(LAN_HOST, out).verdict).toBe("forwarded");
  const moved = { ...BEFORE, uplink: { ...UPLINK_SETTINGS, address: ip(MOVED) } };
  lab.command((router) => {
    for (const _ of router.applying(moved));
  });
  expect(lab.from(LAN_HOST, out)).toEqual({ verdict: "dropped: egress interface down", sent: [] });
  while (lab.router.isBusy) lab.router.step();
  expect(lab.router.flows.size).toBe(0);
  expect(lab.from(LAN_HOST, out).verdict).toBe("forwarded");
  lab.apply(BEFORE);
  expect(lab.router.flows.size).toBe(0);
  expect(lab.from(LAN_HOST, out).verdict).toBe("forwarded");
});
