// What the benchmarks claim of what they measured, and when they refuse to.
import { expect, test } from "bun:test";
import { highestRung, rateOf } from "../../../bench/load/search.ts";
import { printReport } from "../../../bench/report/print.ts";
import { type Bar, Report, type Verdict } from "../../../bench/report/report.ts";
import { median, quantile, spread } from "../../../bench/report/statistics.ts";

const STEADY = [100, 101, 99, 100, 100];

/** The verdict on ours ÷ theirs by round. */
function judge(ours: readonly number[], theirs: readonly number[], bar?: Bar): Verdict | undefined {
  const report = new Report();
  for (const value of ours) report.add("case", "rate", "/s", "ours", value);
  for (const value of theirs) report.add("case", "rate", "/s", "theirs", value);
  report.claim("case", "rate", "ours", "theirs", bar);
  return report.judged()[0]?.verdict;
}

test("median, quantiles, and how far the middle half goes", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(quantile([10, 20, 30, 40, 50], 0.25)).toBe(20);
  expect(spread([10, 20, 30, 50, 1000])).toBe(20);
  expect(spread([1, 1, 1])).toBe(0);
});

test.each<[string, readonly number[], Bar | undefined, Verdict]>([
  ["well above the bar", [150, 151, 149, 152, 150], { atLeast: 1.3 }, "met"],
  ["well below the bar", [110, 111, 109, 110, 112], { atLeast: 1.3 }, "missed"],
  ["well below a bar that is an upper limit", [110, 111, 109, 110, 112], { atMost: 1.3 }, "met"],
  ["well above a bar that is an upper limit", [150, 151, 149, 152, 150], { atMost: 1.3 }, "missed"],
  ["nearer to the bar than the rounds agree", [135, 150, 120, 110, 160], { atLeast: 1.3 }, "too noisy to tell"],
  ["more than the other", [120, 121, 119, 120, 122], undefined, "more"],
  ["less than the other", [80, 81, 79, 80, 82], undefined, "less"],
  ["the same as the other", STEADY, undefined, "too noisy to tell"],
  ["too few rounds", [200, 200, 200, 200], undefined, "too noisy to tell"],
  ["one round that something disturbed", [150, 151, 149, 20, 150], { atLeast: 1.3 }, "met"],
  ["nothing measured", [], { atLeast: 1.3 }, "too noisy to tell"],
])("%s", (_, ours, bar, verdict) => {
  expect(judge(ours, STEADY, bar)).toBe(verdict);
});

test("on a machine that other programs keep busy nothing is claimed but what is exact", () => {
  const report = new Report();
  for (const value of STEADY) report.add("case", "rate", "/s", "ours", value);
  report.limit("case", "rate", "ours", { atLeast: 50 });
  report.limitExact("case", "rate", "ours", { atLeast: 50 });
  report.disturbed(0.05);
  expect(report.judged().map(({ verdict }) => verdict)).toEqual(["met", "met"]);
  report.disturbed(0.3);
  expect(report.judged().map(({ verdict }) => verdict)).toEqual(["too noisy to tell", "met"]);
  expect(report.notes).toEqual(["other programs took 0.3 CPUs: nothing is claimed"]);
});

test("rounds are compared with themselves: what slows a whole round down is no noise", () => {
  expect(judge([200, 20, 400, 100, 60], [100, 10, 200, 50, 30], { atLeast: 1.9 })).toBe("met");
});

test("the table has a line for each case, a column for each subject; a claim that is not made shows its figure in brackets", () => {
  const report = new Report();
  for (const value of [1000, 1100, 900, 1000, 1000]) report.add("1 flow", "rate", "/s", "linux", value);
  for (const value of [2000, 2200, 1800, 2000, 2000]) report.add("1 flow", "rate", "/s", "firebreak", value);
  for (const value of [1.5, 1.5, 1.5, 1.5, 1.5]) report.add("1 flow", "cost", "µs", "firebreak", value);
  report.claim("1 flow", "rate", "firebreak", "linux", { atLeast: 1.3 });
  report.claim("1 flow", "rate", "firebreak", "linux", { atLeast: 2 });
  report.note("a note");
  expect(printReport("bench", 12.3, report)).toBe(`
bench (12 s)
                        linux  firebreak
  1 flow  rate  /s  1 000 ±0%  2 000 ±0%
  1 flow  cost  µs               1.5 ±0%

  1 flow, rate: firebreak ÷ linux = 2.00 ±0.00, bar ≥ 1.3: met
  1 flow, rate: firebreak ÷ linux = (2.00) ±0.00, bar ≥ 2: too noisy to tell
  note: a note`);
});

test.each([0, 5, 49, 63, 98, 99])("the search finds rung %d from wherever it starts", async (highest) => {
  for (const last of [undefined, -1, 0, 79, 99]) {
    expect(await highestRung(last, async (rate) => rate <= rateOf(highest) + 1)).toBe(highest);
  }
});

test("the search finds out that nothing holds, and tries again what failed once", async () => {
  expect(await highestRung(undefined, async () => false)).toBe(-1);
  let failures = 0;
  const flaky = async (rate: number): Promise<boolean> => rate <= rateOf(60) + 1 && failures++ % 2 === 1;
  expect(await highestRung(40, flaky)).toBe(60);
});
