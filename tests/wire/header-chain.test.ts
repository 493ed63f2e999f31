// What stands behind an IPv6 header: where the walk leads, and which fault each chain has that is refused.
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeCapture } from "../../lab/captures.ts";
import { concat, ethernet, fromHex, payload } from "../../lab/frames.ts";
import {
  ah,
  type Extension,
  fragment,
  fragmented6,
  IPV6_TYPE,
  icmpv6,
  ipv6,
  options,
  routing,
  tcp6,
  udp6,
} from "../../lab/frames6.ts";
import { FAULT_NAMES } from "../../src/wire/fault.ts";
import { HAS_EXTENSION, HeaderChain, NO_PROBLEM } from "../../src/wire/header-chain.ts";
import { checkIpv6, totalLength6 } from "../../src/wire/ipv6.ts";
import { judgePrefixes, place } from "../support/place.ts";

const ENDS = { source: "fd09:24ef:4179::a89:a", destination: "2001:db8::1" };
const PORTS = { ...ENDS, sourcePort: 40000, destinationPort: 53 };
const HOP_BY_HOP = 0;
const DESTINATION = 60;
const UDP = 17;
const DATAGRAM = udp6(PORTS, payload(8)).subarray(40);

/** @returns what a packet's headers lead to, offsets from the packet's first byte */
function walk(packet: Uint8Array, chain = new HeaderChain()) {
  const { view, at, length } = place(packet);
  const fault = checkIpv6(view, at, length) || chain.walk(view, at, totalLength6(view, at));
  const { has, protocol, transport, length: bytes, fragmentAt, linkAt, fragment: word, identification } = chain;
  const offset = (where: number) => (where === 0 ? 0 : where - at);
  return {
    fault: FAULT_NAMES[fault],
    has,
    protocol,
    transport: transport - at,
    length: bytes,
    fragmentAt: offset(fragmentAt),
    linkAt: offset(linkAt),
    fragment: word,
    identification,
    problem: chain.problem,
    problemAt: chain.problem === NO_PROBLEM ? 0 : chain.problemAt - at,
    evenGroups: chain.problem !== NO_PROBLEM && chain.evenGroups,
  };
}

const PLAIN = {
  fault: "none",
  has: 0,
  protocol: UDP,
  transport: 40,
  length: 16,
  fragmentAt: 0,
  linkAt: 0,
  fragment: 0,
  identification: 0,
  problem: NO_PROBLEM,
  problemAt: 0,
  evenGroups: false,
};

const behind = (extensions: readonly Extension[], content = DATAGRAM) => ipv6({ ...ENDS, extensions }, UDP, content);

/** @returns fault and answer of a packet with extension headers */
function refused(...extensions: readonly Extension[]): (string | number | boolean)[] {
  const { fault, problem, problemAt, evenGroups } = walk(behind(extensions));
  return problem === NO_PROBLEM ? [fault] : [fault, problem, problemAt, ...(evenGroups ? ["even to groups"] : [])];
}

const hopByHop = (hex: string): Extension => [HOP_BY_HOP, fromHex(hex)];

describe("the walk over headers", () => {
  test("of a plain packet ends at once, whatever the one before had", () => {
    const chain = new HeaderChain();
    walk(behind([options(HOP_BY_HOP, fromHex("05 02 00 00")), fragment(0, false)]), chain);
    walk(behind([hopByHop("00 c2 04 00 01 00 00")]), chain);
    expect(walk(udp6(PORTS, payload(8)), chain)).toEqual(PLAIN);
  });

  test("finds the upper layer behind headers of every kind, in any order", () => {
    const { HOP_BY_HOP: H, DESTINATION: D, ROUTING: R, FRAGMENT: F, AH: A, OTHER } = HAS_EXTENSION;
    const router = options(HOP_BY_HOP, fromHex("05 02 00 00"));
    const long = options(DESTINATION, concat(Uint8Array.of(0x1e, 40), payload(40)));
    const cases: readonly (readonly [readonly Extension[], number, number])[] = [
      [[router], H, 48],
      [[long], D, 88],
      [[routing(2, 0, new Uint8Array(20))], R, 64],
      [[routing(4, 0)], R, 48],
      [[ah()], A, 64],
      [[long, routing(3, 0), long], D | R, 144],
      [[router, long, routing(2, 0), ah(), long], H | D | R | A, 176],
      [[ah(), long, routing(2, 0)], A | D | R, 120],
      [[[135, fromHex("00 01 00 00 00 00 00")]], OTHER, 48],
      [[[140, fromHex("00 80 00 00 00 00 01")]], OTHER, 48],
    ];
    for (const [extensions, has, transport] of cases) {
      expect(walk(behind(extensions))).toEqual({ ...PLAIN, has, transport });
    }
    expect(F).toBe(8);
  });

  test("ends at what it does not know, at ESP, and where nothing follows", () => {
    for (const protocol of [50, 59, 132, 4, 41, 253, 255]) {
      expect(walk(ipv6(ENDS, protocol, payload(16)))).toEqual({ ...PLAIN, protocol });
    }
    // A binding update with nothing behind it is a protocol of its own.
    const alone = ipv6(ENDS, 135, fromHex("3b 01 05 00 00 00 00 00  00 00 00 00 00 00 00 00"));
    expect(walk(alone)).toEqual({ ...PLAIN, protocol: 135 });
  });

  test("takes eight headers and 512 bytes, no more", () => {
    const short = options(DESTINATION, new Uint8Array(0));
    const half = options(DESTINATION, concat(Uint8Array.of(0x1e, 252), payload(252)));
    expect(walk(behind(new Array(8).fill(short))).fault).toBe("none");
    expect(walk(behind(new Array(9).fill(short))).fault).toBe("ipv6: more extension headers than are looked at");
    expect(half[1].length).toBe(255);
    expect(walk(behind([half, half])).transport).toBe(40 + 512);
    expect(walk(behind([half, half, short])).fault).toBe("ipv6: more extension headers than are looked at");
  });

  test("of a packet cut short in its headers ends there, and reads nothing behind it", () => {
    const packet = behind([options(HOP_BY_HOP, fromHex("05 02 00 00")), ah(), routing(2, 0), fragment(0, false)]);
    const faults = judgePrefixes(packet, ({ view, at, length }) => {
      if (length < 40) return "no header";
      view.setUint16(at + 4, length - 40);
      return length === 40 ? "no header" : FAULT_NAMES[new HeaderChain().walk(view, at, length)];
    });
    // 8 of hop-by-hop options, 24 of AH, 8 of routing, and 8 of the fragment header.
    expect(faults.slice(41, 88)).toEqual(new Array(47).fill("ipv6: extension header length"));
    expect(faults[88]).toBe("none");
  });

  test("of a quoted packet goes as far as there are bytes", () => {
    const { view, at } = place(behind([ah(), fragment(8, true)], payload(800)).subarray(0, 40 + 24 + 8 + 8));
    const chain = new HeaderChain();
    expect(FAULT_NAMES[chain.walk(view, at, 80)]).toBe("none");
    expect([chain.protocol, chain.transport - at, chain.length, chain.fragment]).toEqual([UDP, 72, 8, 9]);
  });

  test("reads nothing behind the packet, whatever its bytes are", () => {
    const chain = new HeaderChain();
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 8) % below;
    };
    const kinds = [0, 43, 44, 51, 60, 135, 139, 140, 17, 6, 58];
    const seen = new Set<string>();
    for (let round = 0; round < 20_000; round++) {
      const content = Uint8Array.from(
        { length: random(80) },
        () => [kinds[random(11)], random(4), random(256)][random(3)],
      );
      const { view, at, length } = place(ipv6(ENDS, kinds[random(11)], content));
      seen.add(FAULT_NAMES[checkIpv6(view, at, length) || chain.walk(view, at, length)]);
    }
    expect([...seen].filter((name) => name === "none" || name.startsWith("ipv6: ")).length).toBe(seen.size);
    expect(seen.size).toBeGreaterThanOrEqual(8);
  });
});

describe("of hop-by-hop options", () => {
  test("those pass that need not be known, and padding that aligns", () => {
    const good = [
      "05 02 00 00",
      "07 08 00 00 00 00 00 00 00 00",
      "30 04 05 dc 00 00",
      "1e 00".repeat(8),
      "3e 00 01 05 00 00 00 00 00 1e 00",
    ];
    expect(good.map((hex) => walk(behind([options(HOP_BY_HOP, fromHex(hex))])).fault)).toEqual(good.map(() => "none"));
  });

  test("those that must be known are answered as their two high bits say (RFC 8200 section 4.2)", () => {
    expect(refused(options(HOP_BY_HOP, fromHex("01 00 41 00")))).toEqual([
      "ipv6: hop-by-hop option that must be known",
    ]);
    expect(refused(options(HOP_BY_HOP, fromHex("01 00 81 00")))).toEqual([
      "ipv6: hop-by-hop option that must be known",
      2,
      44,
      "even to groups",
    ]);
    expect(refused(options(HOP_BY_HOP, fromHex("c1 00")))).toEqual([
      "ipv6: hop-by-hop option that must be known",
      2,
      42,
    ]);
    expect(refused(hopByHop("00 c2 04 00 01 00 00"))).toEqual(["ipv6: jumbogram", 2, 42]);
  });

  test("ill-formed ones are refused", () => {
    const bad = [
      "00 05 05 00 00 00 00", // longer than the header
      "00 1e 03 00 00 00 05", // no room for its length
      "00 01 04 00 00 01 00", // a PadN that is not zero
      "01 01 06 00 00 00 00 00 00 01 04 00 00 00 00", // more padding than aligns anything
      "01 00 00 00 00 00 00 00 00 1e 04 00 00 00 00",
    ];
    expect(bad.map((hex) => refused(hopByHop(hex)))).toEqual(bad.map(() => ["ipv6: hop-by-hop options"]));
    expect(refused(options(HOP_BY_HOP, fromHex("1e 00".repeat(9))))).toEqual(["ipv6: hop-by-hop options"]);
    expect(refused(options(HOP_BY_HOP, fromHex("05 00")))).toEqual(["ipv6: hop-by-hop options", 0, 43]);
  });

  test("none stand but behind the IPv6 header (RFC 8200 section 4.3)", () => {
    const late = options(HOP_BY_HOP, fromHex("05 02 00 00"));
    expect(refused(ah(), late)).toEqual(["ipv6: hop-by-hop options", 1, 40]);
    expect(refused(late, late)).toEqual(["ipv6: hop-by-hop options", 1, 40]);
  });
});

test("a source route is refused: with segments left, and of type 0 always (RFC 5095)", () => {
  expect(refused(routing(0, 0))).toEqual(["ipv6: source route", 0, 42]);
  expect(refused(routing(0, 1, new Uint8Array(20)))).toEqual(["ipv6: source route", 0, 42]);
  expect(refused(ah(), routing(2, 1, new Uint8Array(20)))).toEqual(["ipv6: source route"]);
  expect(refused(routing(4, 255))).toEqual(["ipv6: source route"]);
});

test("an authentication header has at least its fixed part", () => {
  expect(refused(ah(new Uint8Array(0)))).toEqual(["none"]);
  expect(refused([51, fromHex("00 00 00 00 00 00 77")])).toEqual(["ipv6: extension header length"]);
});

describe("fragments", () => {
  const FRAGMENTED = { ...PLAIN, has: HAS_EXTENSION.FRAGMENT, fragmentAt: 40, linkAt: 6, identification: 0x01020304 };

  test("are told apart by offset and more-fragments bit", () => {
    const parts = fragmented6(udp6(PORTS, payload(40)), 16, -2);
    const found = parts.map((part) => walk(part));
    const all = { ...FRAGMENTED, transport: 48, identification: -2 };
    expect(found).toEqual([
      { ...all, fragment: 1 },
      { ...all, fragment: 17 },
      { ...all, fragment: 32 },
    ]);
  });

  test("that are whole are atomic, and what is behind them is looked at (RFC 6946)", () => {
    const atomic = behind([fragment(0, false), options(DESTINATION, fromHex("1e 00"))]);
    const has = HAS_EXTENSION.FRAGMENT | HAS_EXTENSION.DESTINATION;
    expect(walk(atomic)).toEqual({ ...FRAGMENTED, has, transport: 56 });
  });

  test("behind other headers say who names them; of later ones nothing behind is looked at", () => {
    const router = options(HOP_BY_HOP, fromHex("05 02 00 00"));
    const has = HAS_EXTENSION.FRAGMENT | HAS_EXTENSION.HOP_BY_HOP;
    const later = ipv6({ ...ENDS, extensions: [router, fragment(1280, false)] }, DESTINATION, payload(7));
    const expected = {
      ...FRAGMENTED,
      has,
      protocol: DESTINATION,
      transport: 56,
      length: 7,
      fragmentAt: 48,
      linkAt: 40,
    };
    expect(walk(later)).toEqual({ ...expected, fragment: 1280 });
  });

  test("are refused where one header follows another, one is empty, or off the boundary of 8", () => {
    expect(refused(fragment(0, false), fragment(0, false))).toEqual(["ipv6: fragment"]);
    expect(refused(fragment(0, true), ah(), fragment(0, false))).toEqual(["ipv6: fragment"]);
    expect(walk(behind([fragment(8, true)], new Uint8Array(0))).fault).toBe("ipv6: fragment");
    expect(walk(behind([fragment(8, false)], new Uint8Array(0))).fault).toBe("ipv6: fragment");
    const odd = walk(behind([fragment(8, true)], payload(15)));
    expect([odd.fault, odd.problem, odd.problemAt]).toEqual(["ipv6: fragment", 0, 4]);
    expect(walk(behind([fragment(8, false)], payload(15))).fault).toBe("none");
  });

  test("reach to byte 65535 of the payload and no further", () => {
    const last = (bytes: number, ...before: readonly Extension[]) => {
      const { fault, problem, problemAt } = walk(behind([...before, fragment(65528, false)], payload(bytes)));
      return [fault, problem, problemAt];
    };
    const router = options(HOP_BY_HOP, fromHex("05 02 00 00"));
    expect(last(7)).toEqual(["none", NO_PROBLEM, 0]);
    expect(last(8)).toEqual(["ipv6: fragment", 0, 42]);
    expect(last(7, router)).toEqual(["ipv6: fragment", 0, 50]);
  });

  test("the first one has all headers (RFC 7112)", () => {
    const cut = (protocol: number, bytes: number, ...more: readonly Extension[]) => {
      const extensions = [fragment(0, true), ...more];
      const { fault, problem, problemAt } = walk(ipv6({ ...ENDS, extensions }, protocol, payload(bytes)));
      return fault === "none" ? fault : [fault, problem, problemAt];
    };
    const refusal = ["ipv6: headers cut by a fragment", 3, 0];
    expect([cut(6, 16), cut(6, 24), cut(17, 8), cut(58, 8), cut(132, 8)]).toEqual([
      refusal,
      "none",
      "none",
      "none",
      "none",
    ]);
    expect(cut(6, 16, options(DESTINATION, fromHex("1e 00")))).toEqual(refusal);
    // A header that is longer than the fragment, and one of which nothing has come.
    expect(cut(17, 8, [DESTINATION, fromHex("07 1e 36 00 00 00 00")])).toEqual(refusal);
    expect(walk(ipv6({ ...ENDS, extensions: [fragment(0, true)] }, DESTINATION, new Uint8Array(0))).fault).toBe(
      "ipv6: headers cut by a fragment",
    );
    const segment = tcp6({ ...PORTS, flags: "S" }, payload(4)).subarray(40);
    expect(walk(ipv6({ ...ENDS, extensions: [fragment(0, true)] }, 6, segment)).fault).toBe("none");
  });
});

describe("tshark", () => {
  const OTHERS = [
    tcp6({ ...PORTS, flags: "S", extensions: [options(HOP_BY_HOP, fromHex("05 02 00 00")), ah()] }),
    icmpv6(
      { ...ENDS, type: 128, rest: 7, extensions: [routing(2, 0, new Uint8Array(20)), fragment(0, false)] },
      payload(9),
    ),
    udp6({ ...PORTS, extensions: [options(DESTINATION, fromHex("1e 00")), ah(new Uint8Array(20)), ah()] }, payload(3)),
    udp6(PORTS, payload(3)),
    udp6({ ...PORTS, extensions: [options(HOP_BY_HOP, concat(Uint8Array.of(0x1e, 252), payload(252)))] }, payload(3)),
  ];

  /** @returns where it finds the upper layer, and whether its checksum is right */
  function tsharkUppers(frames: readonly Uint8Array[]): string[] {
    const directory = mkdtempSync(join(tmpdir(), "firebreak-chain-"));
    try {
      const file = join(directory, "chains.pcap");
      writeFileSync(
        file,
        writeCapture(
          frames.map((bytes) => ({ seconds: 1, nanoseconds: 0, bytes, originalLength: bytes.length })),
          "us",
        ),
      );
      const checks = ["tcp", "udp"].flatMap((name) => ["-o", `${name}.check_checksum:TRUE`]);
      const { stdout, exitCode } = Bun.spawnSync(["tshark", "-r", file, "-T", "pdml", ...checks]);
      expect(exitCode).toBe(0);
      return stdout
        .toString()
        .split("<packet>")
        .slice(1)
        .map((packet) => {
          const [, name, , at] = /<proto name="(udp|tcp|icmpv6)"[^>]*size="(\d+)" pos="(\d+)"/.exec(packet) ?? [];
          const [, status] = /name="(?:udp|tcp|icmpv6).checksum.status"[^>]*show="(\d+)"/.exec(packet) ?? [];
          return `${name} at ${at}, checksum ${status === "1" ? "good" : "bad"}`;
        });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  test("finds the same upper layers at the same places, and their checksums right", () => {
    const frames = OTHERS.map((packet) => ethernet("02:00:00:00:00:0a", "02:00:00:00:00:0b", IPV6_TYPE, packet));
    const names = new Map([
      [6, "tcp"],
      [17, "udp"],
      [58, "icmpv6"],
    ]);
    const ours = OTHERS.map((packet) => {
      const { fault, protocol, transport } = walk(packet);
      expect(fault).toBe("none");
      return `${names.get(protocol)} at ${14 + transport}, checksum good`;
    });
    expect(tsharkUppers(frames)).toEqual(ours);
  });
});
