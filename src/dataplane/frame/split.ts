// Cutting a packet that may be fragmented into fragments that fit the egress interface (RFC 791 section 3.2).
import { sum } from "../../wire/checksum.ts";
import { ETHERNET } from "../../wire/ethernet.ts";
import { FRAGMENT_OFFSET, headerLength, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../../wire/ipv4.ts";
import { RESERVED_LENGTH, type Ring } from "../ring.ts";
import { checksumDone, checksumField, checksumStart, needsChecksum } from "./vnet.ts";

const OPTION_NOP = 1;
const OPTION_COPIED = 0x80;

/**
 * Hands a packet on in fragments, first to last; each is complete but for the Ethernet addresses, which are the frame's.
 * @param at offset of the frame; its packet is not changed but for a checksum that an interface would have completed
 * @param mtu bytes of the largest fragment
 * @param emit gets the offset and length of each fragment's frame
 */
export function split(ring: Ring, at: number, mtu: number, emit: (at: number, length: number) => void): void {
  const { view, bytes } = ring;
  const ip = at + ETHERNET.HEADER_LENGTH;
  completeChecksum(view, at, ip);
  const header = headerLength(view, ip);
  const payload = view.getUint16(ip + IPV4.TOTAL_LENGTH) - header;
  const field = view.getUint16(ip + IPV4.FRAGMENT);
  const base = field & FRAGMENT_OFFSET;
  const chunk = (Math.min(mtu, RESERVED_LENGTH - ETHERNET.HEADER_LENGTH) - header) & ~7;
  for (let done = 0; done < payload; done += chunk) {
    const length = Math.min(chunk, payload - done);
    const isLast = done + length === payload;
    const out = ring.reserve();
    const outIp = out + ETHERNET.HEADER_LENGTH;
    bytes.copyWithin(out, at, ip + header);
    bytes.copyWithin(outIp + header, ip + header + done, ip + header + done + length);
    if (done > 0) blankOptions(view, outIp + IPV4.HEADER_LENGTH, outIp + header);
    view.setUint16(outIp + IPV4.TOTAL_LENGTH, header + length);
    const more = isLast ? field & MORE_FRAGMENTS : MORE_FRAGMENTS;
    view.setUint16(outIp + IPV4.FRAGMENT, (base + (done >> 3)) | more);
    view.setUint16(outIp + IPV4.CHECKSUM, 0);
    view.setUint16(outIp + IPV4.CHECKSUM, ~sum(view, outIp, header) & 0xffff);
    emit(out, ETHERNET.HEADER_LENGTH + header + length);
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
