// The fields of a frame: where tshark says they are, and together always all of its bytes.
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { concat, ethernet, fromHex, payload, udp } from "../../lab/frames.ts";
import { pairFields } from "../../src/learning/changes.ts";
import { dissect } from "../../src/learning/dissect.ts";

const CAPTURES = join(import.meta.dir, "../captures");

/** Our names, and tshark's. */
const NAMES: ReadonlyMap<string, string> = new Map([
  ["Ethernet/Destination MAC address", "eth.dst"],
  ["Ethernet/Source MAC address", "eth.src"],
  ["Ethernet/EtherType", "eth.type"],
  ["ARP/Operation", "arp.opcode"],
  ["ARP/Sender's MAC address", "arp.src.hw_mac"],
  ["ARP/Sender's address", "arp.src.proto_ipv4"],
  ["ARP/Target's MAC address", "arp.dst.hw_mac"],
  ["ARP/Target's address", "arp.dst.proto_ipv4"],
  ["IPv4/Type of service", "ip.dsfield"],
  ["IPv4/Total length", "ip.len"],
  ["IPv4/Identification", "ip.id"],
  ["IPv4/Time to live (TTL)", "ip.ttl"],
  ["IPv4/Protocol", "ip.proto"],
  ["IPv4/Header checksum", "ip.checksum"],
  ["IPv4/Source address", "ip.src"],
  ["IPv4/Destination address", "ip.dst"],
  ["TCP/Source port", "tcp.srcport"],
  ["TCP/Destination port", "tcp.dstport"],
  ["TCP/Sequence number", "tcp.seq_raw"],
  ["TCP/Acknowledgment number", "tcp.ack_raw"],
  ["TCP/Header length", "tcp.hdr_len"],
  ["TCP/Window", "tcp.window_size_value"],
  ["TCP/TCP checksum", "tcp.checksum"],
  ["TCP/Urgent pointer", "tcp.urgent_pointer"],
  ["TCP/Largest segment (MSS)", "tcp.options.mss"],
  ["TCP/Window scale", "tcp.options.wscale"],
  ["TCP/Timestamps", "tcp.options.timestamp"],
  ["UDP/Source port", "udp.srcport"],
  ["UDP/Destination port", "udp.dstport"],
  ["UDP/Length", "udp.length"],
  ["UDP/UDP checksum", "udp.checksum"],
  ["ICMP/Type", "icmp.type"],
  ["ICMP/Code", "icmp.code"],
  ["ICMP/ICMP checksum", "icmp.checksum"],
  ["ICMP/Identifier", "icmp.ident"],
  ["ICMP/Sequence number", "icmp.seq"],
  ["ICMP/Next hop's MTU", "icmp.mtu"],
]);

const NAMES_6: ReadonlyMap<string, string> = new Map([
  ["IPv6/Payload length", "ipv6.plen"],
  ["IPv6/Next header", "ipv6.nxt"],
  ["IPv6/Hop limit", "ipv6.hlim"],
  ["IPv6/Source address", "ipv6.src"],
  ["IPv6/Destination address", "ipv6.dst"],
  ["Hop-by-hop options/Next header", "ipv6.hopopts.nxt"],
  ["Destination options/Length", "ipv6.dstopts.len"],
  ["Fragment header/Next header", "ipv6.fraghdr.nxt"],
  ["Fragment header/Identification", "ipv6.fraghdr.ident"],
  ["TCP/Source port", "tcp.srcport"],
  ["TCP/TCP checksum", "tcp.checksum"],
  ["UDP/Destination port", "udp.dstport"],
  ["UDP/UDP checksum", "udp.checksum"],
  ["ICMPv6/Type", "icmpv6.type"],
  ["ICMPv6/Code", "icmpv6.code"],
  ["ICMPv6/ICMPv6 checksum", "icmpv6.checksum"],
  ["ICMPv6/Identifier", "icmpv6.echo.identifier"],
  ["ICMPv6/Sequence number", "icmpv6.echo.sequence_number"],
  ["ICMPv6/Next hop's MTU", "icmpv6.mtu"],
]);

/** @returns of each frame of a capture, where tshark finds which fields: `ip.ttl 22 1` */
function tsharkFields(file: string): Set<string>[] {
  const { stdout, exitCode } = Bun.spawnSync(["tshark", "-o", "ipv6.defragment:FALSE", "-r", file, "-T", "pdml"]);
  expect(exitCode).toBe(0);
  const packets = stdout.toString().split("<packet>").slice(1);
  return packets.map((packet) => {
    const found = new Set<string>();
    for (const [tag, name] of packet.matchAll(/<field name="([^"]+)"[^>]*>/g)) {
      found.add(`${name} ${/ pos="(\d+)"/.exec(tag)?.[1]} ${/ size="(\d+)"/.exec(tag)?.[1]}`);
    }
    return found;
  });
}

test.each([
  [NAMES, ["ping", "dns", "http", "traceroute", "refused", "ping-too-big"]],
  [NAMES_6, ["ping6", "dns6", "http6", "traceroute6", "refused6", "fragments6", "options6", "ping-too-big6"]],
])("lie where tshark says that they do, in all the captures that tests have", async (known, captures) => {
  const seen = new Set<string>();
  for (const name of captures) {
    const file = join(CAPTURES, `${name}-uplink.pcap`);
    const { frames } = await readCapture(await Bun.file(file).bytes());
    const theirs = tsharkFields(file);
    expect(theirs.length).toBe(frames.length);
    for (const [i, { bytes }] of frames.entries()) {
      for (const { layer, name, at, length } of dissect(Buffer.from(bytes))) {
        const other = known.get(`${layer.replace("Quoted ", "")}/${name}`);
        if (other === undefined) continue;
        seen.add(other);
        expect([...theirs[i]]).toContain(`${other} ${at} ${length}`);
      }
    }
  }
  expect([...known.values()].filter((name) => !seen.has(name))).toEqual([]);
});

describe("are all of a frame's bytes, once each", () => {
  function expectWhole(bytes: Buffer): void {
    let at = 0;
    for (const field of dissect(bytes)) {
      expect([field.at, field.length > 0]).toEqual([at, true]);
      at += field.length;
    }
    expect(at).toBe(bytes.length);
  }

  test("however much of it was captured, and whatever stands in it", async () => {
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 16;
    };
    const names = ["ping", "dns", "http", "traceroute", "ping-too-big"];
    for (const name of [...names, "ping6", "traceroute6", "fragments6", "options6", "ping-too-big6"]) {
      const { frames } = await readCapture(await Bun.file(join(CAPTURES, `${name}-client.pcap`)).bytes());
      for (const { bytes } of frames.slice(0, 12)) {
        for (let length = 0; length <= Math.min(bytes.length, 130); length++) {
          expectWhole(Buffer.from(bytes.subarray(0, length)));
          const mutant = Buffer.from(bytes.subarray(0, length));
          for (let n = 0; n < 3 && length > 0; n++) mutant[random() % Math.min(length, 60)] = random();
          expectWhole(mutant);
        }
      }
    }
  });

  test("with a tag of VLAN 0, which is told as taken away, and padding", () => {
    const packet = udp(
      { source: "10.137.0.10", destination: "198.51.100.80", sourcePort: 1, destinationPort: 2 },
      payload(3),
    );
    const plain = Buffer.from(ethernet("02:00:00:00:00:0a", "02:00:00:00:01:00", 0x0800, packet));
    const tagged = Buffer.from(
      ethernet("02:00:00:00:00:0a", "02:00:00:00:01:00", 0x8100, concat(fromHex("0000 0800"), packet, payload(7))),
    );
    expectWhole(tagged);
    const changed = pairFields(tagged, plain).filter(({ isChanged }) => isChanged);
    expect(changed.map(({ name, before, after }) => [name, before?.length, after?.length])).toEqual([
      ["VLAN tag", 4, undefined],
      ["Padding", 7, undefined],
    ]);
    expect(pairFields(plain, tagged).filter(({ isChanged }) => isChanged).length).toBe(2);
  });
});
