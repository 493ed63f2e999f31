// The pure dataplane on frames in memory: ns a packet, without sockets, for each kind of traffic and size of table.
// `bun bench/core.ts [FLOWS …]` (default 1000 100000 1000000). Each round handles the same frames, written anew from a
// template before each; that copy's own cost is measured beside it and taken off. Medians of the rounds.

import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../src/dataplane/ring.ts";
import { READ_AHEAD, Router } from "../src/dataplane/router.ts";
import { compileRuleset } from "../src/dataplane/ruleset.ts";
import type { Settings } from "../src/dataplane/settings.ts";
import { VERDICT, VERDICT_NAMES } from "../src/dataplane/verdict.ts";
import { pseudoHeaderSum, sum } from "../src/wire/checksum.ts";
import { ETHERTYPE } from "../src/wire/ethernet.ts";
import { PROTOCOL, writeIpv4 } from "../src/wire/ipv4.ts";
import { ACK, SYN, writeTcp } from "../src/wire/tcp.ts";

const ROUNDS = 7;
const PACKETS_A_ROUND = 1_000_000;
const SLOT = 128;
const FRAME = 60;
const CLIENT = 0x0a890000;
const UPLINK = 0xc00002fe;
const GATEWAY = 0xc0000201;
const REMOTE = 0x08000000;
const CLIENT_MAC = Uint8Array.of(2, 0, 0, 0, 1, 0x0a);
const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const OUR_MACS = [Uint8Array.of(2, 0, 0, 0, 0, 0xfe), Uint8Array.of(2, 0, 0, 0, 1, 0xfe)];
const SLOTS = 4096;
/** Frames that the worker takes at once. */
const BATCH = READ_AHEAD;

/** Memory without a socket: what is sent is counted, and left where it is. */
class BenchRing implements Ring {
  readonly bytes = new Uint8Array(SLOTS * SLOT + RESERVED_LENGTH + 64);
  readonly view = new DataView(this.bytes.buffer);
  sent = 0;
  lastAt = 0;

  reserve(): number {
    return SLOTS * SLOT + VNET_LENGTH;
  }

  send(_iface: number, at: number, _length: number): void {
    this.sent++;
    this.lastAt = at;
  }
}

function settings(maxFlows: number): Settings {
  const all = { flows: maxFlows, mappings: 196608, flowsPerSecond: 1e9 };
  return {
    interfaces: OUR_MACS.map((mac, i) => ({
      name: `eth${i}`,
      index: i,
      mac,
      anyMac: false,
      mtu: 1500,
      clampMss: false,
    })),
    uplink: { iface: 0, address: UPLINK, prefix: 24, gateway: GATEWAY, gatewayMac: GATEWAY_MAC, dns: [] },
    clients: [
      {
        name: "work",
        iface: 1,
        network: CLIENT,
        prefix: 24,
        gateway: CLIENT + 1,
        mac: CLIENT_MAC,
        ruleset: compileRuleset([], true),
        reach: [],
        openFilter: false,
        limits: all,
        refuse: "drop",
        log: false,
        watchNames: false,
      },
    ],
    forwards: [],
    redirects: [],
    nat: {
      maxFlows,
      resetUnknown: true,
      timeouts: {
        udpNew: 8000,
        udp: 8000,
        dns: 8000,
        tcpEstablished: 8000,
        tcpOpening: 8000,
        tcpClosing: 8000,
        icmp: 8000,
        other: 8000,
      },
    },
  };
}

/** The frames of `flows` flows of one kind, each to a remote of its own so that ports do not run out. */
class Traffic {
  readonly templates: Uint8Array;
  private readonly view: DataView;

  constructor(
    readonly flows: number,
    readonly protocol: number,
  ) {
    this.templates = new Uint8Array(flows * FRAME);
    this.view = new DataView(this.templates.buffer);
    for (let i = 0; i < flows; i++) this.write(i, protocol === PROTOCOL.TCP ? SYN : 0);
  }

  /** Makes every frame one of a connection that is open. */
  settle(): void {
    if (this.protocol === PROTOCOL.TCP) for (let i = 0; i < this.flows; i++) this.write(i, ACK);
  }

  /** The answer to flow i's SYN, seen from the uplink. */
  answer(i: number, externalPort: number): Uint8Array {
    const bytes = new Uint8Array(FRAME);
    const view = new DataView(bytes.buffer);
    bytes.set(OUR_MACS[0], 0);
    bytes.set(GATEWAY_MAC, 6);
    view.setUint16(12, ETHERTYPE.IPV4);
    writeIpv4(view, 14, 0, 40, 64, PROTOCOL.TCP, REMOTE + i, UPLINK);
    writeTcp(view, 34, (443 << 16) | externalPort, 5000, 1001, SYN | ACK, 65535);
    view.setUint16(50, ~sum(view, 34, 20, pseudoHeaderSum(REMOTE + i, UPLINK, PROTOCOL.TCP, 20)) & 0xffff);
    return bytes;
  }

  private write(i: number, flags: number): void {
    const { view } = this;
    const at = i * FRAME;
    const ip = at + 14;
    const transport = ip + 20;
    const port = 1024 + (i % 60000);
    this.templates.set(OUR_MACS[1], at);
    this.templates.set(CLIENT_MAC, at + 6);
    view.setUint16(at + 12, ETHERTYPE.IPV4);
    writeIpv4(view, ip, 0, 46, 64, this.protocol, CLIENT + 10, REMOTE + i);
    if (this.protocol === PROTOCOL.TCP) {
      writeTcp(view, transport, (port << 16) | 443, flags === SYN ? 1000 : 1001, 5001, flags, 65535);
      view.setUint16(
        transport + 16,
        ~sum(view, transport, 26, pseudoHeaderSum(CLIENT + 10, REMOTE + i, 6, 26)) & 0xffff,
      );
    } else if (this.protocol === PROTOCOL.UDP) {
      view.setUint32(transport, (port << 16) | 53);
      view.setUint16(transport + 4, 26);
      view.setUint16(transport + 6, 1);
    } else {
      view.setUint8(transport, 8);
      view.setUint16(transport + 4, port);
      view.setUint16(transport + 2, ~sum(view, transport, 26) & 0xffff);
    }
  }
}

function copyOnly(ring: BenchRing, traffic: Traffic, order: Int32Array): void {
  for (let i = 0; i < order.length; i++) {
    const from = order[i] * FRAME;
    ring.bytes.set(traffic.templates.subarray(from, from + FRAME), (i % SLOTS) * SLOT + 16);
  }
}

const offsets = new Int32Array(BATCH);
const lengths = new Int32Array(BATCH).fill(FRAME);

/** Frames in batches, as the worker hands them on. */
function handle(ring: BenchRing, router: Router, traffic: Traffic, order: Int32Array): number {
  let forwarded = 0;
  for (let first = 0; first < order.length; first += BATCH) {
    const count = Math.min(BATCH, order.length - first);
    for (let i = 0; i < count; i++) {
      const from = order[first + i] * FRAME;
      ring.bytes.set(traffic.templates.subarray(from, from + FRAME), ((first + i) % SLOTS) * SLOT + 16);
    }
    for (let i = 0; i < count; i++) offsets[i] = ((first + i) % SLOTS) * SLOT + 16;
    router.readAhead(offsets, lengths, count);
    for (let i = 0; i < count; i++) if (router.receive(1, offsets[i], FRAME) === VERDICT.FORWARDED) forwarded++;
    router.advance(1000);
  }
  return forwarded;
}

function nsEach(count: number, work: () => void): number {
  const start = Bun.nanoseconds();
  work();
  return (Bun.nanoseconds() - start) / count;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

/** Random order: the table's cache lines are touched as real traffic touches them. */
function shuffled(flows: number, count: number): Int32Array {
  let x = 0x2545f491;
  return Int32Array.from({ length: count }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % flows;
  });
}

function measure(name: string, protocol: number, flows: number): void {
  const before = process.memoryUsage().rss;
  const ring = new BenchRing();
  const capacity = Math.max(flows, 1024);
  const router = new Router(ring, settings(capacity), (words) => crypto.getRandomValues(words));
  const traffic = new Traffic(flows, protocol);
  router.advance(1000);
  const fresh = nsEach(flows, () =>
    handle(
      ring,
      router,
      traffic,
      Int32Array.from({ length: flows }, (_, i) => i),
    ),
  );
  if (protocol === PROTOCOL.TCP) {
    for (let i = 0; i < flows; i++) {
      const answer = traffic.answer(i, 1024 + (i % 60000));
      ring.bytes.set(answer, 16);
      const verdict = router.receive(0, 16, FRAME);
      if (verdict !== VERDICT.FORWARDED) throw new Error(`the answer to SYN ${i} was ${VERDICT_NAMES[verdict]}`);
    }
    traffic.settle();
  }
  const order = shuffled(flows, PACKETS_A_ROUND);
  const hits: number[] = [];
  const copies: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    copies.push(nsEach(order.length, () => copyOnly(ring, traffic, order)));
    let forwarded = 0;
    hits.push(
      nsEach(order.length, () => {
        forwarded = handle(ring, router, traffic, order);
      }),
    );
    if (forwarded !== order.length) {
      const counts = VERDICT_NAMES.map((verdict, i) => `${verdict} ${router.counters[i]}`).filter(
        (_, i) => router.counters[i] > 0,
      );
      throw new Error(`${order.length - forwarded} packets were not forwarded: ${counts.join(", ")}`);
    }
  }
  const copy = median(copies);
  const each = median(hits) - copy;
  const memory = (process.memoryUsage().rss - before - traffic.templates.length) / flows;
  console.log(
    `${name.padEnd(5)} ${String(flows).padStart(8)} flows: ${each.toFixed(0).padStart(5)} ns a packet, new flow ${fresh.toFixed(0)} ns (copy ${copy.toFixed(0)} ns, ${memory.toFixed(0)} B a flow resident)`,
  );
}

const sizes = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [1000, 100_000, 1_000_000];
for (const flows of sizes) {
  measure("udp", PROTOCOL.UDP, flows);
  measure("tcp", PROTOCOL.TCP, flows);
  if (flows <= 60000) measure("icmp", PROTOCOL.ICMP, flows);
}
