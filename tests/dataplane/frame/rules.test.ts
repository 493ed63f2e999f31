// Rules as packets meet them: the first match decides, else the policy; and how what is refused is answered.
import { describe, expect, test } from "bun:test";
import { icmp, ip, payload, tcp, udp } from "../../../lab/frames.ts";
import { ICMP, TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import {
  ANYTHING,
  dropped,
  forwarded,
  LAN_HOST,
  Lab,
  OUTSIDE,
  type Outcome,
  REMOTE,
  REMOTE_2,
  refused,
  WORK_GATEWAY,
  WORK_HOST,
  withRules,
} from "../../../lab/router-lab.ts";
import type { Match } from "../../../src/dataplane/rules/match.ts";
import { compileRuleset, judge } from "../../../src/dataplane/rules/ruleset.ts";

/** The rule's number follows its place. */
function rules(...matches: readonly Partial<Match>[]): Match[] {
  return matches.map((match, i) => ({ ...ANYTHING, rule: i + 1, ...match }));
}

const ENDS = { source: WORK_HOST, destination: REMOTE };
const HTTPS = tcp({ ...ENDS, sourcePort: 5000, destinationPort: 443, flags: "S" });
const HTTP = tcp({ ...ENDS, sourcePort: 5001, destinationPort: 80, flags: "S" });
const DNS = udp({ ...ENDS, sourcePort: 5002, destinationPort: 53 }, payload(5));
const ECHO = icmp({ ...ENDS, type: 8, rest: 1 }, payload(8));
const TIMESTAMP = icmp({ ...ENDS, type: 13, rest: 1 }, payload(12));

/** The answer to a packet that rules refuse: administratively prohibited, quoting it. */
function prohibited(packet: Uint8Array): Outcome {
  const error = { source: WORK_GATEWAY, destination: WORK_HOST, type: 3, code: 13 };
  return refused("refused by rules", WORK_HOST, icmp(error, packet.subarray(0, 548)));
}

/** For each packet of "work" whether it passed, and the number of the rule that decided it. */
function decisions(matches: readonly Match[], accept: boolean, ...packets: readonly Uint8Array[]): string[] {
  return packets.map((packet) => {
    const lab = new Lab({ settings: withRules(matches, accept) });
    const { verdict } = lab.from(WORK_HOST, packet);
    return `${verdict}, rule ${lab.rule}`;
  });
}

describe("rules", () => {
  test("without any, the policy decides", () => {
    expect(decisions([], true, HTTPS, DNS, ECHO)).toEqual(new Array(3).fill("forwarded, rule 0"));
    expect(decisions([], false, HTTPS, DNS, ECHO)).toEqual(new Array(3).fill("dropped: refused by rules, rule 0"));
  });

  test("the first match decides, whatever comes behind it", () => {
    const matches = rules(
      { protocol: TCP, portLow: 443, portHigh: 443 },
      { protocol: TCP, accept: false },
      { protocol: TCP },
    );
    expect(decisions(matches, false, HTTPS, HTTP, DNS)).toEqual([
      "forwarded, rule 1",
      "dropped: refused by rules, rule 2",
      "dropped: refused by rules, rule 0",
    ]);
  });

  test("match destinations by prefix", () => {
    const matches = rules(
      { address: ip("198.51.100.8"), prefix: 32, accept: false },
      { address: ip("198.51.100.0"), prefix: 24 },
      { address: ip("128.0.0.0"), prefix: 1, accept: false },
    );
    const to = (destination: string) => udp({ ...ENDS, destination, sourcePort: 1, destinationPort: 2 }, payload(1));
    expect(decisions(matches, true, to("198.51.100.8"), to("198.51.100.9"), to("198.51.101.0"), to("8.8.8.8"))).toEqual(
      [
        "dropped: refused by rules, rule 1",
        "forwarded, rule 2",
        "dropped: refused by rules, rule 3",
        "forwarded, rule 0",
      ],
    );
  });

  test("match port ranges with both ends", () => {
    const matches = rules({ protocol: UDP, portLow: 1000, portHigh: 1002 });
    const to = (destinationPort: number) => udp({ ...ENDS, sourcePort: 1001, destinationPort }, payload(1));
    expect(decisions(matches, false, to(999), to(1000), to(1001), to(1002), to(1003), to(0), to(65535))).toEqual([
      "dropped: refused by rules, rule 0",
      "forwarded, rule 1",
      "forwarded, rule 1",
      "forwarded, rule 1",
      "dropped: refused by rules, rule 0",
      "dropped: refused by rules, rule 0",
      "dropped: refused by rules, rule 0",
    ]);
  });

  test("match ICMP types", () => {
    const matches = rules({ protocol: ICMP, icmpType: 8 });
    expect(decisions(matches, false, ECHO, TIMESTAMP, DNS)).toEqual([
      "forwarded, rule 1",
      "dropped: refused by rules, rule 0",
      "dropped: refused by rules, rule 0",
    ]);
  });

  test("of one protocol leave the others alone", () => {
    expect(decisions(rules({ protocol: UDP, portLow: 443, portHigh: 443 }), false, HTTPS)).toEqual([
      "dropped: refused by rules, rule 0",
    ]);
  });

  test("can allow one client's resolver and nothing else", () => {
    const resolver = { address: ip(REMOTE), prefix: 32, portLow: 53, portHigh: 53 };
    const matches = rules({ ...resolver, protocol: TCP }, { ...resolver, protocol: UDP, rule: 1 });
    const other = udp({ ...ENDS, destination: REMOTE_2, sourcePort: 1, destinationPort: 53 }, payload(1));
    expect(decisions(matches, false, DNS, HTTPS, ECHO, other)).toEqual([
      "forwarded, rule 1",
      "dropped: refused by rules, rule 0",
      "dropped: refused by rules, rule 0",
      "dropped: refused by rules, rule 0",
    ]);
  });

  test("of one client are not another's", () => {
    const lab = new Lab({ settings: withRules([], false) });
    expect(lab.from(WORK_HOST, DNS).verdict).toBe("dropped: refused by rules");
    const packet = { source: LAN_HOST, destination: REMOTE, sourcePort: 5002, destinationPort: 53 };
    expect(lab.from(LAN_HOST, udp(packet, payload(5)))).toEqual(
      forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(5))),
    );
  });

  test("agree with a plain reading of them, for random rules and packets", () => {
    const random = new Random(5);
    for (let round = 0; round < 500; round++) {
      const matches = rules(...Array.from({ length: random.below(random.pick([8, 40])) }, () => randomMatch(random)));
      const accept = random.chance(0.5);
      const compiled = compileRuleset(matches, accept);
      for (let i = 0; i < 40; i++) {
        const protocol = random.pick([ICMP, TCP, UDP, 47]);
        const destination = (ip("198.51.100.0") + random.below(16)) | 0;
        const selector = random.below(10);
        const expected = plainly(matches, accept, protocol, destination >>> 0, selector);
        expect(judge(compiled, protocol, destination, protocol === 47 ? 0 : selector)).toBe(expected);
      }
    }
  });
});

function randomMatch(random: Random): Partial<Match> {
  const protocol = random.pick([0, ICMP, TCP, UDP]);
  const hasPorts = protocol === TCP || protocol === UDP;
  const portLow = hasPorts ? random.below(10) : 0;
  return {
    accept: random.chance(0.5),
    address: ip("198.51.100.0") + random.below(16),
    prefix: random.pick([0, 8, 28, 29, 30, 31, 32]),
    protocol,
    portLow,
    portHigh: hasPorts ? portLow + random.below(5) : 65535,
    icmpType: protocol === ICMP && random.chance(0.5) ? random.below(10) : -1,
  };
}

/** The rules read one by one, without any cleverness. */
function plainly(matches: readonly Match[], accept: boolean, protocol: number, to: number, selector: number): number {
  for (const match of matches) {
    const size = 2 ** (32 - match.prefix);
    if (Math.floor(to / size) !== Math.floor(match.address / size)) continue;
    if (match.protocol !== 0 && match.protocol !== protocol) continue;
    const hasPorts = protocol === TCP || protocol === UDP;
    if (hasPorts && !(match.portLow <= selector && selector <= match.portHigh)) continue;
    if (protocol === ICMP && match.icmpType !== -1 && match.icmpType !== selector) continue;
    return match.rule * 2 + Number(match.accept);
  }
  return Number(accept);
}

describe("a refused packet", () => {
  test("is answered by administratively prohibited, from the address that the client knows us by", () => {
    for (const packet of [HTTPS, DNS, ECHO]) {
      const lab = new Lab({ settings: withRules([]) });
      expect(lab.from(WORK_HOST, packet)).toEqual(prohibited(packet));
    }
  });

  test("is quoted whole up to an error of 576 bytes", () => {
    for (const length of [519, 520, 521, 1472]) {
      const lab = new Lab({ settings: withRules([]) });
      const packet = udp({ ...ENDS, sourcePort: 1, destinationPort: 2 }, payload(length));
      expect(lab.from(WORK_HOST, packet)).toEqual(prohibited(packet));
    }
  });

  test("leaves no flow behind", () => {
    const lab = new Lab({ settings: withRules([]) });
    lab.from(WORK_HOST, DNS);
    expect(lab.router.flows.size).toBe(0);
  });

  test("is answered 50 times at once and 100 times a second", () => {
    const lab = new Lab({ settings: withRules([]) });
    const burst = Array.from({ length: 60 }, () => lab.from(WORK_HOST, DNS));
    expect(burst).toEqual([...new Array(50).fill(prohibited(DNS)), ...new Array(10).fill(dropped("refused by rules"))]);
    lab.wait(100);
    const later = Array.from({ length: 20 }, () => lab.from(WORK_HOST, DNS).sent.length);
    expect(later.reduce((a, b) => a + b)).toBe(10);
    lab.wait(60_000);
    const muchLater = Array.from({ length: 60 }, () => lab.from(WORK_HOST, DNS).sent.length);
    expect(muchLater.reduce((a, b) => a + b)).toBe(50);
  });

  test("of one client does not use up another's answers", () => {
    const lab = new Lab({ settings: withRules([]) });
    for (let i = 0; i < 60; i++) lab.from(WORK_HOST, DNS);
    const expired = udp(
      { source: LAN_HOST, destination: REMOTE, sourcePort: 1, destinationPort: 2, ttl: 1 },
      payload(1),
    );
    expect(lab.from(LAN_HOST, expired).sent.length).toBe(1);
  });
});
