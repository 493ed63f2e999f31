// `pauses`: for how long frames may have to wait because the dataplane's thread does something else: the time of its own that it
// takes between two looks for them, by what control asks meanwhile, with a full flow table and thousands of neighbours.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { ARP_TYPE, arp, ethernet, IPV4_TYPE, ip, tcp, udp } from "../lab/frames.ts";
import { Random } from "../lab/random.ts";
import { randomMatches } from "../lab/rulesets.ts";
import { formatAddress } from "../src/base/address.ts";
import {
  LONGEST_RULES,
  MAILBOX_LENGTH,
  Mailbox,
  RULES_MAILBOX_LENGTH,
  RULES_SIZE,
} from "../src/dataplane/io/mailbox.ts";
import { type Command, MAIL } from "../src/dataplane/io/protocol.ts";
import { packRuleset } from "../src/dataplane/rules/packed.ts";
import { compileRuleset, type Ruleset } from "../src/dataplane/rules/ruleset.ts";
import { type ClientSettings, NO_SCRUB, type Settings } from "../src/dataplane/settings.ts";
import type { Benchmark, Options } from "./benchmark.ts";
import { BUCKET, NOW } from "./pause-counts.ts";
import type { Pauses, Start } from "./pauses-thread.ts";
import type { Report } from "./report/report.ts";
import { FIREBREAK } from "./subjects/subjects.ts";

const FLOWS = 65_536;
/** Clients of one host each, and a network with so many. */
const CLIENTS = 32;
const LAN_HOSTS = 1500;
const RULES = 20;
const MANY_RULES = 10_000;
/** ms that frames may have to wait. */
const LONGEST = 0.5;

const FIRST_CLIENT = ip("10.137.0.10");
const LAN = ip("192.168.0.0");
const OUR_MAC = "02:00:00:00:00:fe";
const TIMEOUT = 8000;

function rulesetOf(rules: number, seed: number): Ruleset {
  return compileRuleset(
    rules === 0 ? [] : randomMatches(new Random(seed), rules, 16).map((match) => ({ ...match, accept: true })),
    true,
  );
}

const FEW = [1, 2].map((seed) => rulesetOf(RULES, seed));
const MANY = [1, 2].map((seed) => rulesetOf(MANY_RULES, seed));

function macOf(client: number): Uint8Array {
  return Uint8Array.of(2, 0, 0, 0, 1, client);
}

interface Layout {
  /** Clients of one host, by number, in their order. */
  readonly clients?: readonly number[];
  readonly ruleset?: Ruleset;
  readonly index?: number;
  readonly forwards?: Settings["forwards"];
  readonly address?: string;
}

const ALL = Array.from({ length: CLIENTS }, (_, client) => client);

function settingsFor({
  clients = ALL,
  ruleset = FEW[0],
  index = 0,
  forwards = [],
  address = "192.0.2.254",
}: Layout = {}): Settings {
  const common = {
    ruleset,
    reach: [],
    openFilter: false,
    limits: { flows: FLOWS, mappings: FLOWS, flowsPerSecond: 1e9 },
    refuse: "icmp",
    log: false,
    scrub: NO_SCRUB,
    watchNames: false,
  } as const;
  const mac = Uint8Array.from(OUR_MAC.split(":"), (byte) => Number.parseInt(byte, 16));
  const names = ["uplink", "lan", ...clients.map((client) => `vif${client}`)];
  return {
    interfaces: names.map((name, i) => ({
      name,
      index: i + 1 + index,
      mac,
      anyMac: false,
      mtu: 1500,
      clampMss: false,
    })),
    uplink: { iface: 0, address: ip(address), prefix: 24, gateway: ip("192.0.2.1"), gatewayMac: macOf(0), dns: [] },
    clients: [
      { ...common, name: "lan", iface: 1, network: LAN, prefix: 16, gateway: LAN + 1 },
      ...clients.map(
        (client, i): ClientSettings => ({
          ...common,
          ...{
            name: `vif${client}`,
            iface: i + 2,
            network: FIRST_CLIENT + client,
            prefix: 32,
            gateway: ip("10.137.0.1"),
          },
          mac: macOf(client),
        }),
      ),
    ],
    forwards,
    redirects: [],
    nat: {
      ...{ maxFlows: FLOWS, resetUnknown: true, minPathMtu: 552, kernelPath: true },
      timeouts: {
        ...{ udpNew: TIMEOUT, udp: TIMEOUT, dns: TIMEOUT, tcpEstablished: TIMEOUT, tcpOpening: TIMEOUT },
        ...{ tcpClosing: TIMEOUT, icmp: TIMEOUT, other: TIMEOUT },
      },
    },
  };
}

/** Frames that fill the table: of the network's hosts first their ARP, then flows of all. */
function frames(): Uint8Array {
  const all: Uint8Array[] = [];
  const add = (iface: number, frame: Uint8Array) => {
    const head = new DataView(new ArrayBuffer(4));
    head.setUint16(0, iface);
    head.setUint16(2, frame.length);
    all.push(new Uint8Array(head.buffer), frame);
  };
  const lanMac = (host: number) =>
    `02:00:00:02:${(host >> 8).toString(16).padStart(2, "0")}:${(host & 255).toString(16).padStart(2, "0")}`;
  for (let host = 2; host < 2 + LAN_HOSTS; host++) {
    const question = { senderMac: lanMac(host), senderIp: formatAddress(LAN + host), targetMac: "00:00:00:00:00:00" };
    const packet = arp({ operation: "request", ...question, targetIp: formatAddress(LAN + 1) });
    add(1, ethernet(lanMac(host), "ff:ff:ff:ff:ff:ff", ARP_TYPE, packet));
  }
  for (let i = 0; i < FLOWS; i++) {
    const client = i % (CLIENTS + 8);
    const host = 2 + (i % LAN_HOSTS);
    const isLan = client >= CLIENTS;
    const ends = {
      source: formatAddress(isLan ? LAN + host : FIRST_CLIENT + client),
      ...{
        destination: formatAddress(ip("198.18.0.0") + (i % 7)),
        sourcePort: 25_000 + ((i >> 1) % 40_000),
        destinationPort: 5000,
      },
    };
    const packet = i % 2 === 0 ? tcp({ ...ends, flags: "S" }) : udp(ends, new Uint8Array(4));
    const mac = isLan
      ? lanMac(host)
      : Array.from(macOf(client), (byte) => byte.toString(16).padStart(2, "0")).join(":");
    add(isLan ? 1 : client + 2, ethernet(mac, OUR_MAC, IPV4_TYPE, packet));
  }
  return Buffer.concat(all);
}

const FORWARD = { protocol: 6, portLow: 8000, portHigh: 8010, client: 0, to: LAN + 2, toPort: 80, from: [] };

const apply = (settings: Settings): Command => ({ type: "apply", settings, sockets: [], before: [] });
const client = (ruleset: Ruleset): Command => ({ type: "client", client: 3, ruleset });

interface Kind {
  readonly name: string;
  readonly times: number;
  /** The i-th command. */
  readonly command: (i: number) => Command;
  /** ms that the clock leaps by before each. */
  readonly leap?: number;
}

/** The last two end all flows. */
const KINDS: readonly Kind[] = [
  { name: "one client's rules", times: 3000, command: (i) => client(FEW[i % 2]) },
  { name: `one client's ${MANY_RULES} rules`, times: 100, command: (i) => client(MANY[i % 2]) },
  { name: "a reload with nothing new", times: 40, command: () => apply(settingsFor()) },
  { name: "a reload with new rules for all", times: 40, command: (i) => apply(settingsFor({ ruleset: FEW[i % 2] })) },
  { name: "a reload with many rules", times: 20, command: (i) => apply(settingsFor({ ruleset: MANY[i % 2] })) },
  {
    name: "an interface more or less",
    times: 40,
    command: (i) => apply(settingsFor({ clients: i % 2 === 0 ? [...ALL, CLIENTS] : ALL })),
  },
  {
    name: "interfaces in another order",
    times: 40,
    command: (i) => apply(settingsFor({ clients: i % 2 === 0 ? ALL.toReversed() : ALL })),
  },
  { name: "interfaces made anew", times: 20, command: (i) => apply(settingsFor({ index: 100 * (i % 2) })), leap: 1000 },
  { name: "forwards", times: 20, command: (i) => apply(settingsFor({ forwards: i % 2 === 0 ? [FORWARD] : [] })) },
  { name: "another address of ours", times: 1, command: () => apply(settingsFor({ address: "192.0.2.253" })) },
];

/** @returns what a thread has measured */
function measured(): Promise<Pauses> {
  const { port1, port2 } = new MessageChannel();
  const now = new Int32Array(new SharedArrayBuffer(16));
  const start: Start = {
    ...{ settings: settingsFor(), frames: frames(), port: port2, now, kinds: KINDS.length },
    mail: new SharedArrayBuffer(MAILBOX_LENGTH),
    rules: new SharedArrayBuffer(RULES_MAILBOX_LENGTH),
  };
  const thread = new Worker(new URL("./pauses-thread.ts", import.meta.url), {
    workerData: start,
    transferList: [port2],
  });
  return new Promise((resolve, reject) => {
    thread.once("message", resolve);
    thread.once("error", reject);
    command(port1, start).catch(reject);
  });
}

/** @returns what gives commands as control does: rules by mail, where there is room */
function giverOf(port: MessagePort, memory: SharedArrayBuffer): (command: Command) => void {
  const rules = new Mailbox(memory, RULES_SIZE);
  const packed = new Int32Array(LONGEST_RULES / 4);
  const bytes = new Uint8Array(packed.buffer);
  let posted = 0;
  return (command) => {
    if (command.type === "client") {
      const length = 4 * packRuleset(command.ruleset, packed);
      if (length > 0 && rules.put(MAIL.RULES, command.client, posted, bytes, 0, length)) return;
    }
    posted++;
    port.postMessage(command);
  };
}

/** Gives all commands, each when the one before has been carried out. */
async function command(port: MessagePort, { now, rules }: Start): Promise<void> {
  const give = giverOf(port, rules);
  const answer = () => new Promise<void>((resolve) => port.once("message", () => resolve()));
  await answer();
  let ms = 1000;
  for (const [number, { times, command, leap = 1 }] of KINDS.entries()) {
    Atomics.store(now, NOW.KIND, number);
    for (let i = 0; i < times; i++) {
      ms += leap;
      Atomics.store(now, NOW.MS, ms);
      give(command(i));
      await answer();
      await Bun.sleep(times > 100 ? 0 : 30); // for what is done after it has been carried out
    }
  }
  Atomics.store(now, NOW.IS_OVER, 1);
}

/** @returns ms that all but one of a thousand times were no longer than */
function most(counts: Int32Array): number {
  const all = counts.reduce((sum, count) => sum + count, 0);
  let longer = all / 1000;
  for (let bucket = counts.length - 1; bucket >= 0; bucket--) {
    longer -= counts[bucket];
    if (longer < 0) return ((bucket + 1) * BUCKET) / 1e6;
  }
  return 0;
}

function add(report: Report, { counts, longest, memory }: Pauses): void {
  for (const [i, { name }] of KINDS.entries()) {
    report.add(name, "99.9 % of pauses", "ms", FIREBREAK, most(counts[i]));
    report.add(name, "longest pause", "ms", FIREBREAK, longest[i] / 1e6);
  }
  report.add("after all", "memory", "MB", FIREBREAK, memory / 1e6);
}

export const pauses: Benchmark = {
  async run(report, { rounds }: Options) {
    for (let round = 0; round < rounds; round++) add(report, await measured());
    // The longest is the engine's, when it collects: that is shown, and not claimed.
    for (const { name } of KINDS) report.limit(name, "99.9 % of pauses", FIREBREAK, { atMost: LONGEST });
  },
};
