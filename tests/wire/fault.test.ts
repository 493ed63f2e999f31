// Every fault has a name and a frame that shows it.
import { describe, expect, test } from "bun:test";
import { arp, concat, fromHex, icmp, ipv4, payload, tcp, udp } from "../../lab/frames.ts";
import { type Extension, fragment, icmpv6, ip6, ipv6, options, routing, udp6 } from "../../lab/frames6.ts";
import { checkArp } from "../../src/wire/arp.ts";
import { checkEthernet } from "../../src/wire/ethernet.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import { HeaderChain } from "../../src/wire/header-chain.ts";
import { checkIcmp, checkIcmpSum } from "../../src/wire/icmp.ts";
import { checkIcmpv6, checkIcmpv6Sum } from "../../src/wire/icmpv6.ts";
import { checkIpv4 } from "../../src/wire/ipv4.ts";
import { checkIpv6 } from "../../src/wire/ipv6.ts";
import { ListenerQuery } from "../../src/wire/mld.ts";
import { NeighbourMessage } from "../../src/wire/ndp.ts";
import { checkTcp, checkTcpSum } from "../../src/wire/tcp.ts";
import { checkUdp, checkUdpSum } from "../../src/wire/udp.ts";
import { patched, place } from "../support/place.ts";

const ENDS = { source: "10.137.0.10", destination: "192.0.2.1" };
const PORTS = { ...ENDS, sourcePort: 40000, destinationPort: 53 };
const REQUEST = arp({
  operation: "request",
  senderMac: "02:00:00:00:00:0a",
  senderIp: "10.137.0.10",
  targetIp: "10.137.0.1",
});
const PACKET = ipv4(ENDS, 17, payload(16));
const ECHO = icmp({ ...ENDS, type: 8 }, payload(8)).subarray(20);
const DATAGRAM = udp(PORTS, payload(8)).subarray(20);
const SYN = tcp({ ...PORTS, flags: "S" }).subarray(20);

const ENDS6 = { source: "fd09:24ef:4179::a89:a", destination: "2001:db8::1" };
const PACKET6 = udp6({ ...ENDS6, sourcePort: 40000, destinationPort: 53 }, payload(8));
const ECHO6 = icmpv6({ ...ENDS6, type: 128 }, payload(8));

function withOptions(hex: string): Uint8Array {
  return ipv4({ ...ENDS, options: fromHex(hex) }, 17, payload(16));
}

const walk: Check = (view, at, length) => checkIpv6(view, at, length) || new HeaderChain().walk(view, at, length);

function withExtensions(...extensions: readonly Extension[]): Uint8Array {
  return ipv6({ ...ENDS6, extensions }, 17, payload(16));
}

const solicitation = (target: string, option: Uint8Array = new Uint8Array(0)): Uint8Array =>
  icmpv6({ ...ENDS6, hopLimit: 255, type: 135 }, concat(ip6(target), option));
const SOLICITATION = solicitation("2001:db8::1");
const ALERT = options(0, fromHex("05 02 00 00"));
const QUERY = icmpv6(
  { source: "fe80::1", destination: "ff02::1", hopLimit: 1, extensions: [ALERT], type: 130 },
  ip6("::"),
);

const readNeighbour = (view: DataView, at: number, length: number, isFragmented: boolean) =>
  new NeighbourMessage().read(view, at, at + 40, length - 40, isFragmented);
const neighbour: Check = (view, at, length) => readNeighbour(view, at, length, false);
const query: Check = (view, at, length) => new ListenerQuery().read(view, at, at + 48, length - 48, true);

type Check = (view: DataView, at: number, length: number) => number;

function judge(check: Check, bytes: Uint8Array): number {
  const { view, at, length } = place(bytes);
  return check(view, at, length);
}

/** One sample for each fault there is: the type makes sure that none is forgotten. */
const SAMPLES: Record<Exclude<keyof typeof FAULT, "NONE">, () => number> = {
  ETHERNET_TRUNCATED: () => checkEthernet(13),
  ARP_TRUNCATED: () => judge(checkArp, REQUEST.subarray(0, 27)),
  ARP_FORMAT: () => judge(checkArp, patched(REQUEST, 4, 8)),
  ARP_OPERATION: () => judge(checkArp, patched(REQUEST, 7, 3)),
  IPV4_TRUNCATED: () => judge(checkIpv4, PACKET.subarray(0, 19)),
  IPV4_VERSION: () => judge(checkIpv4, patched(PACKET, 0, 0x65)),
  IPV4_HEADER_LENGTH: () => judge(checkIpv4, patched(PACKET, 0, 0x44)),
  IPV4_TOTAL_LENGTH: () => judge(checkIpv4, PACKET.subarray(0, PACKET.length - 1)),
  IPV4_CHECKSUM: () => judge(checkIpv4, patched(PACKET, 8, 63)),
  IPV4_OPTIONS: () => judge(checkIpv4, withOptions("07 05 04 00")),
  IPV4_SOURCE_ROUTE: () => judge(checkIpv4, withOptions("83 03 04 00")),
  IPV4_FRAGMENT: () => judge(checkIpv4, ipv4({ ...ENDS, fragment: 0x1fff }, 17, payload(16))),
  IPV6_TRUNCATED: () => judge(checkIpv6, PACKET6.subarray(0, 39)),
  IPV6_VERSION: () => judge(checkIpv6, patched(PACKET6, 0, 0x45)),
  IPV6_PAYLOAD_LENGTH: () => judge(checkIpv6, PACKET6.subarray(0, PACKET6.length - 1)),
  IPV6_JUMBOGRAM: () => judge(walk, withExtensions([0, fromHex("00 c2 04 00 01 00 00")])),
  IPV6_EXTENSION_LENGTH: () => judge(walk, withExtensions([60, fromHex("03 01 04 00 00 00 00")])),
  IPV6_EXTENSIONS: () => judge(walk, withExtensions(...new Array(9).fill(options(60, fromHex("1e 00"))))),
  IPV6_HOP_BY_HOP: () => judge(walk, withExtensions([0, fromHex("00 05 05 00 00 00 00")])),
  IPV6_OPTION: () => judge(walk, withExtensions(options(0, fromHex("81 00")))),
  IPV6_SOURCE_ROUTE: () => judge(walk, withExtensions(routing(0, 0))),
  IPV6_FRAGMENT: () => judge(walk, withExtensions(fragment(0, false), fragment(8, true))),
  IPV6_CHAIN: () => judge(walk, withExtensions(fragment(0, true), [60, fromHex("03 01 04 00 00 00 00")])),
  ICMP_TRUNCATED: () => checkIcmp(7),
  ICMP_CHECKSUM: () => judge(checkIcmpSum, patched(ECHO, 0, 0)),
  ICMPV6_TRUNCATED: () => checkIcmpv6(7),
  ICMPV6_CHECKSUM: () => {
    const { view, at, length } = place(ECHO6.subarray(40));
    return checkIcmpv6Sum(view, at, length, 1);
  },
  ND_HOP_LIMIT: () => judge(neighbour, patched(SOLICITATION, 7, 254)),
  ND_TRUNCATED: () => judge(neighbour, SOLICITATION.subarray(0, 63)),
  ND_FORMAT: () => judge((view, at, length) => readNeighbour(view, at, length, true), SOLICITATION),
  ND_OPTIONS: () => judge(neighbour, solicitation("2001:db8::1", fromHex("01 00 02 00 00 00 00 0a"))),
  ND_ADDRESSES: () => judge(neighbour, solicitation("ff02::1")),
  MLD_FORMAT: () => judge(query, patched(QUERY, 7, 2)),
  UDP_TRUNCATED: () => judge(checkUdp, DATAGRAM.subarray(0, 7)),
  UDP_LENGTH: () => judge(checkUdp, DATAGRAM.subarray(0, 15)),
  UDP_CHECKSUM: () => {
    const { view, at, length } = place(DATAGRAM);
    return checkUdpSum(view, at, length, 1);
  },
  TCP_TRUNCATED: () => judge(checkTcp, SYN.subarray(0, 19)),
  TCP_DATA_OFFSET: () => judge(checkTcp, patched(SYN, 12, 0x60)),
  TCP_FLAGS: () => judge(checkTcp, patched(SYN, 13, 0x03)),
  TCP_CHECKSUM: () => {
    const { view, at, length } = place(SYN);
    return checkTcpSum(view, at, length, 1);
  },
};

describe("faults", () => {
  test("are numbered as their names stand", () => {
    const numbers: number[] = Object.values(FAULT);
    expect(numbers).toEqual(FAULT_NAMES.map((_, i) => i));
  });

  for (const [fault, sample] of Object.entries(SAMPLES)) {
    test(`${fault} is found`, () => {
      expect(FAULT_NAMES[sample()]).toBe(FAULT_NAMES[FAULT[fault as keyof typeof FAULT]]);
    });
  }

  test("are none in the samples unharmed", () => {
    const judged = [
      checkEthernet(14),
      judge(checkArp, REQUEST),
      judge(checkArp, concat(REQUEST, new Uint8Array(18))),
      judge(checkIpv4, PACKET),
      judge(walk, PACKET6),
      checkIcmpv6(8),
      judge(neighbour, SOLICITATION),
      judge(query, QUERY),
      checkIcmp(8),
      judge(checkIcmpSum, ECHO),
      judge(checkUdp, DATAGRAM),
      judge(checkTcp, SYN),
    ];
    expect(judged).toEqual(judged.map(() => FAULT.NONE));
  });
});
