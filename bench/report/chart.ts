// `bench --chart FILE.json…`: draws the ratios to nftables that runs of the benchmark have kept, as an SVG on standard output.
// A bar is the median; the thin line through it is the spread of the rounds; the notch is what was asked for.
import { readFileSync } from "node:fs";
import type { Judged } from "./report.ts";

/** What is drawn of a kept run. */
interface Run {
  readonly date: string;
  readonly benchmarks: readonly { readonly name: string; readonly claims: readonly Judged[] }[];
}

interface Row {
  readonly label: string;
  readonly claim: Judged;
}

const PEER = "nftables";

const WIDTH = 860;
const ROW = 30;
const TOP = 64;
const LEFT = 330;
const RIGHT = 90;
const BOTTOM = 34;
/** The axis goes from 0 to at least this ratio. */
const LEAST_SPAN = 1.5;

/** @param files that `bench` has kept @returns an SVG. @throws Error where a file has no ratios to nftables */
export function drawChart(files: readonly string[]): string {
  const runs = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as Run);
  const rows = runs.flatMap(({ benchmarks }) => benchmarks.flatMap(({ name, claims }) => rowsOf(name, claims)));
  if (rows.length === 0) {
    throw new Error(`no ratios to ${PEER} in ${files.join(", ")} (run build/appliance.sh bench pps tcp rtt cps)`);
  }
  return svg(rows, runs.map(({ date }) => date.slice(0, 10)).at(-1) ?? "");
}

function rowsOf(benchmark: string, claims: readonly Judged[]): Row[] {
  return claims
    .filter(({ against, value }) => against === PEER && Number.isFinite(value))
    .map((claim) => ({ label: `${benchmark}: ${claim.what}, ${claim.metric}`, claim }));
}

function svg(rows: readonly Row[], date: string): string {
  const height = TOP + rows.length * ROW + BOTTOM;
  const reach = rows.map(({ claim }) => Math.max(claim.value + claim.spread, limitOf(claim) ?? 0));
  const span = Math.max(LEAST_SPAN, ...reach) * 1.05;
  const x = (ratio: number) => (LEFT + (ratio / span) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const one = `<line x1="${x(1)}" y1="${TOP - 8}" x2="${x(1)}" y2="${height - BOTTOM}" stroke="#334" stroke-dasharray="4 3"/>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="Helvetica, Arial, sans-serif" font-size="13">`,
    "  <title>Firebreak beside Linux with nftables</title>",
    `  <rect width="${WIDTH}" height="${height}" fill="#f6f7f9"/>`,
    `  <text x="20" y="26" font-size="16" font-weight="bold" fill="#112">Firebreak ÷ nftables, ${escapeXml(date)}</text>`,
    '  <text x="20" y="46" fill="#445">bar: median of the rounds (green: met, red: missed, grey: nothing is claimed); line: their spread; notch: at least (▸), at most (◂)</text>',
    ...rows.flatMap(({ label, claim }, i) => drawRow(label, claim, TOP + i * ROW, x)).map((line) => `  ${line}`),
    `  ${one}`,
    `  <text x="${x(1)}" y="${height - 12}" text-anchor="middle" fill="#334">1 × nftables</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function drawRow(label: string, claim: Judged, y: number, x: (ratio: number) => string): string[] {
  const middle = y + ROW / 2;
  const color = claim.verdict === "met" ? "#2c6e35" : claim.verdict === "missed" ? "#a8322a" : "#7a7f8a";
  const low = Math.max(claim.value - claim.spread, 0);
  const width = (Number(x(claim.value)) - LEFT).toFixed(1);
  const limit = limitOf(claim);
  const notch = claim.bar !== undefined && "atLeast" in claim.bar ? "▸" : "◂";
  return [
    `<text x="${LEFT - 10}" y="${middle + 4}" text-anchor="end" fill="#112">${escapeXml(label)}</text>`,
    `<rect x="${LEFT}" y="${y + 6}" width="${width}" height="${ROW - 12}" fill="${color}" opacity="0.75"/>`,
    `<line x1="${x(low)}" y1="${middle}" x2="${x(claim.value + claim.spread)}" y2="${middle}" stroke="#112"/>`,
    ...(limit === undefined
      ? []
      : [`<text x="${x(limit)}" y="${middle + 5}" text-anchor="middle" fill="#112">${notch}</text>`]),
    `<text x="${WIDTH - RIGHT + 12}" y="${middle + 4}" fill="#112">${claim.value.toFixed(2)} ×</text>`,
  ];
}

function limitOf({ bar }: Judged): number | undefined {
  if (bar === undefined) return undefined;
  return "atLeast" in bar ? bar.atLeast : bar.atMost;
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
