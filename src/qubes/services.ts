// What dom0 and other domains can call here by qrexec.
import { version } from "../../package.json" with { type: "json" };
import { limitTo, PRIVILEGES } from "../channel/privileges.ts";
import { type Outlet, type Services, Session } from "../channel/session.ts";
import { setClock } from "../linux/clock.ts";
import type { Conversation, Service } from "./qrexec-calls.ts";

/** `date -u -Iseconds`, whose offset some write without a colon. */
const DATE = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:[+-]00:?00|Z)\s*$/;

/** What dom0 calls around a suspend of the machine: there is nothing to prepare here, and dom0 waits for the answer. */
const SUSPENSION = ["qubes.SuspendPreAll", "qubes.SuspendPre", "qubes.SuspendPost", "qubes.SuspendPostAll"];

/** What stands behind the plus sign of a service that speaks the control channel's protocol (docs/CONTROL.md). */
const CHANNEL = "channel";

/**
 * @param describe lines about uplink, clients, frames and flows as they are when each is asked for
 * @param channel what the control channel can be asked; undefined as long as there is no firewall
 */
export function makeServices(
  describe: () => Iterable<string>,
  channel: () => Services | undefined = () => undefined,
): ReadonlyMap<string, Service> {
  return new Map<string, Service>([
    ["qubes.SetDateTime", async ({ input }) => setDateTime(await input)],
    ["qubes.WaitForSession", async () => ({ status: 0 })], // there is no session that could take longer
    ...SUSPENSION.map((name): [string, Service] => [name, async () => ({ status: 0 })]),
    ...PRIVILEGES.map((privilege): [string, Service] => [
      `firebreak.${privilege}`,
      async (call) => {
        if (privilege === "Status" && call.argument === "") return { status: 0, output: statusLines(describe()) };
        if (call.argument !== CHANNEL) return { status: 1, error: `write firebreak.${privilege}+${CHANNEL}\n` };
        const services = channel();
        if (services === undefined) return { status: 1, error: "waiting for QubesDB: nothing is forwarded\n" };
        await call.converse((outlet) => sessionFor(limitTo(privilege, services), outlet));
        return { status: 0 };
      },
    ]),
  ]);
}

/** ms that are left to answer a caller who writes nothing more, as long as it takes nothing: what it follows has no end of its own. */
const LINGER = 2000;

function sessionFor(services: Services, outlet: Outlet): Conversation {
  const session = new Session(services, outlet);
  let lingering: ReturnType<typeof setInterval> | undefined;
  return {
    receive: (bytes) => session.receive(bytes),
    finish() {
      session.finish();
      lingering = setInterval(() => {
        if (outlet.waiting > 0) return;
        session.close();
        outlet.end();
      }, LINGER);
    },
    close() {
      clearInterval(lingering);
      session.close();
    },
  };
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
