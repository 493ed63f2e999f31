// The picture: your machines, the firewall, the internet, and between them what goes each way at the moment.
import type { ClientStatus, InterfaceStatus, NamedStatus } from "../messages.ts";
import { RATES, type Rates } from "../messages.ts";
import { byId, make, named, setText } from "./dom.ts";
import { formatBits, formatCount, formatRate } from "./format.ts";

/** Clients that it has names of. */
const MOST_NAMES = 5;

/** What the last look had, to tell rates from. */
let before: NamedStatus | undefined;

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
    const time = before === undefined ? 0 : status.uptime - before.uptime;
    if (before !== undefined && time > 0) {
      setText(byId("inside-up"), formatBits(bits(before, status, "received", time)));
      setText(byId("inside-down"), formatBits(bits(before, status, "transmitted", time)));
    }
  }
  before = status;
}

function uplinkText({ name, state, uplink }: InterfaceStatus): string {
  const way = `by ${name}, router ${uplink?.gateway ?? "?"}${uplink?.rate === undefined ? "" : `, at ${uplink.rate}/s`}`;
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

/** Of all interfaces but the uplink's. One that was made anew counts from 0. */
function bits(last: NamedStatus, now: NamedStatus, direction: "received" | "transmitted", time: number): number {
  let sum = 0;
  for (const device of now.interfaces) {
    if (device.uplink !== undefined) continue;
    const known = last.interfaces.find(({ name }) => name === device.name)?.[direction]?.bytes;
    if (known !== undefined) sum += Math.max(0, (device[direction]?.bytes ?? 0) - known);
  }
  return (8 * sum) / time;
}
