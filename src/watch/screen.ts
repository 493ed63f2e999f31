// What `firebreak top` shows, as lines of text: a function of the state and the size of the terminal, and of nothing else. Names that
// strangers chose are escaped here, so that what comes out is safe for any terminal.
import { printable } from "../base/quote.ts";
import { type DropEntry, formatAge, frameText, verdictWords } from "../control/views/drops.ts";
import type { FlowEntry } from "../control/views/flow-list.ts";
import { textOf } from "../control/views/flow-text.ts";
import type { RatedFlow } from "./flow-rates.ts";
import { newest, verdictName } from "./history.ts";
import { sparkline } from "./sparkline.ts";
import { clientsShown, type ListView, lengthOf, type TopState, VIEWS } from "./top-state.ts";

/** Characters of a terminal, and whether it has more than ASCII. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
  readonly isUnicode: boolean;
}

export interface Line {
  readonly text: string;
  /** Shown the other way round: a heading, or what is selected. */
  readonly isReversed?: boolean;
}

/** Lines above a list and below it. */
const HEAD = 7;
const FOOT = 1;
/** Columns in front of a bar of the head, and of one of a row. */
const BAR_AT = 26;
const ROW_BAR = 20;
/** Columns of a terminal on which all has the least room; and of each end of a flow: of IPv4, and of the longest of IPv6. */
const USUAL_COLUMNS = 80;
const END = { least: 21, most: 47 };

const KEYS = "q quit  Tab view  s sort  r reverse  / filter  e end  w why  ? help";

const HELP = [
  "1 2 3 4, Tab   clients, flows, verdicts, drops",
  "up down j k    select; PgUp PgDn Home End g G too",
  "s, r           sort by the next column; turn the order round",
  "/              filter: flows and drops in the words of firebreak flows and",
  "               firebreak drops (client=work proto=tcp dst=192.0.2.0/24 …),",
  "               clients by a part of their name. Empty: all",
  "Enter          of a client: its flows; of a flow or a drop: as w",
  "e              end the selected flow; of ICMP, all between the two",
  "w              why: what was dropped between the two, or what would be",
  "^L, ^Z, q ^C   draw anew, stop for a while, quit",
  "",
  "Rates are a second; of flows bytes, both ways, counted while somebody looks.",
  "Bars have the newest at the right, as high as the highest of their row.",
];

/** How many rows of a list fit. */
export function listRows({ rows }: Pick<Size, "rows">): number {
  return Math.max(1, rows - HEAD - FOOT);
}

/** @returns as many lines as the terminal has, none longer than it is wide */
export function renderTop(state: TopState, size: Size): Line[] {
  const above = head(state, size);
  const room = Math.max(0, size.rows - above.length - FOOT);
  const body = bodyOf(state, size).slice(0, room);
  const lines = [...above, ...body, ...Array<Line>(room - body.length).fill({ text: "" }), foot(state)];
  return lines.slice(-Math.max(1, size.rows)).map((line) => ({
    ...line,
    text: clip(line.isReversed ? line.text.padEnd(size.columns) : line.text, size.columns),
  }));
}

/** @returns all there is, once, for no terminal: lines of at most 80 columns */
export function renderOnce(state: TopState, isUnicode: boolean): string[] {
  const size = { columns: 80, rows: 0, isUnicode };
  const lists = (["clients", "verdicts"] as const).flatMap((list) => [
    { text: "" },
    { text: headingOf(list, state, size) },
    ...rowsOf({ ...state, list }, list, size, 0, Number.POSITIVE_INFINITY),
  ]);
  return [...summary(state, size), ...lists].map(({ text }) => clip(text, size.columns).trimEnd());
}

function bodyOf(state: TopState, size: Size): Line[] {
  if (state.view === "help") return HELP.map((text) => ({ text: size.isUnicode ? text : text.replaceAll("…", "...") }));
  if (state.view === "why")
    return (state.why ?? []).flatMap((text) => wrap(text, size.columns)).map((text) => ({ text }));
  const { selected, offset } = state.looks[state.list];
  return rowsOf(state, state.list, size, offset, listRows(size)).map(({ text }, i) => {
    const isSelected = offset + i === selected;
    return { text: `${isSelected ? ">" : " "}${text.slice(1)}`, isReversed: isSelected };
  });
}

function head(state: TopState, size: Size): Line[] {
  const tabs = VIEWS.map((view) => (view === state.list ? `[${view}]` : ` ${view} `)).join(" ");
  const { order, isDescending, filter } = state.looks[state.list];
  const by = state.list === "drops" && isDescending ? "last" : order; // their order is how long ago they were seen
  const details = [
    `${lengthOf(state, state.list)} in all`,
    ...(by === "" ? [] : [`by ${isDescending ? "-" : ""}${by}`]),
    ...(filter === "" ? [] : [`only ${printable(filter)}`]),
  ];
  const heading = state.view === "why" ? " WHY" : state.view === "help" ? " KEYS" : headingOf(state.list, state, size);
  return [...summary(state, size), { text: `${tabs}  ${details.join(", ")}` }, { text: heading, isReversed: true }];
}

/** Five lines about all of the firewall. */
function summary({ name, seen, trouble }: TopState, { columns, isUnicode }: Size): Line[] {
  const first = `firebreak ${printable(seen?.status.name ?? name)}`;
  if (seen === undefined) {
    const words = trouble === undefined ? "is being asked" : `does not answer, trying again: ${printable(trouble)}`;
    return [
      { text: first },
      ...wrap(words, columns, 4).map((text) => ({ text })),
      ...Array<Line>(4).fill({ text: "" }),
    ].slice(0, 5);
  }
  const { status, history } = seen;
  const { forwarded, dropped, flows, cpu } = history;
  const bar = (title: string, words: string, series: readonly number[]): Line => ({
    text: `${title.padEnd(10)}${words.padEnd(BAR_AT - 10)}${sparkline(series, columns - BAR_AT, isUnicode)}`,
  });
  const title = `${first}, version ${printable(status.version)}, up ${formatAge(status.uptime)}`;
  const time = new Date(status.time * 1000).toISOString().slice(11, 19);
  const firstLine =
    trouble === undefined
      ? `${title.padEnd(columns - 9)} ${time}`
      : `NOT ANSWERING, trying again: ${printable(trouble)}`;
  return [
    { text: firstLine, isReversed: trouble !== undefined },
    bar("forwarded", `${shortNumber(newest(forwarded))}/s`, forwarded),
    bar("dropped", `${shortNumber(newest(dropped))}/s`, dropped),
    bar("flows", `${status.flows.used} of ${status.flows.most}`, flows),
    {
      text: `${kernelText(status)}, memory ${Math.round(status.memory.resident / 1e6)} MB, processor ${percent(newest(cpu))}, ${namesText(status)}`,
    },
  ];
}

const HEADINGS: Readonly<Record<Exclude<ListView, "flows">, string>> = {
  clients: " CLIENT                             FLOWS      OF   USED",
  verdicts: " FRAMES                                                 /s         TOTAL",
  drops: "  COUNT  LAST  VERDICT AND FRAME",
};

function headingOf(list: ListView, state: TopState, size: Size): string {
  if (list !== "flows") return HEADINGS[list];
  const width = endWidth(state, size);
  return ` PROTO ${"SOURCE".padEnd(width)} ${"DESTINATION".padEnd(width)} BYTE/s STATE  RULE   CLIENT`;
}

/** @returns columns for each end of a flow: for those of IPv6, where there can be some, as many as the terminal has to spare */
function endWidth({ seen }: TopState, { columns }: Size): number {
  const hasIpv6 = seen?.status.interfaces.some(({ uplink }) => uplink?.address6 !== undefined) ?? false;
  const spare = hasIpv6 ? Math.floor((columns - USUAL_COLUMNS) / 2) : 0;
  return Math.min(Math.max(END.least + spare, END.least), END.most);
}

/** @returns rows of a list, each with a place in front for a mark */
function rowsOf(state: TopState, list: ListView, size: Size, offset: number, rows: number): Line[] {
  const { seen } = state;
  if (seen === undefined) return [];
  const shown = <T>(all: readonly T[], from = 0): T[] =>
    all.slice(Math.max(0, offset - from), Math.max(0, offset - from) + rows);
  const { history, status } = seen;
  const barWidth = Math.max(0, Math.min(size.columns - 58, ROW_BAR * 3));
  switch (list) {
    case "clients":
      return shown(clientsShown(state)).map(({ name, flows, most_flows }) => ({
        text: ` ${column(printable(name), 32)} ${right(flows, 7)} ${right(most_flows, 7)} ${percent(flows / most_flows).padStart(6)}  ${sparkline(history.flowsOf(name), barWidth, size.isUnicode)}`,
      }));
    case "flows":
      return shown(seen.flows, seen.flowsFrom).map((flow) => ({ text: flowRow(flow, endWidth(state, size)) }));
    case "verdicts":
      return shown(history.byVerdict).map(({ slug, total, rates }) => ({
        text: ` ${column(printable(verdictName(slug)), 46)} ${right(shortNumber(newest(rates)), 10)} ${right(total, 13)} ${sparkline(rates, Math.max(0, size.columns - 73), size.isUnicode)}`,
      }));
    case "drops":
      return shown(seen.drops).map((drop) => ({ text: dropRow(drop, status.time) }));
  }
}

/** @param width columns for each end */
function flowRow(flow: RatedFlow, width: number): string {
  const { protocol, source, destination } = textOf(flow);
  const rate = flow.rate === undefined ? "" : shortNumber(flow.rate);
  return printable(
    ` ${column(protocol, 5)} ${endColumn(source, width)} ${endColumn(destination, width)} ${right(rate, 6)} ${column(flow.state ?? "", 6)} ${column(admissionText(flow), 6)} ${flow.client}`,
  );
}

function admissionText({ rule, forward, open_mapping }: FlowEntry): string {
  if (rule !== undefined) return rule === 0 ? "policy" : String(rule);
  return open_mapping ? "open" : `fwd ${forward ?? 0}`;
}

function dropRow(drop: DropEntry, now: number): string {
  const age = formatAge(now - drop.last).replace(" ", "");
  return ` ${right(drop.count, 6)} ${age.padStart(5)}  ${printable(`${verdictWords(drop)}: ${frameText(drop)}`)}`;
}

function foot({ prompt, message }: TopState): Line {
  if (prompt?.type === "filter")
    return { text: `filter: ${printable(prompt.text)}_  (Enter: apply, Escape: leave it)` };
  if (prompt?.type === "end") return { text: `end ${printable(prompt.text)}? (y: yes)`, isReversed: true };
  return message === undefined ? { text: KEYS } : { text: printable(message), isReversed: true };
}

function kernelText({
  frames,
  kernel_path,
}: {
  readonly frames: Readonly<Record<string, number>>;
  readonly kernel_path: Readonly<Record<string, number>>;
}): string {
  return `kernel path ${percent((kernel_path.forwarded ?? 0) / Math.max(1, frames.forwarded ?? 0))}`;
}

function namesText({
  resolver: { names, unknown, failing },
}: {
  readonly resolver: { readonly names: number; readonly unknown: number; readonly failing: number };
}): string {
  return `names ${names}${failing + unknown > 0 ? `: ${failing} fail, ${unknown} unknown` : ""}`;
}

function percent(part: number): string {
  return `${Math.round(100 * part)} %`;
}

/** At most six characters. */
function shortNumber(value: number): string {
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(1);
  if (value < 100_000) return String(Math.round(value));
  return value < 1e8 ? `${Math.round(value / 1000)}k` : `${Math.round(value / 1e6)}M`;
}

function column(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}~` : text.padEnd(width);
}

/** An address with its port: what has no room is left out of the middle, for hosts of one network differ at the end. */
function endColumn(text: string, width: number): string {
  if (text.length <= width) return text.padEnd(width);
  const tail = Math.ceil(width * 0.6);
  return `${text.slice(0, width - 1 - tail)}~${text.slice(-tail)}`;
}

function right(value: number | string, width: number): string {
  return String(value).padStart(width);
}

/** Every character that gets here has one column. */
function clip(text: string, columns: number): string {
  return text.slice(0, columns);
}

/** @param most lines */
function wrap(text: string, columns: number, most = Number.POSITIVE_INFINITY): string[] {
  const width = Math.max(1, columns);
  const lines = Array.from({ length: Math.max(1, Math.ceil(text.length / width)) }, (_, i) =>
    text.slice(i * width, (i + 1) * width),
  );
  return lines.slice(0, most);
}
