// What dom0 and other domains can call here by qrexec.
import { version } from "../../package.json" with { type: "json" };
import { setClock } from "../linux/clock.ts";
import type { Service } from "./qrexec-calls.ts";

/** `date -u -Iseconds`, whose offset some write without a colon. */
const DATE = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:[+-]00:?00|Z)\s*$/;

/** What dom0 calls around a suspend of the machine: there is nothing to prepare here, and dom0 waits for the answer. */
const SUSPENSION = ["qubes.SuspendPreAll", "qubes.SuspendPre", "qubes.SuspendPost", "qubes.SuspendPostAll"];

/** @param describe lines about uplink, clients, frames and flows as they are when each is asked for */
export function makeServices(describe: () => Iterable<string>): ReadonlyMap<string, Service> {
  return new Map<string, Service>([
    ["qubes.SetDateTime", async ({ input }) => setDateTime(await input)],
    ["qubes.WaitForSession", async () => ({ status: 0 })], // there is no session that could take longer
    ...SUSPENSION.map((name): [string, Service] => [name, async () => ({ status: 0 })]),
    ["firebreak.Status", async () => ({ status: 0, output: statusLines(describe()) })],
  ]);
}

function setDateTime(text: string) {
  const [, date] = DATE.exec(text) ?? [];
  const time = date === undefined ? Number.NaN : Date.parse(`${date}Z`);
  if (Number.isNaN(time)) return { status: 1, error: "not a date: write it as date -u -Iseconds does\n" };
  setClock(time / 1000);
  return { status: 0 };
}

function* statusLines(state: Iterable<string>): Generator<string> {
  yield `firebreak ${version}, up ${Math.round(process.uptime())} s\n`;
  for (const line of state) yield `${line}\n`;
}
