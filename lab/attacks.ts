// Attacks on a firewall, from a client, from a host of a LAN or from the internet: what is sent, and how often. tests/net tries
// each beside a client that goes about its business, `bench attack` says what it costs that client.
import { ARP_TYPE, arp, concat, ethernet, IPV4_TYPE, icmp, ipv4, payload, tcp, udp } from "./frames.ts";
import { GSO, leaveChecksum, NO_VNET, type OffloadedFrame } from "./offload.ts";
import { CLIENT, LAN_GATEWAY, LAN_HOST, SERVER, UPLINK } from "./places.ts";
import { UDP } from "./protocols.ts";
import type { Random } from "./random.ts";

export interface Attack {
  readonly from: "client" | "lan" | "internet";
  /** Frames a second. */
  readonly rate: number;
  /** @returns frame `number` of as many as `count`, which are sent over and over @param macs the sender's, and the firewall's */
  frame(number: number, random: Random, macs: Macs): OffloadedFrame;
  readonly count: number;
}

export interface Macs {
  readonly ours: string;
  readonly theirs: string;
}

/** Destination of the victim's forward, at the uplink's address. */
export const FORWARDED_PORT = 8080;

const NO_OPERATION = new Uint8Array(40).fill(1);
const MAC_OF_ANOTHER = "02:00:00:00:00:99";

/** What a host that sends from, of any network but ours. */
const stranger = (random: Random) => `203.0.113.${1 + random.below(250)}`;
const highPort = (random: Random) => 1024 + random.below(64512);

const plain = ({ ours, theirs }: Macs, packet: Uint8Array): OffloadedFrame => ({
  frame: ethernet(ours, theirs, IPV4_TYPE, packet),
  vnet: NO_VNET,
});

export const ATTACKS: Readonly<Record<string, Attack>> = {
  "segments of one byte": {
    from: "client",
    rate: 20,
    count: 100,
    frame: (number, _random, macs) => {
      const ports = { sourcePort: 5000 + number, destinationPort: 80 };
      const packet = tcp(
        { source: CLIENT, destination: SERVER, ...ports, flags: "S", options: NO_OPERATION },
        payload(60_000),
      );
      return leaveChecksum(plain(macs, packet).frame, { gsoType: GSO.TCPV4, gsoSize: 1, headerLength: 14 + 60 + 20 });
    },
  },
  "new flows from all ports": {
    from: "client",
    rate: 20_000,
    count: 60_000,
    frame: (number, _random, macs) =>
      plain(
        macs,
        udp({ source: CLIENT, destination: SERVER, sourcePort: 1024 + number, destinationPort: 9 }, payload(8)),
      ),
  },
  "SYNs to random addresses": {
    from: "client",
    rate: 50_000,
    count: 50_000,
    frame: (_number, random, macs) => {
      const destination = `198.51.${random.below(256)}.${random.below(256)}`;
      const fields = { source: CLIENT, destination, sourcePort: highPort(random), destinationPort: 80, flags: "S" };
      return plain(macs, tcp(fields));
    },
  },
  "first fragments": {
    from: "client",
    rate: 20_000,
    count: 60_000,
    frame: (number, random, macs) => {
      const whole = { source: CLIENT, destination: SERVER, sourcePort: highPort(random), destinationPort: 9 };
      const header = udp(whole, payload(1200)).subarray(20, 28);
      const fields = { source: CLIENT, destination: SERVER, identification: number, fragment: 0x2000 };
      return plain(macs, ipv4(fields, UDP, concat(header, payload(16))));
    },
  },
  "later fragments": {
    from: "internet",
    rate: 60_000,
    count: 60_000,
    frame: (number, random, macs) => {
      const fields = { source: stranger(random), destination: UPLINK, identification: number, fragment: 0x2000 | 10 };
      return plain(macs, ipv4(fields, UDP, payload(24)));
    },
  },
  "SYNs to a forwarded port": {
    from: "internet",
    rate: 20_000,
    count: 50_000,
    frame: (_number, random, macs) => {
      const ports = { sourcePort: highPort(random), destinationPort: FORWARDED_PORT };
      return plain(macs, tcp({ source: stranger(random), destination: UPLINK, ...ports, flags: "S" }));
    },
  },
  "datagrams to every port of ours": {
    from: "internet",
    rate: 20_000,
    count: 60_000,
    frame: (number, random, macs) =>
      plain(
        macs,
        udp(
          { source: stranger(random), destination: UPLINK, sourcePort: 53, destinationPort: 1024 + number },
          payload(8),
        ),
      ),
  },
  "ICMP errors that quote what nobody sent": {
    from: "internet",
    rate: 20_000,
    count: 20_000,
    frame: (_number, random, macs) => {
      const ports = { sourcePort: highPort(random), destinationPort: highPort(random) };
      const quoted = udp({ source: UPLINK, destination: SERVER, ...ports }, payload(1200)).subarray(0, 28);
      return plain(macs, icmp({ source: stranger(random), destination: UPLINK, type: 3, code: 4, rest: 68 }, quoted));
    },
  },
  "a MAC address that flaps": {
    from: "lan",
    rate: 20_000,
    count: 2,
    frame: (number, _random, { ours, theirs }) => {
      const senderMac = number === 0 ? ours : MAC_OF_ANOTHER;
      const reply = arp({
        operation: "reply",
        senderMac,
        senderIp: LAN_HOST,
        targetMac: theirs,
        targetIp: LAN_GATEWAY,
      });
      return { frame: ethernet(senderMac, theirs, ARP_TYPE, reply), vnet: NO_VNET };
    },
  },
  "datagrams from all addresses of a LAN": {
    from: "lan",
    rate: 20_000,
    count: 60_000,
    frame: (number, random, macs) => {
      const source = `192.168.${1 + (number >> 8)}.${number & 255}`;
      const ports = { sourcePort: highPort(random), destinationPort: 9 };
      return plain(macs, udp({ source, destination: SERVER, ...ports }, payload(8)));
    },
  },
};
