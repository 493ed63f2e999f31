// The list of what was dropped, each with why: at first in a few words, and when somebody asks as the firewall explains it.
import { endText, ruleText } from "../../control/views/flow-text.ts";
import { nameOnFrame } from "../../dataplane/verdict.ts";
import { isDrop, verdictName } from "../../watch/history.ts";
import type { DropEntry, NamedStatus } from "../messages.ts";
import { askDrops, askWhy } from "./ask.ts";
import { address, ago, WORDS } from "./cells.ts";
import { make, named } from "./dom.ts";
import { formatCount, formatTime } from "./format.ts";
import type { ListSpec } from "./list-view.ts";
import { pieceOf } from "./slices.ts";

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
      { title: "Why", cell: ({ verdict, ethertype }) => nameOnFrame(dropName(verdict), ethertype) },
      { title: "From", cell: ({ source }) => address(source === undefined ? "" : endText(source)) },
      { title: "To", cell: ({ destination }) => address(destination === undefined ? "" : endText(destination)) },
      { title: "What", cell: (drop) => kindOf(drop) },
      { title: "Client", cell: (drop) => where(drop) },
    ],
    ask: async (wanted) => pieceOf(await askDrops(wanted.match), wanted),
    more: { title: "Details", label: "Explain", show: explain },
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
