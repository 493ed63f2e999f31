// What `firebreak web` sends to its page: both ends are written against these types, and the page's end knows nothing else of the program.
import type { NamedStatus } from "../channel/operations/services.ts";
import type { RuleEntry } from "../control/rule-list.ts";
import type { DropEntry } from "../control/views/drops.ts";
import type { FlowEntry } from "../control/views/flow-list.ts";

export type { ClientStatus, InterfaceStatus } from "../control/views/status.ts";
export type { DropEntry, FlowEntry, NamedStatus, RuleEntry };

/** Paths that the page asks. */
export const PATHS = {
  script: "/page.js",
  style: "/page.css",
  icon: "/icon.svg",
  events: "/events",
  flows: "/ask/flows",
  drops: "/ask/drops",
  rules: "/ask/rules",
  why: "/ask/why",
  capture: "/capture",
} as const;

/** ms between two looks at the firewall. */
export const INTERVAL = 1000;
/** Rates that are kept, and sent to a page that opens: an hour of them. */
export const KEPT_RATES = 3600;
/** Seconds that a capture goes on at most. */
export const LONGEST_CAPTURE = 600;
/** Rows that one answer has at most. */
export const MOST_ROWS = 1000;

/** What went on between two looks, a second. In an array, for there are thousands of them: see RATES. */
export type Rates = readonly number[];

/**
 * Places in it: Unix time in seconds at the end; bits to the internet, and from it, at the uplink; frames forwarded, and dropped; flows, as
 * many as there are; bits from the clients, and to them.
 */
export const RATES = {
  TIME: 0,
  UP: 1,
  DOWN: 2,
  FORWARDED: 3,
  DROPPED: 4,
  FLOWS: 5,
  INSIDE_UP: 6,
  INSIDE_DOWN: 7,
} as const;

/** What comes by itself, each a text of JSON. */
export type News =
  /** The first: what there has been. */
  | { readonly type: "begin"; readonly firewall: string; readonly past: readonly Rates[] }
  | { readonly type: "look"; readonly status: NamedStatus; readonly rates?: Rates; readonly lost: number }
  /** The firewall does not answer, and why. */
  | { readonly type: "trouble"; readonly text: string; readonly lost: number };

/** An answer to what the page has asked: rows of a list, of as many as match; or why there are none. */
export type Rows<Row> = { readonly rows: readonly Row[]; readonly total: number } | { readonly problem: string };

/** An answer to "why": lines. */
export type WhyLines = { readonly lines: readonly string[] } | { readonly problem: string };
