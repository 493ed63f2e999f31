// Name servers' answers to clients whose rules have host names: control sees them first, and the client gets them whole.
import { describe, expect, test } from "bun:test";
import { fragmented, ip, payload, toHex } from "../../../lab/frames.ts";
import {
  ANYTHING,
  dropped,
  forwarded,
  GATEWAY,
  INTERFACES,
  LAN_HOST,
  Lab,
  OUTSIDE,
  type Outcome,
  REMOTE,
  SETTINGS,
  shownTo,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, Settings } from "../../../src/dataplane/settings.ts";
import { LONGEST_HOLD } from "../../../src/dataplane/waiting/held-answers.ts";
import { datagram, HOP, segment } from "../../support/nat.ts";

const WATCHED: ClientSettings = { ...WORK_SETTINGS, watchNames: true };
const MESSAGE = payload(120);
const HELD: Outcome = { verdict: "held until the rules know its names", sent: [] };

/** The name server is the gateway. */
const ASK = `${WORK_HOST}:5000 > ${GATEWAY}:53`;
const ANSWER = `${GATEWAY}:53 > ${OUTSIDE}:5000`;
const ANSWER_INSIDE = `${GATEWAY}:53 > ${WORK_HOST}:5000`;

class Bench {
  readonly lab: Lab;
  /** What control was shown: number of the answer, client, and the bytes. */
  readonly shown: { readonly id: number; readonly client: number; readonly bytes: string }[] = [];

  constructor(settings: Settings = withClient(WATCHED)) {
    const passing = (id: number, client: number, at: number, length: number) =>
      this.shown.push({ id, client, bytes: toHex(this.lab.ring.bytes.subarray(at, at + length)) });
    this.lab = new Lab({ settings, control: { answered: () => {}, passing } });
  }

  /** The client asks, from a port, and the server answers. @returns what became of the answer */
  answered(port = 5000, server = GATEWAY, message = MESSAGE): Outcome {
    const asked = this.lab.from(WORK_HOST, datagram(`${WORK_HOST}:${port} > ${server}:53`));
    expect(asked.verdict).toBe("forwarded");
    return this.lab.from(server, datagram(`${server}:53 > ${OUTSIDE}:${port}`, {}, message));
  }

  release(id: number): string[] {
    return this.lab.command((router) => router.releaseAnswer(id));
  }
}

/** The answer as the client gets it. */
function arrived(port = 5000): string {
  return shownTo(WORK_HOST, datagram(`${GATEWAY}:53 > ${WORK_HOST}:${port}`, HOP, MESSAGE));
}

describe("a name server's answer to a client without host names in its rules", () => {
  /** @returns the lab, and what control has seen */
  function seen() {
    const all: string[] = [];
    const control = {
      answered: () => {},
      passing: () => {},
      seen: (client: number, at: number, length: number) =>
        void all.push(`${client} ${toHex(lab.ring.bytes.subarray(at, at + length))}`),
    };
    const lab: Lab = new Lab({ settings: SETTINGS, control });
    const answered = () => {
      lab.from(WORK_HOST, datagram(ASK));
      return lab.from(GATEWAY, datagram(ANSWER, {}, MESSAGE));
    };
    return { lab, all, answered };
  }

  test("is shown to control, and goes on at once", () => {
    const { all, answered } = seen();
    expect(answered()).toEqual(forwarded(WORK_HOST, datagram(ANSWER_INSIDE, HOP, MESSAGE)));
    expect(all).toEqual([`0 ${toHex(MESSAGE)}`]);
  });

  test("is shown so many times in a row, and a second, and goes on all the same", () => {
    const { lab, all, answered } = seen();
    for (let i = 0; i < 100; i++) expect(answered().verdict).toBe("forwarded");
    expect(all).toHaveLength(16);
    lab.leap(1000);
    for (let i = 0; i < 100; i++) answered();
    expect(all).toHaveLength(24);
  });
});

describe("a name server's answer to a client with host names in its rules", () => {
  test("is shown to control, and goes on when control lets it", () => {
    const bench = new Bench();
    expect(bench.answered()).toEqual(HELD);
    expect(bench.shown).toEqual([{ id: 1, client: 0, bytes: toHex(MESSAGE) }]);
    expect(bench.lab.leap(LONGEST_HOLD - 1)).toEqual([]);
    expect(bench.release(1)).toEqual([arrived()]);
    expect(bench.release(1)).toEqual([]);
    expect(bench.lab.leap(LONGEST_HOLD)).toEqual([]);
    expect(bench.lab.counts()[HELD.verdict]).toBe(1);
  });

  test("goes on after three seconds, whatever control does", () => {
    const bench = new Bench();
    bench.answered();
    expect(bench.lab.leap(LONGEST_HOLD - 1)).toEqual([]);
    expect(bench.lab.leap(1)).toEqual([arrived()]);
    expect(bench.release(1)).toEqual([]);
  });

  test("comes when the rules that control made of it are in force", () => {
    const only = (...addresses: readonly string[]) =>
      compileRuleset(
        addresses.map((address) => ({ ...ANYTHING, address: ip(address), prefix: 32 })),
        false,
      );
    const bench = new Bench(withClient({ ...WATCHED, ruleset: only(GATEWAY) }));
    const connection = segment(`${WORK_HOST}:40000 > ${REMOTE}:443`, "S");
    expect(bench.lab.from(WORK_HOST, connection).verdict).toBe("dropped: refused by rules");
    bench.answered();
    const sent = bench.lab.command((router) => {
      router.setClient(0, { ...WATCHED, ruleset: only(GATEWAY, REMOTE) });
      router.releaseAnswer(1);
    });
    expect(sent).toEqual([arrived()]);
    expect(bench.lab.from(WORK_HOST, connection)).toEqual(
      forwarded(REMOTE, segment(`${OUTSIDE}:40000 > ${REMOTE}:443`, "S", HOP)),
    );
  });

  test("never comes when new rules have refused its flow meanwhile", () => {
    const bench = new Bench();
    bench.answered();
    const refused = compileRuleset([], false);
    bench.lab.command((router) => router.setClient(0, { ...WATCHED, ruleset: refused }));
    expect(bench.release(1)).toEqual([]);
    expect(bench.lab.leap(LONGEST_HOLD)).toEqual([]);
    expect(bench.lab.router.flows.size).toBe(0);
  });

  test("is let go by its own number, in any order", () => {
    const bench = new Bench();
    for (const port of [5000, 5001, 5002]) expect(bench.answered(port)).toEqual(HELD);
    expect(bench.release(2)).toEqual([arrived(5001)]);
    expect(bench.release(99)).toEqual([]);
    expect(bench.release(0)).toEqual([]);
    expect(bench.answered(5003)).toEqual(HELD);
    expect(bench.release(4)).toEqual([arrived(5003)]);
    expect(bench.release(1)).toEqual([arrived(5000)]);
    expect(bench.lab.leap(LONGEST_HOLD)).toEqual([arrived(5002)]);
  });

  test("is not held when 32 others are: it goes on at once, and is not shown", () => {
    const bench = new Bench();
    for (let port = 5000; port < 5032; port++) expect(bench.answered(port)).toEqual(HELD);
    expect(bench.answered(5032)).toEqual({ verdict: "forwarded", sent: [arrived(5032)] });
    expect(bench.shown).toHaveLength(32);
    bench.release(32);
    expect(bench.answered(5033)).toEqual(HELD);
    const others = Array.from({ length: 31 }, (_, i) => arrived(5000 + i));
    expect(bench.lab.leap(LONGEST_HOLD).toSorted()).toEqual([...others, arrived(5033)].toSorted());
  });

  test("from a server that DNS was redirected to is held, and comes from the address that was asked", () => {
    const virtual = "10.139.1.1";
    const redirects = [{ from: ip(virtual), to: ip(GATEWAY) }];
    const bench = new Bench({ ...withClient(WATCHED), redirects });
    bench.lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${virtual}:53`));
    expect(bench.lab.from(GATEWAY, datagram(ANSWER, {}, MESSAGE))).toEqual(HELD);
    const inside = datagram(`${virtual}:53 > ${WORK_HOST}:5000`, HOP, MESSAGE);
    expect(bench.release(1)).toEqual([shownTo(WORK_HOST, inside)]);
  });

  test("never comes when interfaces or addresses have changed meanwhile", () => {
    const bench = new Bench();
    bench.answered();
    const interfaces = INTERFACES.map((iface) => ({ ...iface, mtu: 1400 }));
    expect(bench.lab.apply({ ...withClient(WATCHED), interfaces })).toEqual([]);
    expect(bench.release(1)).toEqual([]);
    expect(bench.lab.leap(LONGEST_HOLD)).toEqual([]);
  });
});

describe("not held, but sent on at once, is", () => {
  function expectPassed(bench: Bench, outcome: Outcome): void {
    expect(outcome.verdict).toBe("forwarded");
    expect(outcome.sent).toHaveLength(1);
    expect(bench.shown).toEqual([]);
  }

  test("an answer to a client without host names in its rules", () => {
    const bench = new Bench(SETTINGS);
    expect(bench.answered()).toEqual({ verdict: "forwarded", sent: [arrived()] });
    expectPassed(bench, bench.answered(5001));
    const watched = new Bench();
    watched.lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${GATEWAY}:53`));
    expectPassed(watched, watched.lab.from(GATEWAY, datagram(ANSWER, {}, MESSAGE)));
  });

  test("an answer of a server that is not configured", () => {
    const bench = new Bench();
    expectPassed(bench, bench.answered(5000, REMOTE));
  });

  test("what the server sends from another port, or over TCP", () => {
    const bench = new Bench();
    bench.lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${GATEWAY}:54`));
    expectPassed(bench, bench.lab.from(GATEWAY, datagram(`${GATEWAY}:54 > ${OUTSIDE}:5000`)));
    bench.lab.from(WORK_HOST, segment(ASK, "S", { sequence: 1 }));
    const synAck = segment(ANSWER, "S.", { sequence: 9, acknowledgment: 2 });
    expectPassed(bench, bench.lab.from(GATEWAY, synAck));
  });

  test("the client's own question", () => {
    const bench = new Bench();
    expectPassed(bench, bench.lab.from(WORK_HOST, datagram(ASK)));
  });

  test("an answer in fragments", () => {
    const bench = new Bench();
    bench.lab.from(WORK_HOST, datagram(ASK));
    const fragments = fragmented(datagram(ANSWER, { identification: 4 }, MESSAGE), 80);
    const inside = fragmented(datagram(ANSWER_INSIDE, { identification: 4, ...HOP }, MESSAGE), 80);
    expect(fragments.map((fragment) => bench.lab.from(GATEWAY, fragment))).toEqual(
      inside.map((fragment) => forwarded(WORK_HOST, fragment)),
    );
    expect(bench.shown).toEqual([]);
  });
});

test("an answer that nobody asked for is neither held nor shown", () => {
  const bench = new Bench();
  expect(bench.lab.from(GATEWAY, datagram(ANSWER, {}, MESSAGE))).toEqual(dropped("unsolicited"));
  bench.lab.from(WORK_HOST, datagram(ASK));
  expect(bench.lab.from(REMOTE, datagram(`${REMOTE}:53 > ${OUTSIDE}:5000`))).toEqual(dropped("unsolicited"));
  expect(bench.shown).toEqual([]);
});
