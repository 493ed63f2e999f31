// The list of flows: asked of the firewall a page at a time, for there may be very many.
import { endText, ruleText } from "../../control/views/flow-text.ts";
import { FlowRates, type RatedFlow } from "../../watch/flow-rates.ts";
import type { FlowEntry } from "../messages.ts";
import { askFlows } from "./ask.ts";
import { address, WORDS } from "./cells.ts";
import { type Child, make, named } from "./dom.ts";
import { formatBits, formatBytes } from "./format.ts";
import type { ListSpec } from "./list-view.ts";

export function flowsList(): ListSpec<RatedFlow> {
  const rates = new FlowRates();
  return {
    id: "flows",
    title: "Flows",
    about: () =>
      "A flow is one conversation: all packets between two ends, both ways. “Seen there as” is what the firewall writes in place of the sender. Bytes are counted while somebody looks here.",
    filterHelp: `Words of rules, all of which must hold: ${WORDS} state=established`,
    empty: "There are no flows: nobody is talking through the firewall.",
    key: ({ proto, source, destination, mapped }) =>
      [proto, endText(source), endText(destination), endText(mapped)].join(" "),
    columns: [
      { title: "Client", order: "client", cell: ({ client }) => named(client) },
      { title: "Proto", order: "proto", cell: ({ proto }) => proto },
      { title: "From", order: "src", cell: ({ source }) => address(endText(source)) },
      {
        title: "To",
        order: "dst",
        cell: ({ destination, reached }) => address(endText(destination), reached && `is ${endText(reached)}`),
      },
      { title: "Seen there as", cell: ({ mapped }) => address(endText(mapped)) },
      { title: "Bytes", order: "bytes", isNumber: true, cell: bytesCell },
      { title: "State", cell: ({ state = "" }) => make("span", { class: "state" }, state.toLowerCase()) },
      { title: "Allowed by", order: "rule", cell: (flow) => allowedBy(flow) },
    ],
    ask: async (wanted) => {
      const found = await askFlows(wanted);
      if ("problem" in found) return found;
      return { rows: rates.rate(found.rows, performance.now() / 1000), total: found.total };
    },
  };
}

function allowedBy({ rule, forward, open_mapping }: FlowEntry): string {
  if (rule !== undefined) return ruleText(rule);
  if (open_mapping) return "open mapping";
  return forward ? `forward ${forward}` : "a forward that is no more";
}

/** Both ways; and how fast, where that is known. */
function bytesCell({ sent, received, rate }: RatedFlow): Child {
  if (sent === undefined || received === undefined) return "";
  const both = `▲ ${formatBytes(sent.bytes)} ▼ ${formatBytes(received.bytes)}`;
  return make(
    "div",
    { title: both },
    formatBytes(sent.bytes + received.bytes),
    rate !== undefined && make("small", {}, formatBits(8 * rate)),
  );
}
