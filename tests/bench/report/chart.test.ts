// The chart of the benchmark's ratios, drawn from a kept run.
import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drawChart } from "../../../bench/report/chart.ts";

const CLAIM = { what: "1 stream up", metric: "throughput", subject: "firebreak", exact: false };

function keep(claims: readonly unknown[]): string {
  const file = join(mkdtempSync(join(tmpdir(), "firebreak-")), "run.json");
  writeFileSync(file, JSON.stringify({ date: "2026-11-29T10:00:00Z", benchmarks: [{ name: "tcp", claims }] }));
  return file;
}

test("draws a bar for each ratio to nftables, as long as the ratio, and says the ratio", () => {
  const claims = [
    { ...CLAIM, against: "nftables", bar: { atLeast: 0.75 }, value: 1, spread: 0.1, verdict: "met" },
    {
      ...CLAIM,
      what: "<8 streams>",
      against: "nftables",
      bar: { atMost: 2 },
      value: 0.5,
      spread: 0,
      verdict: "missed",
    },
    { ...CLAIM, what: "beside another", against: "null", value: 3, spread: 0, verdict: "more" },
  ];
  const svg = drawChart([keep(claims)]);
  const widths = Array.from(svg.matchAll(/<rect x="330"[^>]* width="([0-9.]+)"/g), ([, width]) => Number(width));
  expect(widths).toHaveLength(2);
  expect((widths[0] ?? 0) / (widths[1] ?? 1)).toBeCloseTo(2, 2);
  expect(svg).toContain("tcp: 1 stream up, throughput");
  expect(svg).toContain("1.00 ×");
  expect(svg).toContain("&#60;8 streams&#62;");
  expect(svg).toContain("2026-11-29");
  expect(svg).not.toContain("beside another");
});

test("says what to run where there is nothing to draw", () => {
  expect(() => drawChart([keep([])])).toThrow("build/appliance.sh bench pps tcp rtt cps");
});
