// The operation `configure`: a configuration that a client has is put in force, or it is said what that would do. What it is refused for
// are the errors that its file would be refused for. And those around it: `confirm` what is on trial, `configuration`, the text in force,
// and `saved`, by which a client says that it has written the firewall's file: the firewall itself may write none.
import { log } from "../../base/log.ts";
import { printable } from "../../base/quote.ts";
import { type Config, parseDocumentBytes, unlessQube } from "../../config/config.ts";
import { ConfigurationError } from "../../control/firewall.ts";
import type { Origin, Provenance } from "../../control/provenance.ts";
import { type FlowTableView, flowEntry } from "../../control/views/flow-list.ts";
import type { Flow } from "../../dataplane/types.ts";
import { countOf, flagOf, requireKnown, single, textOf } from "../arguments.ts";
import type { Fields, Value } from "../cbor.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Part } from "../session.ts";
import { usedFlows } from "./used-flows.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface Configurable {
  /** @param trial seconds after which it goes back to the one before, unless it is confirmed */
  apply(config: Config, origin: Origin, trial?: number): Promise<void>;
  readonly provenance: Pick<Provenance, "configured" | "confirm" | "saved" | "bytes">;
  /** @returns the flows, and which of them would end */
  foresee(config: Config): Promise<{ readonly table: FlowTableView; readonly ends: (flow: Flow) => boolean }>;
}

/** @param say what the firewall's log is told of it */
export function configureOperation(firewall: Configurable, say: (line: string) => void = log): Operation {
  return async function* (args, signal): AsyncGenerator<Part> {
    requireKnown(args, ["text", "name", "dry_run", "confirm"]);
    const isDryRun = flagOf(args, "dry_run");
    const trial = trialOf(args);
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
        await firewall.apply(config, "channel", trial);
        const until = trial === undefined ? "the next reload takes the file again" : `for ${trial} s, unless confirmed`;
        say(`configuration ${printable(name)} is in force, by the control channel: ${until}`);
      }
    } catch (error) {
      if (error instanceof ConfigurationError) throw refused(error.errors);
      throw error;
    }
    const { trial_until } = firewall.provenance.configured;
    const outcome = isDryRun ? { flows } : { ...(trial_until !== undefined && { trial_until }) };
    yield { data: { in_force: !isDryRun, warnings, ...outcome } };
  };
}

export function confirmOperation({ provenance }: Configurable): Operation {
  return single([], () => {
    if (!provenance.confirm()) {
      throw new ChannelError(
        "failed",
        "nothing waits to be confirmed: it may have gone back already (firebreak status)",
      );
    }
    log("configuration confirmed, by the control channel: the next reload takes the file again");
    return { in_force: true };
  });
}

/** @param read the firewall's file as it is now; undefined where there is none */
export function savedOperation({ provenance }: Configurable, read?: () => Promise<Config>): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, []);
    if (read === undefined) throw new ChannelError("failed", "this firewall reads no file that could be written");
    try {
      if (!provenance.saved(await read()))
        throw new ChannelError("failed", "what its file says is not what is in force");
    } catch (error) {
      if (error instanceof ConfigurationError) throw refused(error.errors);
      throw error;
    }
    log("configuration saved: the firewall's file has what is in force");
    yield { data: provenance.configured as unknown as Value };
  };
}

/** Bytes of a text in one record. */
const PIECE = 65_536;

/** What is known of the configuration in force, then its bytes. */
export function configurationOperation({ provenance }: Configurable): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, []);
    const { bytes, configured } = provenance;
    yield { data: configured as unknown as Value };
    for (let at = 0; bytes !== undefined && at < bytes.length; at += PIECE) {
      yield { data: { text: bytes.subarray(at, at + PIECE) } };
    }
  };
}

/** Seconds that a trial may last. */
const LONGEST_TRIAL = 24 * 3600;

/** @throws ChannelError */
function trialOf(args: Partial<Fields>): number | undefined {
  const seconds = countOf(args, "confirm");
  if (seconds === undefined || (seconds >= 1 && seconds <= LONGEST_TRIAL)) return seconds;
  throw new ChannelError("arguments", `confirm is not a number of seconds from 1 to ${LONGEST_TRIAL}`);
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
