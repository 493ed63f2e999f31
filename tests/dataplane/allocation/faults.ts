// How each fault of a frame's format is brought about. The type of the table asks for every one of them.
import { ARP_TYPE, arp, concat, ethernet, IPV4_TYPE, icmp, ip, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import { type Extension, fragment, icmpv6, ip6, ipv6, options, routing } from "../../../lab/frames6.ts";
import { GATEWAY, HOST_MAC, OUR_MAC, OUTSIDE, REMOTE, WORK, WORK_GATEWAY, WORK_HOST } from "../../../lab/router-lab.ts";
import { malformed } from "../../../src/dataplane/verdict.ts";
import { pseudoHeaderSum6 } from "../../../src/wire/checksum.ts";
import type { Fault } from "../../../src/wire/fault.ts";
import { HeaderChain } from "../../../src/wire/header-chain.ts";
import { checkIcmpv6, checkIcmpv6Sum } from "../../../src/wire/icmpv6.ts";
import { checkIpv6, totalLength6 } from "../../../src/wire/ipv6.ts";
import { ListenerQuery } from "../../../src/wire/mld.ts";
import { NeighbourMessage } from "../../../src/wire/ndp.ts";
import { repairHeader } from "../../support/hostile.ts";
import { PINNED, Treadmill } from "../../support/treadmill.ts";
import type { Drive, Faulty } from "./drive.ts";

const OUT = { source: WORK_HOST, destination: REMOTE };
const PORTS = { sourcePort: 5000, destinationPort: 5001 };
const ICMP = 1;
const TCP = 6;
const UDP = 17;

const put =
  (frame: Uint8Array): Drive =>
  () => {
    const mill = new Treadmill();
    const kept = mill.keep(WORK, frame);
    return () => mill.put(kept);
  };

const framed = (type: number, packet: Uint8Array) => ethernet(HOST_MAC[WORK_HOST], OUR_MAC[WORK], type, packet);
const packet = (bytes: Uint8Array): Drive => put(framed(IPV4_TYPE, bytes));

/** A good datagram with other bytes from an offset of its IPv4 header on. @param repaired whether the header's checksum is right */
function changed(at: number, bytes: readonly number[], repaired = true): Drive {
  const frame = framed(IPV4_TYPE, udp({ ...OUT, ...PORTS }, payload(20)));
  frame.set(bytes, 14 + at);
  if (repaired) repairHeader(frame);
  return put(frame);
}

const request = arp({
  operation: "request",
  senderMac: HOST_MAC[WORK_HOST],
  senderIp: WORK_HOST,
  targetIp: WORK_GATEWAY,
});
const arpChanged = (at: number, value: number): Drive => put(framed(ARP_TYPE, request.with(at, value)));

/** A name server's answer to control, whose checksum is wrong. */
const wrongAnswer: Drive = () => {
  const mill = new Treadmill(PINNED, { answered: () => {}, passing: () => {} });
  const question = Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0);
  mill.router.ask(1, ip(GATEWAY), question);
  const ends = { source: GATEWAY, destination: OUTSIDE, sourcePort: 53, destinationPort: mill.sentPort() };
  const answer = mill.keepFrom(GATEWAY, udp(ends, question));
  mill.set16(answer, 14 + 26, 1);
  return () => mill.put(answer);
};

/** The same over TCP. */
const wrongSegment: Drive = () => {
  const mill = new Treadmill(PINNED, { answered: () => {}, passing: () => {} });
  mill.router.sendSegment(1, ip(GATEWAY), Uint8Array.from([...payload(12), 0x50, 2, ...payload(6)]));
  const ends = { source: GATEWAY, destination: OUTSIDE, sourcePort: 53, destinationPort: mill.sentPort() };
  const answer = mill.keepFrom(GATEWAY, tcp({ ...ends, flags: "S." }));
  mill.set16(answer, 14 + 36, 1);
  return () => mill.put(answer);
};

const echo = icmp({ ...OUT, destination: WORK_GATEWAY, type: 8 }, payload(16));

const ENDS6 = { source: "fd09:24ef:4179::a89:a", destination: "2001:db8::1" };
const chain = new HeaderChain();

/** The checks of IPv6, on a packet. */
function checked(bytes: Uint8Array, check: (view: DataView, length: number) => Fault = walk): Drive {
  return () => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return () => malformed(check(view, view.byteLength));
  };
}

const walk = (view: DataView, length: number): Fault =>
  checkIpv6(view, 0, length) || chain.walk(view, 0, totalLength6(view, 0));

const extended = (...extensions: readonly Extension[]): Drive =>
  checked(ipv6({ ...ENDS6, extensions }, UDP, payload(16)));

const echo6 = icmpv6({ ...ENDS6, type: 128 }, payload(16));

const solicitation = (target: string, option: Uint8Array = new Uint8Array(0)) =>
  icmpv6({ ...ENDS6, hopLimit: 255, type: 135 }, concat(ip6(target), option));
const message = new NeighbourMessage();
const neighbour = (bytes: Uint8Array, isFragmented = false): Drive =>
  checked(bytes, (view, length) => message.read(view, 0, 40, length - 40, isFragmented));
const query = new ListenerQuery();

export const FAULT_DRIVES: Readonly<Record<Faulty, Drive>> = {
  ETHERNET_TRUNCATED: put(payload(13)),
  ARP_TRUNCATED: put(framed(ARP_TYPE, request.subarray(0, 20))),
  ARP_FORMAT: arpChanged(1, 6),
  ARP_OPERATION: arpChanged(7, 3),
  IPV4_TRUNCATED: packet(payload(19)),
  IPV4_VERSION: changed(0, [0x65]),
  IPV4_HEADER_LENGTH: changed(0, [0x44]),
  IPV4_TOTAL_LENGTH: changed(2, [1, 0]),
  IPV4_CHECKSUM: changed(10, [0, 0], false),
  IPV4_OPTIONS: packet(ipv4({ ...OUT, options: Uint8Array.of(7, 1, 0, 0) }, UDP, payload(20))),
  IPV4_SOURCE_ROUTE: packet(ipv4({ ...OUT, options: Uint8Array.of(131, 3, 4, 0) }, UDP, payload(20))),
  IPV4_FRAGMENT: packet(ipv4({ ...OUT, fragment: 0x2001 }, UDP, payload(9))),
  IPV6_TRUNCATED: checked(payload(39)),
  IPV6_VERSION: checked(echo6.with(0, 0x45)),
  IPV6_PAYLOAD_LENGTH: checked(echo6.with(4, 1)),
  IPV6_JUMBOGRAM: extended([0, Uint8Array.of(0, 0xc2, 4, 0, 1, 0, 0)]),
  IPV6_EXTENSION_LENGTH: extended([60, Uint8Array.of(3, 1, 4, 0, 0, 0, 0)]),
  IPV6_EXTENSIONS: extended(...new Array(9).fill(options(60, Uint8Array.of(0x1e, 0)))),
  IPV6_HOP_BY_HOP: extended([0, Uint8Array.of(0, 5, 5, 0, 0, 0, 0)]),
  IPV6_OPTION: extended(options(0, Uint8Array.of(0x81, 0))),
  IPV6_SOURCE_ROUTE: extended(routing(0, 0)),
  IPV6_FRAGMENT: extended(fragment(0, false), fragment(8, true)),
  IPV6_CHAIN: extended(fragment(0, true), [60, Uint8Array.of(3, 1, 4, 0, 0, 0, 0)]),
  ICMP_TRUNCATED: packet(ipv4(OUT, ICMP, payload(7))),
  ICMP_CHECKSUM: packet(echo.with(22, echo[22] ^ 1)),
  ICMPV6_TRUNCATED: checked(echo6, () => checkIcmpv6(7)),
  ICMPV6_CHECKSUM: checked(echo6.with(42, echo6[42] ^ 1), (view, length) =>
    checkIcmpv6Sum(view, 40, length - 40, pseudoHeaderSum6(view, 8, 58, length - 40)),
  ),
  ND_HOP_LIMIT: neighbour(solicitation("2001:db8::1").with(7, 254)),
  ND_TRUNCATED: neighbour(echo6.with(7, 255).subarray(0, 63)),
  ND_FORMAT: neighbour(solicitation("2001:db8::1"), true),
  ND_OPTIONS: neighbour(solicitation("2001:db8::1", new Uint8Array(8))),
  ND_ADDRESSES: neighbour(solicitation("ff02::1")),
  MLD_FORMAT: checked(echo6, (view, length) => query.read(view, 0, 40, length - 40, true)),
  UDP_TRUNCATED: packet(ipv4(OUT, UDP, payload(7))),
  UDP_LENGTH: changed(24, [0, 7]),
  UDP_CHECKSUM: wrongAnswer,
  TCP_TRUNCATED: packet(ipv4(OUT, TCP, payload(19))),
  TCP_DATA_OFFSET: packet(tcp({ ...OUT, ...PORTS, flags: "S" }).with(32, 0x40)),
  TCP_FLAGS: packet(tcp({ ...OUT, ...PORTS, flags: "SF" })),
  TCP_CHECKSUM: wrongSegment,
};
