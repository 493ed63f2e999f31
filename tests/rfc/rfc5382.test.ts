// RFC 5382, "NAT Behavioral Requirements for TCP": a test or more for each requirement, by its name in docs/NAT.md.
import { describe, expect, test } from "bun:test";
import { payload } from "../../lab/frames.ts";
import {
  dropped,
  forwarded,
  LAN_HOST,
  type Lab,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  shownTo,
  WORK_HOST,
} from "../../lab/router-lab.ts";
import { Conversation, follow, HANDSHAKE } from "../support/conversation.ts";
import { configErrors, HOP, icmpError, type NatOptions, natLab, segment, sentPort, TWO_HOPS } from "../support/nat.ts";

const OPEN = { work: 'filtering = "endpoint-independent"' };
const FORWARD = { sections: '[[forward]]\nproto = "tcp"\nport = 8443\nto = "work"\nto_port = 443' };

function connect(options: NatOptions = {}, steps = HANDSHAKE): Conversation {
  const conversation = new Conversation(natLab(options));
  follow(conversation, steps);
  return conversation;
}

function expectUnsolicited(lab: Lab, ends: string, flags = "S"): void {
  expect(lab.from(REMOTE, segment(ends, flags))).toEqual(dropped("unsolicited"));
}

/** @returns a lab in which two hosts connect from port 40000, and the external port that the host of "lan" got for it */
function contended(options: NatOptions = {}): { lab: Lab; port: number } {
  const { lab } = connect(options);
  lab.from(LAN_HOST, segment(`${LAN_HOST}:40000 > ${REMOTE}:443`, "S", { sequence: 1000 }));
  return { lab, port: sentPort(lab) };
}

describe("RFC 5382", () => {
  test("REQ-1: one external port serves every remote, kept or not", () => {
    const { lab, port } = contended();
    expect(port).not.toBe(40000);
    for (const remote of [`${REMOTE}:80`, `${REMOTE_2}:443`, "198.51.100.8:22"]) {
      expect(lab.from(WORK_HOST, segment(`${WORK_HOST}:40000 > ${remote}`, "S"))).toEqual(
        forwarded(REMOTE, segment(`${OUTSIDE}:40000 > ${remote}`, "S", HOP)),
      );
      expect(lab.from(LAN_HOST, segment(`${LAN_HOST}:40000 > ${remote}`, "S"))).toEqual(
        forwarded(REMOTE, segment(`${OUTSIDE}:${port} > ${remote}`, "S", HOP)),
      );
    }
  });

  test("REQ-1: an endpoint to which a port is forwarded leaves from that port", () => {
    const lab = natLab(FORWARD);
    follow(new Conversation(lab, 443, 80, 8443), HANDSHAKE);
    follow(new Conversation(lab, 443, 81, 8443), HANDSHAKE);
  });

  test("REQ-2: a connection opened from inside passes, with every segment of its life", () => {
    connect({}, [
      ["client", "S", 1000, 0],
      ["client", "S", 1000, 0], // again
      ["remote", "S.", 5000, 1001],
      ["remote", "S.", 5000, 1001],
      ["client", ".", 1001, 5001],
      ["client", "P.", 1001, 5001, 100],
      ["client", "P.", 1101, 5001, 100],
      ["client", "P.", 1001, 5001, 100], // the first was lost
      ["remote", ".", 5001, 1201],
      ["remote", "P.U", 5001, 1201, 1400],
      ["client", ".", 1201, 6401],
      ["client", ".", 1200, 6401, 1], // keep-alive (RFC 1122 section 4.2.3.6), with and without its byte
      ["client", ".", 1200, 6401],
      ["remote", ".", 6401, 1201],
      ["client", "F.", 1201, 6401], // half closed: the remote goes on
      ["remote", ".", 6401, 1202],
      ["remote", "P.", 6401, 1202, 1400],
      ["client", ".", 1202, 7801],
      ["remote", "FP.", 7801, 1202, 10],
      ["client", ".", 1202, 7812],
      ["remote", "FP.", 7801, 1202, 10], // the acknowledgment was lost
      ["client", ".", 1202, 7812],
      ["client", "S", 90000, 0], // the same ports once more
      ["remote", "S.", 70000, 90001],
      ["client", ".", 90001, 70001],
      ["remote", "R.", 70001, 90001],
    ]);
  });

  test("REQ-2: a connection opened from outside passes where it is permitted", () => {
    const lab = natLab(FORWARD);
    lab.from(WORK_HOST, segment(`${WORK_HOST}:1 > ${REMOTE}:1`, "S")); // so that its MAC address is known
    follow(new Conversation(lab, 443, 50000, 8443), [
      ["remote", "S", 5000, 0],
      ["client", "S.", 1000, 5001],
      ["remote", ".", 5001, 1001],
      ["remote", "P.", 5001, 1001, 300],
      ["client", "P.", 1001, 5301, 1000],
      ["remote", "F.", 5301, 2001],
      ["client", ".", 2001, 5302],
      ["client", "F.", 2001, 5302],
      ["remote", ".", 5302, 2002],
    ]);
  });

  test("REQ-2: data in a SYN passes, accepted or not", () => {
    connect({}, [
      ["client", "S", 1000, 0, 200],
      ["remote", "S.", 5000, 1001],
      ["client", "P.", 1001, 5001, 200],
      ["remote", ".", 5001, 1201],
    ]);
    connect({}, [
      ["client", "S", 1000, 0, 200],
      ["remote", "S.", 5000, 1201],
      ["remote", "P.", 5001, 1201, 500],
      ["client", ".", 1201, 5501],
    ]);
  });

  test("REQ-2: a refusal passes, and so does the next attempt", () => {
    connect({}, [
      ["client", "S", 1000, 0],
      ["remote", "R.", 0, 1001],
      ["client", "S", 2000, 0],
      ["remote", "S.", 5000, 2001],
      ["client", ".", 2001, 5001],
    ]);
  });

  test("REQ-2: a connection that only the remote still has is discovered and reset (RFC 9293 section 3.5.1)", () => {
    connect({}, [
      ["client", "S", 1000, 0],
      ["remote", ".", 300_000, 700_000],
      ["client", "R", 700_000, 0],
      ["client", "S", 1000, 0],
      ["remote", "S.", 5000, 1001],
      ["client", ".", 1001, 5001],
    ]);
  });

  test("REQ-2: a connection that only the client has lost is discovered and reset too", () => {
    connect({}, [
      ...HANDSHAKE,
      ["client", "S", 800_000, 0],
      ["remote", ".", 5001, 1001],
      ["client", "R", 1001, 0],
      ["client", "S", 800_000, 0],
      ["remote", "S.", 9000, 800_001],
      ["client", ".", 800_001, 9001],
    ]);
  });

  test("REQ-2a: simultaneous open passes", () => {
    connect({}, [
      ["client", "S", 1000, 0],
      ["remote", "S", 5000, 0],
      ["client", "S.", 1000, 5001],
      ["remote", "S.", 5000, 1001],
      ["client", ".", 1001, 5001],
      ["client", "P.", 1001, 5001, 100],
      ["remote", "P.", 5001, 1101, 100],
    ]);
  });

  test("REQ-3: only the remote address and port that the client connects to may send a SYN", () => {
    const conversation = connect({}, [["client", "S", 1000, 0]]);
    expectUnsolicited(conversation.lab, `${REMOTE}:444 > ${OUTSIDE}:40000`);
    expectUnsolicited(conversation.lab, `${REMOTE_2}:443 > ${OUTSIDE}:40000`);
    follow(conversation, [["remote", "S", 5000, 0]]);
  });

  test("REQ-3a: a client may be configured for endpoint-independent filtering", () => {
    const { lab } = connect(OPEN);
    follow(new Conversation(lab, 40000, 7777), [
      ["remote", "S", 5000, 0],
      ["client", "S.", 1000, 5001],
      ["remote", ".", 5001, 1001],
    ]);
    expectUnsolicited(lab, `${REMOTE}:7777 > ${OUTSIDE}:40001`);
  });

  test("REQ-3a: connections from outside that overlap do not keep a mapping open to others when the client's own is over", () => {
    const { lab } = connect(OPEN, [...HANDSHAKE, ["client", "R", 1001, 0]]);
    const visit = (port: number) => lab.from(REMOTE, segment(`${REMOTE}:${port} > ${OUTSIDE}:40000`, "S")).verdict;
    let sessions = 0;
    for (; sessions < 60 && visit(9000 + sessions) === "forwarded"; sessions++) lab.wait(100_000);
    expect(sessions).toBe(3);
  });

  test("REQ-3b: the filtering of TCP and UDP is configured together", () => {
    expect(configErrors({ work: 'filtering_tcp = "endpoint-independent"' })).toEqual([
      expect.stringMatching(/^client "work": unknown key "filtering_tcp" /),
    ]);
  });

  test("REQ-4: nothing is said to an unsolicited SYN, and the client's own opens the connection all the same", () => {
    const lab = natLab();
    expectUnsolicited(lab, `${REMOTE}:443 > ${OUTSIDE}:40000`);
    expect(lab.wait(3_000)).toEqual([]);
    const conversation = new Conversation(lab);
    follow(conversation, [["client", "S", 1000, 0]]);
    expect(lab.wait(4_000)).toEqual([]);
    follow(conversation, [
      ["remote", "S", 5000, 0],
      ["client", "S.", 1000, 5001],
      ["remote", "S.", 5000, 1001],
    ]);
  });

  test("REQ-4a: an unsolicited SYN is dropped in silence, which is the firewall's policy", () => {
    const lab = natLab();
    expectUnsolicited(lab, `${REMOTE}:443 > ${OUTSIDE}:40000`);
    expect(lab.wait(10_000)).toEqual([]);
  });

  test("REQ-5: an established connection lasts 2 h 4 min without traffic", () => {
    const conversation = connect();
    conversation.lab.wait(7_439_999);
    follow(conversation, [["remote", ".", 5001, 1001]]);
    conversation.lab.wait(7_442_000);
    expectUnsolicited(conversation.lab, `${REMOTE}:443 > ${OUTSIDE}:40000`, ".");
  });

  test("REQ-5: a connection that one end has closed is established still", () => {
    const fromClient = connect({}, [...HANDSHAKE, ["client", "F.", 1001, 5001], ["remote", ".", 5001, 1002]]);
    fromClient.lab.wait(7_439_999);
    follow(fromClient, [["remote", "P.", 5001, 1002, 100]]);
    const fromRemote = connect({}, [...HANDSHAKE, ["remote", "F.", 5001, 1001], ["client", ".", 1001, 5002]]);
    fromRemote.lab.wait(7_439_999);
    follow(fromRemote, [["client", "P.", 1001, 5002, 100]]);
  });

  test("REQ-5: an opening or closing connection lasts four minutes without traffic", () => {
    const opening = connect({}, [["client", "S", 1000, 0]]);
    opening.lab.wait(239_999);
    follow(opening, [["remote", "S.", 5000, 1001]]);
    opening.lab.wait(239_999);
    follow(opening, [["client", ".", 1001, 5001]]);

    const closing = connect({}, [...HANDSHAKE, ["client", "F.", 1001, 5001], ["remote", "F.", 5001, 1002]]);
    closing.lab.wait(239_999);
    follow(closing, [["client", ".", 1002, 5002]]);
    closing.lab.wait(242_000);
    expectUnsolicited(closing.lab, `${REMOTE}:443 > ${OUTSIDE}:40000`, "F.");
  });

  test("REQ-5a: the timeouts are configurable", () => {
    const timeouts = '[nat.timeouts]\ntcp_established = "2h10m"\ntcp_opening = "5m"';
    const established = connect({ sections: timeouts });
    established.lab.wait(7_799_999);
    follow(established, [["remote", ".", 5001, 1001]]);
    const opening = connect({ sections: timeouts }, [["client", "S", 1000, 0]]);
    opening.lab.wait(299_999);
    follow(opening, [["remote", "S.", 5000, 1001]]);
    expect(configErrors({ sections: "[nat.timeouts]\ntcp_established = 7439" })).toEqual([
      'nat.timeouts: tcp_established 7439 is shorter than 2h4m, the least by RFC 5382 REQ-5 (write tcp_established = "2h4m")',
    ]);
  });

  test("REQ-6: there is no ALG: FTP's PORT arrives as sent, and the connection that it asks for is refused", () => {
    const ftp = new Conversation(natLab(), 40000, 21);
    follow(ftp, HANDSHAKE);
    const command = new TextEncoder().encode("PORT 10,137,0,10,200,1\r\n");
    expect(ftp.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, command)).toBe("forwarded");
    expectUnsolicited(ftp.lab, `${REMOTE}:20 > ${OUTSIDE}:51201`);
  });

  test("REQ-7: two hosts with one port have two external ports, and each its own connection", () => {
    const { lab, port } = contended();
    expect(port).not.toBe(40000);
    follow(new Conversation(lab, 40000, 443, port, LAN_HOST), HANDSHAKE);
    follow(new Conversation(lab), [["remote", "P.", 5001, 1001, 100]]);
  });

  test("REQ-8: a client reaches another's mapping, and a forwarded port, at the external address", () => {
    const { lab } = connect({ ...OPEN, ...FORWARD });
    for (const [external, internal] of [
      [`${OUTSIDE}:40000`, `${WORK_HOST}:40000`],
      [`${OUTSIDE}:8443`, `${WORK_HOST}:443`],
    ]) {
      const there = [LAN_HOST, `${LAN_HOST}:6000 > ${external}`, WORK_HOST, `${OUTSIDE}:6000 > ${internal}`] as const;
      const back = [WORK_HOST, `${internal} > ${OUTSIDE}:6000`, LAN_HOST, `${external} > ${LAN_HOST}:6000`] as const;
      for (const [[from, sent, to, arrives], flags, sequence, acknowledgment] of [
        [there, "S", 100, 0],
        [back, "S.", 900, 101],
        [there, ".", 101, 901],
        [back, "P.", 901, 101],
        [there, "F.", 101, 901],
      ] as const) {
        const fields = { sequence, acknowledgment };
        expect(lab.from(from, segment(sent, flags, fields))).toEqual(
          forwarded(to, segment(arrives, flags, { ...fields, ...TWO_HOPS })),
        );
      }
    }
  });

  test("REQ-8a: a hairpinned SYN has the external source address and port", () => {
    const { lab, port } = contended(OPEN);
    expect(lab.from(LAN_HOST, segment(`${LAN_HOST}:40000 > ${OUTSIDE}:40000`, "S"))).toEqual(
      forwarded(WORK_HOST, segment(`${OUTSIDE}:${port} > ${WORK_HOST}:40000`, "S", TWO_HOPS)),
    );
  });

  test("REQ-9: destination unreachable is translated, whatever its code", () => {
    const { lab } = connect();
    const lost = { sequence: 1001, acknowledgment: 5001 };
    const sent = segment(`${WORK_HOST}:40000 > ${REMOTE}:443`, "P.", lost, payload(1420));
    lab.from(WORK_HOST, sent);
    const left = segment(`${OUTSIDE}:40000 > ${REMOTE}:443`, "P.", lost, payload(1420));
    for (let code = 0; code < 16; code++) {
      const mtu = { rest: code === 4 ? 1400 : 0 };
      for (const quoted of [28, 40, 140]) {
        const error = icmpError(`${REMOTE_2} > ${OUTSIDE}`, 3, code, left.subarray(0, quoted), mtu);
        expect(lab.from(REMOTE_2, error).sent).toEqual([
          shownTo(
            WORK_HOST,
            icmpError(`${REMOTE_2} > ${WORK_HOST}`, 3, code, sent.subarray(0, quoted), { ...HOP, ...mtu }),
          ),
        ]);
      }
    }
  });

  test("REQ-10: no ICMP message ends a mapping or a connection", () => {
    for (const [steps, next] of [
      [HANDSHAKE.slice(0, 1), ["remote", "S.", 5000, 1001]],
      [HANDSHAKE, ["remote", ".", 5001, 1001]],
    ] as const) {
      const conversation = connect({}, steps);
      const quoted = segment(`${OUTSIDE}:40000 > ${REMOTE}:443`, "S", { sequence: 1000 });
      for (let type = 0; type < 48; type++) {
        for (let code = 0; code < 16; code++) {
          conversation.lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, type, code, quoted));
        }
      }
      follow(conversation, [next]);
    }
  });
});
