// The rules in force as somebody who asks gets them: where each stands, what lives by it, and why it decides nothing.

import { expect, test } from "bun:test";
import { ip6 } from "../../lab/frames6.ts";
import { parseConfig } from "../../src/config/config.ts";
import { listRules, ruleLines } from "../../src/control/rule-list.ts";
import { makeSettings } from "../../src/control/settings.ts";
import { viewFlows } from "../../src/control/views/flow-list.ts";
import { FLOW, FLOW_WORDS } from "../../src/dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../src/dataplane/tables/flow-state.ts";
import { sound } from "../support/sound.ts";

const TEXT = `[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
dns = ["192.0.2.1"]

[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
rules = [
  "action=accept proto=tcp dstports=443",
  "action=accept proto=tcp dstports=443-443",
  "action=accept dsthost=www.example",
  "action=drop dsthost=gone.example",
  "action=accept expire=1000 comment=until then",
]

[[client]]
name = "lan"
interface = "eth2"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
policy = "accept"
`;

const HITS = {
  use: (_: string, rule: number, text: string) =>
    rule === 1 && text.endsWith("443") ? { hits: 7, last: 1990 } : { hits: 0 },
};

/** @param flows client and rule of each */
function entries(...flows: readonly (readonly [client: number, rule: number])[]) {
  const parsed = sound(parseConfig(TEXT, "firewall.toml"));
  const made = sound(makeSettings(parsed.config, []));
  const words = new Int32Array(8 * FLOW_WORDS);
  for (const [i, [client, rule]] of flows.entries()) {
    words[i * FLOW_WORDS + FLOW.STATE] = FLOW_STATE.USED | FLOW_STATE.OUTBOUND;
    words[i * FLOW_WORDS + FLOW.CLIENT_RULE] = (client << 16) | rule;
  }
  const addressesOf = (name: string) => (name === "www.example" ? [0xc0000207, 0xc0000208] : undefined);
  return listRules({
    config: parsed.config,
    flows: viewFlows({ flows: words, addresses: new Int32Array(0) }, made.settings),
    hits: HITS,
    addressesOf,
    addresses6Of: () => undefined,
    now: 2000,
  });
}

test("each rule has its place, its flows, and the addresses of its name; behind them is the policy", () => {
  const list = entries([0, 1], [0, 1], [0, 3], [1, 0]);
  expect(list.map(({ client, rule, place, flows }) => [client, rule, place, flows])).toEqual([
    ["work", 1, "firewall.toml:13", 2],
    ["work", 2, "firewall.toml:14", 0],
    ["work", 3, "firewall.toml:15", 1],
    ["work", 4, "firewall.toml:16", 0],
    ["work", 5, "firewall.toml:17", 0],
    ["work", 0, undefined, 0],
    ["lan", 0, undefined, 1],
  ]);
  expect(list.map(({ addresses }) => addresses)).toEqual([
    ...[undefined, undefined, ["192.0.2.7", "192.0.2.8"], null, undefined, undefined, undefined],
  ]);
});

test("a rule that decides nothing says why, now: one that has expired since too", () => {
  const problems = entries().flatMap(({ rule, problem }) => (problem === undefined ? [] : [[rule, problem]]));
  expect(problems).toEqual([
    [2, expect.stringContaining("rule 1")],
    [5, "has expired, and matches nothing (leave it out)"],
  ]);
});

test("of a client that has IPv6, names have addresses of both families, unknown while those of one are, and rules say which list they stand in", () => {
  const text = TEXT.replace("[uplink]", '[uplink]\naddress6 = "2001:db8::2/64"\ngateway6 = "fe80::1"').replace(
    'name = "work"',
    'name = "work"\naddress6 = "fd00::10"\ngateway6 = "fd00::1"',
  );
  const parsed = sound(parseConfig(text, "firewall.toml"));
  const made = sound(makeSettings(parsed.config, []));
  const [work, ...others] = parsed.config.clients;
  const rules = [...work.rules, { ...work.rules[2], family: 4 as const }, { ...work.rules[2], family: 6 as const }];
  const list = (addresses6: Uint8Array[] | undefined) =>
    listRules({
      config: { ...parsed.config, clients: [{ ...work, rules }, ...others] },
      flows: viewFlows({ flows: new Int32Array(8 * FLOW_WORDS), addresses: new Int32Array(0) }, made.settings),
      hits: HITS,
      addressesOf: () => [0xc0000207],
      addresses6Of: () => addresses6,
      now: 2000,
    }).filter(({ addresses, rule }) => addresses !== undefined && rule !== 4);
  const both = list([ip6("2001:db8::7")]);
  expect(both.map(({ family, addresses }) => [family, addresses])).toEqual([
    [undefined, ["192.0.2.7", "2001:db8::7"]],
    [4, ["192.0.2.7"]],
    [6, ["2001:db8::7"]],
  ]);
  expect(ruleLines(both[2], 2000)[0]).toStartWith(`work, rule ${rules.length}, IPv6 alone: action=accept dsthost=`);
  expect(list(undefined).map(({ addresses }) => addresses)).toEqual([null, ["192.0.2.7"], null]);
});

test("in lines, as a person reads them", () => {
  expect(entries([0, 1]).flatMap((entry) => ruleLines(entry, 2000))).toEqual([
    "work, rule 1 (firewall.toml:13): action=accept proto=tcp dstports=443: 7 hits, last 10 s ago, 1 flow",
    "work, rule 2 (firewall.toml:14): action=accept proto=tcp dstports=443: never hit",
    expect.stringMatching(/^ {2}rule 2 .*rule 1/),
    "work, rule 3 (firewall.toml:15): action=accept dsthost=www.example: never hit, 192.0.2.7 192.0.2.8",
    "work, rule 4 (firewall.toml:16): action=drop dsthost=gone.example: never hit, addresses unknown",
    "work, rule 5 (firewall.toml:17): action=accept expire=1000 comment=until then: never hit",
    "  rule 5 has expired, and matches nothing (leave it out)",
    "work, policy: action=drop: never hit",
    "lan, policy: action=accept: never hit",
  ]);
});

test("what a name of somebody else's could do to a terminal is escaped", () => {
  const names = { client: "a\x1b[2Jb", place: "\u202e.toml:1" };
  const [line] = ruleLines({ ...names, rule: 1, text: "action=drop", hits: 0, flows: 0 }, 0);
  expect(line).toBe("a\\u001b[2Jb, rule 1 (\\u202e.toml:1): action=drop: never hit");
});
