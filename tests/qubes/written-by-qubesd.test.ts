// What qubesd's own code writes for a firewall and a client with both families, and one with IPv4 alone, comes to what was meant by it.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { CommittedRules } from "../../src/qubes/client-rules.ts";
import { makeQubeConfig } from "../../src/qubes/qube-config.ts";
import type { ClientVif } from "../../src/qubes/qube-state.ts";
import { QubesDb } from "../../src/qubes/qubesdb.ts";
import { QUBESDB_PORT } from "../../src/qubes/qubesdb-wire.ts";
import { formatRule } from "../../src/rules/parse.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { Switchboard } from "../support/vchans.ts";
import WRITTEN from "./written-by-qubesd.json" with { type: "json" };

const WORK_6 = "fd09:24ef:4179::a89:9";
const WORK = { name: "vif2.0", address: ip("10.137.0.9"), address6: ip6(WORK_6), mac: undefined };
const HOME = { name: "vif3.0", address: ip("10.137.0.10"), mac: undefined };

let double: QubesDbDouble;
let database: QubesDb;
let rules: CommittedRules;
let handled: string[];
const clock = new SimulatedClock();

beforeEach(() => {
  double = new QubesDbDouble();
  handled = [];
  const board = new Switchboard();
  database = new QubesDb(
    (handler) => board.connect(QUBESDB_PORT, handler),
    {
      synchronised: (before) => void handled.push(...rules.readAll(before)),
      written: (path) => void handled.push(...[rules.written(path) ?? []].flat()),
      removed: (path) => void rules.removed(path),
      trouble: () => {},
    },
    clock,
  );
  rules = new CommittedRules(database);
  void board.serve(QUBESDB_PORT, double.handler()).then((stream) => double.attach(stream));
});
afterEach(() => database.close());

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) await clock.advance(0);
  expect(condition()).toBe(true);
}

/** Dom0 writes, and it is read. */
async function write(lines: readonly string[]): Promise<void> {
  await until(() => database.filling || database.synchronised);
  for (const line of lines) {
    const equals = line.indexOf("=");
    if (line.startsWith("rm ")) double.remove(line.slice(3));
    else double.write(line.slice(0, equals), line.slice(equals + 1));
  }
  await until(() => double.unanswered === 0);
  expect(double.mistakes).toEqual([]);
}

function clients(vifs: readonly ClientVif[] = [WORK, HOME]) {
  const state = { database: rules.inForce, rulesOf: (address: string) => rules.get(address) };
  const { config, problems } = makeQubeConfig({ ...state, vifs, uplink: "eth0", options: undefined });
  expect([problems, rules.errors()]).toEqual([[], []]);
  const shown = config.clients.map(({ ipv6, policy, rules: list }) => ({
    ipv6: ipv6?.network,
    policy,
    rules: list.map(({ family, ...rule }) => `${family ?? "both"}: ${formatRule(rule)}`),
  }));
  return { uplink: config.uplink.ipv6, shown };
}

const PINGS = "action=accept proto=icmp";
const OF_4 = "action=accept dst4=192.0.2.0/24 proto=tcp dstports=443";
const OF_6 = "action=accept dst6=2001:db8::/32 proto=tcp dstports=443";
const NAMED = "action=drop dsthost=example.org";
const DNS = "action=accept specialtarget=dns";
const HOME_SHOWN = {
  ipv6: undefined,
  policy: "drop" as const,
  rules: [PINGS, OF_4, NAMED, DNS].map((rule) => `both: ${rule}`),
};

test("everything, key by key: both addresses, and of the two lists the one that people know", async () => {
  await write(WRITTEN.filled);
  const { uplink, shown } = clients();
  expect(uplink).toMatchObject({
    address: ip6("fd09:24ef:4179::a89:5"),
    gateway: ip6("fd09:24ef:4179::a89:1"),
    inside: [ip6(WORK_6)],
  });
  const list = [`both: ${PINGS}`, `4: ${OF_4}`, `6: ${OF_6}`, `both: ${NAMED}`, `both: ${DNS}`];
  expect(shown).toEqual([{ ipv6: ip6(WORK_6), policy: "drop", rules: list }, HOME_SHOWN]);
  expect(handled.toSorted()).toEqual(["10.137.0.10", "10.137.0.9", WORK_6]);
});

test("other rules of one client: its two addresses are handled, and no other's", async () => {
  await write(WRITTEN.filled);
  handled = [];
  await write(WRITTEN.changed);
  const [work, home] = clients().shown;
  expect(work.rules).toEqual(["6: action=accept dst6=2001:db8:7::80/128", "both: action=accept proto=udp dstports=53"]);
  expect(home).toEqual(HOME_SHOWN);
  expect(handled).toEqual(["10.137.0.9", WORK_6]);
});

test("the feature off for one client: its rules of IPv4 are as they were", async () => {
  await write(WRITTEN.filled);
  await write(WRITTEN.changed);
  await write(WRITTEN["ipv6 off"]);
  const { uplink, shown } = clients([{ ...WORK, address6: undefined }, HOME]);
  expect(uplink?.inside).toEqual([]);
  expect(shown[0]).toEqual({ ipv6: undefined, policy: "drop", rules: ["both: action=accept proto=udp dstports=53"] });
});
