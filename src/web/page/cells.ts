// What stands in cells of several lists: addresses, ages, links to flows.
import { type Child, make } from "./dom.ts";
import { formatCount, formatSpan } from "./format.ts";

/** Leads to the flows that match. */
export type ToFlows = (words: string) => void;

/** Examples of the firewall's filters. */
export const WORDS = "client=work proto=tcp src=10.0.0.1 dst=203.0.113.0/24 dstports=443 rule=2";

/** A line ends between an address and its port rather than in them. @param more what else is to be known of it */
export function address(text: string, more?: string): Node {
  const [, host = text, port = ""] = /^(\[.*\]|[\d.]+)(:\d+|\sid \d+)$/.exec(text) ?? [];
  const parts = [host, port].filter((part) => part !== "").map((part) => make("span", {}, part));
  return make("div", {}, make("span", { class: "address" }, ...parts), more !== undefined && make("small", {}, more));
}

export function ago(seconds: number): Node {
  return make("span", { class: "when" }, `${formatSpan(seconds)} ago`);
}

/** The firewall's filter has spaces between words, so a name that has one can't be chosen. */
export function clientWord(name: string): string {
  return `client=${name}`;
}

export function flowsLink(flows: number, words: string, toFlows: ToFlows): Child {
  if (flows === 0) return "0";
  const link = make("a", { href: `#flows?${encodeURIComponent(words)}` }, formatCount(flows));
  link.addEventListener("click", (event) => {
    event.preventDefault();
    toFlows(words);
  });
  return link;
}
