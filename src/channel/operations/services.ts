// What a running firewall can be asked over the channel: operations, each with the values of src/control.
import { version } from "../../../package.json" with { type: "json" };
import { keptLog } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import type { Configured } from "../../control/provenance.ts";
import type { RuleEntry } from "../../control/rule-list.ts";
import type { Status } from "../../control/views/status.ts";
import { type MemoryUse, memoryUse, processorTime } from "../../linux/usage.ts";
import { list, single } from "../arguments.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Services } from "../session.ts";
import { bugreportOperation, type DiagnosisAnswering } from "./bugreport-operation.ts";
import { type CaptureAnswering, captureOperation, recordOperation } from "./capture-operation.ts";
import {
  type Configurable,
  configurationOperation,
  configureOperation,
  confirmOperation,
  savedOperation,
} from "./configure-operation.ts";
import { type DropsAnswering, dropsOperation, suggestOperation, whyOperation } from "./drop-operations.ts";
import { type FlowsAnswering, flowsOperation } from "./flows-operation.ts";
import { logOperation } from "./log-operation.ts";
import { type TraceAnswering, traceOperation } from "./trace-operation.ts";

/** What is asked of the firewall (control/firewall.ts). */
export type Answering = FlowsAnswering &
  DropsAnswering &
  Configurable &
  CaptureAnswering &
  DiagnosisAnswering &
  TraceAnswering & { readonly status: Status; readonly ruleList: readonly RuleEntry[] };

/** As `status` answers. Times in seconds: since the program began, and Unix time. */
export interface NamedStatus extends Status {
  readonly name: string;
  readonly version: string;
  readonly uptime: number;
  readonly time: number;
  readonly configuration: Configured;
  readonly memory: MemoryUse;
  /** Time of processors that all of its threads have used. */
  readonly cpu: number;
}

/** What is particular about a firewall. */
export interface ServiceOptions {
  /** The file that it reads by itself, as that is now; undefined where there is none. */
  readonly read?: () => Promise<Config>;
  /** Why nobody may give it another configuration, if so: it has it from somebody else. */
  readonly isToldBy?: string;
}

/** @param name of this firewall */
export function makeServices(name: string, firewall: Answering, { read, isToldBy }: ServiceOptions = {}): Services {
  const status = (): NamedStatus => ({
    ...{ name, version, uptime: process.uptime(), time: Date.now() / 1000 },
    configuration: firewall.provenance.configured,
    ...{ memory: memoryUse(), cpu: processorTime() },
    ...firewall.status,
  });
  return {
    greeting: { name, program: `firebreak ${version}` },
    operations: new Map<string, Operation>([
      ["status", single([], () => status())],
      ["flows", flowsOperation(firewall)],
      ["rules", list(() => firewall.ruleList)],
      ["log", logOperation(keptLog)],
      ["drops", dropsOperation(firewall)],
      ["why", whyOperation(firewall)],
      ["suggest", suggestOperation(firewall)],
      ["configure", isToldBy === undefined ? configureOperation(firewall) : failing(isToldBy)],
      ["confirm", confirmOperation(firewall)],
      ["configuration", configurationOperation(firewall)],
      ["saved", savedOperation(firewall, read)],
      ["capture", captureOperation(firewall)],
      ["record", recordOperation(firewall)],
      ["trace", traceOperation(firewall)],
      ["bugreport", bugreportOperation(firewall, name, version)],
    ]),
  };
}

function failing(reason: string): Operation {
  return single(["text", "name", "dry_run", "confirm"], () => {
    throw new ChannelError("failed", reason);
  });
}
