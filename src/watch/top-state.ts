// What `firebreak top` shows, and how keys change it: no terminal and no firewall in here. A key may also ask for something that takes the
// firewall: that is returned, and whoever runs the loop does it (top.ts).
import type { NamedStatus } from "../channel/operations/services.ts";
import type { DropEntry } from "../control/views/drops.ts";
import type { FlowEntry } from "../control/views/flow-list.ts";
import { endText, type FlowEnd, textOf } from "../control/views/flow-text.ts";
import type { RatedFlow } from "./flow-rates.ts";
import type { History } from "./history.ts";
import type { Key } from "./keys.ts";

export const VIEWS = ["clients", "flows", "verdicts", "drops"] as const;
export type ListView = (typeof VIEWS)[number];
export type View = ListView | "help" | "why";

/** Orders that the firewall has for flows; "" as they lie in its table. */
const FLOW_ORDERS = ["", "bytes", "client", "proto", "src", "dst", "dstports", "rule"] as const;
const CLIENT_ORDERS = ["", "name", "flows"] as const;
const ORDERS: Readonly<Record<ListView, readonly string[]>> = {
  clients: CLIENT_ORDERS,
  flows: FLOW_ORDERS,
  verdicts: [""],
  drops: [""],
};

/** How one list is looked at. */
export interface Look {
  /** Number of the row that is selected, and of the first one that is shown. */
  readonly selected: number;
  readonly offset: number;
  readonly order: string;
  readonly isDescending: boolean;
  /** Words that the firewall filters flows and drops by; a part of a client's name. */
  readonly filter: string;
}

/** What the firewall has answered. */
export interface Seen {
  readonly status: NamedStatus;
  readonly history: History;
  /** Those from `flowsFrom` on, of as many as match. */
  readonly flows: readonly RatedFlow[];
  readonly flowsFrom: number;
  readonly matching: number;
  readonly drops: readonly DropEntry[];
}

/** What is being typed, or has to be agreed to. */
export type Prompt =
  | { readonly type: "filter"; readonly text: string }
  | { readonly type: "end"; readonly match: readonly string[]; readonly text: string };

export interface TopState {
  /** Of the firewall. */
  readonly name: string;
  readonly view: View;
  /** Where "help" and "why" lead back to. */
  readonly list: ListView;
  readonly looks: Readonly<Record<ListView, Look>>;
  readonly seen?: Seen;
  readonly prompt?: Prompt;
  /** For the last line, until the next key. */
  readonly message?: string;
  /** Why the firewall does not answer, while it does not. */
  readonly trouble?: string;
  /** Of the view "why". */
  readonly why?: readonly string[];
}

/** What a key asks for beyond the state. */
export type Wish =
  | { readonly type: "quit" | "suspend" | "redraw" | "look" }
  | { readonly type: "end"; readonly match: readonly string[] }
  | { readonly type: "why"; readonly source: string; readonly destination: string; readonly match: readonly string[] };

export interface Step {
  readonly state: TopState;
  readonly wish?: Wish;
}

const LOOK: Look = { selected: 0, offset: 0, order: "", isDescending: false, filter: "" };
/** Longest filter that can be typed. */
const MOST_TYPED = 200;

export function firstState(name: string): TopState {
  return { name, view: "clients", list: "clients", looks: { clients: LOOK, flows: LOOK, verdicts: LOOK, drops: LOOK } };
}

/** @param rows lines of the list that the terminal shows */
export function press(before: TopState, key: Key, rows: number): Step {
  if (key === "ctrl-c") return { state: before, wish: { type: "quit" } };
  if (key === "ctrl-z") return { state: before, wish: { type: "suspend" } };
  if (key === "ctrl-l") return { state: before, wish: { type: "redraw" } };
  const { message: _, ...state } = before;
  if (state.prompt !== undefined) return pressInPrompt(state, state.prompt, key);
  if (state.view === "help" || state.view === "why") {
    return key === "q" && state.view === "help"
      ? { state, wish: { type: "quit" } }
      : { state: { ...state, view: state.list } };
  }
  return pressInList(state, key, rows);
}

/** Where a state is after new answers: what was selected may be gone. */
export function settle(state: TopState, rows: number): TopState {
  const { selected } = state.looks[state.list];
  return select(state, Math.min(selected, Math.max(0, lengthOf(state, state.list) - 1)), rows);
}

/** Clients in the order and with the filter of their look. */
export function clientsShown({ seen, looks: { clients: look } }: TopState) {
  const clients = (seen?.status.clients ?? []).filter(({ name }) => name.includes(look.filter));
  if (look.order === "") return clients;
  const sorted = clients.toSorted((one, other) =>
    look.order === "flows" ? one.flows - other.flows : one.name < other.name ? -1 : 1,
  );
  return look.isDescending ? sorted.reverse() : sorted;
}

/** @returns the words of a filter */
export function wordsOf(filter: string): string[] {
  return filter.split(" ").filter((word) => word !== "");
}

function pressInList(state: TopState, key: Key, rows: number): Step {
  const { list } = state;
  const look = state.looks[list];
  const moves: Partial<Record<Key, number>> = {
    ...{ up: look.selected - 1, k: look.selected - 1, down: look.selected + 1, j: look.selected + 1 },
    ...{ "page-up": look.selected - rows, "page-down": look.selected + rows },
    ...{ home: 0, g: 0, end: Number.POSITIVE_INFINITY, G: Number.POSITIVE_INFINITY },
  };
  const to = moves[key];
  if (to !== undefined) return { state: select(state, to, rows), wish: { type: "look" } };
  const place = VIEWS.indexOf(list);
  switch (key) {
    case "q":
      return { state, wish: { type: "quit" } };
    case "?":
    case "h":
      return { state: { ...state, view: "help" } };
    case "tab":
      return goTo(state, VIEWS[(place + 1) % VIEWS.length]);
    case "1":
    case "2":
    case "3":
    case "4":
      return goTo(state, VIEWS[Number(key) - 1]);
    case "s":
      return changeLook(state, { order: ORDERS[list][(ORDERS[list].indexOf(look.order) + 1) % ORDERS[list].length] });
    case "r":
      return changeLook(state, { isDescending: !look.isDescending });
    case "/":
      if (list === "verdicts") return say(state, "verdicts can't be filtered");
      return { state: { ...state, prompt: { type: "filter", text: look.filter } } };
    case "enter":
      return enter(state);
    case "e":
      return askToEnd(state);
    case "w":
      return askWhy(state);
    default:
      return { state };
  }
}

function pressInPrompt(state: TopState, prompt: Prompt, key: Key): Step {
  const { prompt: _, ...closed } = state;
  if (key === "escape") return { state: closed };
  if (prompt.type === "end") {
    return key === "y"
      ? { state: closed, wish: { type: "end", match: prompt.match } }
      : say(closed, "nothing was ended");
  }
  if (key === "enter") return changeLook(closed, { filter: prompt.text.trim() });
  const text =
    key === "backspace"
      ? prompt.text.slice(0, -1)
      : key === "ctrl-u"
        ? ""
        : prompt.text + (key.length === 1 ? key : "");
  return { state: { ...state, prompt: { type: "filter", text: text.slice(0, MOST_TYPED) } } };
}

function goTo(state: TopState, list: ListView): Step {
  return { state: { ...state, view: list, list }, wish: { type: "look" } };
}

function changeLook(state: TopState, change: Partial<Look>): Step {
  const look = { ...state.looks[state.list], ...change, selected: 0, offset: 0 };
  return { state: { ...state, looks: { ...state.looks, [state.list]: look } }, wish: { type: "look" } };
}

/** A client leads to its flows, a flow or a drop to why. */
function enter(state: TopState): Step {
  if (state.list !== "clients") return askWhy(state);
  const client = clientsShown(state)[state.looks.clients.selected];
  if (client === undefined) return { state };
  const { state: there } = goTo(state, "flows");
  return changeLook(there, { filter: `client=${client.name}` });
}

function askToEnd(state: TopState): Step {
  if (state.list !== "flows") return say(state, "only flows can be ended: 2 leads to them");
  const flow = selectedFlow(state);
  if (flow === undefined) return { state };
  return { state: { ...state, prompt: { type: "end", match: wordsFor(flow), text: textFor(flow) } } };
}

function askWhy(state: TopState): Step {
  const entry = state.list === "drops" ? state.seen?.drops[state.looks.drops.selected] : selectedFlow(state);
  const isListed = state.list === "drops" || state.list === "flows";
  if (!isListed || entry === undefined) return say(state, "why is asked of a flow or a drop: 2 and 4 lead to them");
  const { source, destination, proto } = entry;
  if (source === undefined || destination === undefined || proto === undefined)
    return say(state, "it has no addresses");
  const wish = {
    type: "why",
    source: source.address,
    destination: endOf(destination),
    match: [`proto=${proto}`],
  } as const;
  return { state, wish };
}

function selectedFlow({ list, seen, looks }: TopState): FlowEntry | undefined {
  return list === "flows" ? seen?.flows[looks.flows.selected - seen.flowsFrom] : undefined;
}

/** What the firewall finds this flow by; of ICMP, all queries between the two. */
function wordsFor({ proto, source, destination }: FlowEntry): string[] {
  return [
    ...[`proto=${proto}`, `src=${source.address}`, `dst=${destination.address}`],
    ...(source.port === undefined ? [] : [`srcports=${source.port}`]),
    ...(destination.port === undefined ? [] : [`dstports=${destination.port}`]),
  ];
}

function textFor(flow: FlowEntry): string {
  const { protocol, source, destination } = textOf(flow);
  const isOne = flow.source.port !== undefined;
  return `${isOne ? "" : "all "}${protocol} ${isOne ? source : flow.source.address} to ${destination}`;
}

function endOf({ address, port }: FlowEnd): string {
  return endText({ address, ...(port !== undefined && { port }) });
}

/** Rows of a list. */
export function lengthOf(state: TopState, list: ListView): number {
  const { seen } = state;
  if (seen === undefined) return 0;
  if (list === "clients") return clientsShown(state).length;
  if (list === "flows") return seen.matching;
  return list === "verdicts" ? seen.history.byVerdict.length : seen.drops.length;
}

function select(state: TopState, wanted: number, rows: number): TopState {
  const look = state.looks[state.list];
  const selected = Math.max(0, Math.min(wanted, lengthOf(state, state.list) - 1));
  const offset = Math.max(0, Math.min(look.offset, selected), selected - rows + 1);
  return { ...state, looks: { ...state.looks, [state.list]: { ...look, selected, offset } } };
}

function say(state: TopState, message: string): Step {
  return { state: { ...state, message } };
}
