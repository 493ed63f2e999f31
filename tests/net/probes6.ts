// Packets that ask what a firewall makes of them, and what it made of them, as probes.ts has them of IPv4. A packet is known by its
// client (source address) and its number (flow label), which every fragment of it and every error about it has.
import { ethernet } from "../../lab/frames.ts";
import {
  ah,
  checksum6,
  DESTINATION,
  type Extension,
  fragment,
  fragmented6,
  HOP_BY_HOP,
  IPV6_TYPE,
  icmpv6,
  ipv6,
  options,
  routing,
  tcp6,
  text6,
  udp6,
} from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { type Answer, CLIENT_MAC, FIREWALL_MAC, type Outcome, type Probe } from "./probes.ts";

/** Extension headers that a router forwards whatever is in front of or behind them. */
export const EXTENSIONS = {
  "hop-by-hop": options(HOP_BY_HOP, new Uint8Array(0)),
  destination: options(DESTINATION, new Uint8Array(0)),
  routing: routing(253, 0),
  ah: ah(),
  atomic: fragment(0, false, 7),
} satisfies Record<string, Extension>;

export interface Probe6 extends Probe {
  /** In front of the upper layer. */
  readonly extensions?: readonly (keyof typeof EXTENSIONS)[];
  /** Others, that stand in front of these. */
  readonly odd?: readonly Extension[];
  /** Whether the bytes of another protocol add up to zero, as those of TCP and UDP do; true if not given. */
  readonly summed?: boolean;
  /** It comes in two fragments. */
  readonly isFragmented?: boolean;
}

const UNREACHABLE = 1;
const PARAMETER_PROBLEM = 4;
const ADMIN_PROHIBITED = 1;
const RST = 4;
/** Of clients, and of no one else. */
const CLIENTS = "fd09:24ef:4179::";

/** @param number the probe's among its client's: it also makes its flow differ from the others */
export function probeFrames(client: string, number: number, probe: Probe6): Uint8Array[] {
  const packet = packetOf(client, number, probe);
  const packets = probe.isFragmented ? fragmented6(packet, 24, number + 1) : [packet];
  return packets.map((each) => ethernet(CLIENT_MAC, FIREWALL_MAC, IPV6_TYPE, each));
}

function packetOf(client: string, number: number, probe: Probe6): Uint8Array {
  const { protocol, destination, selector, flags = "S", extensions = [], odd = [], summed = true } = probe;
  const fields = {
    source: client,
    destination,
    flowLabel: number,
    extensions: [...odd, ...extensions.map((name) => EXTENSIONS[name])],
  };
  const ports = { sourcePort: 20000 + number, destinationPort: selector };
  if (protocol === TCP) return tcp6({ ...fields, ...ports, flags, sequence: 1000, acknowledgment: 2000 }, content);
  if (protocol === UDP) return udp6({ ...fields, ...ports }, content);
  if (protocol === ICMPV6) {
    return icmpv6({ ...fields, type: selector, rest: (20000 + number) << 16 }, quoted(client, destination));
  }
  return ipv6(fields, protocol, summed ? withSum(client, destination, protocol) : content);
}

/** Linux answers no packet whose bytes do not add up, of whatever protocol: these do. */
function withSum(client: string, destination: string, protocol: number): Uint8Array {
  const sum = checksum6(client, destination, protocol, content);
  return Uint8Array.from([...content.subarray(2), sum >>> 8, sum & 255]);
}

/** Enough that a fragment of 24 bytes has all of the upper header, and is not all. */
const content = new Uint8Array(32);

/** What an error would quote: a datagram of the client's that was never sent. For other types it is just data. */
function quoted(client: string, destination: string): Uint8Array {
  return udp6({ source: destination, destination: client, sourcePort: 9, destinationPort: 9 }, new Uint8Array(8));
}

/**
 * @param frame that came out of a firewall
 * @param side where it came out: where clients are, or on the uplink
 * @returns what it answers; undefined for what is no answer, such as solicitations
 */
export function answerOf6(frame: Uint8Array, side: "in" | "out"): Answer | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== IPV6_TYPE) return undefined;
  const packet = 14;
  const upper = packet + 40;
  if (side === "out") return ofClient(frame, packet, "accept");
  const protocol = view.getUint8(packet + 6);
  const client = text6(frame.subarray(packet + 24, packet + 40));
  if (protocol === TCP && (view.getUint8(upper + 13) & RST) !== 0) {
    return { client, number: view.getUint16(upper + 2) - 20000, outcome: "reset" };
  }
  if (protocol !== ICMPV6) return undefined;
  const [type, code] = [view.getUint8(upper), view.getUint8(upper + 1)];
  if (type === UNREACHABLE && code === ADMIN_PROHIBITED) return ofClient(frame, upper + 8, "refuse");
  if (type === PARAMETER_PROBLEM) return ofClient(frame, upper + 8, "problem");
  if (type < 128) throw new Error(`an unexpected frame: ${Buffer.from(frame).toString("hex")}`);
  return undefined;
}

/** @param at offset of a client's packet, or of a quoted one */
function ofClient(frame: Uint8Array, at: number, outcome: Outcome): Answer | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const client = text6(frame.subarray(at + 8, at + 24));
  return client.startsWith(CLIENTS) ? { client, number: view.getUint32(at) & 0xfffff, outcome } : undefined;
}
