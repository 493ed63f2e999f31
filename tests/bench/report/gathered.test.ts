// Rounds of several runs as one: alike ones alone, and none that something disturbed.
import { expect, test } from "bun:test";
import { gatherRuns } from "../../../bench/report/gathered.ts";
import { Report } from "../../../bench/report/report.ts";

type Run = Parameters<typeof gatherRuns>[0][number]["run"];

/** A run of one round. */
function run(ms: number, { firebreak = "1 (abc)", cpus = 0 } = {}): Run {
  const report = new Report();
  report.add("flood", "reload", "ms", "attack", ms);
  report.limit("flood", "reload", "attack", { atMost: 100 });
  report.disturbed(cpus);
  const { series, notes } = report;
  return {
    machine: "2 × CPU",
    versions: { firebreak, bun: "1", kernel: "6" },
    benchmarks: [{ name: "attack", seconds: 60, series, claims: report.judged(), notes }],
  };
}

const named = (runs: readonly Run[]) => runs.map((one, i) => ({ path: `${i}.json`, run: one }));

test("five runs of one round are five rounds, and claim what these agree on", () => {
  const [{ name, seconds, report }] = gatherRuns(named([20, 22, 21, 20, 23].map((ms) => run(ms))));
  expect([name, seconds, report.notes]).toEqual(["attack", 300, []]);
  expect(report.series.map(({ values }) => values)).toEqual([[20, 22, 21, 20, 23]]);
  expect(report.judged()).toMatchObject([{ value: 21, verdict: "met" }]);
});

test("fewer claim nothing, nor do those that were disturbed", () => {
  const [{ report }] = gatherRuns(named([run(20), run(21), run(20), run(22), run(90, { cpus: 1 })]));
  expect(report.series.map(({ values }) => values)).toEqual([[20, 21, 20, 22]]);
  expect(report.notes).toEqual(["4.json is left out: other programs took part of the machine"]);
  expect(report.judged()).toMatchObject([{ verdict: "too noisy to tell" }]);
});

test("another program's are refused", () => {
  expect(() => gatherRuns(named([run(20), run(20, { firebreak: "1 (def)" })]))).toThrow(
    "1.json is of another program or machine than 0.json (measure anew, or leave it out)",
  );
});
