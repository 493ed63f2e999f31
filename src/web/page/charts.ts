// Two charts over the same time: bits and packets a second. Lines differ by strokes, not by colours alone, and numbers stand below.
import uPlot from "uplot";
import { RATES, type Rates } from "../messages.ts";
import { make, setText, styleValue } from "./dom.ts";
import { formatTime } from "./format.ts";

/** A line of a chart. */
export interface Line {
  readonly label: string;
  /** A sign beside the label, for who does not tell colours. */
  readonly sign: string;
  /** Which of the rates. */
  readonly field: number;
  /** What the style calls its colour. */
  readonly colour: string;
  readonly dash: readonly number[];
}

/** Pixels. */
const HEIGHT = 190;
/** Seconds without rates after which a line ends and begins anew. */
const GAP = 5;
/** The least that the scale shows at its top, so that nothing looks like much. */
const LEAST_TOP = 10;

export class Chart {
  private readonly plot: uPlot;
  private readonly cells: readonly (readonly HTMLElement[])[];
  private readonly moment = make("th", { scope: "col", class: "count" });
  private shown: readonly Rates[] = [];
  private hovered: number | undefined;

  /** @param place where the chart goes @param numbers where its numbers go */
  constructor(
    private readonly place: HTMLElement,
    numbers: HTMLElement,
    private readonly title: string,
    private readonly lines: readonly Line[],
    private readonly format: (value: number) => string,
  ) {
    this.cells = lines.map(() => ["count now", "count", "count"].map((name) => make("td", { class: name }, "–")));
    numbers.append(this.numberTable());
    this.plot = new uPlot(this.options(), [[], ...lines.map(() => [])], place);
    place.setAttribute("role", "img");
    new ResizeObserver(() => this.resize()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot.redraw());
  }

  /** @param rates those that are shown, the oldest first @param from Unix time; @param to where the scale begins and ends */
  show(rates: readonly Rates[], from: number, to: number): void {
    this.shown = rates;
    const points = withGaps(rates);
    const columns = this.lines.map(({ field }) => points.map((point) => (point === null ? null : point[field])));
    const times = points.map((point, i) =>
      point === null ? (points[i - 1]?.[RATES.TIME] ?? 0) + 0.5 : point[RATES.TIME],
    );
    this.plot.batch(() => {
      this.plot.setData([times, ...columns], false);
      this.plot.setScale("x", { min: from, max: to });
    });
    this.tell();
  }

  private tell(): void {
    const { shown, hovered } = this;
    const last = hovered === undefined ? undefined : nearest(shown, hovered);
    setText(this.moment, last === undefined ? "now" : formatTime(last[RATES.TIME]));
    const said = this.lines.map(({ label, field }, i) => {
      const values = shown.map((rates) => rates[field]);
      const now = (last ?? shown.at(-1))?.[field];
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const most = values.reduce((most, value) => Math.max(most, value), 0);
      const texts = values.length === 0 || now === undefined ? ["–", "–", "–"] : [now, mean, most].map(this.format);
      this.cells[i].forEach((cell, column) => {
        setText(cell, texts[column]);
      });
      return `${label} ${texts[0]}, at most ${texts[2]}`;
    });
    this.place.setAttribute("aria-label", `${this.title}: ${said.join("; ")}`);
  }

  private resize(): void {
    const width = this.place.clientWidth;
    if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  private options(): uPlot.Options {
    const axis = {
      stroke: () => styleValue("--soft"),
      grid: { stroke: () => styleValue("--line"), width: 1 },
      ticks: { stroke: () => styleValue("--line"), width: 1 },
      font: '12px system-ui, "DejaVu Sans", sans-serif',
    };
    return {
      width: Math.max(this.place.clientWidth, 100),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { y: { range: (_, __, most) => [0, Math.max(LEAST_TOP, (most ?? 0) * 1.1)] } },
      axes: [
        { ...axis, space: 80, values: (_, splits) => splits.map((time, i) => tickText(time, splits[i - 1])) },
        { ...axis, size: 84, values: (_, splits) => splits.map(this.format) },
      ],
      series: [
        {},
        ...this.lines.map(({ label, colour, dash }) => ({
          label,
          stroke: () => styleValue(colour),
          dash: [...dash],
          width: 2,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [
          ({ cursor: { left }, posToVal }) => {
            const isOver = left !== undefined && left !== null && left >= 0;
            this.hovered = isOver ? posToVal(left, "x") : undefined;
            this.tell();
          },
        ],
      },
    };
  }

  private numberTable(): HTMLElement {
    const head = make(
      "tr",
      {},
      make("td", {}),
      this.moment,
      ...["on average", "at most"].map((text) => make("th", { scope: "col", class: "count" }, text)),
    );
    const rows = this.lines.map(({ label, sign, colour, dash }, i) => {
      const swatch = make("span", {
        class: `swatch${dash.length === 0 ? "" : " dashed"} ${colour.slice(2)}`,
        "aria-hidden": "true",
      });
      const signed = make("span", { class: "sign", "aria-hidden": "true" }, sign);
      return make("tr", {}, make("th", { scope: "row" }, swatch, signed, ` ${label}`), ...this.cells[i]);
    });
    return make("table", { class: "numbers" }, make("thead", {}, head), make("tbody", {}, ...rows));
  }
}

/** @returns with null between two that are not one after the other */
function withGaps(rates: readonly Rates[]): (Rates | null)[] {
  return rates.flatMap((point, i) => {
    const last = rates[i - 1];
    return last !== undefined && point[RATES.TIME] - last[RATES.TIME] > GAP ? [null, point] : [point];
  });
}

function nearest(rates: readonly Rates[], time: number): Rates | undefined {
  const distance = (point: Rates) => Math.abs(point[RATES.TIME] - time);
  let best: Rates | undefined;
  for (const point of rates) if (best === undefined || distance(point) < distance(best)) best = point;
  return best;
}

/** Hours and minutes; seconds where ticks are closer than a minute. */
function tickText(time: number, before: number | undefined): string {
  const text = formatTime(time);
  const isClose = before !== undefined && time - before < 60;
  return isClose || text.slice(-2) !== "00" ? text : text.slice(0, 5);
}
