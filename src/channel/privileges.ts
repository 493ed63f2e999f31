// What of a firewall is asked under which privilege, where who may ask is not who may all: in Qubes OS each is a service of its own, and
// dom0's policy says who may call it.

import { flagOf } from "./arguments.ts";
import type { Fields } from "./cbor.ts";
import { ChannelError } from "./messages.ts";
import type { Operation, Services } from "./session.ts";

/** The services are called firebreak.Status and so on. */
export type Privilege = "Status" | "Watch" | "Capture" | "Configure";

/** What is looked at once, and changes nothing. */
const LOOKS = ["status", "flows", "rules", "drops", "why", "suggest", "configuration", "bugreport"];

/** By privilege: its operations. Only Configure ends flows. */
export const OPERATIONS_OF: Readonly<Record<Privilege, readonly string[]>> = {
  Status: LOOKS,
  Watch: [...LOOKS, "log"],
  Capture: ["capture", "record", "trace"],
  Configure: [...LOOKS, "configure", "confirm", "saved"],
};

export const PRIVILEGES = Object.keys(OPERATIONS_OF) as readonly Privilege[];

/** @returns the least privilege that an operation takes */
export function privilegeFor(op: string, args: Partial<Fields> = {}): Privilege {
  if (op === "flows" && args.end === true) return "Configure";
  return PRIVILEGES.find((privilege) => OPERATIONS_OF[privilege].includes(op)) ?? "Configure";
}

/** @returns what can be asked under a privilege. What can't is said to need another one */
export function limitTo(privilege: Privilege, { greeting, operations }: Services): Services {
  const limited = Array.from(operations, ([op, operation]): [string, Operation] => {
    if (!OPERATIONS_OF[privilege].includes(op)) return [op, refusing(op, privilegeFor(op))];
    return [op, op === "flows" && privilege !== "Configure" ? withoutEnd(operation) : operation];
  });
  return { greeting, operations: new Map(limited) };
}

function refusing(op: string, needed: Privilege): Operation {
  return () => ({
    next: () =>
      Promise.reject(new ChannelError("operation", `${op} is not of this service (call firebreak.${needed})`)),
  });
}

function withoutEnd(operation: Operation): Operation {
  return (args, signal) => {
    if (flagOf(args, "end")) {
      throw new ChannelError("operation", "flows are not ended by this service (call firebreak.Configure)");
    }
    return operation(args, signal);
  };
}
