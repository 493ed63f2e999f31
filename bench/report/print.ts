// Reports as people read them: a table for each benchmark, a line for each subject in each case, then the claims.
import type { Judged, Report, Series } from "./report.ts";
import { median, spread } from "./statistics.ts";

export function printReport(name: string, seconds: number, report: Report): string {
  const lines = [`\n${name} (${seconds.toFixed(0)} s)`, ...table(rowsOf(report)), ""];
  for (const claim of report.judged()) lines.push(`  ${describeClaim(claim)}`);
  for (const note of report.notes) lines.push(`  note: ${note}`);
  return lines.join("\n");
}

/** A row for each case and metric, a column for each subject. */
function rowsOf({ series }: Report): string[][] {
  const subjects = distinct(series.map(({ subject }) => subject));
  const keys = distinct(series.map((one) => `${one.what}\n${one.metric}\n${one.unit}`));
  const rows = keys.map((key) => {
    const [what = "", metric = "", unit = ""] = key.split("\n");
    const cells = subjects.map((subject) =>
      describeSeries(series.find((one) => one.what === what && one.metric === metric && one.subject === subject)),
    );
    return [what, metric, unit, ...cells];
  });
  return [["", "", "", ...subjects], ...rows];
}

function describeSeries(series: Series | undefined): string {
  if (series === undefined) return "";
  const middle = median(series.values);
  const noise = spread(series.values);
  // In percent of next to nothing it would say nothing.
  if (noise > Math.abs(middle)) return `${formatNumber(middle)} ±${formatNumber(noise)}`;
  const percent = middle === 0 ? 0 : (100 * noise) / Math.abs(middle);
  return `${formatNumber(middle)} ±${percent.toFixed(0)}%`;
}

function describeClaim({ what, metric, subject, against, bar, value, spread: noise, verdict }: Judged): string {
  const wanted = bar === undefined ? "" : "atLeast" in bar ? `, bar ≥ ${bar.atLeast}` : `, bar ≤ ${bar.atMost}`;
  const format = against === undefined ? formatNumber : (number: number) => number.toFixed(2);
  const figure = verdict === "too noisy to tell" ? `(${format(value)})` : format(value);
  const compared = against === undefined ? subject : `${subject} ÷ ${against}`;
  return `${what}, ${metric}: ${compared} = ${figure} ±${format(noise)}${wanted}: ${verdict}`;
}

/** Four digits that count. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", " ");
  return String(Number(value.toPrecision(3)));
}

function table(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => {
    const cells = row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    return `  ${cells.join("  ")}`.trimEnd();
  });
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)];
}
