// Raw frames out of and into interfaces of the namespace that the program runs in: what a peer is made of that plays hosts
// on several cables at once, and must see every frame that comes.
import { NO_FRAME, PacketRing } from "../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../src/dataplane/io/packet-sockets.ts";
import { VNET_LENGTH } from "../../src/dataplane/ring.ts";
import { openEvent } from "../../src/linux/eventfd.ts";
import { interfacesNamed } from "../support/interfaces.ts";

/** A frame, the interface that it goes out of or came in on, and its virtio_net_hdr: all zero where nothing is offloaded. */
export interface WireFrame {
  readonly on: string;
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
}

export const NO_OFFLOAD = new Uint8Array(VNET_LENGTH);

export class RawLinks {
  private readonly ring = new PacketRing(openEvent());

  constructor(private readonly names: readonly string[]) {
    this.ring.configure(new PacketSockets().open(interfacesNamed(...names)));
  }

  /** Queues a frame; `receive` transmits it at the latest. */
  send({ on, frame, header }: WireFrame): void {
    const at = this.ring.reserve();
    this.ring.bytes.set(header, at - VNET_LENGTH);
    this.ring.bytes.set(frame, at);
    this.ring.send(this.names.indexOf(on), at, frame.length);
  }

  /** By RING_COUNTERS. */
  get counters(): Float64Array {
    return this.ring.counters;
  }

  /** Transmits what is queued. */
  flush(): void {
    this.ring.flush();
  }

  /**
   * @returns what has come in since the last call, of each interface in the order that it came; less what answers nothing: a firewall
   * tells of its addresses when it starts, and a second later
   */
  receive(): WireFrame[] {
    const frames: WireFrame[] = [];
    for (const [i, on] of this.names.entries()) {
      for (let at = this.ring.next(i); at !== NO_FRAME; at = this.ring.next(i)) {
        const header = this.ring.bytes.slice(at - VNET_LENGTH, at);
        const frame = this.ring.bytes.slice(at, at + this.ring.length);
        if (!isAnnouncement(frame)) frames.push({ on, header, frame });
      }
    }
    this.ring.flush();
    return frames;
  }

  /** Sleeps until a frame comes. @param timeout ms, at most */
  wait(timeout: number): void {
    this.ring.wait(timeout);
  }
}

/** Whether a frame is an ARP request for its sender's own address (RFC 5227 section 2.3). */
function isAnnouncement(frame: Uint8Array): boolean {
  if (frame[12] !== 0x08 || frame[13] !== 0x06) return false;
  return [0, 1, 2, 3].every((i) => frame[28 + i] === frame[38 + i]);
}

/** @returns a frame with nothing offloaded */
export function plain(on: string, frame: Uint8Array): WireFrame {
  return { on, frame, header: NO_OFFLOAD };
}

/** Frames on one line, which `fromJson` reads again. */
export function toJson(frames: readonly WireFrame[]): string {
  return JSON.stringify(frames.map(({ on, frame, header }) => [on, hex(frame), hex(header)]));
}

export function fromJson(text: string): WireFrame[] {
  const list: [string, string, string][] = JSON.parse(text);
  return list.map(([on, frame, header]) => ({
    on,
    frame: Uint8Array.fromHex(frame),
    header: Uint8Array.fromHex(header),
  }));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
