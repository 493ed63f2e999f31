// The frames that the kernel path is tried with (trial.ts beside this file): of a UDP and of a TCP flow between a client and a server, of
// either family, with an offload header where their sender leaves work to its interface, or lies about it.
import { fold, pseudoHeaderSum, sum } from "../../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE } from "../../../wire/ethernet.ts";
import { DEFAULT_TTL, IPV4, PROTOCOL, writeIpv4 } from "../../../wire/ipv4.ts";
import { ADDRESS6_LENGTH, IPV6, writeIpv6 } from "../../../wire/ipv6.ts";
import { TCP, writeTcp } from "../../../wire/tcp.ts";
import { UDP, writeUdp } from "../../../wire/udp.ts";
import { type Offload, offloadHeader } from "../../frame/vnet.ts";

export interface TrialFrame {
  readonly bytes: Uint8Array;
  readonly vnet: Uint8Array;
}

/** One end of a flow as a frame of it says. */
export interface End {
  readonly mac: Uint8Array;
  readonly address: number;
  /** 16 bytes. */
  readonly address6: Uint8Array;
  readonly port: number;
}

/** What is said by a frame's TCP header. */
export interface Segment {
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
}

/** How a frame of a flow is sent. */
export interface Kind {
  readonly what: string;
  readonly protocol: number;
  /** Bytes of payload. */
  readonly payload: number;
  /** Of UDP: none is sent. Left to the interface, at the right place or another one: `start` is from the transport header on. */
  readonly checksum: "whole" | "none" | "left" | { readonly left: NonNullable<Offload["checksum"]> };
  readonly segment?: number;
  readonly padding?: number;
  /** Whether it is to take the kernel path; otherwise it is to come to the socket as it was sent. */
  readonly isTaken: boolean;
}

const IP = ETHERNET.HEADER_LENGTH;
const FIRST_PORT = { left: { start: 0, offset: 0 } };
const LATER = { left: { start: 2, offset: UDP.CHECKSUM } };
const NEXT_TO_IT = { left: { start: 0, offset: 14 } };
const { TCP: T, UDP: U } = PROTOCOL;

export const KINDS: readonly Kind[] = [
  { what: "UDP", protocol: U, payload: 99, checksum: "whole", isTaken: true },
  { what: "UDP without payload", protocol: U, payload: 0, checksum: "whole", isTaken: true },
  { what: "UDP without checksum", protocol: U, payload: 99, checksum: "none", isTaken: true },
  { what: "UDP with its checksum left to the interface", protocol: U, payload: 99, checksum: "left", isTaken: true },
  { what: "padded UDP", protocol: U, payload: 1, checksum: "whole", padding: 17, isTaken: true },
  { what: "padded UDP with its checksum left", protocol: U, payload: 1, checksum: "left", padding: 17, isTaken: true },
  { what: "UDP that leaves its ports as checksum", protocol: U, payload: 99, checksum: FIRST_PORT, isTaken: false },
  { what: "UDP whose checksum is left to begin later", protocol: U, payload: 99, checksum: LATER, isTaken: false },
  { what: "TCP", protocol: T, payload: 1400, checksum: "whole", isTaken: true },
  { what: "padded TCP", protocol: T, payload: 0, checksum: "whole", padding: 6, isTaken: true },
  { what: "TCP with its checksum left to the interface", protocol: T, payload: 1400, checksum: "left", isTaken: true },
  { what: "padded TCP with its checksum left", protocol: T, payload: 0, checksum: "left", padding: 6, isTaken: true },
  { what: "TCP to be cut", protocol: T, payload: 3500, checksum: "left", segment: 1000, isTaken: true },
  { what: "padded TCP to be cut", protocol: T, payload: 3500, checksum: "left", segment: 1000, padding: 9, isTaken: false },
  { what: "TCP to be cut into many", protocol: T, payload: 3500, checksum: "left", segment: 27, isTaken: true },
  { what: "TCP to be cut into too many", protocol: T, payload: 6000, checksum: "left", segment: 8, isTaken: false },
  { what: "TCP that leaves its ports as checksum", protocol: T, payload: 1400, checksum: FIRST_PORT, isTaken: false },
  { what: "TCP that leaves its window as checksum", protocol: T, payload: 1400, checksum: NEXT_TO_IT, isTaken: false },
]; // biome-ignore format: a table

/** The kinds as packets of IPv6 are: those of UDP have a checksum (RFC 8200 section 8.1). */
export const KINDS6: readonly Kind[] = KINDS.map((kind) =>
  kind.checksum === "none" ? { ...kind, isTaken: false } : kind,
);

/** @returns where in a frame the transport header is */
export function transportAt(isIpv6: boolean): number {
  return IP + (isIpv6 ? IPV6.HEADER_LENGTH : IPV4.HEADER_LENGTH);
}

/** A frame of that kind. @param segment of TCP */
export function trialFrame(kind: Kind, from: End, to: End, segment: Segment, isIpv6 = false): TrialFrame {
  const { protocol, payload, checksum, padding = 0 } = kind;
  const isTcp = protocol === PROTOCOL.TCP;
  const length = (isTcp ? TCP.HEADER_LENGTH : UDP.HEADER_LENGTH) + payload;
  const transport = transportAt(isIpv6);
  const bytes = new Uint8Array(transport + length + padding);
  const view = new DataView(bytes.buffer);
  bytes.set(to.mac, ETHERNET.DESTINATION);
  bytes.set(from.mac, ETHERNET.SOURCE);
  const pseudo = isIpv6
    ? writeHeader6(bytes, protocol, length, from, to)
    : writeHeader(view, protocol, length, from, to);
  const ports = (from.port << 16) | to.port;
  if (isTcp) {
    writeTcp(view, transport, ports, segment.sequence, segment.acknowledgment, segment.flags, 65535);
  } else {
    writeUdp(view, transport, ports, length);
  }
  for (let i = transport + length - payload; i < bytes.length; i++) bytes[i] = i * 7;

  const place = { start: 0, offset: isTcp ? TCP.CHECKSUM : UDP.CHECKSUM };
  const field = transport + place.offset;
  if (checksum === "whole") view.setUint16(field, ~sum(view, transport, length, pseudo) & 0xffff || 0xffff);
  else if (checksum !== "none") view.setUint16(field, fold(pseudo));
  const left = checksum === "left" ? place : typeof checksum === "object" ? checksum.left : undefined;
  const said = left && { ...left, start: transport + left.start };
  return { bytes, vnet: offloadHeader({ checksum: said, segment: kind.segment, isIpv6 }) };
}

/** @param length bytes behind the header @returns the sum of the pseudo-header, not folded */
function writeHeader(view: DataView, protocol: number, length: number, from: End, to: End): number {
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV4);
  writeIpv4(view, IP, 0, IPV4.HEADER_LENGTH + length, DEFAULT_TTL, protocol, from.address, to.address);
  return pseudoHeaderSum(from.address, to.address, protocol, length);
}

function writeHeader6(bytes: Uint8Array, protocol: number, length: number, from: End, to: End): number {
  const view = new DataView(bytes.buffer);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV6);
  writeIpv6(view, IP, 0, length, protocol, DEFAULT_TTL);
  bytes.set(from.address6, IP + IPV6.SOURCE);
  bytes.set(to.address6, IP + IPV6.DESTINATION);
  return sum(view, IP + IPV6.SOURCE, 2 * ADDRESS6_LENGTH, protocol + length);
}
