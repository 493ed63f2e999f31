// Conversations by IPv4.
import {
  checksum,
  concat,
  describe,
  ethernet,
  fragmented,
  IPV4_TYPE,
  icmp,
  ipv4,
  payload,
  tcp,
  udp,
} from "../../../lab/frames.ts";
import { CLIENT, ROUTER, UPLINK } from "../../../lab/places.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import { ENDS } from "../ends.ts";
import type { Family, Fields } from "./family.ts";

// RFC 791 section 3.1: room for two routers' addresses; for an address and its time.
const RECORD_ROUTE = Uint8Array.of(7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const TIMESTAMP_OPTION = Uint8Array.of(68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0);

// ICMP types.
const UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;

/** Of what a firewall itself says, with whatever identification; what it forwards has one less. */
const OWN_TTL = 64;

function host(number: number): string {
  return `${(number >> 7) & 255}.${1 + (number & 127)}`;
}

function withSum(packet: Uint8Array): void {
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint16(10, 0);
  view.setUint16(10, checksum(packet.subarray(0, (packet[0] & 15) * 4)));
}

/** As the builders of frames have them. */
function built<T extends Fields>({ mayBeFragmented, ...fields }: T) {
  return { ...fields, fragment: mayBeFragmented === true ? 0 : 0x4000 };
}

export const IPV4: Family = {
  etherType: IPV4_TYPE,
  client: CLIENT,
  uplink: UPLINK,
  router: ROUTER,
  nobody: "198.18.255.254",
  remoteOf: (number) => `198.18.${host(number)}`,
  strangerOf: (number) => `198.19.${host(number)}`,

  udp: (fields, content) => udp(built(fields), content),
  tcp: (fields, content) => tcp(built(fields), content),
  icmp: (fields, content) => icmp(built(fields), content),
  packet: (fields, protocol, content) => ipv4(built(fields), protocol, content),
  fragmented: (packet, size) => fragmented(packet, size),
  upper: 20,

  echo: { request: 8, reply: 0 },
  otherQuery: { what: "timestamp", request: 13, reply: 14, isHonest: true },

  unsummed: 0.2,
  mayBeUnsummed: true,
  oddDatagrams(ends) {
    const short = ipv4(ends, UDP, concat(udp(ends, payload(32)).subarray(20), payload(8)));
    return [
      ["datagram shorter than its packet", short],
      ["packet that records its route", udp({ ...ends, options: RECORD_ROUTE }, payload(40))],
      ["packet that records its times", udp({ ...ends, options: TIMESTAMP_OPTION }, payload(40))],
    ];
  },
  dressed: () => undefined,

  errors: [
    [UNREACHABLE, 0, 0],
    [UNREACHABLE, 1, 0],
    [UNREACHABLE, 3, 0],
    [UNREACHABLE, FRAGMENTATION_NEEDED, 1400],
    [UNREACHABLE, 13, 0],
    [TIME_EXCEEDED, 0, 0],
    [TIME_EXCEEDED, 1, 0],
    [PARAMETER_PROBLEM, 0, 0],
  ],
  isAboutMtu: (type, code) => type === UNREACHABLE && code === FRAGMENTATION_NEEDED,
  untrueMtu: "fragmentation needed about a packet that needed none",
  tooLong(quoted) {
    const packet = quoted.slice();
    const view = new DataView(packet.buffer);
    view.setUint16(2, 1480);
    view.setUint16(6, 0x4000);
    withSum(packet);
    return packet;
  },
  oddQuote(quoted) {
    const wrongSum = quoted.slice();
    wrongSum[10] ^= 0x55;
    return ["error that quotes a wrong header checksum", wrongSum];
  },

  stamp(packet, stamp) {
    new DataView(packet.buffer, packet.byteOffset).setUint16(4, stamp);
    withSum(packet);
  },
  stampOf: (frame) => new DataView(frame.buffer, frame.byteOffset).getUint16(18),
  isOwn: (frame) => frame[22] === OWN_TTL,
  answerTo: () => undefined,
  partOf(packet) {
    const field = new DataView(packet.buffer, packet.byteOffset).getUint16(6);
    const header = packet.slice(0, 20).fill(0, 2, 4).fill(0, 6, 8).fill(0, 10, 12); // length, fragment field, checksum
    return { offset: (field & 0x1fff) * 8, more: (field & 0x2000) !== 0, header, content: packet.subarray(20) };
  },
  describe(packet) {
    const view = new DataView(packet.buffer, packet.byteOffset);
    const shown = describe(ethernet(ENDS.inside.host, ENDS.inside.host, IPV4_TYPE, packet)).slice(38);
    if (packet[9] !== TCP || packet.length < 36) return shown;
    return `${shown}, sequence ${view.getUint32(24)}, acknowledgment ${view.getUint32(28)}, window ${view.getUint16(34)}`;
  },
};
