// ICMPv6 errors: those that the firewall sends itself, when it is silent, and those of others on their way to who is meant. That those
// come there whatever they tell of, and which MTUs are believed: rfc/rfc4890.test.ts.
import { describe, expect, test } from "bun:test";
import { fromHex, payload } from "../../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  fragment,
  HOP_BY_HOP,
  icmpv6,
  ipv6,
  NO_NEXT,
  options,
  routing,
  tcp6,
  type Udp6Fields,
  udp6,
} from "../../../lab/frames6.ts";
import { dropped, INTERFACES, Lab, UPLINK } from "../../../lab/router-lab.ts";
import {
  FAR_ROUTER_6,
  forwarded6,
  from6,
  LAN_GATEWAY_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  QUERY_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_HOST,
  refused6,
  SETTINGS_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";

const TOLD = { source: WORK_GATEWAY_6, destination: WORK_HOST_6 };

const lab6 = (settings: Settings = SETTINGS_6) => new Lab({ settings });

/** @returns settings in which the uplink takes packets of `mtu` bytes, and "work" is refused everything, or nothing */
function withUplink(mtu: number): Settings {
  return {
    ...SETTINGS_6,
    interfaces: INTERFACES.map((iface, i) => (i === UPLINK ? { ...iface, mtu } : { ...iface, mtu: 9000 })),
  };
}

const REFUSING: Settings = {
  ...SETTINGS_6,
  clients: [{ ...WORK_SETTINGS_6, ruleset: compileRuleset([], false) }, LAN_SETTINGS_6],
};

describe("the firewall tells", () => {
  test("of a hop limit that is used up, before there is a flow and in one", () => {
    const lab = lab6();
    const last = udp6({ ...QUERY_6, hopLimit: 1 }, payload(9));
    const told = refused6("TTL exceeded", WORK_HOST_6, icmpv6({ ...TOLD, type: 3, code: 0 }, last));
    expect(from6(lab, WORK_HOST_6, last)).toEqual(told);
    expect(lab.router.flows.size).toBe(0);
    from6(lab, WORK_HOST_6, udp6(QUERY_6, payload(9)));
    expect(from6(lab, WORK_HOST_6, last)).toEqual(told);
    const answer = udp6(
      { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 40000, hopLimit: 1 },
      payload(3),
    );
    expect(from6(lab, REMOTE_6, answer)).toEqual(
      refused6(
        "TTL exceeded",
        REMOTE_6,
        icmpv6({ source: OUTSIDE_6, destination: REMOTE_6, type: 3, code: 0 }, answer),
      ),
    );
  });

  test("of a packet too big for the egress, with its MTU; what it quotes makes 1280 bytes at most", () => {
    const lab = lab6(withUplink(1400));
    const large = udp6(QUERY_6, payload(1400));
    expect(from6(lab, WORK_HOST_6, large)).toEqual(
      refused6(
        "larger than the egress MTU",
        WORK_HOST_6,
        icmpv6({ ...TOLD, type: 2, rest: 1400 }, large.subarray(0, 1232)),
      ),
    );
    expect(from6(lab, WORK_HOST_6, udp6(QUERY_6, payload(1352))).verdict).toBe("forwarded");
  });

  test("of no less than 1280 bytes, whatever the egress has", () => {
    const large = udp6(QUERY_6, payload(1300));
    expect(from6(lab6(withUplink(1000)), WORK_HOST_6, large).sent).toEqual(
      refused6("", WORK_HOST_6, icmpv6({ ...TOLD, type: 2, rest: 1280 }, large.subarray(0, 1232))).sent,
    );
  });

  test("of an egress that is down: address unreachable", () => {
    const lab = lab6();
    from6(lab, WORK_HOST_6, udp6(QUERY_6, payload(9)));
    lab.apply({ ...SETTINGS_6, interfaces: INTERFACES.map((iface, i) => ({ ...iface, isDown: i === UPLINK })) });
    const packet = udp6(QUERY_6, payload(9));
    expect(from6(lab, WORK_HOST_6, packet)).toEqual(
      refused6("egress interface down", WORK_HOST_6, icmpv6({ ...TOLD, type: 1, code: 3 }, packet)),
    );
  });

  test("of headers at fault, where and how", () => {
    const ends = { source: WORK_HOST_6, destination: REMOTE_6 };
    for (const [extensions, fault, code, pointer] of [
      [[options(HOP_BY_HOP, fromHex("8e02 0000"))], "hop-by-hop option that must be known", 2, 42],
      [[options(DESTINATION, fromHex("")), options(HOP_BY_HOP, fromHex(""))], "hop-by-hop options", 1, 40],
      [[routing(0, 1)], "source route", 0, 42],
      [[fragment(0, true), options(DESTINATION, payload(22))], "headers cut by a fragment", 3, 0],
    ] as const) {
      const packet = ipv6({ ...ends, extensions }, 6, new Uint8Array(8));
      const problem = icmpv6({ ...TOLD, type: 4, code, rest: pointer }, packet);
      expect(from6(lab6(), WORK_HOST_6, packet)).toEqual(refused6(`malformed ipv6: ${fault}`, WORK_HOST_6, problem));
    }
  });
});

describe("the firewall is silent", () => {
  test("about errors, redirects, packets that carry nothing, and spoofed ones", () => {
    const ends = { source: WORK_HOST_6, destination: REMOTE_6 };
    for (const packet of [
      icmpv6({ ...ends, type: 1, hopLimit: 1 }, udp6(QUERY_6, payload(1))),
      icmpv6({ ...ends, type: 100, hopLimit: 1 }, payload(20)),
      icmpv6({ ...ends, type: 137, hopLimit: 1 }, payload(40)),
      ipv6(ends, NO_NEXT, new Uint8Array(0)),
      udp6({ ...QUERY_6, source: LAN_HOST_6, hopLimit: 1 }, payload(1)),
      ipv6({ source: LAN_HOST_6, destination: REMOTE_6, extensions: [routing(0, 1)] }, 6, new Uint8Array(8)),
    ]) {
      expect(from6(lab6(REFUSING), WORK_HOST_6, packet).sent).toEqual([]);
    }
  });

  test("about packets to a group, but of options that ask for it", () => {
    const ends = { source: WORK_HOST_6, destination: "ff0e::1" };
    const packet = (option: string) =>
      ipv6({ ...ends, extensions: [options(HOP_BY_HOP, fromHex(option))] }, 17, payload(8));
    expect(from6(lab6(), WORK_HOST_6, packet("c302 0000")).sent).toEqual([]);
    expect(from6(lab6(), WORK_HOST_6, packet("8302 0000")).sent.length).toBe(1);
  });

  test("when a client has had its trickle of errors", () => {
    const lab = lab6(REFUSING);
    const answers = Array.from({ length: 200 }, () => from6(lab, WORK_HOST_6, udp6(QUERY_6, payload(1))).sent.length);
    expect(answers.filter((count) => count === 1).length).toBe(50);
  });

  test("towards others about messages of the link, which never leave it", () => {
    for (const type of [130, 131, 132, 133, 134, 135, 136, 143, 151]) {
      const packet = icmpv6({ source: WORK_HOST_6, destination: REMOTE_6, type }, payload(40));
      expect(from6(lab6(), WORK_HOST_6, packet).sent).toEqual([]);
    }
  });
});

/** A lab in which "work" has asked, over UDP, and what left. */
function asked(settings: Settings = SETTINGS_6) {
  const lab = lab6(settings);
  from6(lab, WORK_HOST_6, udp6(QUERY_6, payload(100)));
  return { lab, left: udp6({ ...QUERY_6, source: OUTSIDE_6, hopLimit: 63 }, payload(100)) };
}

/** A packet as `udp6` makes it, with another hop limit: what a router quotes has lost some. */
const quoted = (fields: Udp6Fields, length = 100) => udp6({ ...fields, hopLimit: 60 }, payload(length));

describe("an error from outside", () => {
  const SENT = { ...QUERY_6, source: OUTSIDE_6 };

  test("about TCP must quote what was sent; about echo it is translated by the identifier", () => {
    const lab = lab6();
    const syn = {
      source: WORK_HOST_6,
      destination: REMOTE_6,
      sourcePort: 40000,
      destinationPort: 443,
      flags: "S",
      sequence: 1000,
    };
    from6(lab, WORK_HOST_6, tcp6(syn));
    const error = { source: FAR_ROUTER_6, destination: OUTSIDE_6, type: 1, code: 0 };
    const inside = { ...error, destination: WORK_HOST_6, hopLimit: 63 };
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, tcp6({ ...syn, source: OUTSIDE_6, sequence: 5_000_000 })))).toEqual(
      dropped("ICMP error that belongs to no flow"),
    );
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, tcp6({ ...syn, source: OUTSIDE_6 })))).toEqual(
      forwarded6(WORK_HOST_6, icmpv6(inside, tcp6(syn))),
    );
    const echo = { source: WORK_HOST_6, destination: REMOTE_6, type: 128, rest: 0x12340001 };
    from6(lab, WORK_HOST_6, icmpv6(echo, payload(8)));
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, icmpv6({ ...echo, source: OUTSIDE_6 }, payload(8))))).toEqual(
      forwarded6(WORK_HOST_6, icmpv6(inside, icmpv6(echo, payload(8)))),
    );
  });

  test("quotes extension headers, and as much of the payload as it has", () => {
    const { lab } = asked();
    const extensions = [options(DESTINATION, fromHex("1e02 0000"))];
    const error = { source: FAR_ROUTER_6, destination: OUTSIDE_6, type: 3, code: 0 };
    const cut = (fields: Udp6Fields) => udp6({ ...fields, extensions }, payload(100)).subarray(0, 80);
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, cut(SENT)))).toEqual(
      forwarded6(WORK_HOST_6, icmpv6({ ...error, destination: WORK_HOST_6, hopLimit: 63 }, cut(QUERY_6))),
    );
  });

  test("goes nowhere if it is about nobody's packet, of a wrong sum, or a spoofed source's", () => {
    const { lab } = asked();
    const error = { source: FAR_ROUTER_6, destination: OUTSIDE_6, type: 1, code: 4 };
    for (const other of [{ sourcePort: 40001 }, { destination: REMOTE_62 }, { source: WORK_HOST_6 }]) {
      expect(from6(lab, FAR_ROUTER_6, icmpv6(error, quoted({ ...SENT, ...other })))).toEqual(
        dropped("ICMP error that belongs to no flow"),
      );
    }
    const wrong = icmpv6(error, quoted(SENT));
    wrong[wrong.length - 1] ^= 1;
    expect(from6(lab, FAR_ROUTER_6, wrong)).toEqual(dropped("malformed icmpv6: checksum"));
    expect(from6(lab, FAR_ROUTER_6, icmpv6({ ...error, source: "fe80::9" }, quoted(SENT)))).toEqual(
      dropped("source address spoofed"),
    );
    expect(from6(lab, FAR_ROUTER_6, icmpv6({ ...error, hopLimit: 1 }, quoted(SENT)))).toEqual(dropped("TTL exceeded"));
    const later = udp6({ ...SENT, extensions: [fragment(1232, true)] }, payload(96));
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, later))).toEqual(dropped("ICMP error that belongs to no flow"));
    const behindAh = udp6({ ...SENT, extensions: [ah()] }, payload(96));
    expect(from6(lab, FAR_ROUTER_6, icmpv6(error, behindAh)).verdict).toBe("forwarded");
  });
});

describe("an error from inside", () => {
  test("leaves with our address in place of the host's, and of a router's behind it", () => {
    const answer: Udp6Fields = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 40000 };
    const { lab } = asked();
    from6(lab, REMOTE_6, udp6(answer, payload(3)));
    const error = { type: 1, code: 4 };
    const got = quoted({ ...answer, destination: WORK_HOST_6 }, 3);
    expect(from6(lab, WORK_HOST_6, icmpv6({ ...error, source: WORK_HOST_6, destination: REMOTE_6 }, got))).toEqual(
      forwarded6(
        REMOTE_6,
        icmpv6({ ...error, source: OUTSIDE_6, destination: REMOTE_6, hopLimit: 63 }, quoted(answer, 3)),
      ),
    );
  });

  test("of a network that is routed to us leaves as it came", () => {
    const lab = lab6(ROUTED);
    const out = { ...QUERY_6, source: ROUTED_HOST };
    const answer: Udp6Fields = { source: REMOTE_6, destination: ROUTED_HOST, sourcePort: 5000, destinationPort: 40000 };
    from6(lab, ROUTED_HOST, udp6(out, payload(1)));
    const error = { source: ROUTED_HOST, destination: REMOTE_6, type: 1, code: 4 };
    expect(from6(lab, ROUTED_HOST, icmpv6(error, quoted(answer, 3)))).toEqual(
      forwarded6(REMOTE_6, icmpv6({ ...error, hopLimit: 63 }, quoted(answer, 3))),
    );
  });
});

test("an error about the second half of a hairpin comes to the client that it is about", () => {
  const lab = lab6({ ...SETTINGS_6, clients: [WORK_SETTINGS_6, { ...LAN_SETTINGS_6, openFilter: true }] });
  from6(lab, LAN_HOST_6, udp6({ ...QUERY_6, source: LAN_HOST_6 }, payload(1)));
  const packet = udp6(
    { ...QUERY_6, destination: OUTSIDE_6, destinationPort: 40000, sourcePort: 41000, hopLimit: 2 },
    payload(4),
  );
  const { verdict, sent } = from6(lab, WORK_HOST_6, packet);
  expect(verdict).toBe("dropped: TTL exceeded");
  const told = { source: OUTSIDE_6, destination: WORK_HOST_6, type: 3, code: 0, hopLimit: 63 };
  const asSent = udp6(
    { ...QUERY_6, destination: OUTSIDE_6, destinationPort: 40000, sourcePort: 41000, hopLimit: 1 },
    payload(4),
  );
  expect(sent).toEqual(forwarded6(WORK_HOST_6, icmpv6(told, asSent)).sent);
});

test("a gateway of a network tells its hosts, as they see it", () => {
  const last = udp6({ ...QUERY_6, source: LAN_HOST_6, hopLimit: 1 }, payload(9));
  expect(from6(lab6(), LAN_HOST_6, last)).toEqual(
    refused6(
      "TTL exceeded",
      LAN_HOST_6,
      icmpv6({ source: LAN_GATEWAY_6, destination: LAN_HOST_6, type: 3, code: 0 }, last),
    ),
  );
});
