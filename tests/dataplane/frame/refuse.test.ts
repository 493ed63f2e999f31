// What becomes of packets that the rules refuse, by the three ways to refuse; and the notes of them for the log.
import { describe, expect, test } from "bun:test";
import { fragmented, icmp, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import { TCP } from "../../../lab/protocols.ts";
import {
  ANYTHING,
  dropped,
  forwarded,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_SETTINGS,
  Lab,
  OUTSIDE,
  type Outcome,
  REMOTE,
  refused,
  SETTINGS,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings } from "../../../src/dataplane/settings.ts";
import { DROPS } from "../../../src/dataplane/tables/drop-records.ts";
import { noted } from "../../support/drops.ts";

const REFUSED = "refused by rules";
const NOTHING = compileRuleset([], false);
const ENDS = { source: WORK_HOST, destination: REMOTE };
const PORTS = { sourcePort: 40000, destinationPort: 25 };
const SYN = tcp({ ...ENDS, ...PORTS, flags: "S", sequence: 0xfffffff0 });
const UDP = udp({ ...ENDS, ...PORTS }, payload(9));
const ECHO = icmp({ ...ENDS, type: 8, rest: 0x004d0001 }, payload(8));
const GRE = ipv4(ENDS, 47, payload(24));

/** A lab whose client "work" may do nothing. */
function labThat(client: Partial<ClientSettings>): Lab {
  return new Lab({ settings: withClient({ ...WORK_SETTINGS, ruleset: NOTHING, ...client }) });
}

/** The outcome of a packet of "work" that is answered with "administratively prohibited". */
function prohibited(packet: Uint8Array): Outcome {
  const error = { source: WORK_GATEWAY, destination: WORK_HOST, type: 3, code: 13 };
  return refused(REFUSED, WORK_HOST, icmp(error, packet));
}

/** The outcome of a segment of "work" that is answered with RST and ACK, as a closed port would. */
function resetTo(acknowledgment: number): Outcome {
  const ends = { source: REMOTE, destination: WORK_HOST, sourcePort: 25, destinationPort: 40000 };
  return refused(REFUSED, WORK_HOST, tcp({ ...ends, flags: "R.", sequence: 0, acknowledgment, window: 0 }));
}

describe("a refused packet", () => {
  test("of any protocol is answered with an ICMP error, unless something else is asked for", () => {
    for (const packet of [SYN, UDP, ECHO, GRE]) expect(labThat({}).from(WORK_HOST, packet)).toEqual(prohibited(packet));
  });

  test('by "reset" is answered with RST if it is a SYN, from the address that was asked', () => {
    const lab = labThat({ refuse: "reset" });
    expect(lab.from(WORK_HOST, SYN)).toEqual(resetTo(0xfffffff1));
    expect(lab.router.flows.size).toBe(0);
  });

  test('by "reset" with data has the data acknowledged too', () => {
    const withData = tcp({ ...ENDS, ...PORTS, flags: "S", sequence: 0xfffffff0 }, payload(20));
    expect(labThat({ refuse: "reset" }).from(WORK_HOST, withData)).toEqual(resetTo(5));
  });

  test('by "reset" of another protocol is answered with an ICMP error', () => {
    for (const packet of [UDP, ECHO, GRE]) {
      expect(labThat({ refuse: "reset" }).from(WORK_HOST, packet)).toEqual(prohibited(packet));
    }
  });

  test('by "drop" is not answered', () => {
    const lab = labThat({ refuse: "drop" });
    for (const packet of [SYN, UDP, ECHO, GRE]) expect(lab.from(WORK_HOST, packet)).toEqual(dropped(REFUSED));
    expect(lab.router.flows.size).toBe(0);
  });

  test("is answered as its own client's settings say, those in force at that moment", () => {
    const lab = labThat({ refuse: "drop" });
    const work = { ...WORK_SETTINGS, ruleset: NOTHING, refuse: "reset" } as const;
    expect(lab.apply({ ...SETTINGS, clients: [work, LAN_SETTINGS] })).toEqual([]);
    expect(lab.from(WORK_HOST, SYN)).toEqual(resetTo(0xfffffff1));
    lab.apply({ ...SETTINGS, clients: [work, { ...LAN_SETTINGS, ruleset: NOTHING, refuse: "drop" }] });
    expect(lab.from(WORK_HOST, SYN)).toEqual(resetTo(0xfffffff1));
    expect(lab.from(LAN_HOST, tcp({ ...PORTS, source: LAN_HOST, destination: REMOTE, flags: "S" }))).toEqual(
      dropped(REFUSED),
    );
  });

  test("takes its RST from the same budget as its errors: 50 at once", () => {
    const lab = labThat({ refuse: "reset" });
    const answers = Array.from({ length: 80 }, (_, i) => lab.from(WORK_HOST, i % 2 === 0 ? SYN : UDP).sent.length);
    expect(answers).toEqual([...new Array(50).fill(1), ...new Array(30).fill(0)]);
  });

  test("in fragments is answered once, and its later fragments are dropped", () => {
    const lab = labThat({ refuse: "icmp" });
    const [first, last] = fragmented(udp({ ...ENDS, ...PORTS, identification: 7 }, payload(64)), 40);
    expect(lab.from(WORK_HOST, first)).toEqual(prohibited(first));
    expect(lab.from(WORK_HOST, last)).toEqual(dropped("fragment of a dropped packet"));
  });
});

/** What is noted of refused packets: frames, those for the log, client, rule, protocol, addresses, ports. */
function notes(lab: Lab): unknown[][] {
  return noted(lab.router.drops.words)
    .filter(({ verdict }) => verdict === "dropped: refused by rules")
    .map(({ count, logged, client, rule, protocol, addresses, ports }) => {
      return [count, logged, client, rule, protocol, addresses, ports];
    });
}

describe("the notes of refused packets", () => {
  const addresses = `${WORK_HOST} to ${REMOTE}`;

  test("have a record for each flow, with its packets counted, however they are answered", () => {
    for (const refuse of ["icmp", "reset", "drop"] as const) {
      const ruleset = compileRuleset([{ ...ANYTHING, rule: 7, accept: false, protocol: TCP }], false);
      const lab = labThat({ refuse, log: true, ruleset });
      for (const packet of [SYN, UDP, SYN, ECHO, SYN, GRE, GRE]) lab.from(WORK_HOST, packet);
      expect(notes(lab)).toEqual([
        [3, 3, 0, 7, 6, addresses, [40000, 25]],
        [1, 1, 0, 0, 17, addresses, [40000, 25]],
        [1, 1, 0, 0, 1, addresses, [0x4d, 8]],
        [2, 2, 0, 0, 47, addresses, undefined],
      ]);
      expect(lab.router.drops.words[DROPS.LOGGED]).toBe(7);
    }
  });

  test("are for the log only where the client asks for it, and where rules refused", () => {
    const lab = new Lab({
      settings: {
        ...SETTINGS,
        clients: [
          { ...WORK_SETTINGS, ruleset: NOTHING },
          { ...LAN_SETTINGS, log: true },
        ],
      },
    });
    lab.from(WORK_HOST, SYN);
    const lan = { source: LAN_HOST, ...PORTS };
    expect(lab.from(LAN_HOST, udp({ ...lan, destination: LAN_GATEWAY }, payload(1))).verdict).toBe(
      "dropped: to the firewall itself",
    );
    expect(lab.from(LAN_HOST, udp({ ...lan, destination: REMOTE }, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...lan, destination: REMOTE, source: OUTSIDE, ttl: 63 }, payload(1))),
    );
    expect(notes(lab)).toEqual([[1, 0, 0, 0, 6, addresses, [40000, 25]]]);
    expect(lab.router.drops.words[DROPS.LOGGED]).toBe(0);
  });
});
