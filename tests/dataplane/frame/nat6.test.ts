// NAT66 and plain routing, whole frames on both sides: addresses, ports, checksums, mappings, and who may use them.
import { describe, expect, test } from "bun:test";
import { fromHex, payload, udp } from "../../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  fragment,
  HOP_BY_HOP,
  icmpv6,
  ip6,
  ipv6,
  options,
  tcp6,
  type Udp6Fields,
  udp6,
} from "../../../lab/frames6.ts";
import { dropped, Lab, OUTSIDE, type Outcome, REMOTE, WORK_HOST, WORK_SETTINGS } from "../../../lab/router-lab.ts";
import {
  ANYTHING_6,
  answered6,
  forwarded6,
  from6,
  LAN_GATEWAY_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_6,
  ROUTED_GATEWAY,
  ROUTED_HOST,
  refused6,
  SETTINGS_6,
  UPLINK_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";

const QUERY: Udp6Fields = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 40000, destinationPort: 53 };
const QUERY_OUTSIDE: Udp6Fields = { ...QUERY, source: OUTSIDE_6, hopLimit: 63 };
const ANSWER: Udp6Fields = {
  source: REMOTE_6,
  destination: OUTSIDE_6,
  sourcePort: 53,
  destinationPort: 40000,
  hopLimit: 50,
};
const ANSWER_INSIDE: Udp6Fields = { ...ANSWER, destination: WORK_HOST_6, hopLimit: 49 };

const lab6 = (settings: Settings = SETTINGS_6) => new Lab({ settings });

function sourcePortOf(lab: Lab): number {
  const { bytes } = lab.last[0];
  return bytes[54] * 256 + bytes[55];
}

describe("NAT66", () => {
  test("of UDP changes source, hop limit, checksum and MAC addresses, and nothing else, both ways", () => {
    const lab = lab6();
    const marks = { trafficClass: 0xb9, flowLabel: 0xabcde };
    expect(from6(lab, WORK_HOST_6, udp6({ ...QUERY, ...marks }, payload(33)))).toEqual(
      forwarded6(REMOTE_6, udp6({ ...QUERY_OUTSIDE, ...marks }, payload(33))),
    );
    expect(from6(lab, REMOTE_6, udp6({ ...ANSWER, ...marks }, payload(90)))).toEqual(
      forwarded6(WORK_HOST_6, udp6({ ...ANSWER_INSIDE, ...marks }, payload(90))),
    );
  });

  test("of TCP keeps flags, options, windows", () => {
    const lab = lab6();
    const ends = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 40000, destinationPort: 443 };
    const syn = {
      ...ends,
      flags: "SEW",
      sequence: 0xfffffff0,
      window: 64240,
      tcpOptions: fromHex("020405a0 01030307"),
    };
    expect(from6(lab, WORK_HOST_6, tcp6(syn))).toEqual(
      forwarded6(REMOTE_6, tcp6({ ...syn, source: OUTSIDE_6, hopLimit: 63 })),
    );
    const back = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 443, destinationPort: 40000, hopLimit: 61 };
    const synAck = { ...back, flags: "S.E", sequence: 77, acknowledgment: 0xfffffff1, tcpOptions: fromHex("01030308") };
    expect(from6(lab, REMOTE_6, tcp6(synAck))).toEqual(
      forwarded6(WORK_HOST_6, tcp6({ ...synAck, destination: WORK_HOST_6, hopLimit: 60 })),
    );
    const data = { ...ends, flags: "P.", sequence: 0xfffffff1, acknowledgment: 78, window: 502 };
    expect(from6(lab, WORK_HOST_6, tcp6(data, payload(100)))).toEqual(
      forwarded6(REMOTE_6, tcp6({ ...data, source: OUTSIDE_6, hopLimit: 63 }, payload(100))),
    );
  });

  test("of echo works by its identifier; one that is taken becomes another", () => {
    const lab = lab6();
    const ask = { source: WORK_HOST_6, destination: REMOTE_6, type: 128, rest: 0xbeef0001 };
    expect(from6(lab, WORK_HOST_6, icmpv6(ask, payload(56)))).toEqual(
      forwarded6(REMOTE_6, icmpv6({ ...ask, source: OUTSIDE_6, hopLimit: 63 }, payload(56))),
    );
    const answer = { source: REMOTE_6, destination: OUTSIDE_6, type: 129, rest: 0xbeef0001 };
    expect(from6(lab, REMOTE_6, icmpv6(answer, payload(56)))).toEqual(
      forwarded6(WORK_HOST_6, icmpv6({ ...answer, destination: WORK_HOST_6, hopLimit: 63 }, payload(56))),
    );
    from6(lab, LAN_HOST_6, icmpv6({ ...ask, source: LAN_HOST_6 }, payload(8)));
    const { bytes } = lab.last[0];
    const identifier = bytes[58] * 256 + bytes[59];
    expect(identifier).not.toBe(0xbeef);
    const rest = identifier * 65536 + 1;
    expect(from6(lab, REMOTE_6, icmpv6({ ...answer, rest }, payload(8)))).toEqual(
      forwarded6(LAN_HOST_6, icmpv6({ ...answer, destination: LAN_HOST_6, hopLimit: 63 }, payload(8))),
    );
  });

  test("takes extension headers along, and translates what is behind them", () => {
    const lab = lab6();
    const extensions = [options(HOP_BY_HOP, fromHex("0502 0000")), options(DESTINATION, fromHex("1e04 01020304"))];
    expect(from6(lab, WORK_HOST_6, udp6({ ...QUERY, extensions }, payload(33)))).toEqual(
      forwarded6(REMOTE_6, udp6({ ...QUERY_OUTSIDE, extensions }, payload(33))),
    );
    expect(from6(lab, REMOTE_6, udp6(ANSWER, payload(9)))).toEqual(
      forwarded6(WORK_HOST_6, udp6(ANSWER_INSIDE, payload(9))),
    );
  });

  test("of protocols without ports works by addresses", () => {
    const lab = lab6();
    expect(from6(lab, WORK_HOST_6, ipv6({ source: WORK_HOST_6, destination: REMOTE_6 }, 47, payload(20)))).toEqual(
      forwarded6(REMOTE_6, ipv6({ source: OUTSIDE_6, destination: REMOTE_6, hopLimit: 63 }, 47, payload(20))),
    );
    expect(from6(lab, REMOTE_6, ipv6({ source: REMOTE_6, destination: OUTSIDE_6 }, 47, payload(20)))).toEqual(
      forwarded6(WORK_HOST_6, ipv6({ source: REMOTE_6, destination: WORK_HOST_6, hopLimit: 63 }, 47, payload(20))),
    );
  });

  test("gives ports that are another pool than those of IPv4, and the same one for every remote", () => {
    const lab = lab6();
    lab.from(
      WORK_HOST,
      udp({ source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort: 53 }, payload(3)),
    );
    from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)));
    expect(sourcePortOf(lab)).toBe(40000);
    from6(lab, WORK_HOST_6, udp6({ ...QUERY, destination: REMOTE_62 }, payload(1)));
    expect(sourcePortOf(lab)).toBe(40000);
    from6(lab, LAN_HOST_6, udp6({ ...QUERY, source: LAN_HOST_6 }, payload(1)));
    expect(sourcePortOf(lab)).not.toBe(40000);
  });

  test("lets nobody in who was not asked", () => {
    const lab = lab6();
    from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)));
    for (const odd of [
      { source: REMOTE_62 },
      { sourcePort: 54 },
      { destinationPort: 40001 },
      { destination: WORK_HOST_6 },
    ]) {
      expect(from6(lab, REMOTE_6, udp6({ ...ANSWER, ...odd }, payload(1)))).toEqual(dropped("unsolicited"));
    }
  });

  test("drops UDP without a checksum", () => {
    const packet = udp6(QUERY, payload(4));
    packet.set([0, 0], 46);
    const lab = lab6();
    expect(from6(lab, WORK_HOST_6, packet)).toEqual(dropped("malformed udp: checksum"));
  });

  test("holds addresses as long as flows and mappings do", () => {
    const lab = lab6();
    const settled = lab.router.addresses.size;
    for (let port = 1000; port < 1040; port++) {
      from6(lab, WORK_HOST_6, udp6({ ...QUERY, destination: `2001:db8:7::${port}`, sourcePort: port }, payload(1)));
    }
    expect(lab.router.addresses.size).toBeGreaterThan(settled + 39);
    lab.wait(400_000);
    expect(lab.router.flows.size).toBe(0);
    expect(lab.router.addresses.size).toBe(settled);
  });
});

describe("sources and destinations", () => {
  const refusing = (packet: Uint8Array, host = WORK_HOST_6): Outcome => from6(lab6(), host, packet);

  test("a client has its own addresses alone", () => {
    for (const source of [
      LAN_HOST_6,
      REMOTE_6,
      "fe80::1:2",
      "::",
      "::1",
      "::ffff:10.137.0.10",
      OUTSIDE_6,
      WORK_GATEWAY_6,
      "ff02::1",
    ]) {
      expect(refusing(udp6({ ...QUERY, source }, payload(1)))).toEqual(dropped("source address spoofed"));
    }
    expect(refusing(udp6({ ...QUERY, source: "fd00:1::" }, payload(1)), LAN_HOST_6)).toEqual(
      dropped("source address spoofed"),
    );
    expect(refusing(udp6({ ...QUERY, source: LAN_GATEWAY_6 }, payload(1)), LAN_HOST_6)).toEqual(
      dropped("source address spoofed"),
    );
  });

  test("what can be nobody's global address is not forwarded to", () => {
    for (const destination of ["::", "::1", "::ffff:198.51.100.7", "fe80::99", "ff02::1", "ff0e::1"]) {
      expect(refusing(udp6({ ...QUERY, destination }, payload(1)))).toEqual(dropped("destination not routable"));
    }
  });

  test("from the uplink come no addresses of ours or of clients, and none that are nobody's", () => {
    for (const source of [WORK_HOST_6, "fd00:1::99", OUTSIDE_6, "::", "::1", "fe80::9", "ff02::1"]) {
      expect(refusing(udp6({ ...ANSWER, source }, payload(1)), REMOTE_6)).toEqual(dropped("source address spoofed"));
    }
  });

  test("another client is reached by `reach` alone, with nothing translated", () => {
    const packet = { ...QUERY, destination: LAN_HOST_6 };
    expect(refusing(udp6(packet, payload(1)))).toEqual(dropped("to another client"));
    const lab = lab6({ ...SETTINGS_6, clients: [{ ...WORK_SETTINGS_6, reach: [1] }, LAN_SETTINGS_6] });
    expect(from6(lab, WORK_HOST_6, udp6(packet, payload(1)))).toEqual(
      forwarded6(LAN_HOST_6, udp6({ ...packet, hopLimit: 63 }, payload(1))),
    );
    const answer = { source: LAN_HOST_6, destination: WORK_HOST_6, sourcePort: 53, destinationPort: 40000 };
    expect(from6(lab, LAN_HOST_6, udp6(answer, payload(1)))).toEqual(
      forwarded6(WORK_HOST_6, udp6({ ...answer, hopLimit: 63 }, payload(1))),
    );
  });

  test("an echo is answered without the extension headers that it came with", () => {
    const echo = { destination: WORK_GATEWAY_6, source: WORK_HOST_6, type: 128, rest: 0x12340001 };
    const answer = icmpv6({ ...echo, source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 129 }, payload(9));
    const chains = [
      [options(0, fromHex("1e 00"))],
      [options(60, fromHex("1e 00")), ah(), options(60, Uint8Array.of(0x1e, 98, ...payload(98)))],
      [fragment(0, false)],
    ];
    for (const extensions of [[], ...chains]) {
      const lab = new Lab({ settings: SETTINGS_6 });
      expect(from6(lab, WORK_HOST_6, icmpv6({ ...echo, extensions }, payload(9)))).toEqual(
        answered6(WORK_HOST_6, answer),
      );
    }
  });

  test("our own addresses answer echo and refuse all else", () => {
    const lab = lab6();
    const ask = { source: WORK_HOST_6, destination: WORK_GATEWAY_6, type: 128, rest: 7, hopLimit: 9 };
    expect(from6(lab, WORK_HOST_6, icmpv6(ask, payload(5)))).toEqual(
      answered6(
        WORK_HOST_6,
        icmpv6({ source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 129, rest: 7 }, payload(5)),
      ),
    );
    const ssh = tcp6({
      source: WORK_HOST_6,
      destination: WORK_GATEWAY_6,
      sourcePort: 1,
      destinationPort: 22,
      flags: "S",
    });
    const refusal = { source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 1, code: 1 };
    expect(from6(lab, WORK_HOST_6, ssh)).toEqual(refused6("to the firewall itself", WORK_HOST_6, icmpv6(refusal, ssh)));
    const fromOutside = { source: REMOTE_6, destination: OUTSIDE_6, type: 128, rest: 7 };
    expect(from6(lab, REMOTE_6, icmpv6(fromOutside, payload(5)))).toEqual(
      answered6(REMOTE_6, icmpv6({ source: OUTSIDE_6, destination: REMOTE_6, type: 129, rest: 7 }, payload(5))),
    );
  });
});

describe("rules", () => {
  test("look through extension headers to what a packet carries", () => {
    const ruleset = compileRuleset([], true, [{ ...ANYTHING_6, accept: false, protocol: 17 }], true);
    const lab = lab6({ ...SETTINGS_6, clients: [{ ...WORK_SETTINGS_6, ruleset }, LAN_SETTINGS_6] });
    for (const extensions of [[], [options(DESTINATION, fromHex("1e02 0000"))], [ah()]]) {
      const packet = udp6({ ...QUERY, extensions }, payload(1));
      const refusal = { source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 1, code: 1 };
      expect(from6(lab, WORK_HOST_6, packet)).toEqual(
        refused6("refused by rules", WORK_HOST_6, icmpv6(refusal, packet)),
      );
    }
  });

  test("a refusal may be a reset", () => {
    const ruleset = compileRuleset([], false);
    const lab = lab6({ ...SETTINGS_6, clients: [{ ...WORK_SETTINGS_6, ruleset, refuse: "reset" }, LAN_SETTINGS_6] });
    const ends = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 40000, destinationPort: 443 };
    const reset = {
      source: REMOTE_6,
      destination: WORK_HOST_6,
      sourcePort: 443,
      destinationPort: 40000,
      flags: "R.",
      acknowledgment: 8,
      window: 0,
    };
    expect(from6(lab, WORK_HOST_6, tcp6({ ...ends, flags: "S", sequence: 7 }))).toEqual(
      refused6("refused by rules", WORK_HOST_6, tcp6(reset)),
    );
  });
});

describe("forwards", () => {
  const forward = {
    protocol: 6,
    portLow: 8000,
    portHigh: 8009,
    client: 1,
    to: undefined,
    toPort: 80,
    from: [],
    to6: ip6(LAN_HOST_6),
    from6: [{ address: ip6("2001:db8:7::"), prefix: 48 }],
  };
  const SYN = { sourcePort: 5000, flags: "S", sequence: 1 };

  test("lead from a port of our address to a host's, for those who may, and back", () => {
    const lab = lab6({ ...SETTINGS_6, forwards: [forward] });
    const syn = { ...SYN, source: REMOTE_6, destination: OUTSIDE_6, destinationPort: 8001 };
    expect(from6(lab, REMOTE_6, tcp6(syn))).toEqual(
      forwarded6(LAN_HOST_6, tcp6({ ...syn, destination: LAN_HOST_6, destinationPort: 81, hopLimit: 63 })),
    );
    const answer = { destination: REMOTE_6, destinationPort: 5000, flags: "S.", sequence: 9, acknowledgment: 2 };
    expect(from6(lab, LAN_HOST_6, tcp6({ ...answer, source: LAN_HOST_6, sourcePort: 81 }))).toEqual(
      forwarded6(REMOTE_6, tcp6({ ...answer, source: OUTSIDE_6, sourcePort: 8001, hopLimit: 63 })),
    );
    expect(from6(lab, REMOTE_62, tcp6({ ...syn, source: REMOTE_62 }))).toEqual(dropped("unsolicited"));
    expect(from6(lab, REMOTE_6, tcp6({ ...syn, destinationPort: 8010 }))).toEqual(dropped("unsolicited"));
  });

  test("are reached from inside too: a hairpin", () => {
    const lab = lab6({ ...SETTINGS_6, forwards: [{ ...forward, from6: [] }] });
    const syn = { ...SYN, source: WORK_HOST_6, destination: OUTSIDE_6, destinationPort: 8001 };
    expect(from6(lab, WORK_HOST_6, tcp6(syn))).toEqual(
      forwarded6(
        LAN_HOST_6,
        tcp6({ ...syn, source: OUTSIDE_6, destination: LAN_HOST_6, destinationPort: 81, hopLimit: 62 }),
      ),
    );
    const answer = { flags: "S.", sequence: 9, acknowledgment: 2, destinationPort: 5000 };
    expect(
      from6(lab, LAN_HOST_6, tcp6({ ...answer, source: LAN_HOST_6, destination: OUTSIDE_6, sourcePort: 81 })),
    ).toEqual(
      forwarded6(
        WORK_HOST_6,
        tcp6({ ...answer, source: OUTSIDE_6, destination: WORK_HOST_6, sourcePort: 8001, hopLimit: 62 }),
      ),
    );
  });

  test("of a routed client open the host's own port", () => {
    const settings = { ...ROUTED, forwards: [{ ...forward, portHigh: 8000, to6: ip6(ROUTED_HOST) }] };
    const lab = lab6(settings);
    const syn = { ...SYN, source: REMOTE_6, destination: ROUTED_HOST, destinationPort: 80 };
    expect(from6(lab, REMOTE_6, tcp6(syn))).toEqual(forwarded6(ROUTED_HOST, tcp6({ ...syn, hopLimit: 63 })));
    const answer = { flags: "S.", sequence: 9, acknowledgment: 2, sourcePort: 80, destinationPort: 5000 };
    expect(from6(lab, ROUTED_HOST, tcp6({ ...answer, source: ROUTED_HOST, destination: REMOTE_6 }))).toEqual(
      forwarded6(REMOTE_6, tcp6({ ...answer, source: ROUTED_HOST, destination: REMOTE_6, hopLimit: 63 })),
    );
    for (const odd of [
      { destinationPort: 81 },
      { destination: OUTSIDE_6, destinationPort: 8000 },
      { source: REMOTE_62 },
    ]) {
      expect(from6(lab, REMOTE_6, tcp6({ ...syn, ...odd }))).toEqual(dropped("unsolicited"));
    }
  });
});

describe("a network that is routed to us", () => {
  const out = { ...QUERY, source: ROUTED_HOST };
  const back = { ...ANSWER, destination: ROUTED_HOST };

  test("keeps its addresses and ports, and only what it asked for comes in", () => {
    const lab = lab6(ROUTED);
    expect(from6(lab, REMOTE_6, udp6(back, payload(1)))).toEqual(dropped("unsolicited"));
    expect(from6(lab, ROUTED_HOST, udp6(out, payload(7)))).toEqual(
      forwarded6(REMOTE_6, udp6({ ...out, hopLimit: 63 }, payload(7))),
    );
    expect(from6(lab, REMOTE_6, udp6(back, payload(8)))).toEqual(
      forwarded6(ROUTED_HOST, udp6({ ...back, hopLimit: 49 }, payload(8))),
    );
    expect(from6(lab, REMOTE_62, udp6({ ...back, source: REMOTE_62 }, payload(1)))).toEqual(dropped("unsolicited"));
    expect(from6(lab, REMOTE_6, udp6({ ...back, destination: "2001:db8:1::21" }, payload(1)))).toEqual(
      dropped("unsolicited"),
    );
    const probe = { source: REMOTE_6, destination: ROUTED_HOST, type: 128, rest: 1 };
    expect(from6(lab, REMOTE_6, icmpv6(probe, payload(1)))).toEqual(dropped("unsolicited"));
    expect(from6(lab, REMOTE_6, icmpv6({ ...probe, destination: ROUTED_GATEWAY }, payload(1)))).toEqual(
      dropped("unsolicited"),
    );
  });

  test("has flows that live on under settings that route it still, and end with others", () => {
    for (const [nat, verdict] of [
      ["route", "forwarded"],
      ["masquerade", "dropped: unsolicited"],
    ] as const) {
      const lab = lab6(ROUTED);
      from6(lab, ROUTED_HOST, udp6(out, payload(7)));
      lab.apply({ ...ROUTED, clients: [WORK_SETTINGS_6, { ...LAN_SETTINGS_6, ipv6: { ...ROUTED_6, nat } }] });
      expect(from6(lab, REMOTE_6, udp6(back, payload(8))).verdict).toBe(verdict);
    }
  });
});

describe("new settings", () => {
  test("another address of ours ends flows of the old one, and its number with them", () => {
    const lab = lab6();
    from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)));
    const { uplink } = SETTINGS_6;
    lab.apply({
      ...SETTINGS_6,
      uplink: { ...uplink, ipv6: { ...UPLINK_6, address: ip6("2001:db8:ffff::3") } },
    });
    expect(lab.router.flows.size).toBe(0);
    const { sent } = forwarded6(REMOTE_6, udp6({ ...QUERY_OUTSIDE, source: "2001:db8:ffff::3" }, payload(1)));
    expect(from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)))).toEqual({ verdict: "queued for ARP", sent: [] });
    expect(lab.wait(3000)).toEqual(expect.arrayContaining([...sent])); // until then it may be another machine's
    expect(lab.router.addresses.find(...words(OUTSIDE_6))).toBe(0 as never);
  });

  test("flows that they allow live on, whichever addresses others have", () => {
    const lab = lab6();
    from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)));
    lab.apply({ ...SETTINGS_6, clients: [WORK_SETTINGS_6] });
    expect(from6(lab, REMOTE_6, udp6(ANSWER, payload(2)))).toEqual(
      forwarded6(WORK_HOST_6, udp6(ANSWER_INSIDE, payload(2))),
    );
    lab.apply({ ...SETTINGS_6, clients: [WORK_SETTINGS, LAN_SETTINGS_6] });
    expect(from6(lab, REMOTE_6, udp6(ANSWER, payload(2)))).toEqual(dropped("unsolicited"));
  });
});

function words(address: string): [number, number, number, number] {
  const view = new DataView(ip6(address).buffer);
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

test("an IPv4 packet of 0.0.0.0/8 is not taken for one of an IPv6 flow", () => {
  const lab = lab6();
  from6(lab, WORK_HOST_6, udp6(QUERY, payload(1)));
  for (let low = 0; low < 64; low++) {
    const ends = { sourcePort: 53, destinationPort: 40000 };
    expect(lab.from(REMOTE, udp({ source: `0.0.0.${low}`, destination: OUTSIDE, ...ends }, payload(1)))).toEqual(
      dropped("source address spoofed"),
    );
    expect(lab.from(REMOTE, udp({ source: REMOTE, destination: `0.0.0.${low}`, ...ends }, payload(1)))).toEqual(
      dropped("unsolicited"),
    );
    expect(lab.from(WORK_HOST, udp({ source: WORK_HOST, destination: `0.0.0.${low}`, ...ends }, payload(1)))).toEqual(
      dropped("destination not routable"),
    );
  }
});
