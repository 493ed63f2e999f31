// The picture: your machines, the firewall, the internet, and between them what goes each way at the moment.
import type { ClientStatus, InterfaceStatus, NamedStatus } from "../messages.ts";
import { RATES, type Rates } from "../messages.ts";
import { byId, make, named, setText } from "./dom.ts";
import { formatBits, formatCount, formatRate } from "./format.ts";

/** Clients that it has names of. */
const MOST_NAMES = 5;

export function showPicture(status: NamedStatus, rates: Rates | undefined): void {
  const uplink = status.interfaces.find((device) => device.uplink !== undefined);
  setText(byId("flows"), formatCount(status.flows.used));
  setText(byId("own"), uplink?.uplink?.address.replace(/\/.*/, "") ?? "–");
  setText(byId("uplink"), uplink === undefined ? "" : uplinkText(uplink));
  showMachines(status.clients);
  if (rates !== undefined) {
    setText(byId("outside-up"), formatBits(rates[RATES.UP]));
    setText(byId("outside-down"), formatBits(rates[RATES.DOWN]));
    setText(byId("forwarded"), formatRate(rates[RATES.FORWARDED]));
    setText(byId("dropped"), formatRate(rates[RATES.DROPPED]));
    setText(byId("inside-up"), formatBits(rates[RATES.INSIDE_UP]));
    setText(byId("inside-down"), formatBits(rates[RATES.INSIDE_DOWN]));
  }
}

function uplinkText({ name, state, uplink }: InterfaceStatus): string {
  const conflict = uplink?.conflict6 === undefined ? "" : ` (which ${uplink.conflict6} has too: no IPv6 leaves)`;
  const ipv6 =
    uplink?.address6 === undefined ? "" : `, IPv6 ${uplink.address6}${conflict} router ${uplink.gateway6 ?? "?"}`;
  const way = `by ${name}, router ${uplink?.gateway ?? "?"}${uplink?.rate === undefined ? "" : `, at ${uplink.rate}/s`}${ipv6}`;
  return state === "up" ? way : `${way}: ${state === "absent" ? "is not there" : "has no link"}`;
}

function showMachines(clients: readonly ClientStatus[]): void {
  const busiest = [...clients].sort((one, other) => other.flows - one.flows).slice(0, MOST_NAMES);
  const rest = clients.length - busiest.length;
  const items = busiest.map(({ name, flows }) =>
    make("li", {}, named(name), make("span", { class: "soft" }, ` ${formatCount(flows)} open`)),
  );
  if (rest > 0) items.push(make("li", { class: "soft" }, `and ${formatCount(rest)} more`));
  if (clients.length === 0) items.push(make("li", { class: "soft" }, "none yet"));
  byId("machines").replaceChildren(...items);
}
