// Who answers the router's ARP requests in a replay, and its neighbour solicitations. A capture may begin when the real router
// knew its neighbours already, or hold only one side: then next hops answer by themselves. Where a capture shows what became of a
// question (an answer, or the real router's own question, in the seconds in which ours asks), it is left to that.
import type { IpAddress } from "../base/ip.ts";
import { LINK_ETHERNET } from "../captures/link-types.ts";
import type { CaptureReader } from "../captures/reader.ts";
import { ARP, ARP_REPLY, writeArp } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, MAC_LENGTH, macHead, macTail, writeMac } from "../wire/ethernet.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import { IPV6, isUnspecified6, NEXT_HEADER } from "../wire/ipv6.ts";
import { ND, OVERRIDE, SOLICITED, writeAdvertisement } from "../wire/ndp.ts";
import type { OwnFrames } from "./own-frames.ts";

/** The router asks three times, once a second. */
const ASKS_FOR_MS = 3000;
/** Clocks of two captures differ a little. */
const SOONER_MS = 100;
/** Of a capture, so that none needs more memory than this; ARP beyond it is not looked at beforehand. */
const MOST_NOTES = 1 << 16;
export const ARP_FRAME_LENGTH = ETHERNET.HEADER_LENGTH + ARP.LENGTH;
const CONTENT = ETHERNET.HEADER_LENGTH;
const MESSAGE = CONTENT + IPV6.HEADER_LENGTH;
/** Bytes of a solicitation with its option, and of the advertisement that answers it. */
export const ND_FRAME_LENGTH = MESSAGE + ND.OPTIONS + 8;
const IP6_LENGTH = 16;

/** @returns the type of a frame's ICMPv6 message, where that is what follows the IPv6 header; else 0. @param length bytes of the frame */
export function neighbourType(view: DataView, at: number, length: number): number {
  if (length < MESSAGE + ND.OPTIONS || view.getUint16(at + ETHERNET.TYPE) !== ETHERTYPE.IPV6) return 0;
  if (view.getUint8(at + CONTENT + IPV6.NEXT_HEADER) !== NEXT_HEADER.ICMPV6) return 0;
  const type = view.getUint8(at + MESSAGE);
  return type === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION || type === ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT ? type : 0;
}

/** What captures of one interface show of one address. */
interface Notes {
  /** When ARP of or for it was seen: Unix time in ms. */
  readonly moments: number[];
  mac: Uint8Array | undefined;
}

export class NextHops {
  /** By address; of IPv6 by its bytes in hexadecimal. */
  private readonly notes: ReadonlyMap<number | string, Notes>[];

  constructor(
    interfaces: number,
    private readonly own: OwnFrames,
  ) {
    this.notes = Array.from({ length: interfaces }, () => new Map());
  }

  /** Looks through a capture for ARP and Neighbour Discovery beforehand. @param reader at its beginning; afterwards at its end */
  async study(iface: number, reader: CaptureReader): Promise<void> {
    const notes = new Map(this.notes[iface]);
    this.notes[iface] = notes;
    const { frame, window } = reader;
    for (let noted = 0; noted < MOST_NOTES && (reader.next() || (await reader.more())); ) {
      const { at, captured } = frame;
      const { view, bytes } = window;
      if (frame.linkType !== LINK_ETHERNET || captured < ARP_FRAME_LENGTH) continue;
      const isArp = view.getUint16(at + ETHERNET.TYPE) === ETHERTYPE.ARP;
      const type = isArp ? 0 : neighbourType(view, at, captured);
      if (!isArp && type === 0) continue;
      const isOurs = this.own.has(iface, true, frame.direction, view, at, captured);
      const address = isArp
        ? view.getUint32(at + CONTENT + (isOurs ? ARP.TARGET_IP : ARP.SENDER_IP))
        : textAt(
            view,
            isOurs || type === ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT
              ? at + MESSAGE + ND.TARGET
              : at + CONTENT + IPV6.SOURCE,
          );
      const known: Notes = notes.get(address) ?? { moments: [], mac: undefined };
      known.moments.push(frame.seconds * 1000 + frame.nanoseconds / 1e6);
      const macAt = at + (isArp ? CONTENT + ARP.SENDER_MAC : ETHERNET.SOURCE);
      if (!isOurs) known.mac = bytes.subarray(macAt).slice(0, MAC_LENGTH);
      notes.set(address, known);
      noted++;
    }
  }

  /**
   * Makes an ARP request or a solicitation that the router has sent the answer to it, in place.
   * @param now Unix time in ms
   * @param peer the MAC address of a host that nothing of the captures shows, by its address; of IPv6 16 bytes
   * @returns whether it is one, and nobody else answers it
   */
  answer(iface: number, view: DataView, at: number, now: number, peer: (address: IpAddress) => Uint8Array): boolean {
    if (view.getUint16(at + ETHERNET.TYPE) === ETHERTYPE.IPV6) return this.advertise(iface, view, at, now, peer);
    const arp = at + CONTENT;
    const address = view.getUint32(arp + ARP.TARGET_IP);
    const known = this.notes[iface].get(address);
    if (isLeftTo(known, now)) return false;
    const [head, tail] = partsOf(known?.mac ?? peer(address));
    const asker = arp + ARP.SENDER_MAC;
    const [askerHead, askerTail] = [macHead(view, asker), macTail(view, asker)];
    writeMac(view, at + ETHERNET.DESTINATION, askerHead, askerTail);
    writeMac(view, at + ETHERNET.SOURCE, head, tail);
    writeArp(view, arp, ARP_REPLY, head, tail, address, askerHead, askerTail, view.getUint32(arp + ARP.SENDER_IP));
    return true;
  }

  /** Nobody answers whoever asks whether an address of his own is somebody else's. */
  private advertise(
    iface: number,
    view: DataView,
    at: number,
    now: number,
    peer: (address: IpAddress) => Uint8Array,
  ): boolean {
    const ip = at + CONTENT;
    const target = at + MESSAGE + ND.TARGET;
    if (isUnspecified6(view, ip + IPV6.SOURCE)) return false;
    const known = this.notes[iface].get(textAt(view, target));
    if (isLeftTo(known, now)) return false;
    const [head, tail] = partsOf(known?.mac ?? peer(bytesAt(view, target).slice()));
    writeMac(view, at + ETHERNET.DESTINATION, macHead(view, at + ETHERNET.SOURCE), macTail(view, at + ETHERNET.SOURCE));
    writeMac(view, at + ETHERNET.SOURCE, head, tail);
    bytesAt(view, ip + IPV6.DESTINATION).set(bytesAt(view, ip + IPV6.SOURCE));
    bytesAt(view, ip + IPV6.SOURCE).set(bytesAt(view, target));
    writeAdvertisement(view, ip, SOLICITED | OVERRIDE, head, tail);
    return true;
  }
}

/** Whether the captures show what became of a question at this moment. */
function isLeftTo(known: Notes | undefined, now: number): boolean {
  return known?.moments.some((moment) => moment >= now - SOONER_MS && moment <= now + ASKS_FOR_MS) ?? false;
}

function partsOf(mac: Uint8Array): [head: number, tail: number] {
  const view = new DataView(mac.buffer, mac.byteOffset, MAC_LENGTH);
  return [macHead(view, 0), macTail(view, 0)];
}

function bytesAt(view: DataView, at: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, IP6_LENGTH);
}

function textAt(view: DataView, at: number): string {
  return Buffer.from(bytesAt(view, at)).toString("hex");
}

/** @returns a MAC address for a host of which none is known: locally administered, and a different one for each address */
export function someMac(address: IpAddress): Uint8Array {
  if (typeof address !== "number") return Uint8Array.of(6, 0, ...address.subarray(12));
  return Uint8Array.of(2, 0, address >>> 24, address >>> 16, address >>> 8, address);
}
