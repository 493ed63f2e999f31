// The list of rules: what each says and does; those that nothing has hit, and those that decide nothing, marked.
import type { RuleEntry } from "../messages.ts";
import { askRules } from "./ask.ts";
import { ago, clientWord, flowsLink, type ToFlows } from "./cells.ts";
import { make, named } from "./dom.ts";
import { formatCount } from "./format.ts";
import type { ListSpec } from "./list-view.ts";
import { type Orders, piece, sorted } from "./slices.ts";

export function rulesList(now: () => number, toFlows: ToFlows): ListSpec<RuleEntry> {
  const orders: Orders<RuleEntry> = {
    hits: (one, other) => one.hits - other.hits,
    last: (one, other) => (one.last ?? 0) - (other.last ?? 0),
    flows: (one, other) => one.flows - other.flows,
  };
  return {
    id: "rules",
    title: "Rules",
    about: () => "The first rule of a client that matches decides; “else” is what becomes of all others.",
    filterHelp:
      "Parts of a rule, such as dstports=443; client=work; never: those that nothing has hit; idle: those that decide nothing.",
    empty: "There are no rules.",
    key: ({ client, rule }) => `${rule} ${client}`,
    columns: [
      { title: "Client", cell: ({ client }) => named(client) },
      { title: "Rule", isNumber: true, cell: ({ rule }) => (rule === 0 ? "else" : String(rule)) },
      { title: "What it says", cell: ruleCell },
      {
        title: "Hits",
        order: "hits",
        isNumber: true,
        cell: ({ hits }) => (hits === 0 ? make("span", { class: "mark" }, "○ never hit") : formatCount(hits)),
      },
      {
        title: "Last",
        order: "last",
        cell: ({ last }) => (last === undefined ? "" : ago(now() - last)),
      },
      {
        title: "Flows",
        order: "flows",
        isNumber: true,
        cell: ({ client, rule, flows }) =>
          flowsLink(flows, `${clientWord(client)} rule=${rule === 0 ? "policy" : rule}`, toFlows),
      },
    ],
    ask: async (wanted) => {
      const found = await askRules();
      if ("problem" in found) return found;
      const words = wanted.match.split(" ").filter((word) => word !== "");
      const meant = found.rows.filter((rule) => words.every((word) => isMeant(rule, word)));
      return piece(sorted(meant, wanted.sort, orders), wanted);
    },
    note: ({ rule, problem }) =>
      problem !== undefined &&
      make("p", { class: "note" }, `⚠ ${rule === 0 ? "The policy" : `Rule ${rule}`} `, named(problem)),
  };
}

function ruleCell({ text, place, addresses, family }: RuleEntry): Node {
  const known =
    addresses === undefined ? "" : addresses === null ? "addresses unknown" : addresses.join(" ") || "no address";
  return make(
    "div",
    {},
    make("code", {}, named(text)),
    known !== "" && make("small", {}, known),
    place !== undefined && make("small", {}, named(place)),
    family !== undefined && make("small", {}, `of IPv${family} alone`),
  );
}

/** @param word of the filter */
function isMeant({ client, text, place = "", problem, hits }: RuleEntry, word: string): boolean {
  if (word === "never") return hits === 0;
  if (word === "idle") return problem !== undefined;
  if (word.startsWith("client=")) return clientWord(client) === word;
  return `${text} ${place}`.includes(word);
}
