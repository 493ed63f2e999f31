// The lists: clients, flows, what was dropped, rules. What each column says, and where its rows come from.
import { endText, ruleText } from "../../control/flow-text.ts";
import { FlowRates, type RatedFlow } from "../../watch/flow-rates.ts";
import { isDrop, verdictName } from "../../watch/history.ts";
import type { ClientStatus, DropEntry, FlowEntry, NamedStatus, Rows, RuleEntry } from "../messages.ts";
import { askDrops, askFlows, askRules, askWhy, type Wanted } from "./ask.ts";
import { type Child, make, named } from "./dom.ts";
import { formatBits, formatBytes, formatCount, formatSpan, formatTime } from "./format.ts";
import type { ListSpec } from "./list-view.ts";

/** Leads to the flows that match. */
export type ToFlows = (words: string) => void;

const WORDS = "client=work proto=tcp src=10.0.0.1 dst=203.0.113.0/24 dstports=443 rule=2";

/** @param latest what the last look has found */
export function clientsList(latest: () => NamedStatus | undefined, toFlows: ToFlows): ListSpec<ClientStatus> {
  const interfaceOf = ({ name }: ClientStatus) =>
    latest()?.interfaces.find(({ clients }) => clients.includes(name))?.name ?? "";
  const shareOf = ({ flows, most_flows }: ClientStatus) => (most_flows === 0 ? 0 : flows / most_flows);
  const orders: Readonly<Record<string, (one: ClientStatus, other: ClientStatus) => number>> = {
    name: (one, other) => one.name.localeCompare(other.name),
    flows: (one, other) => one.flows - other.flows,
    share: (one, other) => shareOf(one) - shareOf(other),
  };
  return {
    id: "clients",
    title: "Clients",
    about: () => "Whom the firewall serves: single machines, or networks of them.",
    filterHelp: "A part of a name.",
    empty: "There are no clients: no machine may send anything through the firewall.",
    key: ({ name }) => name,
    columns: [
      { title: "Client", order: "name", cell: ({ name }) => named(name) },
      { title: "Interface", cell: (client) => named(interfaceOf(client)) },
      {
        title: "Flows",
        order: "flows",
        isNumber: true,
        cell: (client) => flowsLink(client.flows, clientWord(client.name), toFlows),
      },
      { title: "of at most", isNumber: true, cell: ({ most_flows }) => formatCount(most_flows) },
      { title: "Used", order: "share", cell: (client) => meter(shareOf(client)) },
    ],
    ask: async (wanted) => {
      const all = (latest()?.clients ?? []).filter(({ name }) => name.includes(wanted.match));
      return piece(sorted(all, wanted.sort, orders), wanted);
    },
  };
}

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

/** @param latest what the last look has found */
export function dropsList(latest: () => NamedStatus | undefined, now: () => number): ListSpec<DropEntry> {
  const totals = () => {
    const status = latest();
    if (status === undefined) return "";
    const dropped = Object.entries(status.frames)
      .filter(([slug]) => isDrop(slug))
      .sort(([, one], [, other]) => other - one)
      .map(([slug, count]) => `${formatCount(count)} ${dropName(slug)}`);
    return ` Since the start: ${dropped.join(", ") || "nothing"}.`;
  };
  return {
    id: "drops",
    title: "What was dropped",
    about: () => `What came and was not passed on; what is alike is one row, the last seen first.${totals()}`,
    filterHelp: `Words of rules, and verdict=refused or interface=eth0: ${WORDS}`,
    empty: "Nothing was dropped, as far as is remembered.",
    key: (drop) =>
      [
        drop.verdict,
        drop.interface,
        drop.client,
        drop.ethertype,
        drop.proto,
        drop.rule,
        ends(drop),
        drop.flags,
        drop.icmptype,
        drop.first,
      ].join(" "),
    columns: [
      { title: "Times", isNumber: true, cell: ({ count }) => formatCount(count) },
      { title: "Last", cell: ({ last }) => ago(now() - last) },
      { title: "Why", cell: ({ verdict }) => dropName(verdict) },
      { title: "From", cell: ({ source }) => address(source === undefined ? "" : endText(source)) },
      { title: "To", cell: ({ destination }) => address(destination === undefined ? "" : endText(destination)) },
      { title: "What", cell: (drop) => kindOf(drop) },
      { title: "Client", cell: (drop) => where(drop) },
    ],
    ask: async (wanted) => pieceOf(await askDrops(wanted.match), wanted),
    more: { title: "", label: "Explain", show: explain },
  };
}

export function rulesList(now: () => number, toFlows: ToFlows): ListSpec<RuleEntry> {
  const orders: Readonly<Record<string, (one: RuleEntry, other: RuleEntry) => number>> = {
    hits: (one, other) => one.hits - other.hits,
    last: (one, other) => (one.last ?? 0) - (other.last ?? 0),
    flows: (one, other) => one.flows - other.flows,
  };
  const isMeant = ({ client, text, place = "", problem, hits }: RuleEntry, words: readonly string[]) =>
    words.every((word) =>
      word === "never"
        ? hits === 0
        : word === "idle"
          ? problem !== undefined
          : word.startsWith("client=")
            ? client === word.slice("client=".length)
            : `${text} ${place}`.includes(word),
    );
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
        cell: ({ hits }) => (hits === 0 ? mark("○ never hit") : formatCount(hits)),
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
      return piece(
        sorted(
          found.rows.filter((rule) => isMeant(rule, words)),
          wanted.sort,
          orders,
        ),
        wanted,
      );
    },
    note: ({ rule, problem }) =>
      problem !== undefined &&
      make("p", { class: "note" }, `⚠ ${rule === 0 ? "The policy" : `Rule ${rule}`} `, named(problem)),
  };
}

/** What the firewall has for it, and since when. */
async function explain({ source, destination, proto, first, last }: DropEntry): Promise<readonly string[]> {
  const times =
    first === last
      ? `It came at ${formatTime(last)}.`
      : `The first came at ${formatTime(first)}, the last at ${formatTime(last)}.`;
  if (source === undefined || destination === undefined || proto === undefined)
    return [times, "It had no addresses that could be judged."];
  const to = destination.port === undefined ? destination.address : endText(destination);
  const found = await askWhy(source.address, to, `proto=${proto}`);
  return [times, ...("problem" in found ? [found.problem] : found.lines)];
}

function ruleCell({ text, place, addresses }: RuleEntry): Node {
  const known =
    addresses === undefined ? "" : addresses === null ? "addresses unknown" : addresses.join(" ") || "no address";
  return make(
    "div",
    {},
    make("code", {}, named(text)),
    known !== "" && make("small", {}, known),
    place !== undefined && make("small", {}, named(place)),
  );
}

function allowedBy({ rule, forward, open_mapping }: FlowEntry): string {
  if (rule !== undefined) return ruleText(rule);
  if (open_mapping) return "open mapping";
  return forward ? `forward ${forward}` : "a forward that is no more";
}

function kindOf({ proto, ethertype, flags = [], icmptype, fragment }: DropEntry): string {
  const kind = proto ?? (ethertype === 0x0806 ? "arp" : `EtherType 0x${ethertype.toString(16).padStart(4, "0")}`);
  return [
    kind,
    ...flags,
    ...(icmptype === undefined ? [] : [`type ${icmptype}`]),
    ...(fragment ? ["fragment"] : []),
  ].join(" ");
}

function where({ client, interface: name, rule, place }: DropEntry): Node {
  const by = [...(rule === undefined ? [] : [ruleText(rule)]), ...(place === undefined ? [] : [place])].join(", ");
  return make(
    "div",
    {},
    client === undefined ? make("span", { class: "soft" }, "on ", named(name)) : named(client),
    by !== "" && make("small", {}, named(by)),
  );
}

function dropName(slug: string): string {
  return verdictName(slug).replace(/^dropped: /, "");
}

function ends({ source, destination }: DropEntry): string {
  return [source, destination].map((end) => (end === undefined ? "" : endText(end))).join(" ");
}

/** A line ends between an address and its port rather than in them. @param more what else is to be known of it */
function address(text: string, more?: string): Node {
  const [, host = text, port = ""] = /^(\[.*\]|[\d.]+)(:\d+|\sid \d+)$/.exec(text) ?? [];
  const parts = [host, port].filter((part) => part !== "").map((part) => make("span", {}, part));
  return make("div", {}, make("span", { class: "address" }, ...parts), more !== undefined && make("small", {}, more));
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

function ago(seconds: number): Node {
  return make("span", { class: "when" }, `${formatSpan(seconds)} ago`);
}

function mark(text: string): Node {
  return make("span", { class: "mark" }, text);
}

function meter(share: number): Node {
  const bar = make("meter", { min: "0", max: "1", high: "0.9", value: String(share) });
  return make("div", { class: "used" }, bar, ` ${Math.round(share * 100)} %`);
}

/** The firewall's filter has spaces between words, so a name that has one can't be chosen. */
function clientWord(name: string): string {
  return `client=${name}`;
}

function flowsLink(flows: number, words: string, toFlows: ToFlows): Child {
  if (flows === 0) return "0";
  const link = make("a", { href: `#flows?${encodeURIComponent(words)}` }, formatCount(flows));
  link.addEventListener("click", (event) => {
    event.preventDefault();
    toFlows(words);
  });
  return link;
}

function sorted<Row>(
  rows: readonly Row[],
  sort: string,
  orders: Readonly<Record<string, (one: Row, other: Row) => number>>,
): readonly Row[] {
  const order = orders[sort.replace(/^-/, "")];
  if (order === undefined) return rows;
  const upward = [...rows].sort(order);
  return sort.startsWith("-") ? upward.reverse() : upward;
}

function piece<Row>(
  all: readonly Row[],
  { offset, limit }: Wanted,
): { readonly rows: readonly Row[]; readonly total: number } {
  return { rows: all.slice(offset, offset + limit), total: all.length };
}

function pieceOf<Row>(found: Rows<Row>, wanted: Wanted): Rows<Row> {
  return "problem" in found ? found : piece(found.rows, wanted);
}
