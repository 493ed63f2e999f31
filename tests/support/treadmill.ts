// A router that the same few frames come to again and again, to count what it allocates: so here is nothing allocated for a frame.
// What is sent is counted, and left where it is. The gateway and "work" are pinned to their MAC addresses: nobody is asked by ARP.
import { ARP_TYPE, arp, ethernet, mac } from "../../lab/frames.ts";
import {
  BROADCAST,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  interfaceOf,
  LAN_SETTINGS,
  OUR_MAC,
  SETTINGS,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../lab/router-lab.ts";
import { type ControlEvents, type KernelSide, Router } from "../../src/dataplane/frame/router.ts";
import type { Tap } from "../../src/dataplane/io/tap.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../../src/dataplane/ring.ts";
import type { ClientSettings, Settings } from "../../src/dataplane/settings.ts";
import type { Verdict } from "../../src/dataplane/verdict.ts";
import { delta16, updateChecksum } from "../../src/wire/checksum.ts";

/** Longest frame. */
const SLOT = 2064;
/** As in the packet ring: at an offset that aligns the IP header. */
const RECEIVED_AT = 14;
const RESERVED_AT = RECEIVED_AT + SLOT;
const RESERVED = 64;
const KEPT_AT = RESERVED_AT + RESERVED * SLOT;
const KEPT = 256;

const IP = 14;
const IP_CHECKSUM = IP + 10;

/** A frame that has been kept: its number. */
export type Kept = number;

const limits = { ...WORK_SETTINGS.limits, flowsPerSecond: 1e9 };

/** "work", pinned; it may open as many flows a second as it likes. */
export const WORK: ClientSettings = { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]), limits };
/** "lan" likewise, but for the pin. */
export const LAN: ClientSettings = { ...LAN_SETTINGS, limits };

export const PINNED: Settings = {
  ...SETTINGS,
  uplink: { ...SETTINGS.uplink, gatewayMac: mac(HOST_MAC[GATEWAY]) },
  clients: [WORK, LAN],
};

export class Treadmill implements Ring {
  readonly bytes = new Uint8Array(KEPT_AT + KEPT * SLOT);
  readonly view = new DataView(this.bytes.buffer);
  share = 0;
  readonly router: Router;
  /** Frames that were sent. */
  sent = 0;
  now = 1_000_000;
  /** What captures, as in the worker, where something does. */
  tap: Tap | undefined;
  private last = 0;
  private kept = 0;
  private reserved = 0;
  private readonly ifaces = new Int32Array(KEPT);
  private readonly lengths = new Int32Array(KEPT);
  private random = 1;

  /** @param kernel what the router shares with the kernel, if anything */
  constructor(settings: Settings = PINNED, control?: ControlEvents, kernel: KernelSide = {}) {
    const fillRandom = (words: Uint32Array) => {
      for (let i = 0; i < words.length; i++) {
        this.random = (Math.imul(this.random, 1664525) + 1013904223) | 0;
        words[i] = this.random;
      }
    };
    this.router = new Router(this, settings, fillRandom, control, kernel);
    this.router.advance(this.now);
  }

  reserve(): number {
    const at = RESERVED_AT + (this.reserved++ % RESERVED) * SLOT + VNET_LENGTH;
    this.bytes.fill(0, at - VNET_LENGTH, at + RESERVED_LENGTH);
    return at;
  }

  send(iface: number, at: number, length: number): void {
    this.tap?.sent(iface, at, length);
    this.sent++;
    this.last = at;
  }

  /** @param at of its transport header, in its frame @returns the source port of the packet that was sent last */
  sentPort(at = IP + 20): number {
    return this.view.getUint16(this.last + at);
  }

  /** Keeps a frame, to be put in as often as wanted. */
  keep(iface: number, frame: Uint8Array, vnet?: Uint8Array): Kept {
    const kept = this.kept++;
    if (kept === KEPT || frame.length > SLOT - VNET_LENGTH) throw new RangeError("no room to keep a frame");
    const at = this.at(kept);
    if (vnet !== undefined) this.bytes.set(vnet, at - VNET_LENGTH);
    this.bytes.set(frame, at);
    this.ifaces[kept] = iface;
    this.lengths[kept] = frame.length;
    return kept;
  }

  /** Keeps a packet, in a frame from that host to us. */
  keepFrom(host: string, packet: Uint8Array, vnet?: Uint8Array): Kept {
    return this.keep(interfaceOf(host), frameFrom(host, packet), vnet);
  }

  /** Keeps an ARP request of a host for an address of ours. */
  keepRequest(host: string, target: string): Kept {
    const request = arp({ operation: "request", senderMac: HOST_MAC[host], senderIp: host, targetIp: target });
    return this.keep(interfaceOf(host), ethernet(HOST_MAC[host], BROADCAST, ARP_TYPE, request));
  }

  /** Keeps a host's ARP reply to us. @param senderMac the host's, where nothing is said */
  keepReply(host: string, senderMac = HOST_MAC[host]): Kept {
    const ours = OUR_MAC[interfaceOf(host)];
    const reply = arp({ operation: "reply", senderMac, senderIp: host, targetMac: ours, targetIp: host });
    return this.keep(interfaceOf(host), ethernet(senderMac, ours, ARP_TYPE, reply));
  }

  /** Changes a 16-bit word of a kept frame. @param at offset in the frame; in the IP header its checksum follows */
  set16(kept: Kept, at: number, value: number): void {
    const frame = this.at(kept);
    if (at >= IP && at < IP + 20) {
      const delta = delta16(this.view.getUint16(frame + at), value & 0xffff);
      const sum = this.view.getUint16(frame + IP_CHECKSUM);
      this.view.setUint16(frame + IP_CHECKSUM, updateChecksum(sum, delta));
    }
    this.view.setUint16(frame + at, value);
  }

  /** Puts a kept frame in. @returns what became of it */
  put(kept: Kept): Verdict {
    const from = this.at(kept) - VNET_LENGTH;
    const length = this.lengths[kept];
    this.bytes.copyWithin(RECEIVED_AT - VNET_LENGTH, from, from + VNET_LENGTH + length);
    const { tap } = this;
    tap?.begin(this.ifaces[kept], RECEIVED_AT, length, 0);
    const verdict = this.router.receive(this.ifaces[kept], RECEIVED_AT, length);
    tap?.end(verdict);
    tap?.publish();
    return verdict;
  }

  /** What `put` has just had forwarded was lost in transmission. */
  lose(kept: Kept, verdict: Verdict): Verdict {
    this.router.countLost(verdict, this.ifaces[kept], RECEIVED_AT, this.lengths[kept], this.router.flowToEnter);
    return verdict;
  }

  /** Lets ms go by. */
  wait(ms: number): void {
    this.now += ms;
    this.router.advance(this.now);
  }

  private at(kept: Kept): number {
    return KEPT_AT + kept * SLOT + VNET_LENGTH;
  }
}
