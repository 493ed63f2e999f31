// The operation `configure`: a configuration that a client has is put in force, or it is said what that would do. What it is refused for
// are the errors that its file would be refused for.
import { log } from "../base/log.ts";
import { printable } from "../base/quote.ts";
import { type Config, parseDocumentBytes, unlessQube } from "../config/config.ts";
import { ConfigurationError, type Origin } from "../control/firewall.ts";
import { type FlowTableView, flowEntry } from "../control/flow-list.ts";
import type { Flow } from "../dataplane/types.ts";
import { flagOf, requireKnown, textOf } from "./arguments.ts";
import type { Fields, Value } from "./cbor.ts";
import { ChannelError } from "./messages.ts";
import type { Operation, Part } from "./session.ts";
import { usedFlows } from "./used-flows.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface Configurable {
  apply(config: Config, origin: Origin): Promise<void>;
  /** @returns the flows, and which of them would end */
  foresee(config: Config): Promise<{ readonly table: FlowTableView; readonly ends: (flow: Flow) => boolean }>;
}

export function configureOperation(firewall: Configurable): Operation {
  return async function* (args, signal): AsyncGenerator<Part> {
    requireKnown(args, ["text", "name", "dry_run"]);
    const isDryRun = flagOf(args, "dry_run");
    const name = textOf(args, "name") ?? "configuration";
    const { config, warnings } = read(args, name);
    const flows = { used: 0, ended: 0 };
    try {
      if (isDryRun) {
        const { table, ends } = await firewall.foresee(config);
        for await (const flow of usedFlows(table, signal)) {
          flows.used++;
          if (!table.records.isUsed(flow) || !ends(flow)) continue;
          flows.ended++;
          yield { data: { flow: flowEntry(table, flow) as unknown as Value } };
        }
      } else {
        await firewall.apply(config, "channel");
        log(
          `configuration ${printable(name)} is in force, by the control channel: the next reload takes the file again`,
        );
      }
    } catch (error) {
      if (error instanceof ConfigurationError) throw refused(error.errors);
      throw error;
    }
    yield { data: { in_force: !isDryRun, warnings, ...(isDryRun && { flows }) } };
  };
}

/** @throws ChannelError with all errors */
function read(args: Partial<Fields>, name: string): { readonly config: Config; readonly warnings: readonly string[] } {
  const { text } = args;
  if (!(text instanceof Uint8Array)) throw new ChannelError("arguments", "text is not the bytes of a configuration");
  const result = unlessQube(parseDocumentBytes(text, name));
  if ("errors" in result) throw refused(result.errors);
  return result;
}

function refused(errors: readonly string[]): ChannelError {
  return new ChannelError("configuration", errors.join("\n"));
}
