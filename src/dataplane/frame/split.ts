// Cutting a packet that may be fragmented into fragments that fit the egress interface (RFC 791 section 3.2).
import { sum } from "../../wire/checksum.ts";
import { ETHERNET } from "../../wire/ethernet.ts";
import { FRAGMENT_OFFSET, headerLength, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../../wire/ipv4.ts";
import { RESERVED_LENGTH, type Ring } from "../ring.ts";
import { checksumDone, checksumField, checksumStart, needsChecksum } from "./vnet.ts";

const OPTION_NOP = 1;
const OPTION_COPIED = 0x80;

/**
 * Cuts one packet at a time, first fragment to last: `begin`, then `next` as long as it says that there is one. Fields and no
 * callback, which would be an object for each packet.
 */
export class Splitter {
  /** The fragment that `next` has made: offset and bytes of its frame, complete but for the Ethernet addresses, the packet's own. */
  at = 0;
  length = 0;
  /** The packet's frame; bytes of its payload, and how many of them are done; of its header, and of a fragment's payload at most. */
  private from = 0;
  private payload = 0;
  private done = 0;
  private header = 0;
  private chunk = 0;
  /** The packet, where it is no longer than a frame of ours: it may be one, which has waited, and whose place the next one takes. */
  private readonly kept = new Uint8Array(RESERVED_LENGTH);
  private isKept = false;
  /** Its fragment field. */
  private field = 0;

  constructor(private readonly ring: Ring) {}

  /**
   * @param at offset of the frame; its packet is not changed but for a checksum that an interface would have completed
   * @param mtu bytes of the largest fragment
   */
  begin(at: number, mtu: number): void {
    const { view } = this.ring;
    const ip = at + ETHERNET.HEADER_LENGTH;
    completeChecksum(view, at, ip);
    this.from = at;
    this.header = headerLength(view, ip);
    this.payload = view.getUint16(ip + IPV4.TOTAL_LENGTH) - this.header;
    this.done = 0;
    this.field = view.getUint16(ip + IPV4.FRAGMENT);
    const length = ETHERNET.HEADER_LENGTH + this.header + this.payload;
    this.isKept = length <= RESERVED_LENGTH;
    if (this.isKept) for (let i = 0; i < length; i++) this.kept[i] = this.ring.bytes[at + i];
    this.chunk = (Math.min(mtu, RESERVED_LENGTH - ETHERNET.HEADER_LENGTH) - this.header) & ~7;
  }

  /** Makes the next fragment, to be sent before the next call. @returns whether there was one */
  next(): boolean {
    const { done, header, field } = this;
    if (done >= this.payload) return false;
    const { view } = this.ring;
    const length = Math.min(this.chunk, this.payload - done);
    const isLast = done + length === this.payload;
    const out = this.ring.reserve();
    const outIp = out + ETHERNET.HEADER_LENGTH;
    this.copy(out, 0, ETHERNET.HEADER_LENGTH + header);
    this.copy(outIp + header, ETHERNET.HEADER_LENGTH + header + done, length);
    if (done > 0) blankOptions(view, outIp + IPV4.HEADER_LENGTH, outIp + header);
    view.setUint16(outIp + IPV4.TOTAL_LENGTH, header + length);
    const more = isLast ? field & MORE_FRAGMENTS : MORE_FRAGMENTS;
    view.setUint16(outIp + IPV4.FRAGMENT, ((field & FRAGMENT_OFFSET) + (done >> 3)) | more);
    view.setUint16(outIp + IPV4.CHECKSUM, 0);
    view.setUint16(outIp + IPV4.CHECKSUM, ~sum(view, outIp, header) & 0xffff);
    this.at = out;
    this.length = ETHERNET.HEADER_LENGTH + header + length;
    this.done += length;
    return true;
  }

  /** Copies so many bytes of the packet's frame, from an offset in it. */
  private copy(to: number, offset: number, length: number): void {
    const { bytes } = this.ring;
    if (this.isKept) for (let i = 0; i < length; i++) bytes[to + i] = this.kept[offset + i];
    else bytes.copyWithin(to, this.from + offset, this.from + offset + length);
  }
}

/** A checksum left to the interface must be whole before the packet is cut: no fragment has all that it covers. */
function completeChecksum(view: DataView, at: number, ip: number): void {
  if (!needsChecksum(view, at)) return;
  const start = checksumStart(view, at);
  const field = checksumField(view, at);
  const end = ip + view.getUint16(ip + IPV4.TOTAL_LENGTH);
  const value = ~sum(view, start, end - start) & 0xffff;
  const isUdp = view.getUint8(ip + IPV4.PROTOCOL) === PROTOCOL.UDP;
  view.setUint16(field, isUdp ? value || 0xffff : value);
  checksumDone(view, at);
}

/** Options without the copied bit stand in the first fragment only; their bytes are kept, as no-operations. */
function blankOptions(view: DataView, at: number, end: number): void {
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === 0) return;
    const length = kind === OPTION_NOP ? 1 : view.getUint8(at + 1);
    if ((kind & OPTION_COPIED) === 0) for (let i = at; i < at + length; i++) view.setUint8(i, OPTION_NOP);
    at += length;
  }
}
