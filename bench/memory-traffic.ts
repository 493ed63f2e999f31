// Traffic in memory for the pure dataplane: frames of many flows, written into a ring without sockets in batches, as the worker
// hands them on.

import { READ_AHEAD } from "../src/dataplane/frame/fast-path.ts";
import { Router } from "../src/dataplane/frame/router.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../src/dataplane/ring.ts";
import { compileRuleset } from "../src/dataplane/rules/ruleset.ts";
import { NO_SCRUB, type Settings } from "../src/dataplane/settings.ts";
import { VERDICT, VERDICT_NAMES } from "../src/dataplane/verdict.ts";
import { pseudoHeaderSum, pseudoHeaderSum6, sum } from "../src/wire/checksum.ts";
import { ETHERTYPE } from "../src/wire/ethernet.ts";
import { IPV4, MORE_FRAGMENTS, PROTOCOL, writeIpv4 } from "../src/wire/ipv4.ts";
import { writeIpv6 } from "../src/wire/ipv6.ts";
import { ACK, SYN, writeTcp } from "../src/wire/tcp.ts";

const SLOT = 128;
const FRAME = 60;
/** Of IPv6, with as much payload. */
const FRAME_6 = 80;
const CLIENT = 0x0a890000;
const UPLINK = 0xc00002fe;
const GATEWAY = 0xc0000201;
const REMOTE = 0x08000000;
const CLIENT_6 = [0x20010db8, 1, 0, 0x0a];
const UPLINK_6 = [0x20010db8, 0xffff, 0, 2];
const GATEWAY_6 = [0x20010db8, 0xffff, 0, 1];
const CLIENT_MAC = Uint8Array.of(2, 0, 0, 0, 1, 0x0a);
const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const OUR_MACS = [Uint8Array.of(2, 0, 0, 0, 0, 0xfe), Uint8Array.of(2, 0, 0, 0, 1, 0xfe)];
const SLOTS = 4096;
/** Frames that the worker takes at once. */
const BATCH = READ_AHEAD;

/** Where templates begin, behind all that the router sees. */
const TEMPLATES_AT = SLOTS * SLOT + RESERVED_LENGTH + 64;

/** Memory without a socket: what is sent is counted, and left where it is. Behind it lie templates of frames. */
class BenchRing implements Ring {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  share = 0;
  sent = 0;
  lastAt = 0;

  constructor(templates: number) {
    this.bytes = new Uint8Array(TEMPLATES_AT + templates);
    this.view = new DataView(this.bytes.buffer);
  }

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
    uplink: {
      iface: 0,
      address: UPLINK,
      prefix: 24,
      gateway: GATEWAY,
      gatewayMac: GATEWAY_MAC,
      dns: [],
      ipv6: {
        address: bytesOf(UPLINK_6),
        prefix: 64,
        gateway: bytesOf(GATEWAY_6),
        gatewayMac: GATEWAY_MAC,
        dns: [],
      },
    },
    clients: [
      {
        name: "work",
        iface: 1,
        network: CLIENT,
        prefix: 24,
        gateway: CLIENT + 1,
        mac: CLIENT_MAC,
        ipv6: { network: bytesOf(CLIENT_6), prefix: 64, gateway: bytesOf([0x20010db8, 1, 0, 1]), nat: "masquerade" },
        ruleset: compileRuleset([], true),
        reach: [],
        openFilter: false,
        limits: all,
        refuse: "drop",
        log: false,
        scrub: NO_SCRUB,
        watchNames: false,
      },
    ],
    forwards: [],
    redirects: [],
    nat: {
      maxFlows,
      resetUnknown: true,
      minPathMtu: 552,
      kernelPath: true,
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

export const KINDS = ["UDP", "TCP", "ICMP", "fragments", "misses", "UDP over IPv6", "TCP over IPv6"] as const;
/** Packets of open flows; "fragments": of UDP, two for each packet; "misses": of no flow, from the uplink, dropped. */
export type Kind = (typeof KINDS)[number];

const PROTOCOL_OF = {
  UDP: PROTOCOL.UDP,
  TCP: PROTOCOL.TCP,
  ICMP: PROTOCOL.ICMP,
  fragments: PROTOCOL.UDP,
  misses: PROTOCOL.UDP,
  "UDP over IPv6": PROTOCOL.UDP,
  "TCP over IPv6": PROTOCOL.TCP,
} as const;

/** The words of `remote6`'s address: one array serves all, since what is made for each flow would count as its memory. */
const REMOTE_6 = [0, 0, 0, 0];

/** @returns the i-th flow's remote address of IPv6, in words, until the next call */
function remote6(i: number): readonly number[] {
  REMOTE_6[0] = 0x2a000000 | (i & 0xff);
  REMOTE_6[1] = 0x12340000 | (i >>> 8);
  REMOTE_6[3] = Math.imul(i, 0x9e3779b1);
  return REMOTE_6;
}

function bytesOf(words: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  for (const [i, word] of words.entries()) view.setInt32(i * 4, word);
  return new Uint8Array(view.buffer);
}

/** The part of a UDP packet that its first fragment carries, in bytes behind the IPv4 header. */
const FIRST_FRAGMENT = 24;
const PAYLOAD = FRAME - 34;

/** A router over a ring in memory, and the frames of `flows` flows of one kind, each to a remote of its own. */
export class Traffic {
  readonly ring: BenchRing;
  readonly router: Router;
  /** Frames of one flow, which stay together. */
  readonly framesEach: number;
  private readonly templates: Uint8Array;
  private readonly view: DataView;
  private readonly offsets = new Int32Array(BATCH);
  private readonly lengths: Int32Array;
  private readonly isIpv6: boolean;
  private readonly frame: number;

  constructor(
    readonly flows: number,
    readonly kind: Kind,
  ) {
    this.framesEach = kind === "fragments" ? 2 : 1;
    this.isIpv6 = kind === "UDP over IPv6" || kind === "TCP over IPv6";
    this.frame = this.isIpv6 ? FRAME_6 : FRAME;
    this.lengths = new Int32Array(BATCH).fill(this.frame);
    const length = flows * this.framesEach * this.frame;
    this.ring = new BenchRing(length);
    this.templates = this.ring.bytes.subarray(TEMPLATES_AT);
    this.view = new DataView(this.templates.buffer, TEMPLATES_AT);
    this.router = new Router(this.ring, settings(Math.max(flows, 1024)), (words) => crypto.getRandomValues(words));
    this.router.advance(1000);
    for (let i = 0; i < flows; i++) this.write(i, SYN);
  }

  /** Bytes that the templates take. */
  get templateBytes(): number {
    return this.templates.length;
  }

  /** Of each flow all frames, in order. */
  inOrder(): Int32Array {
    return Int32Array.from({ length: this.flows * this.framesEach }, (_, i) => i);
  }

  /** About `count` frames in random order: the table's cache lines are touched as real traffic touches them. */
  shuffled(count: number): Int32Array {
    const { flows, framesEach } = this;
    let x = 0x2545f491;
    const order = new Int32Array(count - (count % framesEach));
    for (let i = 0; i < order.length; i += framesEach) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      for (let part = 0; part < framesEach; part++) order[i + part] = ((x >>> 0) % flows) * framesEach + part;
    }
    return order;
  }

  /** Writes frames into the ring without handling them: what that costs is not the dataplane's. */
  copy(order: Int32Array): void {
    for (let i = 0; i < order.length; i++) this.place(order[i], i);
  }

  /** Handles frames in batches. @returns how many of them were forwarded */
  handle(order: Int32Array): number {
    const { router, offsets, lengths } = this;
    const iface = this.kind === "misses" ? 0 : 1;
    const before = router.counters[VERDICT.FORWARDED];
    for (let first = 0; first < order.length; first += BATCH) {
      const count = Math.min(BATCH, order.length - first);
      for (let i = 0; i < count; i++) offsets[i] = this.place(order[first + i], first + i);
      router.readAhead(offsets, lengths, count);
      for (let i = 0; i < count; i++) router.receive(iface, offsets[i], this.frame);
      router.advance(1000);
    }
    return router.counters[VERDICT.FORWARDED] - before;
  }

  /** Opens all flows, so that `handle` finds them. */
  open(): void {
    this.handle(this.inOrder());
    if (PROTOCOL_OF[this.kind] !== PROTOCOL.TCP) return;
    for (let i = 0; i < this.flows; i++) {
      this.ring.bytes.set(this.answer(i), 16);
      const verdict = this.router.receive(0, 16, this.frame);
      if (verdict !== VERDICT.FORWARDED) throw new Error(`the answer to SYN ${i} was ${VERDICT_NAMES[verdict]}`);
    }
    for (let i = 0; i < this.flows; i++) this.write(i, ACK);
  }

  /** What became of the frames, for errors. */
  get verdicts(): string {
    const counts = VERDICT_NAMES.map((verdict, i) => `${verdict} ${this.router.counters[i]}`);
    return counts.filter((_, i) => this.router.counters[i] > 0).join(", ");
  }

  /** Copies a frame into the i-th slot. @returns its offset */
  private place(frame: number, i: number): number {
    const at = (i % SLOTS) * SLOT + 16;
    const from = TEMPLATES_AT + frame * this.frame;
    this.ring.bytes.copyWithin(at, from, from + this.frame);
    return at;
  }

  /** The answer to flow i's SYN, seen from the uplink. */
  private answer(i: number): Uint8Array {
    const bytes = new Uint8Array(this.frame);
    const view = new DataView(bytes.buffer);
    bytes.set(OUR_MACS[0], 0);
    bytes.set(GATEWAY_MAC, 6);
    if (this.isIpv6) {
      writeHeader6(view, 12, 20, PROTOCOL.TCP, remote6(i), UPLINK_6);
      writeTcp(view, 54, (443 << 16) | portOf(i), 5000, 1001, SYN | ACK, 65535);
      view.setUint16(70, ~sum(view, 54, 20, pseudoHeaderSum6(view, 22, PROTOCOL.TCP, 20)) & 0xffff);
      return bytes;
    }
    view.setUint16(12, ETHERTYPE.IPV4);
    writeIpv4(view, 14, 0, 40, 64, PROTOCOL.TCP, REMOTE + i, UPLINK);
    writeTcp(view, 34, (443 << 16) | portOf(i), 5000, 1001, SYN | ACK, 65535);
    view.setUint16(50, ~sum(view, 34, 20, pseudoHeaderSum(REMOTE + i, UPLINK, PROTOCOL.TCP, 20)) & 0xffff);
    return bytes;
  }

  private write(i: number, flags: number): void {
    const at = i * this.framesEach * this.frame;
    if (this.isIpv6) {
      this.write6(at, i, flags);
      return;
    }
    const isMiss = this.kind === "misses";
    this.writeHeaders(at, isMiss ? REMOTE + i : CLIENT + 10, isMiss ? UPLINK : REMOTE + i);
    this.writeTransport(at + 34, i, flags);
    if (this.kind !== "fragments") return;
    this.templates.copyWithin(at + FRAME, at, at + FRAME);
    this.templates.copyWithin(at + FRAME + 34, at + 34 + FIRST_FRAGMENT, at + FRAME);
    this.makeFragment(at, i, MORE_FRAGMENTS, FIRST_FRAGMENT);
    this.makeFragment(at + FRAME, i, FIRST_FRAGMENT / 8, PAYLOAD - FIRST_FRAGMENT);
  }

  private write6(at: number, i: number, flags: number): void {
    const { view, templates } = this;
    const protocol = PROTOCOL_OF[this.kind];
    templates.set(OUR_MACS[1], at);
    templates.set(CLIENT_MAC, at + 6);
    writeHeader6(view, at + 12, PAYLOAD, protocol, CLIENT_6, remote6(i));
    this.writeTransport(at + 54, i, flags);
    if (protocol === PROTOCOL.TCP) {
      view.setUint16(at + 70, 0);
      const pseudo = pseudoHeaderSum6(view, at + 22, protocol, PAYLOAD);
      view.setUint16(at + 70, ~sum(view, at + 54, PAYLOAD, pseudo) & 0xffff);
    }
  }

  private writeHeaders(at: number, source: number, destination: number): void {
    const fromUplink = this.kind === "misses";
    this.templates.set(OUR_MACS[fromUplink ? 0 : 1], at);
    this.templates.set(fromUplink ? GATEWAY_MAC : CLIENT_MAC, at + 6);
    this.view.setUint16(at + 12, ETHERTYPE.IPV4);
    writeIpv4(this.view, at + 14, 0, FRAME - 14, 64, PROTOCOL_OF[this.kind], source, destination);
  }

  private writeTransport(at: number, i: number, flags: number): void {
    const { view } = this;
    const protocol = PROTOCOL_OF[this.kind];
    if (protocol === PROTOCOL.TCP) {
      writeTcp(view, at, (portOf(i) << 16) | 443, flags === SYN ? 1000 : 1001, 5001, flags, 65535);
      const pseudo = pseudoHeaderSum(CLIENT + 10, REMOTE + i, PROTOCOL.TCP, PAYLOAD);
      view.setUint16(at + 16, ~sum(view, at, PAYLOAD, pseudo) & 0xffff);
    } else if (protocol === PROTOCOL.UDP) {
      view.setUint32(at, (portOf(i) << 16) | 53);
      view.setUint16(at + 4, PAYLOAD);
      view.setUint16(at + 6, 1);
    } else {
      view.setUint8(at, 8);
      view.setUint16(at + 4, portOf(i));
      view.setUint16(at + 2, ~sum(view, at, PAYLOAD) & 0xffff);
    }
  }

  /** @param field flags and offset @param length bytes behind the IPv4 header */
  private makeFragment(at: number, id: number, field: number, length: number): void {
    const { view } = this;
    const ip = at + 14;
    view.setUint16(ip + IPV4.TOTAL_LENGTH, 20 + length);
    view.setUint16(ip + IPV4.IDENTIFICATION, id & 0xffff);
    view.setUint16(ip + IPV4.FRAGMENT, field);
    view.setUint16(ip + IPV4.CHECKSUM, 0);
    view.setUint16(ip + IPV4.CHECKSUM, ~sum(view, ip, 20) & 0xffff);
  }
}

/** @param at offset of the EtherType @param length bytes of payload */
function writeHeader6(
  view: DataView,
  at: number,
  length: number,
  protocol: number,
  source: readonly number[],
  destination: readonly number[],
): void {
  view.setUint16(at, ETHERTYPE.IPV6);
  writeIpv6(view, at + 2, 0, length, protocol, 64);
  for (let word = 0; word < 4; word++) {
    view.setInt32(at + 10 + word * 4, source[word]);
    view.setInt32(at + 26 + word * 4, destination[word]);
  }
}

function portOf(i: number): number {
  return 25_000 + (i % 40_000); // fewer than one client may have, and none of the firewall's own
}
