// Commands come by two ways: posted, and rules by mail. They are carried out in the order in which they were given all the same; and
// rules by mail leave nothing in memory, in a thread in which nobody collects.
import { gcAndSweep, heapStats } from "bun:jsc";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { MessageChannel } from "node:worker_threads";
import { Random } from "../../../lab/random.ts";
import { randomMatches } from "../../../lab/rulesets.ts";
import { Router } from "../../../src/dataplane/frame/router.ts";
import { Collector } from "../../../src/dataplane/io/collector.ts";
import { Commands } from "../../../src/dataplane/io/commands.ts";
import {
  LONGEST_RULES,
  MAILBOX_LENGTH,
  Mailbox,
  RULES_MAILBOX_LENGTH,
  RULES_SIZE,
} from "../../../src/dataplane/io/mailbox.ts";
import { type Command, MAIL } from "../../../src/dataplane/io/protocol.ts";
import { work } from "../../../src/dataplane/io/work.ts";
import { trialSettings } from "../../../src/dataplane/kernel/trial/settings.ts";
import { MemoryRing } from "../../../src/dataplane/memory-ring.ts";
import { packRuleset } from "../../../src/dataplane/rules/packed.ts";
import { compileRuleset, type Ruleset } from "../../../src/dataplane/rules/ruleset.ts";

const NOTHING = new Uint8Array(0);
const CHANGES = 10_000;
const FEW = 1000;

/** A router whose thread is this one, and what it has been told, in order. */
class Told extends Router {
  readonly done: string[] = [];

  override *applying(...given: Parameters<Router["applying"]>): Generator<void> {
    yield* super.applying(...given);
    this.done.push("settings");
  }

  override setClient(...given: Parameters<Router["setClient"]>): void {
    super.setClient(...given);
    this.done.push("posted rules");
  }

  override takeClientRules(client: number, packed: Int32Array, at: number): void {
    super.takeClientRules(client, packed, at);
    if (this.done.length < FEW) this.done.push("rules");
  }

  override releaseAnswer(): void {
    this.done.push("mail");
  }
}

const settings = trialSettings(["uplink", "client"], 1);
const inbox = new Mailbox(new SharedArrayBuffer(MAILBOX_LENGTH));
const rules = new Mailbox(new SharedArrayBuffer(RULES_MAILBOX_LENGTH), RULES_SIZE);
const collector = new Collector();

let channel: MessageChannel;
let router: Told;
let commands: Commands;
let reports = 0;
let posted = 0;

beforeEach(() => {
  channel = new MessageChannel();
  reports = 0;
  posted = 0;
  router = new Told(new MemoryRing(), settings, (words) => crypto.getRandomValues(words));
  const events = {
    configure: () => undefined,
    carriedOut: () => {},
    records: () => {},
    addresses: () => {},
    watch: () => {},
    report: () => void reports++,
  };
  const sides = [inbox, rules].map(({ words }) => words.buffer);
  for (const memory of sides) new Int32Array(memory).fill(0);
  commands = new Commands(
    channel.port2,
    new Mailbox(sides[0]),
    new Mailbox(sides[1], RULES_SIZE),
    router,
    events,
    collector,
  );
});

afterEach(() => {
  channel.port1.close();
  channel.port2.close();
});

function post(command: Command): void {
  posted++;
  channel.port1.postMessage(command);
}

function packedBytes(ruleset: Ruleset): Uint8Array {
  const words = new Int32Array(LONGEST_RULES / 4);
  return new Uint8Array(words.buffer, 0, 4 * packRuleset(ruleset, words));
}

function mail(packed: Uint8Array): boolean {
  return rules.put(MAIL.RULES, 0, posted, packed, 0, packed.length);
}

function finish(): void {
  commands.wake();
  while (commands.isBusy || router.isBusy) work(router, commands);
}

const SETTINGS: Command = { type: "apply", settings, sockets: [], before: [] };
const RULES = { type: "client", client: 0, ruleset: compileRuleset([], true) } as const;
const other = packedBytes(compileRuleset(randomMatches(new Random(1), 30, 16), false));
const another = packedBytes(compileRuleset(randomMatches(new Random(2), 20, 16), true));

describe("rules by mail", () => {
  test("come after the commands that were posted before, and before those that were posted behind", () => {
    mail(other);
    post(SETTINGS);
    mail(other);
    mail(another);
    post(RULES);
    post(SETTINGS);
    mail(other);
    inbox.put(MAIL.RELEASE, 1, 0, NOTHING, 0, 0);
    finish();
    expect(router.done).toEqual(["rules", "settings", "rules", "rules", "posted rules", "settings", "rules", "mail"]);
    expect(reports).toBe(7);
  });

  test("come before a command that has been received already, if it was posted behind", () => {
    post(SETTINGS);
    commands.wake();
    while (reports === 0) work(router, commands);
    mail(other);
    post(SETTINGS);
    // As where it is put after a look for rules, and before the one for commands: it is seen only then.
    const { take } = Mailbox.prototype;
    let isHidden = true;
    Mailbox.prototype.take = function (until) {
      if (isHidden && this.words.buffer === rules.words.buffer) {
        isHidden = false;
        return false;
      }
      return take.call(this, until);
    };
    try {
      finish();
    } finally {
      Mailbox.prototype.take = take;
    }
    expect(router.done).toEqual(["settings", "rules", "settings"]);
  });

  test("come as a command where the mailbox has no room, and are collected sooner the more there are", () => {
    const most = compileRuleset(randomMatches(new Random(3), 10_000, 16), true);
    expect(packRuleset(most, new Int32Array(LONGEST_RULES / 4))).toBe(0);
    const changes = (ruleset: Ruleset): number => {
      const done = reports;
      while (!collector.isBusy) {
        post({ type: "client", client: 0, ruleset });
        commands.wake();
        while (reports < posted) work(router, commands);
      }
      finish();
      return reports - done;
    };
    changes(RULES.ruleset);
    expect(changes(RULES.ruleset)).toBe(128);
    expect(changes(most)).toBeLessThan(20);
  });

  test("wait until flows can be told from those of older rules", () => {
    while (router.mayApply(0)) router.setClient(0, settings.clients[0]);
    const { length } = router.done;
    mail(other);
    commands.wake();
    expect(commands.isBusy).toBe(false);
    commands.step();
    expect(router.done).toHaveLength(length);
    finish();
    expect(router.done.slice(length)).toEqual(["rules"]);
  });

  test("leave nothing in memory, and nothing to collect", () => {
    collector.collectWhole();
    const change = (i: number) => {
      if (!mail(i % 2 === 0 ? other : another)) throw new Error("no room");
      finish();
    };
    for (let i = 0; i < 2 * CHANGES; i++) change(i);
    gcAndSweep();
    const before = heapStats().objectTypeCounts;
    for (let i = 0; i < CHANGES; i++) change(i);
    const after = Object.entries(heapStats().objectTypeCounts);
    expect(after.filter(([type, count]) => count - (before[type] ?? 0) > FEW)).toEqual([]);
    expect(reports).toBe(3 * CHANGES);
    expect([collector.isBusy, collector.isWholeDue]).toEqual([false, false]);
  });
});
