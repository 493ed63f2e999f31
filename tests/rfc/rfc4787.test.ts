// RFC 4787, "NAT Behavioral Requirements for Unicast UDP": a test or more for each requirement, by its name in docs/NAT.md.

import { describe, expect, test } from "bun:test";
import { ipv4, payload } from "../../lab/frames.ts";
import { UDP } from "../../lab/protocols.ts";
import {
  dropped,
  forwarded,
  LAN_HOST,
  type Lab,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  refused,
  shownTo,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../lab/router-lab.ts";
import {
  configErrors,
  cut,
  datagram,
  HOP,
  icmpError,
  type NatOptions,
  natLab,
  natSettings,
  query,
  segment,
  sentPort,
  TWO_HOPS,
} from "../support/nat.ts";

/** A question of "work"'s, and its answer: as they leave and as they must arrive. */
const OUT = `${WORK_HOST}:5000 > ${REMOTE}:9000`;
const OUT_OUTSIDE = `${OUTSIDE}:5000 > ${REMOTE}:9000`;
const BACK = `${REMOTE}:9000 > ${OUTSIDE}:5000`;
const BACK_INSIDE = `${REMOTE}:9000 > ${WORK_HOST}:5000`;
const OPEN = { work: 'filtering = "endpoint-independent"' };

/** @returns a lab in which the question has been asked */
function asked(options: NatOptions = {}): Lab {
  const lab = natLab(options);
  expect(lab.from(WORK_HOST, datagram(OUT))).toEqual(forwarded(REMOTE, datagram(OUT_OUTSIDE, HOP)));
  return lab;
}

/** @returns a lab in which it has been answered */
function answered(options: NatOptions = {}): Lab {
  const lab = asked(options);
  expectAnswer(lab);
  return lab;
}

function expectAnswer(lab: Lab): void {
  expect(lab.from(REMOTE, datagram(BACK))).toEqual(forwarded(WORK_HOST, datagram(BACK_INSIDE, HOP)));
}

function expectUnsolicited(lab: Lab, ends: string): void {
  expect(lab.from(REMOTE, datagram(ends))).toEqual(dropped("unsolicited"));
}

/** @returns a lab in which two hosts use port 5000, and the external port that the host of "lan" got for it */
function contended(): { lab: Lab; port: number } {
  const lab = answered();
  lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`));
  return { lab, port: sentPort(lab) };
}

/** The host of "lan" sends from a port to a host it has not sent to before, and keeps its external port. */
function expectMapping(lab: Lab, port: number, external: number): void {
  expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:${port} > ${REMOTE_2}:9`))).toEqual(
    forwarded(REMOTE_2, datagram(`${OUTSIDE}:${external} > ${REMOTE_2}:9`, HOP)),
  );
}

describe("RFC 4787", () => {
  test("REQ-1: one external port serves every remote, kept or not", () => {
    const { lab, port } = contended();
    expect(port).not.toBe(5000);
    for (const remote of [`${REMOTE}:9001`, "198.51.100.8:9000", `${REMOTE_2}:53`]) {
      expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${remote}`))).toEqual(
        forwarded(REMOTE, datagram(`${OUTSIDE}:5000 > ${remote}`, HOP)),
      );
      expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${remote}`))).toEqual(
        forwarded(REMOTE, datagram(`${OUTSIDE}:${port} > ${remote}`, HOP)),
      );
      expect(lab.from(REMOTE, datagram(`${remote} > ${OUTSIDE}:${port}`))).toEqual(
        forwarded(LAN_HOST, datagram(`${remote} > ${LAN_HOST}:5000`, HOP)),
      );
    }
  });

  test("REQ-1: an endpoint to which a port is forwarded leaves from that port", () => {
    const forward = (port: string, to: string, toPort: number) =>
      `[[forward]]\nproto = "udp"\nport = ${port}\nto = "${to}"\nto_port = ${toPort}\n`;
    const lab = natLab({ sections: forward("51820", "work", 5000) + forward('"8000-8009"', LAN_HOST, 5000) });
    const endpoints = [
      [WORK_HOST, 5000, 51820],
      [LAN_HOST, 5000, 8000],
      [LAN_HOST, 5009, 8009],
    ] as const;
    for (const remote of [`${REMOTE}:9000`, `${REMOTE_2}:9`]) {
      for (const [host, inside, outside] of endpoints) {
        expect(lab.from(host, datagram(`${host}:${inside} > ${remote}`))).toEqual(
          forwarded(REMOTE, datagram(`${OUTSIDE}:${outside} > ${remote}`, HOP)),
        );
        expect(lab.from(REMOTE, datagram(`${remote} > ${OUTSIDE}:${outside}`))).toEqual(
          forwarded(host, datagram(`${remote} > ${host}:${inside}`, HOP)),
        );
      }
    }
    // Beside the range, and to another host's or protocol's port, is not where it leads.
    expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5010 > ${REMOTE}:9000`))).toEqual(
      forwarded(REMOTE, datagram(`${OUTSIDE}:5010 > ${REMOTE}:9000`, HOP)),
    );
    expect(lab.from(LAN_HOST, segment(`${LAN_HOST}:5000 > ${REMOTE}:9000`, "S"))).toEqual(
      forwarded(REMOTE, segment(`${OUTSIDE}:5000 > ${REMOTE}:9000`, "S", HOP)),
    );
  });

  test("REQ-2: all of a client's mappings have the same external address", () => {
    const lab = asked();
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5002 > ${REMOTE_2}:9`))).toEqual(
      forwarded(REMOTE_2, datagram(`${OUTSIDE}:5002 > ${REMOTE_2}:9`, HOP)),
    );
    expect(lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE_2}:80`, "S"))).toEqual(
      forwarded(REMOTE_2, segment(`${OUTSIDE}:5000 > ${REMOTE_2}:80`, "S", HOP)),
    );
    expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE_2}`, 5000))).toEqual(
      forwarded(REMOTE_2, query(`${OUTSIDE} > ${REMOTE_2}`, 5000, HOP)),
    );
  });

  test("REQ-3: two hosts with one port have two external ports, and each gets its own answers", () => {
    const { lab, port } = contended();
    expectAnswer(lab);
    expect(lab.from(REMOTE, datagram(`${REMOTE}:9000 > ${OUTSIDE}:${port}`))).toEqual(
      forwarded(LAN_HOST, datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP)),
    );
  });

  test("REQ-3a: a port that can't be kept is replaced by one of its range, 0-1023 or 1024-65535", () => {
    for (const port of [0, 1, 123, 500, 1023, 1024, 5000, 65535]) {
      const lab = natLab();
      for (const host of [WORK_HOST, LAN_HOST]) {
        lab.from(host, datagram(`${host}:${port} > ${REMOTE}:9000`));
        expect([port, host, sentPort(lab) < 1024]).toEqual([port, host, port < 1024]);
      }
    }
  });

  test("REQ-3a: when all of 1-1023 are taken, one of 1024-65535 is better than none", () => {
    const lab = natLab();
    for (let port = 1; port < 1024; port++) lab.from(LAN_HOST, datagram(`${LAN_HOST}:${port} > ${REMOTE}:9000`));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:500 > ${REMOTE}:9000`));
    expect(sentPort(lab)).toBeGreaterThanOrEqual(1024);
    expect(sentPort(lab) % 2).toBe(0);
  });

  test("REQ-4: a port that can't be kept is replaced by one of its parity", () => {
    const lab = natLab();
    for (let port = 5000; port < 5040; port++) {
      lab.from(WORK_HOST, datagram(`${WORK_HOST}:${port} > ${REMOTE}:9000`));
      expect(sentPort(lab)).toBe(port);
      lab.from(LAN_HOST, datagram(`${LAN_HOST}:${port} > ${REMOTE}:9000`));
      expect(sentPort(lab)).not.toBe(port);
      expect(sentPort(lab) % 2).toBe(port % 2);
    }
  });

  test("REQ-5: a mapping lasts two minutes, answered or not", () => {
    const { lab, port } = contended();
    lab.wait(119_999);
    expectMapping(lab, 5000, port);
    const least = { sections: '[nat.timeouts]\nudp = "2m"' };
    const short = answered(least);
    short.wait(119_999);
    expectAnswer(short);
    expect(configErrors({ sections: "[nat.timeouts]\nudp = 119" })).toEqual([
      'nat.timeouts: udp 119 is shorter than 2m, the least by RFC 4787 REQ-5 (write udp = "5m")',
    ]);
  });

  test("REQ-5: a mapping lasts two minutes also when a name server was the last to be asked from its port", () => {
    const { lab, port } = contended();
    lab.wait(25_000);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE_2}:53`));
    lab.wait(94_999);
    expectMapping(lab, 5000, port);
  });

  test("REQ-5a: a question to port 53 is over ten seconds after its answer", () => {
    const lab = natLab();
    const answer = datagram(`${REMOTE}:53 > ${OUTSIDE}:5000`);
    const delivered = forwarded(WORK_HOST, datagram(`${REMOTE}:53 > ${WORK_HOST}:5000`, HOP));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:53`));
    lab.wait(20_000);
    expect(lab.from(REMOTE, answer)).toEqual(delivered);
    lab.wait(9_999);
    expect(lab.from(REMOTE, answer)).toEqual(delivered);
    lab.wait(2_000);
    expect(lab.from(REMOTE, answer)).toEqual(dropped("unsolicited"));
  });

  test("REQ-5b: the timer is configurable", () => {
    const lab = answered({ sections: '[nat.timeouts]\nudp = "10m"' });
    lab.wait(599_999);
    expectAnswer(lab);
    lab.wait(2_000);
    expectUnsolicited(lab, BACK);
  });

  test("REQ-5c: the default is five minutes", () => {
    const lab = answered();
    lab.wait(299_999);
    expectAnswer(lab);
    lab.wait(2_000);
    expectUnsolicited(lab, BACK);
  });

  test("REQ-6: the client's packets keep its mapping alive", () => {
    const { lab, port } = contended();
    const answer = datagram(`${REMOTE}:9000 > ${OUTSIDE}:${port}`);
    const delivered = forwarded(LAN_HOST, datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP));
    expect(lab.from(REMOTE, answer)).toEqual(delivered);
    for (let i = 0; i < 5; i++) {
      lab.wait(290_000);
      expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`))).toEqual(
        forwarded(REMOTE, datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP)),
      );
    }
    expect(lab.from(REMOTE, answer)).toEqual(delivered);
  });

  test("REQ-6a: packets from outside do not keep a mapping alive", () => {
    const lab = answered();
    for (let i = 0; i < 2; i++) {
      lab.wait(140_000);
      expectAnswer(lab);
    }
    lab.wait(22_000);
    expectUnsolicited(lab, BACK);
  });

  test("REQ-6a: a session from outside does not make a mapping linger anew when it ends", () => {
    const lab = asked(OPEN);
    const visit = (port: number) => lab.from(REMOTE_2, datagram(`${REMOTE_2}:${port} > ${OUTSIDE}:5000`)).verdict;
    let sessions = 0;
    for (; sessions < 60 && visit(9000 + sessions) === "forwarded"; sessions++) lab.wait(100_000); // each is over by then
    expect(sessions).toBe(2);
    expect(visit(9100)).toBe("dropped: unsolicited");
  });

  test("REQ-6a: sessions from outside that overlap do not keep a mapping open to others, unless the client answers", () => {
    for (const answers of [false, true]) {
      const lab = asked(OPEN);
      const visit = (port: number) => lab.from(REMOTE_2, datagram(`${REMOTE_2}:${port} > ${OUTSIDE}:5000`)).verdict;
      let sessions = 0;
      for (; sessions < 60 && visit(9000 + sessions) === "forwarded"; sessions++) {
        if (answers) lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE_2}:${9000 + sessions}`));
        lab.wait(20_000);
      }
      // The client's own flow is over after half a minute, and its mapping two minutes after that.
      expect(sessions).toBe(answers ? 60 : 8);
      expect(visit(9000 + sessions)).toBe(answers ? "forwarded" : "dropped: unsolicited");
      lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
      expect(visit(9100)).toBe("forwarded");
    }
  });

  test("REQ-7: clients' networks that conflict with the uplink's are refused", () => {
    const network = 'network = "192.0.2.128/25"\ngateway = "10.1.1.1"';
    const [error] = configErrors({ sections: `[[client]]\nname = "x"\ninterface = "eth4"\n${network}` });
    expect(error).toBe(
      'client "x": network "192.0.2.128/25" overlaps the uplink\'s network, 192.0.2.0/24, and would hide its hosts (write others)',
    );
  });

  test("REQ-8: only the remote address and port that the client sent to may answer", () => {
    const lab = asked();
    expectUnsolicited(lab, `${REMOTE}:9001 > ${OUTSIDE}:5000`);
    expectUnsolicited(lab, `${REMOTE_2}:9000 > ${OUTSIDE}:5000`);
    expectUnsolicited(lab, `${REMOTE}:9000 > ${OUTSIDE}:5001`);
    expectAnswer(lab);
  });

  test("REQ-8a: a client may be configured for endpoint-independent filtering", () => {
    const lab = asked(OPEN);
    for (const remote of [`${REMOTE}:9001`, `${REMOTE_2}:9000`, "198.51.100.8:1"]) {
      expect(lab.from(REMOTE, datagram(`${remote} > ${OUTSIDE}:5000`))).toEqual(
        forwarded(WORK_HOST, datagram(`${remote} > ${WORK_HOST}:5000`, HOP)),
      );
      expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${remote}`))).toEqual(
        forwarded(REMOTE, datagram(`${OUTSIDE}:5000 > ${remote}`, HOP)),
      );
    }
    expectUnsolicited(lab, `${REMOTE_2}:9000 > ${OUTSIDE}:5001`);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:6000 > ${REMOTE}:9000`));
    expectUnsolicited(lab, `${REMOTE_2}:9000 > ${OUTSIDE}:6000`);
  });

  test("REQ-9: a client reaches another's mapping at the external address, past the same filter", () => {
    const { lab, port } = contended();
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:${port}`))).toEqual(dropped("unsolicited"));
    expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`))).toEqual(
      forwarded(WORK_HOST, datagram(`${OUTSIDE}:${port} > ${WORK_HOST}:5000`, TWO_HOPS)),
    );
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:${port}`))).toEqual(
      forwarded(LAN_HOST, datagram(`${OUTSIDE}:5000 > ${LAN_HOST}:5000`, TWO_HOPS)),
    );
  });

  test("REQ-9a: a hairpinned packet has the external source address and port", () => {
    const lab = asked(OPEN);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`));
    const port = sentPort(lab);
    expect(port).not.toBe(5000);
    expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`))).toEqual(
      forwarded(WORK_HOST, datagram(`${OUTSIDE}:${port} > ${WORK_HOST}:5000`, TWO_HOPS)),
    );
  });

  test("REQ-10: addresses in the payload of signalling protocols arrive as sent", () => {
    const lab = natLab();
    const text = `INVITE sip:b@${REMOTE} SIP/2.0\r\nContact: <sip:a@${WORK_HOST}:5060>\r\n\r\nc=IN IP4 ${WORK_HOST}\r\n`;
    const invite = new TextEncoder().encode(text);
    for (const port of [5060, 69, 137, 161, 1719]) {
      expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:${port} > ${REMOTE}:${port}`, {}, invite))).toEqual(
        forwarded(REMOTE, datagram(`${OUTSIDE}:${port} > ${REMOTE}:${port}`, HOP, invite)),
      );
    }
  });

  test("REQ-10a: there is no ALG to switch on or off", () => {
    expect(configErrors({ sections: "[nat]\nalg = true" })).toEqual([
      expect.stringMatching(/^nat: unknown key "alg" \(known: /),
    ]);
  });

  test("REQ-11: mapping and filtering are the same for every port, under conflict, over time and after a reload", () => {
    const lab = natLab();
    const ports = new Map<string, number>();
    for (let round = 1; round <= 4; round++) {
      for (let port = 5000; port < 5100; port++) {
        for (const host of [WORK_HOST, LAN_HOST]) {
          const remote = `198.51.100.${round}:${9000 + round}`;
          lab.from(host, datagram(`${host}:${port} > ${remote}`));
          const external = ports.get(`${host}:${port}`) ?? sentPort(lab);
          ports.set(`${host}:${port}`, external);
          expect(sentPort(lab)).toBe(external);
          expectUnsolicited(lab, `${REMOTE_2}:9000 > ${OUTSIDE}:${external}`);
          expect(lab.from(REMOTE, datagram(`${remote} > ${OUTSIDE}:${external}`))).toEqual(
            forwarded(host, datagram(`${remote} > ${host}:${port}`, HOP)),
          );
        }
      }
      lab.wait(100_000);
      if (round === 2) lab.apply(natSettings({}));
    }
    expect(new Set(ports.values()).size).toBe(200);
  });

  test("REQ-11: a mapping that no flow uses any more outlives a reload too", () => {
    const { lab, port } = contended();
    lab.wait(60_000);
    lab.apply(natSettings({}));
    lab.wait(59_999);
    expectMapping(lab, 5000, port);
  });

  test("REQ-12: no ICMP message ends a mapping", () => {
    const lab = answered();
    for (let type = 0; type < 48; type++) {
      for (let code = 0; code < 16; code++) {
        lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, type, code, datagram(OUT_OUTSIDE)));
      }
    }
    expectAnswer(lab);
  });

  test("REQ-12a: ICMP errors are let through whoever sent them", () => {
    const lab = asked();
    for (const router of [REMOTE, REMOTE_2, "10.9.9.9", "192.0.2.1", "100.64.0.1", "172.16.0.1"]) {
      expect(lab.from(router, icmpError(`${router} > ${OUTSIDE}`, 11, 0, datagram(OUT_OUTSIDE)))).toEqual(
        forwarded(WORK_HOST, icmpError(`${router} > ${WORK_HOST}`, 11, 0, datagram(OUT), HOP)),
      );
    }
  });

  test("REQ-12b: destination unreachable is translated, whatever its code", () => {
    const lab = asked();
    const [left, sent] = [OUT_OUTSIDE, OUT].map((ends) => datagram(ends, {}, payload(1450)).subarray(0, 576));
    for (let code = 0; code < 16; code++) {
      const mtu = { rest: code === 4 ? 1400 : 0 };
      expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, code, left, mtu))).toEqual(
        forwarded(WORK_HOST, icmpError(`${REMOTE} > ${WORK_HOST}`, 3, code, sent, { ...HOP, ...mtu })),
      );
    }
  });

  test("REQ-13: a packet with DF that is too big is answered with fragmentation needed", () => {
    const lab = natLab({ mtu: { uplink: 1400 } });
    const packet = datagram(OUT, {}, payload(1373));
    const quoted = packet.subarray(0, 548);
    expect(lab.from(WORK_HOST, packet)).toEqual(
      refused(
        "larger than the egress MTU",
        WORK_HOST,
        icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 3, 4, quoted, { rest: 1400 }),
      ),
    );
    expect(lab.from(WORK_HOST, datagram(OUT, {}, payload(1372)))).toEqual(
      forwarded(REMOTE, datagram(OUT_OUTSIDE, HOP, payload(1372))),
    );
  });

  test("REQ-13a: a packet without DF that is too big is fragmented, and the fragments are sent in order", () => {
    const fields = { fragment: 0, identification: 0x1234 };
    const whole = datagram(OUT_OUTSIDE, { ...fields, ...HOP }, payload(5000));
    const fragments = cut(whole, 1480, (fragment, content) =>
      ipv4({ source: OUTSIDE, destination: REMOTE, ...fields, ...HOP, fragment }, UDP, content),
    );
    expect(fragments.map(({ length }) => length)).toEqual([1500, 1500, 1500, 588]);
    expect(natLab().from(WORK_HOST, datagram(OUT, fields, payload(5000)))).toEqual({
      verdict: "forwarded",
      sent: fragments.map((packet) => shownTo(REMOTE, packet)),
    });
  });

  test("REQ-14: fragments pass both ways in whatever order they come", () => {
    const lab = answered();
    const content = payload(1500);
    const ways = [
      [OUT, { source: WORK_HOST, destination: REMOTE }],
      [OUT_OUTSIDE, { source: OUTSIDE, destination: REMOTE, ...HOP }],
      [BACK, { source: REMOTE, destination: OUTSIDE }],
      [BACK_INSIDE, { source: REMOTE, destination: WORK_HOST, ...HOP }],
    ] as const;
    for (const [identification, order] of ["0123", "3210", "1032", "3021"].entries()) {
      const [out, outOutside, back, backInside] = ways.map(([ends, fields]) =>
        cut(datagram(ends, {}, content), 496, (fragment, part) =>
          ipv4({ ...fields, fragment, identification }, UDP, part),
        ),
      );
      for (const [from, sent, to, expected] of [
        [WORK_HOST, out, REMOTE, outOutside],
        [REMOTE, back, WORK_HOST, backInside],
      ] as const) {
        const arrived = [...order].flatMap((i) => lab.from(from, sent[Number(i)]).sent);
        expect([order, arrived.toSorted()]).toEqual([order, expected.map((packet) => shownTo(to, packet)).toSorted()]);
      }
    }
  });

  test("REQ-14a: floods of fragments from two sides keep nobody's packets back, neither whole nor in fragments", () => {
    const lab = asked();
    const flood = (source: string, destination: string, identification: number) => {
      const later = ipv4({ source, destination, identification, fragment: 0x2001 }, UDP, payload(1480));
      lab.from(source, later);
    };
    for (let i = 0; i < 300; i++) {
      flood(LAN_HOST, REMOTE, i);
      flood(REMOTE, OUTSIDE, i);
    }
    expectAnswer(lab);
    const fragmentsOf = (ends: string, fields: { source: string; ttl?: number }) =>
      cut(datagram(ends, {}, payload(1000)), 496, (fragment, content) =>
        ipv4({ destination: REMOTE, ...fields, fragment }, UDP, content),
      );
    expect(fragmentsOf(OUT, { source: WORK_HOST }).map((packet) => lab.from(WORK_HOST, packet))).toEqual(
      fragmentsOf(OUT_OUTSIDE, { source: OUTSIDE, ...HOP }).map((packet) => forwarded(REMOTE, packet)),
    );
  });
});
