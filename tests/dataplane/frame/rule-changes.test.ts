// New rules for a client with many flows: nothing of a refused flow passes once the call has returned, whenever its turn to be
// looked at comes; clients are told of connections that are cut.
import { describe, expect, test } from "bun:test";
import { fragmented, icmp, ip, payload, tcp, udp } from "../../../lab/frames.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import {
  ANYTHING,
  arpReply,
  dropped,
  forwarded,
  frameFrom,
  GATEWAY,
  LAN_HOST,
  LAN_SETTINGS,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  shownTo,
  UPLINK,
  WORK,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../../lab/router-lab.ts";
import type { Match } from "../../../src/dataplane/rules/match.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings } from "../../../src/dataplane/settings.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { Conversation } from "../../support/conversation.ts";
import { datagram, HOP } from "../../support/nat.ts";

const OUT = `${WORK_HOST}:4000 > ${REMOTE}:5000`;
const OUT_OUTSIDE = `${OUTSIDE}:4000 > ${REMOTE}:5000`;
const BACK = `${REMOTE}:5000 > ${OUTSIDE}:4000`;
const BACK_INSIDE = `${REMOTE}:5000 > ${WORK_HOST}:4000`;

test("an ICMP error about a flow that new rules refuse does not pass either, before the flow has been looked at", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, datagram(OUT));
  lab.from(REMOTE, datagram(BACK));
  change(lab, []);
  const unreachable = { type: 3, code: 3 };
  const fromClient = icmp({ source: WORK_HOST, destination: REMOTE, ...unreachable }, datagram(BACK_INSIDE));
  const fromUplink = icmp({ source: REMOTE, destination: OUTSIDE, ...unreachable }, datagram(OUT_OUTSIDE));
  expect(lab.from(WORK_HOST, fromClient)).toEqual(dropped("ICMP error that belongs to no flow"));
  expect(lab.from(REMOTE, fromUplink)).toEqual(dropped("ICMP error that belongs to no flow"));
});

function workWith(matches: readonly Match[], accept: boolean): ClientSettings {
  return { ...WORK_SETTINGS, ruleset: compileRuleset(matches, accept) };
}

/** Gives "work" other rules. @returns what was sent at that */
function change(lab: Lab, matches: readonly Match[], accept = false): string[] {
  return lab.command((router) => router.setClient(0, workWith(matches, accept)));
}

/** Lets the sweep go on until all flows have been looked at. @returns what was sent meanwhile */
function sweep(lab: Lab): string[] {
  const sent: string[] = [];
  while (lab.router.isBusy) sent.push(...lab.leap(0));
  return sent;
}

/** UDP to these ports. */
function ports(portLow: number, portHigh: number, rule = 1, accept = true): Match {
  return { ...ANYTHING, rule, accept, protocol: UDP, portLow, portHigh };
}

/** A lab with many flows of "work"'s: ports of its own, each to the same ports of a remote. Frames are changed in place. */
class Crowd {
  static readonly OWN_PORTS = 5;
  static readonly PORTS = 10_000;
  static readonly FIRST_OWN = 2000;
  static readonly FIRST = 10_000;
  readonly lab = new Lab({ settings: { ...SETTINGS, nat: { ...SETTINGS.nat, maxFlows: 65536 } } });
  private readonly out = frameFrom(WORK_HOST, withoutChecksum(WORK_HOST, REMOTE));
  private readonly back = frameFrom(REMOTE, withoutChecksum(REMOTE, OUTSIDE));

  constructor() {
    this.lab.from(WORK_HOST, datagram(OUT)); // the gateway's and the client's MAC addresses are known from here on
    this.each((own, port) => this.send(own, port));
  }

  static get size(): number {
    return Crowd.OWN_PORTS * Crowd.PORTS;
  }

  each(visit: (own: number, port: number) => void): void {
    for (let own = 0; own < Crowd.OWN_PORTS; own++) {
      for (let port = 0; port < Crowd.PORTS; port++) visit(Crowd.FIRST_OWN + own, Crowd.FIRST + port);
    }
  }

  /** The client sends. @returns the verdict */
  send(own: number, port: number): number {
    return this.receive(WORK, this.out, own, port);
  }

  /** The remote answers. @returns the verdict */
  answer(own: number, port: number): number {
    return this.receive(UPLINK, this.back, port, own);
  }

  private receive(iface: number, frame: Uint8Array, source: number, destination: number): number {
    new DataView(frame.buffer).setUint32(34, source * 65536 + destination);
    const verdict = this.lab.router.receive(iface, this.lab.ring.put(frame), frame.length);
    this.lab.ring.takeSent();
    return verdict;
  }
}

/** A datagram that says of its checksum that there is none. */
function withoutChecksum(source: string, destination: string): Uint8Array {
  const packet = udp({ source, destination, sourcePort: 1, destinationPort: 1 }, payload(4));
  packet.fill(0, 26, 28);
  return packet;
}

describe("new rules for a client with 50 000 flows", () => {
  const LAST_ALLOWED = Crowd.FIRST + Crowd.PORTS / 2 - 1;
  const ALLOWED = [ports(Crowd.FIRST, LAST_ALLOWED, 9), ports(5000, 5000)];

  test("let no packet of a refused flow pass once they are given, in either direction", () => {
    const crowd = new Crowd();
    expect(crowd.lab.router.flows.size).toBe(Crowd.size + 1);
    change(crowd.lab, ALLOWED);
    const wrong: string[] = [];
    crowd.each((own, port) => {
      const isAllowed = port <= LAST_ALLOWED;
      // Either end may be the first to send.
      const verdicts = port % 2 === 0 ? [crowd.send(own, port), crowd.answer(own, port)] : [crowd.answer(own, port)];
      const expected = isAllowed
        ? [VERDICT.FORWARDED, VERDICT.FORWARDED]
        : port % 2 === 0
          ? [VERDICT.REFUSED, VERDICT.UNSOLICITED]
          : [VERDICT.UNSOLICITED];
      if (verdicts.some((verdict, i) => verdict !== expected[i])) wrong.push(`${own} ${port}: ${verdicts}`);
    });
    expect(wrong).toEqual([]);
    expect(crowd.lab.router.flows.size).toBe(Crowd.size / 2 + 1);
  });

  test("end the flows that have no next packet too, some in each batch", () => {
    const crowd = new Crowd();
    const { router } = crowd.lab;
    change(crowd.lab, ALLOWED);
    expect([router.flows.size, router.isBusy]).toEqual([Crowd.size + 1, true]);
    const ended: number[] = [];
    while (router.isBusy) {
      const before = router.flows.size;
      router.advance(crowd.lab.now);
      ended.push(before - router.flows.size);
    }
    expect(ended.length).toBeLessThanOrEqual(128);
    expect(Math.max(...ended)).toBeLessThanOrEqual(1024);
    expect(router.flows.size).toBe(Crowd.size / 2 + 1);
    expect(crowd.lab.ring.takeSent()).toEqual([]);
  });

  test("are all that a packet is judged by, whichever came before and however far a sweep is", () => {
    const crowd = new Crowd();
    const { router } = crowd.lab;
    const random = new Random(3);
    let [low, high] = [Crowd.FIRST, Crowd.FIRST + Crowd.PORTS];
    const wrong: string[] = [];
    for (let i = 0; i < 100_000; i++) {
      if (random.chance(0.002)) {
        [low, high] = [0, 0].map(() => Crowd.FIRST + random.below(Crowd.PORTS)).sort();
        change(crowd.lab, [ports(low, high)]);
      }
      if (random.chance(0.01)) router.advance(crowd.lab.now);
      const own = Crowd.FIRST_OWN + random.below(Crowd.OWN_PORTS);
      const port = Crowd.FIRST + random.below(Crowd.PORTS);
      const isAllowed = low <= port && port <= high;
      const verdict = random.chance(0.5) ? crowd.send(own, port) : crowd.answer(own, port);
      const isRight = isAllowed
        ? verdict === VERDICT.FORWARDED || verdict === VERDICT.UNSOLICITED
        : verdict === VERDICT.REFUSED || verdict === VERDICT.UNSOLICITED;
      if (!isRight) wrong.push(`${low}-${high} ${own} ${port}: ${verdict}`);
    }
    expect(wrong).toEqual([]);
  });
});

describe("new rules", () => {
  /** A lab in which "work" has a flow. */
  function labWithFlow(): Lab {
    const lab = new Lab();
    expect(lab.from(WORK_HOST, datagram(OUT))).toEqual(forwarded(REMOTE, datagram(OUT_OUTSIDE, HOP)));
    return lab;
  }

  function expectFlow(lab: Lab): void {
    expect(lab.from(REMOTE, datagram(BACK))).toEqual(forwarded(WORK_HOST, datagram(BACK_INSIDE, HOP)));
    expect(lab.from(WORK_HOST, datagram(OUT))).toEqual(forwarded(REMOTE, datagram(OUT_OUTSIDE, HOP)));
  }

  test("that allow a flow leave it as it was, under the number of the rule that does", () => {
    const lab = labWithFlow();
    expect(change(lab, [ports(1, 2, 1), ports(5000, 5000, 7)])).toEqual([]);
    expectFlow(lab);
    expect(lab.router.flows.rule(lab.flow)).toBe(7);
  });

  test("are one client's: the others' flows live on", () => {
    const lab = labWithFlow();
    const lan = { source: LAN_HOST, destination: REMOTE, sourcePort: 4001, destinationPort: 5000 };
    lab.from(LAN_HOST, udp(lan, payload(1)));
    change(lab, []);
    sweep(lab);
    expect(lab.router.flows.size).toBe(1);
    expect(lab.from(REMOTE, datagram(BACK))).toEqual(dropped("unsolicited"));
    expect(lab.from(REMOTE, datagram(`${REMOTE}:5000 > ${OUTSIDE}:4001`))).toEqual(
      forwarded(LAN_HOST, datagram(`${REMOTE}:5000 > ${LAN_HOST}:4001`, HOP)),
    );
  });

  test("come with new settings just so, for several clients at once", () => {
    const lab = labWithFlow();
    const lan = `${LAN_HOST}:4001 > ${REMOTE}:5000`;
    lab.from(LAN_HOST, datagram(lan));
    const refusing = { ...LAN_SETTINGS, ruleset: compileRuleset([], false) };
    lab.apply({ ...SETTINGS, clients: [workWith([ports(5000, 5000)], false), refusing] });
    expect(lab.router.flows.size).toBe(2); // the first sweep is still to come
    expect(lab.from(REMOTE, datagram(`${REMOTE}:5000 > ${OUTSIDE}:4001`))).toEqual(dropped("unsolicited"));
    expectFlow(lab);
    expect(lab.router.flows.size).toBe(1);
  });

  test("are told from those sixteen and more changes ago, without a slice of the sweep between them", () => {
    for (let changes = 1; changes <= 40; changes++) {
      const lab = labWithFlow();
      for (let i = 1; i < changes; i++) change(lab, [ports(5000, 5000, i)]);
      change(lab, []);
      expect(lab.from(REMOTE, datagram(BACK))).toEqual(dropped("unsolicited"));
      expect(lab.from(WORK_HOST, datagram(OUT)).verdict).toBe("dropped: refused by rules");
    }
  });

  test("are told apart also where many came before the first flow", () => {
    for (let changes = 14; changes <= 18; changes++) {
      const lab = new Lab({ answering: [GATEWAY, WORK_HOST] });
      for (let i = 1; i <= changes; i++) change(lab, [ports(5000, 5000, i)]);
      expect(lab.from(WORK_HOST, datagram(OUT)).verdict).toBe("forwarded");
      for (let i = 1; i < 16; i++) change(lab, [ports(5000, 5000, i)]);
      change(lab, []);
      expect(lab.from(REMOTE, datagram(BACK))).toEqual(dropped("unsolicited"));
    }
  });

  test("that refuse a flow and then allow it, before it was looked at, let it live", () => {
    const lab = labWithFlow();
    change(lab, []);
    change(lab, [ports(5000, 5000)]);
    expectFlow(lab);
  });

  test("hold back frames that wait for ARP", () => {
    const lab = new Lab({ answering: [GATEWAY, WORK_HOST] });
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${NEIGHBOUR}:5000`));
    const request = lab.last[0].bytes;
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${NEIGHBOUR}:6000`));
    change(lab, [ports(5000, 5000)]);
    expect(lab.receive(UPLINK, arpReply(NEIGHBOUR, request))).toEqual({
      verdict: "ARP taken",
      sent: [shownTo(NEIGHBOUR, datagram(`${OUTSIDE}:4000 > ${NEIGHBOUR}:5000`, HOP))],
    });
  });

  test("hold back the later fragments of a packet whose first one has passed", () => {
    const lab = labWithFlow();
    const [first, later] = fragmented(datagram(OUT, { identification: 9 }, payload(200)), 104);
    expect(lab.from(WORK_HOST, first).verdict).toBe("forwarded");
    change(lab, []);
    expect(lab.from(WORK_HOST, later)).toEqual(dropped("fragment of a dropped packet"));
  });

  test("leave flows from the uplink to forwarded ports alone", () => {
    const port = { portLow: 8443, portHigh: 8443, client: 0, to: ip(WORK_HOST), toPort: 443, from: [] };
    const lab = new Lab({ settings: { ...SETTINGS, forwards: [{ protocol: UDP, ...port }] } });
    lab.from(WORK_HOST, datagram(OUT));
    const inside = datagram(`${REMOTE}:5000 > ${WORK_HOST}:443`, HOP);
    const question = datagram(`${REMOTE}:5000 > ${OUTSIDE}:8443`);
    expect(lab.from(REMOTE, question)).toEqual(forwarded(WORK_HOST, inside));
    change(lab, []);
    sweep(lab);
    expect(lab.from(WORK_HOST, datagram(`${WORK_HOST}:443 > ${REMOTE}:5000`))).toEqual(
      forwarded(REMOTE, datagram(`${OUTSIDE}:8443 > ${REMOTE}:5000`, HOP)),
    );
  });
});

describe("a TCP connection that new rules refuse", () => {
  /** The RST to the client, with the sequence number that it expects next. */
  function cutAt(sequence: number): string {
    const ends = { source: REMOTE, destination: WORK_HOST, sourcePort: 443, destinationPort: 40000 };
    return shownTo(WORK_HOST, tcp({ ...ends, flags: "R", sequence, window: 0 }));
  }

  /** A connection in which both ends have sent, the remote 100 bytes from 5001 on. */
  function established(): Conversation {
    const talk = new Conversation(new Lab());
    talk.open();
    talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(10));
    talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1011 }, payload(100));
    talk.client({ flags: ".", sequence: 1011, acknowledgment: 5101 });
    return talk;
  }

  test("is cut when it is looked at, and the client is told by a RST that it will believe", () => {
    const { lab } = established();
    expect(change(lab, [])).toEqual([]);
    expect(sweep(lab)).toEqual([cutAt(5101)]);
    expect(lab.router.flows.size).toBe(0);
  });

  test("is cut before the remote's next segment passes", () => {
    const { lab } = established();
    change(lab, []);
    const ends = { source: REMOTE, destination: OUTSIDE, sourcePort: 443, destinationPort: 40000 };
    const segment = tcp({ ...ends, flags: "P.", sequence: 5101, acknowledgment: 1011 }, payload(50));
    expect(lab.from(REMOTE, segment)).toEqual({ verdict: "dropped: unsolicited", sent: [cutAt(5101)] });
    expect(lab.from(REMOTE, segment)).toEqual(dropped("unsolicited"));
  });

  test("is cut before the client's next segment passes", () => {
    const { lab } = established();
    change(lab, []);
    const ends = { source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort: 443 };
    const segment = tcp({ ...ends, flags: "P.", sequence: 1011, acknowledgment: 5101 }, payload(50));
    // What it sent belongs to no connection any more, which is answered as ever.
    expect(lab.from(WORK_HOST, segment)).toEqual({
      verdict: "dropped: TCP without a connection",
      sent: [cutAt(5101), cutAt(5101)],
    });
  });

  test("goes on under rules that allow it; what the client has not acknowledged counts for the RST", () => {
    const talk = established();
    expect(change(talk.lab, [{ ...ANYTHING, protocol: TCP }])).toEqual([]);
    expect(sweep(talk.lab)).toEqual([]);
    expect(talk.remote({ flags: "P.", sequence: 5101, acknowledgment: 1011 }, payload(7))).toBe("forwarded");
    change(talk.lab, []);
    expect(sweep(talk.lab)).toEqual([cutAt(5108)]);
  });
});

describe("under endpoint-independent filtering, new rules that refuse a flow end its mapping too: nothing comes in by it", () => {
  const open = { ...WORK_SETTINGS, openFilter: true };
  const shut: ClientSettings = { ...open, ruleset: compileRuleset([], false) };

  function expectEnded(lab: Lab): void {
    lab.wait(1000);
    for (let i = 0; i < 3; i++) {
      expect(lab.from(REMOTE, datagram(BACK))).toEqual(dropped("unsolicited"));
      expect(lab.from(WORK_HOST, datagram(OUT)).verdict).toBe("dropped: refused by rules");
      lab.wait(100_000);
    }
  }

  test.each([
    ["of one client", (lab: Lab) => lab.command((router) => router.setClient(0, shut))],
    ["of all", (lab: Lab) => lab.apply({ ...SETTINGS, clients: [shut, LAN_SETTINGS] })],
    ["with another layout", (lab: Lab) => lab.apply({ ...SETTINGS, clients: [shut] })],
  ] as [string, (lab: Lab) => void][])("%s", (_, apply) => {
    const lab = new Lab({ settings: { ...SETTINGS, clients: [open, LAN_SETTINGS] } });
    lab.from(WORK_HOST, datagram(OUT));
    expect(lab.from(REMOTE, datagram(BACK)).verdict).toBe("forwarded");
    apply(lab);
    expectEnded(lab);
  });

  test("even where another flow has just left it to linger", () => {
    const lab = new Lab({ settings: { ...SETTINGS, clients: [open, LAN_SETTINGS] } });
    lab.from(WORK_HOST, datagram(OUT));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${REMOTE}:5001`));
    lab.wait(20_000);
    lab.from(WORK_HOST, datagram(OUT));
    lab.wait(15_000); // the other one has ended, after 30 s
    lab.command((router) => router.setClient(0, shut));
    expectEnded(lab);
  });

  test("but not what an accepted flow still uses", () => {
    const lab = new Lab({ settings: { ...SETTINGS, clients: [open, LAN_SETTINGS] } });
    lab.from(WORK_HOST, datagram(OUT));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${REMOTE}:5001`));
    lab.command((router) => router.setClient(0, { ...open, ruleset: compileRuleset([ports(5001, 5001)], false) }));
    lab.wait(1000);
    expect(lab.from(REMOTE, datagram(BACK)).verdict).toBe("forwarded");
  });
});
