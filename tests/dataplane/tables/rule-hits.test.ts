// How often rules decide, counted where they are asked, and told by a configuration in force.
import { expect, test } from "bun:test";
import { payload, udp } from "../../../lab/frames.ts";
import { ANYTHING, Lab, REMOTE, WORK_HOST, withRules } from "../../../lab/router-lab.ts";
import type { Config } from "../../../src/config/config.ts";
import { HitBook } from "../../../src/control/views/hit-book.ts";
import { RuleHits } from "../../../src/dataplane/tables/rule-hits.ts";
import type { Client } from "../../../src/dataplane/types.ts";
import { parseRule, type Rule } from "../../../src/rules/parse.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const WORK = 0;

function send(lab: Lab, sourcePort: number, destinationPort: number): void {
  lab.from(WORK_HOST, udp({ source: WORK_HOST, destination: REMOTE, sourcePort, destinationPort }, payload(4)));
}

test("what would open a flow is a hit of the rule that lets it through or refuses it; what open flows carry is none", () => {
  const port = (rule: number, at: number, accept: boolean) => ({
    ...ANYTHING,
    rule,
    accept,
    portLow: at,
    portHigh: at,
  });
  const lab = new Lab({ settings: withRules([port(1, 53, true), port(2, 25, false)], true) });
  const hits = new RuleHits(lab.router.ruleHits);
  for (let i = 0; i < 3; i++) send(lab, 4000, 53); // one flow
  for (let i = 0; i < 2; i++) send(lab, 4000, 25); // refused each time
  send(lab, 4000, 80);
  const first = lab.now;
  lab.wait(5000);
  send(lab, 4001, 53);
  expect([0, 1, 2, 3].map((rule) => hits.read(WORK, rule).count)).toEqual([1, 2, 2, 0]);
  expect([0, 1, 2].map((rule) => hits.read(WORK, rule).last)).toEqual([first, lab.now, first]);
  expect(hits.read(1, 0).count).toBe(0);
});

test("more rules than there is room for are not counted, and spoil no other's count", () => {
  const hits = new RuleHits();
  for (let round = 0; round < 2; round++) {
    for (let client = 0 as Client; client < 100; client++) {
      for (let rule = 0; rule < 200; rule++) hits.note(client, rule, 1);
    }
  }
  const counts = new Set<number>();
  for (let client = 0; client < 100; client++) {
    for (let rule = 0; rule < 200; rule++) counts.add(hits.read(client, rule).count);
  }
  expect([...counts].sort()).toEqual([0, 2]);
});

/** A configuration as far as it is looked at. */
function config(...clients: readonly (readonly [name: string, ...rules: string[]])[]): Config {
  const parsed = (text: string): Rule => {
    const result = parseRule(`action=${text}`);
    if (!result.ok) throw new Error(result.error);
    return result.rule;
  };
  const made = clients.map(([name, ...rules]) => ({ name, policy: "drop", rules: rules.map(parsed) }));
  return { clients: made } as unknown as Config;
}

test("over a change of the configuration a rule that stays keeps its hits, by whatever number; others begin with none", () => {
  const hits = new RuleHits();
  const drops = new Int32Array(new SharedArrayBuffer(1 << 17));
  const book = new HitBook(
    hits.memory,
    drops,
    new SimulatedClock(),
    config(["a", "accept proto=tcp", "accept proto=udp"], ["b"]),
  );
  const note = (client: number, rule: number, times: number) => {
    for (let i = 0; i < times; i++) hits.note(client as Client, rule, 0);
  };
  const of = (client: string, rule: number, text: string) => book.use(client, rule, text).hits;
  note(0, 1, 3);
  note(0, 2, 4);
  note(1, 0, 5);
  expect([of("a", 1, "action=accept proto=tcp"), of("a", 2, "action=accept proto=udp"), of("b", 0, "drop")]).toEqual([
    3, 4, 5,
  ]);
  book.follow(config(["b"], ["a", "accept proto=tcp", "accept proto=icmp"]));
  note(1, 1, 10); // a's first rule now
  note(1, 2, 20);
  note(0, 0, 30);
  expect([of("a", 1, "action=accept proto=tcp"), of("a", 2, "action=accept proto=icmp"), of("b", 0, "drop")]).toEqual([
    ...[13, 20, 35],
  ]);
  expect(of("a", 2, "action=accept proto=udp")).toBe(0);
  book.follow(config(["a", "accept proto=tcp"]));
  expect([of("a", 1, "action=accept proto=tcp"), of("b", 0, "drop")]).toEqual([13, 0]);
  expect(book.use("a", 0, "drop").last).toBeUndefined();
});
