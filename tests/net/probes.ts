// Packets that ask what a firewall makes of them, and what it made of them: let through, refused with an error, or dropped
// in silence. A packet is known by its client (source address) and its number (IPv4 identification).
import { ethernet, IPV4_TYPE, icmp, ipv4, tcp, udp } from "../../lab/frames.ts";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";

/** Frames that are sent at a time; the last of them is one that comes through. */
export const BATCH = 64;

export const CLIENT_MAC = "02:00:00:00:00:02";
/** The firewall's, where clients are. */
export const FIREWALL_MAC = "02:00:00:00:00:01";

/** A new flow, or a TCP segment that opens none. */
export interface Probe {
  readonly protocol: number;
  readonly destination: string;
  /** Port of TCP and UDP, type of ICMP. */
  readonly selector: number;
  /** Of TCP, in tcpdump's letters; a SYN if not given. */
  readonly flags?: string;
}

/** "reset": TCP's RST comes back; "problem": ICMPv6's parameter problem. */
export type Outcome = "accept" | "refuse" | "reset" | "silence" | "problem";

/** Destination unreachable, communication administratively prohibited (RFC 1812 section 5.2.7.1). */
const UNREACHABLE = 3;
const ADMIN_PROHIBITED = 13;
const RST = 4;

/** @param number the probe's among its client's: it also makes its flow differ from the others */
export function probeFrame(client: string, number: number, probe: Probe): Uint8Array {
  return ethernet(CLIENT_MAC, FIREWALL_MAC, IPV4_TYPE, packetOf(client, number, probe));
}

function packetOf(client: string, number: number, { protocol, destination, selector, flags = "S" }: Probe): Uint8Array {
  const fields = { source: client, destination, identification: number };
  const ports = { sourcePort: 20000 + number, destinationPort: selector };
  if (protocol === TCP) return tcp({ ...fields, ...ports, flags, sequence: 1000, acknowledgment: 2000 });
  if (protocol === UDP) return udp({ ...fields, ...ports }, new Uint8Array(8));
  if (protocol === ICMP)
    return icmp({ ...fields, type: selector, rest: (20000 + number) << 16 }, quoted(client, fields));
  return ipv4(fields, protocol, new Uint8Array(16));
}

/** What an ICMP error would quote: a datagram of the client's that was never sent. For other types it is just data. */
function quoted(client: string, { destination }: { readonly destination: string }): Uint8Array {
  return udp({ source: destination, destination: client, sourcePort: 9, destinationPort: 9 }, new Uint8Array(8));
}

/** Who a frame is about, and what it says. */
export interface Answer {
  readonly client: string;
  readonly number: number;
  readonly outcome: Outcome;
}

/**
 * @param frame that came out of a firewall
 * @param side where it came out: where clients are, or on the uplink
 * @returns what it answers; undefined for anything but IPv4
 */
export function answerOf(frame: Uint8Array, side: "in" | "out"): Answer | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== IPV4_TYPE) return undefined;
  const packet = 14;
  const content = packet + (view.getUint8(packet) & 15) * 4;
  if (side === "out") return { ...identityOf(view, packet), outcome: "accept" };
  const client = addressOf(view, packet + 16);
  const protocol = view.getUint8(packet + 9);
  if (protocol === TCP && (view.getUint8(content + 13) & RST) !== 0) {
    return { client, number: view.getUint16(content + 2) - 20000, outcome: "reset" };
  }
  const isRefusal = view.getUint8(content) === UNREACHABLE && view.getUint8(content + 1) === ADMIN_PROHIBITED;
  if (protocol !== ICMP || !isRefusal) throw new Error(`an unexpected frame: ${Buffer.from(frame).toString("hex")}`);
  return { ...identityOf(view, content + 8), outcome: "refuse" };
}

function identityOf(view: DataView, packet: number): { client: string; number: number } {
  return { client: addressOf(view, packet + 12), number: view.getUint16(packet + 4) };
}

function addressOf(view: DataView, at: number): string {
  return [0, 1, 2, 3].map((i) => view.getUint8(at + i)).join(".");
}
