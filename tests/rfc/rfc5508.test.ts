// RFC 5508, "NAT Behavioral Requirements for ICMP": a test or more for each requirement, by its name in docs/NAT.md.

import { describe, expect, test } from "bun:test";
import { concat, ethernet, fromHex, IPV4_TYPE, icmp, ipv4, payload } from "../../lab/frames.ts";
import { UDP } from "../../lab/protocols.ts";
import {
  answered,
  dropped,
  forwarded,
  HOST_MAC,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  type Lab,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  refused,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../lab/router-lab.ts";
import {
  configErrors,
  datagram,
  HOP,
  icmpError,
  type NatOptions,
  natLab,
  query,
  segment,
  sentPort,
  TWO_HOPS,
} from "../support/nat.ts";

const TIMESTAMP = { type: 13 };
const TIMESTAMP_REPLY = { type: 14 };
const ECHO_REPLY = { type: 0 };
const OPEN = { work: 'filtering = "endpoint-independent"' };
const GRE = 47;
/** More than an MTU that is stated. */
const LONG = payload(1450);
const ORPHAN = dropped("ICMP error that belongs to no flow");

/** What an error may quote: a host's packet as it was sent, and as it left, with the headers that it has then. */
interface Quotable {
  readonly sent: Uint8Array;
  readonly left: Uint8Array;
}

/** @returns packets of the host of "lan" to a remote one, whose ports or identifiers had to be changed where they have any */
function quotables(lab: Lab): Quotable[] {
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
  lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE}:9000`, "S"));
  lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 5000));
  const makers: ((host: string, port: number, fields: { ttl?: number }) => Uint8Array)[] = [
    (host, port, fields) => datagram(`${host}:${port} > ${REMOTE}:9000`, fields),
    (host, port, fields) => segment(`${host}:${port} > ${REMOTE}:9000`, "S", fields),
    (host, port, fields) => query(`${host} > ${REMOTE}`, port, fields),
    (host, port, fields) => query(`${host} > ${REMOTE}`, port, { ...TIMESTAMP, ...fields }),
    (host, _, fields) => ipv4({ source: host, destination: REMOTE, ...fields }, GRE, payload(40)),
  ];
  return makers.map((make) => {
    const sent = make(LAN_HOST, 5000, {});
    lab.from(LAN_HOST, sent);
    const left = make(OUTSIDE, sentPort(lab), HOP);
    return { sent: make(LAN_HOST, 5000, HOP), left };
  });
}

/** @returns a lab in which two hosts use port 5000, and the external port that the host of "lan" got for it */
function contended(options: NatOptions = {}): { lab: Lab; port: number } {
  const lab = natLab(options);
  for (const host of [WORK_HOST, LAN_HOST]) lab.from(host, datagram(`${host}:5000 > ${REMOTE}:9000`));
  return { lab, port: sentPort(lab) };
}

/** A router's answer that a packet is refused by the administration, to "work". */
function prohibited(reason: string, packet: Uint8Array) {
  return refused(reason, WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 3, 13, packet));
}

describe("RFC 5508", () => {
  test("REQ-1: queries of clients and their answers pass", () => {
    const lab = natLab();
    for (const [asks, answers] of [
      [{}, ECHO_REPLY],
      [TIMESTAMP, TIMESTAMP_REPLY],
    ]) {
      expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77, asks))).toEqual(
        forwarded(REMOTE, query(`${OUTSIDE} > ${REMOTE}`, 77, { ...asks, ...HOP })),
      );
      expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 77, answers))).toEqual(
        forwarded(WORK_HOST, query(`${REMOTE} > ${WORK_HOST}`, 77, { ...answers, ...HOP })),
      );
    }
  });

  test("REQ-1a: one external identifier serves every remote, kept or not", () => {
    const lab = natLab();
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77));
    lab.from(LAN_HOST, query(`${LAN_HOST} > ${REMOTE}`, 77));
    const identifier = sentPort(lab);
    expect(identifier).not.toBe(77);
    for (const remote of [REMOTE_2, "198.51.100.8", "198.51.100.9"]) {
      expect(lab.from(LAN_HOST, query(`${LAN_HOST} > ${remote}`, 77))).toEqual(
        forwarded(remote, query(`${OUTSIDE} > ${remote}`, identifier, HOP)),
      );
      expect(lab.from(remote, query(`${remote} > ${OUTSIDE}`, identifier, ECHO_REPLY))).toEqual(
        forwarded(LAN_HOST, query(`${remote} > ${LAN_HOST}`, 77, { ...ECHO_REPLY, ...HOP })),
      );
    }
  });

  test("REQ-2: a query may be answered for 60 seconds", () => {
    const lab = natLab();
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77));
    lab.wait(59_999);
    expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 77, ECHO_REPLY))).toEqual(
      forwarded(WORK_HOST, query(`${REMOTE} > ${WORK_HOST}`, 77, { ...ECHO_REPLY, ...HOP })),
    );
    lab.wait(62_000);
    expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 77, ECHO_REPLY))).toEqual(dropped("unsolicited"));
  });

  test("REQ-2a: the timer is configurable", () => {
    const lab = natLab({ sections: '[nat.timeouts]\nicmp = "5m"' });
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77));
    lab.wait(299_999);
    expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 77, ECHO_REPLY)).verdict).toBe("forwarded");
    expect(configErrors({ sections: "[nat.timeouts]\nicmp = 59" })).toEqual([
      'nat.timeouts: icmp 59 is shorter than 1m, the least by RFC 5508 REQ-2 (write icmp = "1m")',
    ]);
  });

  test("REQ-3: an error whose ICMP checksum is wrong is dropped in silence", () => {
    const { lab, port } = contended();
    const error = icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP));
    for (const offset of [21, 22, 23, 24, 50, error.length - 1]) {
      const wrong = error.slice();
      wrong[offset] ^= 4;
      expect(lab.from(REMOTE, wrong)).toEqual(dropped("malformed icmp: checksum"));
    }
  });

  test("REQ-3a: an error that quotes a wrong IP header checksum is dropped in silence", () => {
    const { lab, port } = contended();
    const quoted = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP);
    quoted[8] = 62; // the TTL, and only it
    const error = icmpError(`${REMOTE} > ${OUTSIDE}`, 11, 0, quoted);
    expect(lab.from(REMOTE, error)).toEqual(dropped("malformed ipv4: header checksum"));
  });

  test("REQ-3b: the ports of a quoted packet are found behind its IP options", () => {
    const { lab, port } = contended();
    for (const options of ["01010101", "94040000", "0707080a00000001"]) {
      const fields = { ...HOP, options: fromHex(options) };
      const error = icmpError(
        `${REMOTE_2} > ${OUTSIDE}`,
        3,
        3,
        datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, fields),
      );
      expect(lab.from(REMOTE_2, error)).toEqual(
        forwarded(
          LAN_HOST,
          icmpError(`${REMOTE_2} > ${LAN_HOST}`, 3, 3, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`, fields), HOP),
        ),
      );
    }
  });

  test("REQ-3c: the quoted packet's own transport checksum may be wrong, and stays so", () => {
    for (const { sent, left } of quotables(natLab()).slice(0, 3)) {
      const lab = natLab();
      quotables(lab);
      left[left.length - 1] ^= 0x40;
      sent[sent.length - 1] ^= 0x40;
      expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 1, left))).toEqual(
        forwarded(LAN_HOST, icmpError(`${REMOTE} > ${LAN_HOST}`, 3, 1, sent, HOP)),
      );
    }
  });

  test("REQ-3d: padding and extensions behind the quoted packet arrive as sent (RFC 4884)", () => {
    const lab = natLab();
    // 128 bytes of quoted packet and padding, so says the length, then an MPLS label stack (RFC 4950).
    const extension = fromHex("2000 7ac1 0008 0101 0003 e140");
    const length = { rest: 32 << 16 };
    const padded = (packet: Uint8Array) => concat(packet, new Uint8Array(128 - packet.length), extension);
    for (const { sent, left } of quotables(lab)) {
      expect(lab.from(REMOTE_2, icmpError(`${REMOTE_2} > ${OUTSIDE}`, 11, 0, padded(left), length))).toEqual(
        forwarded(LAN_HOST, icmpError(`${REMOTE_2} > ${LAN_HOST}`, 11, 0, padded(sent), { ...HOP, ...length })),
      );
    }
  });

  test("REQ-4: an error from outside about a packet of no flow is dropped in silence", () => {
    const { lab, port } = contended();
    for (const ends of [
      `${OUTSIDE}:${port} > ${REMOTE}:9001`,
      `${OUTSIDE}:${port} > ${REMOTE_2}:9000`,
      `${OUTSIDE}:4999 > ${REMOTE}:9000`,
      `${LAN_HOST}:5000 > ${REMOTE}:9000`,
    ]) {
      expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, datagram(ends)))).toEqual(ORPHAN);
    }
    expect(
      lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, segment(`${OUTSIDE}:${port} > ${REMOTE}:9000`, "S"))),
    ).toEqual(ORPHAN);
  });

  test("REQ-4a: the quoted packet becomes what its sender sent: addresses, ports or identifier, checksums", () => {
    const lab = natLab();
    for (const { sent, left } of quotables(lab)) {
      for (const quoted of [28, left.length]) {
        const error = icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, left.subarray(0, quoted));
        expect(lab.from(REMOTE, error)).toEqual(
          forwarded(LAN_HOST, icmpError(`${REMOTE} > ${LAN_HOST}`, 3, 3, sent.subarray(0, quoted), HOP)),
        );
      }
    }
  });

  test("REQ-4b: the error's type and code, and what goes with them, arrive as sent", () => {
    const { lab, port } = contended();
    const errors = [...Array.from({ length: 16 }, (_, code) => [3, code]), [11, 0], [11, 1], [12, 0], [12, 1], [12, 2]];
    for (const [type, code] of errors) {
      const rest = { rest: 0x14000578 };
      const left = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP, LONG).subarray(0, 576);
      const sent = datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`, HOP, LONG).subarray(0, 576);
      expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, type, code, left, rest))).toEqual(
        forwarded(LAN_HOST, icmpError(`${REMOTE} > ${LAN_HOST}`, type, code, sent, { ...HOP, ...rest })),
      );
    }
  });

  test("REQ-4c: the error goes to the sender of the quoted packet, and comes from who sent it", () => {
    const { lab, port } = contended();
    for (const router of [REMOTE, REMOTE_2, "192.0.2.1", "10.20.30.40"]) {
      const left = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP);
      const sent = datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`, HOP);
      expect(lab.from(router, icmpError(`${router} > ${OUTSIDE}`, 11, 0, left))).toEqual(
        forwarded(LAN_HOST, icmpError(`${router} > ${LAN_HOST}`, 11, 0, sent, HOP)),
      );
    }
  });

  test("REQ-5: an error from inside about a packet of no flow is dropped in silence", () => {
    const { lab } = contended();
    for (const ends of [
      `${REMOTE}:9001 > ${LAN_HOST}:5000`,
      `${REMOTE_2}:9000 > ${LAN_HOST}:5000`,
      `${REMOTE}:9000 > ${LAN_HOST}:5001`,
    ]) {
      expect(lab.from(LAN_HOST, icmpError(`${LAN_HOST} > ${REMOTE}`, 3, 3, datagram(ends)))).toEqual(ORPHAN);
    }
  });

  test("REQ-5a: the quoted packet becomes what its sender sent: addresses, port, checksums", () => {
    const { lab, port } = contended();
    const delivered = datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP);
    const sent = datagram(`${REMOTE}:9000 > ${OUTSIDE}:${port}`, HOP);
    for (const quoted of [28, delivered.length]) {
      expect(lab.from(LAN_HOST, icmpError(`${LAN_HOST} > ${REMOTE}`, 3, 3, delivered.subarray(0, quoted)))).toEqual(
        forwarded(REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, 3, 3, sent.subarray(0, quoted), HOP)),
      );
    }
  });

  test("REQ-5b: the error's type and code, and what goes with them, leave as sent", () => {
    const { lab, port } = contended();
    for (const [type, code, rest] of [
      [3, 1, 0],
      [3, 3, 0],
      [3, 4, 1280],
      [11, 1, 0],
      [12, 0, 0x14000000],
    ]) {
      const delivered = datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP, LONG).subarray(0, 576);
      const sent = datagram(`${REMOTE}:9000 > ${OUTSIDE}:${port}`, HOP, LONG).subarray(0, 576);
      expect(lab.from(LAN_HOST, icmpError(`${LAN_HOST} > ${REMOTE}`, type, code, delivered, { rest }))).toEqual(
        forwarded(REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, type, code, sent, { ...HOP, rest })),
      );
    }
  });

  test("REQ-5c: the error leaves from the external address, be its sender the host or a router before it", () => {
    const { lab, port } = contended();
    for (const sender of [LAN_HOST, LAN_HOST_2]) {
      const delivered = datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP);
      const sent = datagram(`${REMOTE}:9000 > ${OUTSIDE}:${port}`, HOP);
      expect(lab.from(sender, icmpError(`${sender} > ${REMOTE}`, 11, 0, delivered))).toEqual(
        forwarded(REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, 11, 0, sent, HOP)),
      );
    }
  });

  test("REQ-6: an error neither ends nor refreshes the session that it is about", () => {
    const lab = natLab();
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77));
    const error = icmpError(`${REMOTE_2} > ${OUTSIDE}`, 11, 0, query(`${OUTSIDE} > ${REMOTE}`, 77, HOP));
    const delivered = icmpError(`${REMOTE_2} > ${WORK_HOST}`, 11, 0, query(`${WORK_HOST} > ${REMOTE}`, 77, HOP), HOP);
    for (let i = 0; i < 2; i++) {
      lab.wait(29_999);
      expect(lab.from(REMOTE_2, error)).toEqual(forwarded(WORK_HOST, delivered));
    }
    lab.wait(2_000);
    expect(lab.from(REMOTE_2, error)).toEqual(ORPHAN);
    expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 77, ECHO_REPLY))).toEqual(dropped("unsolicited"));
  });

  test("REQ-7: an error about a hairpinned packet comes back by the same way", () => {
    const { lab, port } = contended(OPEN);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`));
    const delivered = datagram(`${OUTSIDE}:${port} > ${WORK_HOST}:5000`, TWO_HOPS);
    const sent = datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`, TWO_HOPS);
    for (const [type, code] of [
      [3, 3],
      [3, 13],
      [11, 1],
    ]) {
      expect(lab.from(WORK_HOST, icmpError(`${WORK_HOST} > ${OUTSIDE}`, type, code, delivered))).toEqual(
        forwarded(LAN_HOST, icmpError(`${OUTSIDE} > ${LAN_HOST}`, type, code, sent, TWO_HOPS)),
      );
    }
  });

  test("REQ-7a: it goes to the sender of the quoted packet, also when that is the other client", () => {
    const { lab, port } = contended(OPEN);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:${port}`));
    const delivered = datagram(`${OUTSIDE}:5000 > ${LAN_HOST}:5000`, TWO_HOPS);
    const sent = datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:${port}`, TWO_HOPS);
    expect(lab.from(LAN_HOST, icmpError(`${LAN_HOST} > ${OUTSIDE}`, 3, 3, delivered))).toEqual(
      forwarded(WORK_HOST, icmpError(`${OUTSIDE} > ${WORK_HOST}`, 3, 3, sent, TWO_HOPS)),
    );
  });

  test("REQ-8: a client whose packet gets no session is told that it is prohibited, for whichever reason", () => {
    const first = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`);
    const second = datagram(`${WORK_HOST}:5001 > ${REMOTE}:9000`);
    for (const [work, reason] of [
      ["max_flows = 1", "client has its quota of flows"],
      ["max_mappings = 1", "client has its quota of mappings"],
      ["flows_per_second = 1", "client opens flows too fast"],
    ]) {
      const lab = natLab({ work });
      lab.from(WORK_HOST, first);
      lab.from(REMOTE, datagram(`${REMOTE}:9000 > ${OUTSIDE}:5000`)); // an answered one does not make room
      expect(lab.from(WORK_HOST, second)).toEqual(prohibited(reason, second));
    }
    const rules = natLab({ work: 'rules = ["action=drop proto=udp dstports=9000"]' });
    expect(rules.from(WORK_HOST, first)).toEqual(prohibited("refused by rules", first));

    const ports = natLab({ sections: '[[forward]]\nproto = "udp"\nport = "1-65535"\nto = "192.168.1.99"' });
    expect(ports.from(WORK_HOST, first)).toEqual(prohibited("no free port", first));

    const gre = natLab();
    gre.from(LAN_HOST, ipv4({ source: LAN_HOST, destination: REMOTE }, GRE, payload(40)));
    const tunnel = ipv4({ source: WORK_HOST, destination: REMOTE }, GRE, payload(40));
    expect(gre.from(WORK_HOST, tunnel)).toEqual(prohibited("no free port", tunnel));
  });

  test("REQ-9: errors are sent out of every interface: there is no policy against it", () => {
    expect(configErrors({ work: "icmp_errors = false" })).toEqual([
      expect.stringMatching(/^client "work": unknown key "icmp_errors" /),
    ]);
    const { lab } = contended();
    const packet = datagram(`${REMOTE}:9000 > ${OUTSIDE}:5000`, { ttl: 1 });
    expect(lab.from(REMOTE, packet)).toEqual(
      refused("TTL exceeded", REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, 11, 0, packet)),
    );
  });

  test("REQ-10a1: what is too big and has DF is answered with the next hop's MTU, in both directions", () => {
    const lab = natLab({ mtu: { uplink: 1400, lan: 1300 } });
    const out = datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`, {}, payload(1373));
    const fragmentationNeeded = (from: string, to: string, packet: Uint8Array, mtu: number) =>
      refused(
        "larger than the egress MTU",
        to,
        icmpError(`${from} > ${to}`, 3, 4, packet.subarray(0, 548), { rest: mtu }),
      );
    expect(lab.from(LAN_HOST, out)).toEqual(fragmentationNeeded(LAN_GATEWAY, LAN_HOST, out, 1400));
    const back = datagram(`${REMOTE}:9000 > ${OUTSIDE}:5000`, {}, payload(1273));
    expect(lab.from(REMOTE, back)).toEqual(fragmentationNeeded(OUTSIDE, REMOTE, back, 1300));
  });

  test("REQ-10a1: what is too big for the other half of a hairpin is answered too", () => {
    const lab = natLab({ lan: 'filtering = "endpoint-independent"', mtu: { lan: 1300 } });
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:6000 > ${REMOTE}:9000`));
    const packet = (fields: { ttl?: number }) =>
      datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:6000`, fields, payload(1300)).subarray(0, 548);
    const whole = datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:6000`, {}, payload(1300));
    expect(lab.from(WORK_HOST, whole)).toEqual(
      refused(
        "larger than the egress MTU",
        WORK_HOST,
        icmpError(`${OUTSIDE} > ${WORK_HOST}`, 3, 4, packet(HOP), { rest: 1300, ...HOP }),
      ),
    );
  });

  test("REQ-10a2: a packet whose TTL ends here is answered with time exceeded, in both directions", () => {
    const { lab } = contended();
    const out = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, { ttl: 1 });
    expect(lab.from(WORK_HOST, out)).toEqual(
      refused("TTL exceeded", WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 11, 0, out)),
    );
    const fresh = datagram(`${WORK_HOST}:33434 > ${REMOTE_2}:33434`, { ttl: 1 });
    expect(lab.from(WORK_HOST, fresh)).toEqual(
      refused("TTL exceeded", WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 11, 0, fresh)),
    );
    const back = datagram(`${REMOTE}:9000 > ${OUTSIDE}:5000`, { ttl: 1 });
    expect(lab.from(REMOTE, back)).toEqual(
      refused("TTL exceeded", REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, 11, 0, back)),
    );
  });

  test("REQ-10a2: a packet whose TTL ends half way through a hairpin is answered too", () => {
    const { lab } = contended(OPEN);
    const hairpin = (ttl: number) => datagram(`${LAN_HOST}:5000 > ${OUTSIDE}:5000`, { ttl });
    expect(lab.from(LAN_HOST, hairpin(3)).verdict).toBe("forwarded");
    expect(lab.from(LAN_HOST, hairpin(2))).toEqual(
      refused("TTL exceeded", LAN_HOST, icmpError(`${OUTSIDE} > ${LAN_HOST}`, 11, 0, hairpin(1), HOP)),
    );
    expect(lab.from(LAN_HOST, hairpin(1))).toEqual(
      refused("TTL exceeded", LAN_HOST, icmpError(`${LAN_GATEWAY} > ${LAN_HOST}`, 11, 0, hairpin(1))),
    );
  });

  test("REQ-10a3: echo requests to the firewall's own addresses are answered", () => {
    const lab = natLab();
    for (const [host, own] of [
      [REMOTE, OUTSIDE],
      [WORK_HOST, WORK_GATEWAY],
      [WORK_HOST, OUTSIDE],
      [LAN_HOST, LAN_GATEWAY],
    ]) {
      expect(lab.from(host, query(`${host} > ${own}`, 9))).toEqual(
        answered(host, query(`${own} > ${host}`, 9, ECHO_REPLY)),
      );
    }
  });

  test("REQ-10b1: redirects are neither sent nor let through", () => {
    const { lab, port } = contended();
    const quoted = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP);
    expect(lab.from(REMOTE, icmpError(`192.0.2.1 > ${OUTSIDE}`, 5, 1, quoted))).toEqual(
      dropped("ICMP type not handled"),
    );
    // The next hop is on the interface that the packet came in on: a client's way to another host of its own network.
    expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${LAN_HOST_2}:9000`)).sent).toEqual([]);
  });

  test("REQ-10b2: timestamp requests pass like any query, and are not answered by the firewall", () => {
    const lab = natLab();
    expect(lab.from(REMOTE, query(`${REMOTE} > ${OUTSIDE}`, 9, TIMESTAMP))).toEqual(dropped("unsolicited"));
    expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${WORK_GATEWAY}`, 9, TIMESTAMP))).toEqual(
      dropped("to the firewall itself"),
    );
    expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 9, TIMESTAMP)).verdict).toBe("forwarded");
  });

  test("REQ-10b3: packets with a source route are dropped, and so are errors that quote one", () => {
    const { lab, port } = contended();
    for (const options of ["83070408080808 00", "89070408080808 00"].map(fromHex)) {
      const routed = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, { options });
      expect(lab.from(WORK_HOST, routed)).toEqual(dropped("malformed ipv4: source route"));
      const delivered = datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, { ...HOP, options });
      expect(lab.from(LAN_HOST, icmpError(`${LAN_HOST} > ${REMOTE}`, 3, 3, delivered))).toEqual(
        dropped("malformed ipv4: source route"),
      );
      const left = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, { ...HOP, options });
      expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, left))).toEqual(
        dropped("malformed ipv4: source route"),
      );
    }
  });

  test("REQ-10b4: address mask requests and replies are dropped", () => {
    const lab = natLab();
    for (const type of [17, 18]) expectDroppedBothWays(lab, { type });
  });

  test("REQ-10b5: parameter problems are translated like other errors; bad options are dropped without one", () => {
    const { lab, port } = contended();
    const left = datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`, HOP);
    const sent = datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`, HOP);
    const pointer = { rest: 0x14000000 };
    expect(lab.from(REMOTE_2, icmpError(`${REMOTE_2} > ${OUTSIDE}`, 12, 0, left, pointer))).toEqual(
      forwarded(LAN_HOST, icmpError(`${REMOTE_2} > ${LAN_HOST}`, 12, 0, sent, { ...HOP, ...pointer })),
    );
    const bad = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, { options: fromHex("44 30 05 00") });
    expect(lab.from(WORK_HOST, bad)).toEqual(dropped("malformed ipv4: options"));
  });

  test("REQ-10b6: router advertisements and solicitations are dropped", () => {
    const lab = natLab();
    for (const type of [9, 10]) expectDroppedBothWays(lab, { type });
  });

  test("REQ-10c1: source quench is neither sent nor let through", () => {
    const lab = natLab();
    expectDroppedBothWays(lab, { type: 4 });
  });

  test("REQ-10c2: information requests and replies are dropped", () => {
    const lab = natLab();
    for (const type of [15, 16]) expectDroppedBothWays(lab, { type });
  });

  test("REQ-10d: an error has the diffserv class of the packet that it is about, and no ECN bits", () => {
    const lab = natLab();
    for (const [tos, expected] of [
      [0x00, 0x00],
      [0xb8, 0xb8],
      [0x29, 0x28],
      [0xff, 0xfc],
    ]) {
      const packet = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, { tos, ttl: 1 });
      expect(lab.from(WORK_HOST, packet)).toEqual(
        refused(
          "TTL exceeded",
          WORK_HOST,
          icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 11, 0, packet, { tos: expected }),
        ),
      );
    }
  });

  test("REQ-10e: no error is sent about errors, later fragments, groups and broadcasts, or from nobody's address", () => {
    const { lab, port } = contended();
    const ttl = { ttl: 1 };
    const silent = [
      [REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, datagram(`${OUTSIDE}:${port} > ${REMOTE}:9000`), ttl)],
      [WORK_HOST, ipv4({ source: WORK_HOST, destination: REMOTE, fragment: 0x2001, ...ttl }, UDP, payload(64))],
      [WORK_HOST, datagram(`${WORK_HOST}:5000 > 224.0.0.251:5353`, ttl)],
      [WORK_HOST, datagram(`${WORK_HOST}:5000 > 255.255.255.255:67`, ttl)],
      [WORK_HOST, datagram(`0.0.0.0:68 > ${REMOTE}:67`, ttl)],
      [WORK_HOST, datagram(`127.0.0.1:68 > ${REMOTE}:67`, ttl)],
      [WORK_HOST, datagram(`240.0.0.1:68 > ${REMOTE}:67`, ttl)],
    ] as const;
    for (const [from, packet] of silent) expect(lab.from(from, packet).sent).toEqual([]);
    const group = ethernet(
      HOST_MAC[WORK_HOST],
      "ff:ff:ff:ff:ff:ff",
      IPV4_TYPE,
      datagram(`${WORK_HOST}:1 > ${REMOTE}:2`, ttl),
    );
    expect(lab.receive(WORK, group).sent).toEqual([]);
  });

  test("REQ-10f: errors to one client are limited: fifty at once, a hundred a second, and others get theirs", () => {
    const lab = natLab();
    const expired = (host: string) => lab.from(host, datagram(`${host}:5000 > ${REMOTE}:9000`, { ttl: 1 })).sent.length;
    const many = (count: number) => Array.from({ length: count }, () => expired(WORK_HOST)).filter((sent) => sent > 0);
    expect(many(60).length).toBe(50);
    expect(expired(LAN_HOST)).toBe(1);
    lab.wait(100);
    expect(many(60).length).toBe(10);
    lab.wait(10_000);
    expect(many(60).length).toBe(50);
  });

  test("REQ-11: messages that are neither query nor error are dropped", () => {
    const lab = natLab();
    for (const type of [1, 2, 6, 7, 19, 30, 31, 37, 40, 41, 42, 200, 253]) expectDroppedBothWays(lab, { type });
  });
});

function expectDroppedBothWays(lab: Lab, fields: { readonly type: number }): void {
  const content = payload(28);
  for (const [from, source, destination] of [
    [WORK_HOST, WORK_HOST, REMOTE],
    [WORK_HOST, WORK_HOST, WORK_GATEWAY],
    [REMOTE, REMOTE, OUTSIDE],
  ]) {
    expect(lab.from(from, icmp({ ...fields, source, destination }, content))).toEqual(dropped("ICMP type not handled"));
  }
}
