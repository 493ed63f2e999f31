// The way to a firewall in another qube, from the one that asks: a call of qrexec's, whose standard input and output carry the channel.
import { spawn } from "node:child_process";
import type { Line, LineEvents } from "./line.ts";
import type { Privilege } from "./privileges.ts";

/** How WHERE begins for one in a qube. */
const SCHEME = "qrexec:";
/** What every qube has for it (qubes-core-qrexec): `qrexec-client-vm TARGET SERVICE`. */
const CALLER = "qrexec-client-vm";
/** Its exit status where dom0 refuses (qrexec-client-vm(1)). */
const REFUSED = 126;

/** @returns the qube that WHERE names; undefined where it names none */
export function qubeIn(where: string): string | undefined {
  return where.startsWith(SCHEME) ? where.slice(SCHEME.length) : undefined;
}

/** @param qube whose name is one */
export function openQrexecLine(qube: string, privilege: Privilege, events: LineEvents): Line {
  const service = `firebreak.${privilege}`;
  const call = spawn(CALLER, [qube, `${service}+channel`], { stdio: ["pipe", "pipe", "inherit"] });
  call.stdout.on("data", (bytes: Buffer) => events.receive(bytes));
  call.stdin.on("error", () => {}); // its end is told by "close"
  call.on("error", (error: Error & { readonly code?: string }) => {
    const here = error.code === "ENOENT" ? `${CALLER} is not here: this is no qube of Qubes OS` : error.message;
    events.fail(new Error(`${qube}: ${here}`));
  });
  call.on("close", (status) => {
    const reason =
      status === REFUSED
        ? `dom0 refuses ${service} (docs/QUBES.md has a policy)`
        : `the call of ${service} has ended${status === 0 ? "" : `, with status ${status}`}`;
    events.fail(new Error(`${qube}: ${reason}`));
  });
  return {
    write: (bytes) => void call.stdin.write(bytes),
    close: () => {
      call.stdin.end();
      call.kill();
    },
  };
}
