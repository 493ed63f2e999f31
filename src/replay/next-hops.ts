// Who answers the router's ARP requests in a replay. A capture may begin when the real router knew its neighbours already, or
// hold only one side: then next hops answer by themselves. Where a capture shows what became of a question (an answer, or the
// real router's own question, in the seconds in which ours asks), it is left to that.
import { LINK_ETHERNET } from "../captures/link-types.ts";
import type { CaptureReader } from "../captures/reader.ts";
import { ARP, ARP_REPLY, writeArp } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, MAC_LENGTH, macHead, macTail, writeMac } from "../wire/ethernet.ts";
import type { OwnFrames } from "./own-frames.ts";

/** The router asks three times, once a second. */
const ASKS_FOR_MS = 3000;
/** Clocks of two captures differ a little. */
const SOONER_MS = 100;
/** Of a capture, so that none needs more memory than this; ARP beyond it is not looked at beforehand. */
const MOST_NOTES = 1 << 16;
export const ARP_FRAME_LENGTH = ETHERNET.HEADER_LENGTH + ARP.LENGTH;
const CONTENT = ETHERNET.HEADER_LENGTH;

/** What captures of one interface show of one address. */
interface Notes {
  /** When ARP of or for it was seen: Unix time in ms. */
  readonly moments: number[];
  mac: Uint8Array | undefined;
}

export class NextHops {
  private readonly notes: ReadonlyMap<number, Notes>[];

  constructor(
    interfaces: number,
    private readonly own: OwnFrames,
  ) {
    this.notes = Array.from({ length: interfaces }, () => new Map());
  }

  /** Looks through a capture for ARP beforehand. @param reader at its beginning; afterwards at its end */
  async study(iface: number, reader: CaptureReader): Promise<void> {
    const notes = new Map(this.notes[iface]);
    this.notes[iface] = notes;
    const { frame, window } = reader;
    for (let noted = 0; noted < MOST_NOTES && (reader.next() || (await reader.more())); ) {
      const { at, captured } = frame;
      const { view, bytes } = window;
      if (frame.linkType !== LINK_ETHERNET || captured < ARP_FRAME_LENGTH) continue;
      if (view.getUint16(at + ETHERNET.TYPE) !== ETHERTYPE.ARP) continue;
      const isOurs = this.own.has(iface, true, frame.direction, view, at, captured);
      const address = view.getUint32(at + CONTENT + (isOurs ? ARP.TARGET_IP : ARP.SENDER_IP));
      const known: Notes = notes.get(address) ?? { moments: [], mac: undefined };
      known.moments.push(frame.seconds * 1000 + frame.nanoseconds / 1e6);
      if (!isOurs) known.mac = bytes.subarray(at + CONTENT + ARP.SENDER_MAC).slice(0, MAC_LENGTH);
      notes.set(address, known);
      noted++;
    }
  }

  /**
   * Makes an ARP request that the router has sent the answer to it, in place.
   * @param now Unix time in ms
   * @param peer the MAC address of a host that no ARP packet of the captures shows
   * @returns whether it is one, and nobody else answers it
   */
  answer(iface: number, view: DataView, at: number, now: number, peer: (address: number) => Uint8Array): boolean {
    const arp = at + CONTENT;
    const address = view.getUint32(arp + ARP.TARGET_IP);
    const known = this.notes[iface].get(address);
    if (known?.moments.some((moment) => moment >= now - SOONER_MS && moment <= now + ASKS_FOR_MS)) return false;
    const mac = known?.mac ?? peer(address);
    const macView = new DataView(mac.buffer, mac.byteOffset, MAC_LENGTH);
    const [head, tail] = [macHead(macView, 0), macTail(macView, 0)];
    const asker = arp + ARP.SENDER_MAC;
    const [askerHead, askerTail] = [macHead(view, asker), macTail(view, asker)];
    writeMac(view, at + ETHERNET.DESTINATION, askerHead, askerTail);
    writeMac(view, at + ETHERNET.SOURCE, head, tail);
    writeArp(view, arp, ARP_REPLY, head, tail, address, askerHead, askerTail, view.getUint32(arp + ARP.SENDER_IP));
    return true;
  }
}

/** @returns a MAC address for a host of which none is known: locally administered, and a different one for each address */
export function someMac(address: number): Uint8Array {
  return Uint8Array.of(2, 0, address >>> 24, address >>> 16, address >>> 8, address);
}
