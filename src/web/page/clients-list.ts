// The list of clients: whom the firewall serves, and how much of its room each has.
import type { ClientStatus, NamedStatus } from "../messages.ts";
import { clientWord, flowsLink, type ToFlows } from "./cells.ts";
import { make, named } from "./dom.ts";
import { formatCount } from "./format.ts";
import type { ListSpec } from "./list-view.ts";
import { type Orders, piece, sorted } from "./slices.ts";

/** @param latest what the last look has found */
export function clientsList(latest: () => NamedStatus | undefined, toFlows: ToFlows): ListSpec<ClientStatus> {
  const interfaceOf = ({ name }: ClientStatus) =>
    latest()?.interfaces.find(({ clients }) => clients.includes(name))?.name ?? "";
  const shareOf = ({ flows, most_flows }: ClientStatus) => (most_flows === 0 ? 0 : flows / most_flows);
  const orders: Orders<ClientStatus> = {
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

function meter(share: number): Node {
  const bar = make("meter", { min: "0", max: "1", high: "0.9", value: String(share) });
  return make("div", { class: "used" }, bar, ` ${Math.round(share * 100)} %`);
}
