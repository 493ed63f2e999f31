// What a trace says that was rewritten: by field, of both families.
import { expect, test } from "bun:test";
import { ethernet, fromHex, IPV4_TYPE, tcp } from "../../lab/frames.ts";
import { DESTINATION, IPV6_TYPE, options, tcp6 } from "../../lab/frames6.ts";
import { rewritings } from "../../src/why/rewriting.ts";

const [HOST, OURS, ROUTER] = ["02:00:00:00:00:0a", "02:00:00:00:01:00", "02:00:00:00:02:00"];
const PORTS = { sourcePort: 40000, destinationPort: 443, sequence: 1, flags: "S" };
const mss = (value: string) => ({ tcpOptions: fromHex(`0204${value}`) });

const lines = (before: Uint8Array, after: Uint8Array) =>
  rewritings(Buffer.from(before), Buffer.from(after)).map((one) => `${one.field}: ${one.before} -> ${one.after}`);

test("of IPv4: ends, TTL, MSS, identification, type of service, MAC addresses", () => {
  const syn = { ...PORTS, destination: "198.51.100.80" };
  const came = tcp({ ...syn, source: "10.137.0.10", identification: 7, tos: 0xb8, ttl: 64, ...mss("05b4") });
  const went = tcp({ ...syn, source: "192.0.2.254", identification: 9, tos: 0, ttl: 63, ...mss("0550") });
  expect(lines(ethernet(HOST, OURS, IPV4_TYPE, came), ethernet(OURS, ROUTER, IPV4_TYPE, went))).toEqual([
    "source: 10.137.0.10:40000 -> 192.0.2.254:40000",
    "ttl: 64 -> 63",
    "mss: 1460 -> 1360",
    "identification: 7 -> 9",
    "type of service: 184 -> 0",
    `source mac: ${HOST} -> ${OURS}`,
    `destination mac: ${OURS} -> ${ROUTER}`,
  ]);
});

test("of IPv6 likewise, behind extension headers too: hop limit and traffic class stand for TTL and type of service", () => {
  for (const extensions of [[], [options(DESTINATION, new Uint8Array(0))]]) {
    const syn = { ...PORTS, destination: "2001:db8:7::80", extensions };
    const came = tcp6({ ...syn, source: "2001:db8:1::10", trafficClass: 0xb8, hopLimit: 64, ...mss("05a0") });
    const went = tcp6({ ...syn, source: "2001:db8:ffff::2", trafficClass: 0, hopLimit: 63, ...mss("053c") });
    expect(lines(ethernet(HOST, OURS, IPV6_TYPE, came), ethernet(HOST, OURS, IPV6_TYPE, went))).toEqual([
      "source: [2001:db8:1::10]:40000 -> [2001:db8:ffff::2]:40000",
      "ttl: 64 -> 63",
      "mss: 1440 -> 1340",
      "type of service: 184 -> 0",
    ]);
  }
});
