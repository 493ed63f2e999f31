// What a running firewall can be asked over the channel: operations, each with the values of src/control.
import { version } from "../../package.json" with { type: "json" };
import type { Status } from "../control/status.ts";
import type { Fields, Value } from "./cbor.ts";
import { ChannelError } from "./messages.ts";
import type { Operation, Part, Services } from "./session.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface Answering {
  readonly status: Status;
}

/** As `status` answers. Times in seconds: since the program began, and Unix time. */
export interface NamedStatus extends Status {
  readonly name: string;
  readonly version: string;
  readonly uptime: number;
  readonly time: number;
}

/** @param name of this firewall */
export function makeServices(name: string, firewall: Answering): Services {
  const status = (): NamedStatus => ({
    ...{ name, version, uptime: process.uptime(), time: Date.now() / 1000 },
    ...firewall.status,
  });
  return {
    greeting: { name, program: `firebreak ${version}` },
    operations: new Map<string, Operation>([["status", single([], () => status())]]),
  };
}

/** An operation whose answer is one record. @param known its arguments */
function single(known: readonly string[], answer: (args: Partial<Fields>) => object): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, known);
    yield { data: answer(args) as Value };
  };
}

/** @throws ChannelError where there is an argument that the operation does not have: it may be meant to leave something out */
function requireKnown(args: Partial<Fields>, known: readonly string[]): void {
  const unknown = Object.keys(args).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const which = known.length === 0 ? "there are none" : `there are ${known.join(", ")}`;
  throw new ChannelError("arguments", `there is no argument ${JSON.stringify(unknown.slice(0, 40))} (${which})`);
}
