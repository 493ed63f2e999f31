// Refused packets as lines of the log: every packet is told of once, and no flood gets more than ten lines a second.
import { describe, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { LAN_SETTINGS, REMOTE, WORK_HOST, WORK_SETTINGS } from "../../lab/router-lab.ts";
import { RefusalLog } from "../../src/control/refusal-log.ts";
import { drawHashKeys, KeyedHash } from "../../src/dataplane/keyed-hash.ts";
import type { ClientSettings } from "../../src/dataplane/settings.ts";
import { DROP_RECORDS } from "../../src/dataplane/tables/drop-records.ts";
import { Drop, Drops } from "../../src/dataplane/tables/drops.ts";
import { VERDICT } from "../../src/dataplane/verdict.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const LOGGED = { ...WORK_SETTINGS, log: true };

class Bench {
  readonly clock = new SimulatedClock();
  readonly drops = new Drops(new KeyedHash(drawHashKeys(() => 12345)));
  readonly lines: { readonly time: number; readonly text: string }[] = [];
  readonly log = new RefusalLog(this.drops.words, this.clock, (text) => {
    this.lines.push({ time: this.clock.now(), text });
  });

  constructor(clients: readonly ClientSettings[] = [LOGGED, LAN_SETTINGS]) {
    this.drops.reset(2, Int32Array.of(0, 1), new Int32Array(0), () => 0);
    this.log.watch(clients);
  }

  /** Refuses packets of client 0's to port 25, all of one flow. */
  refuse(sourcePort: number, packets = 1, rule = 3): void {
    for (let i = 0; i < packets; i++) {
      this.note(0, rule, TCP, WORK_HOST, sourcePort, 25);
    }
  }

  /** Refuses a packet to REMOTE. */
  note(client: number, rule: number, protocol: number, source: string, from: number, to: number): void {
    this.drops.note(
      Object.assign(new Drop(), {
        verdict: VERDICT.REFUSED,
        party: client,
        client,
        rule,
        protocol,
        source: ip(source) | 0,
        destination: ip(REMOTE) | 0,
        ports: (from << 16) | to,
        isLogged: true,
      }),
    );
  }

  /** Lets time go by. @returns the lines of that time, each with when it came, in ms */
  async after(ms: number): Promise<string[]> {
    const before = this.lines.length;
    await this.clock.advance(ms);
    return this.lines.slice(before).map(({ time, text }) => `${time} ${text}`);
  }
}

/** The line of a flow. */
function line(sourcePort: number, rule = "rule 3"): string {
  return `refused: client work, ${rule}: tcp 10.137.0.10:${sourcePort} to 198.51.100.7:25`;
}

/** How many packets the lines have told of. */
function toldBy(lines: readonly { readonly text: string }[]): number {
  return lines.reduce((sum, { text }) => {
    const [, more] = /(\d+) more (?:in|refused)/.exec(text) ?? [];
    return sum + Number(more ?? 1);
  }, 0);
}

describe("the log of refused packets", () => {
  test("has the first packet of a flow, then how many more came", async () => {
    const bench = new Bench();
    bench.refuse(40000);
    expect(await bench.after(250)).toEqual([`250 ${line(40000)}`]);
    bench.refuse(40000, 100);
    expect(await bench.after(5000)).toEqual([]);
    bench.refuse(40000, 20);
    expect(await bench.after(10_000)).toEqual([`10500 ${line(40000)}: 120 more in 10 s`]);
    expect(await bench.after(60_000)).toEqual([]);
    bench.refuse(40000, 2);
    expect(await bench.after(10_500)).toEqual([`85500 ${line(40000)}: 2 more in 10 s`]);
  });

  test("names the policy, and shows every protocol as flows are shown", async () => {
    const bench = new Bench();
    bench.note(0, 0, TCP, WORK_HOST, 40000, 443);
    bench.note(0, 1, UDP, WORK_HOST, 0xffff, 53);
    bench.note(0, 2, ICMP, WORK_HOST, 77, 8);
    bench.note(1, 12, 47, "192.168.1.20", 0, 0);
    expect(await bench.after(250)).toEqual([
      "250 refused: client work, policy: tcp 10.137.0.10:40000 to 198.51.100.7:443",
      "250 refused: client work, rule 1: udp 10.137.0.10:65535 to 198.51.100.7:53",
      "250 refused: client work, rule 2: icmp 10.137.0.10 id 77 to 198.51.100.7",
      "250 refused: client lan, rule 12: 47 192.168.1.20 to 198.51.100.7",
    ]);
  });

  test("has nine flows a second and a count of the rest", async () => {
    const bench = new Bench();
    for (let port = 1; port <= 12; port++) bench.refuse(port, port);
    const first = Array.from({ length: 9 }, (_, i) => `250 ${line(i + 1)}`);
    expect(await bench.after(250)).toEqual([...first, "250 … and 33 more refused packets not shown"]);
    // Those that were not shown are, once there is room for them.
    bench.refuse(12, 3);
    expect(await bench.after(1250)).toEqual(["1250 … and 3 more refused packets not shown"]);
    bench.refuse(12, 3);
    expect(await bench.after(250)).toEqual([`1750 ${line(12)}`]);
    // 2 to 9 packets of the flows 2 to 9 beside their first ones, and two of the flow 12.
    const more = Array.from({ length: 8 }, (_, i) => `10250 ${line(i + 2)}: ${i + 1} more in 10 s`);
    expect(await bench.after(20_000)).toEqual([...more, `11750 ${line(12)}: 2 more in 10 s`]);
    expect(toldBy(bench.lines)).toBe(78 + 6);
  });

  test("tells of records that others have taken meanwhile by their number", async () => {
    const bench = new Bench();
    bench.refuse(1, 1000);
    expect(await bench.after(250)).toEqual([`250 ${line(1)}`]);
    const others = DROP_RECORDS + 44;
    for (let port = 1000; port < 1000 + others; port++) bench.refuse(port);
    const lines = await bench.after(250);
    // 999 of the first flow, whose record is gone, and all but eight of the others; its line was the second's ninth.
    const shown = Array.from({ length: 8 }, (_, i) => `500 ${line(1044 + i)}`);
    expect(lines).toEqual([...shown, `500 … and ${999 + others - 8} more refused packets not shown`]);
    expect(await bench.after(20_000)).toEqual([]);
  });

  test("is quiet, and no timer runs, while no client asks for it", async () => {
    const bench = new Bench([WORK_SETTINGS, LAN_SETTINGS]);
    expect(bench.clock.pending).toBe(0);
    bench.log.watch([LOGGED]);
    expect(bench.clock.pending).toBe(1);
    bench.log.watch([LOGGED]);
    expect(bench.clock.pending).toBe(1);
    bench.log.watch([WORK_SETTINGS]);
    expect(bench.clock.pending).toBe(0);
    bench.log.watch([LOGGED]);
    bench.log.stop();
    expect(bench.clock.pending).toBe(0);
  });

  test("names clients by the settings that a packet was refused by", async () => {
    const bench = new Bench();
    bench.refuse(1);
    bench.refuse(3);
    bench.log.watch([{ ...LOGGED, name: "other" }]);
    expect(bench.lines.map(({ text }) => text)).toEqual([line(1), line(3)]);
    bench.drops.countSettings();
    bench.refuse(1, 5);
    bench.refuse(2, 1, 0);
    expect(await bench.after(11_000)).toEqual([
      `250 ${line(1).replace("work", "other")}`,
      `250 ${line(2, "policy").replace("work", "other")}`,
      `10250 ${line(1).replace("work", "other")}: 4 more in 10 s`,
    ]);
  });

  test("tells of every packet once, in at most ten lines in any second, whatever comes", async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const random = new Random(seed);
      const bench = new Bench();
      let noted = 0;
      for (let i = 0; i < 300; i++) {
        const flows = random.pick([0, 0, 1, 3, 20, 1000]);
        for (let flow = 0; flow < flows; flow++) {
          const packets = 1 + random.below(5);
          bench.refuse(random.below(random.pick([10, 500, 65536])), packets);
          noted += packets;
        }
        await bench.clock.advance(random.below(400));
      }
      await bench.clock.advance(30_000);
      expect(toldBy(bench.lines)).toBe(noted);
      const times = bench.lines.map(({ time }) => time);
      const crowd = times.find((time, i) => (times[i + 10] ?? Number.POSITIVE_INFINITY) - time < 1000);
      expect(crowd).toBeUndefined();
    }
  });
});
