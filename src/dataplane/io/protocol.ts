// What control and the dataplane's thread say to each other: the thread's start, commands, reports, and what of its memory
// control may read. Types only.
import type { MessagePort } from "node:worker_threads";
import type { InterfaceBefore } from "../../linux/net/interfaces.ts";
import type { KernelPrograms } from "../kernel/loader.ts";
import type { ClientSettings, Settings } from "../settings.ts";
import type { PacketSocket } from "./packet-sockets.ts";

/** What the thread is started with. */
export interface Start {
  readonly settings: Settings;
  /** Of the settings' interfaces, in their order: control's, which closes them once they are not in force any more. */
  readonly sockets: readonly PacketSocket[];
  /** Commands come here, reports go out. */
  readonly port: MessagePort;
  /** An eventfd, signalled when there is a command. */
  readonly wake: number;
  /** What the interfaces were before. */
  readonly before: readonly InterfaceBefore[];
  /** As Liveness has them, in shared memory. */
  readonly signs: Int32Array;
  /** Address of memory for the flow table's records. */
  readonly flows: number;
  /** What the kernel path consists of, where there is one. */
  readonly kernelPrograms: KernelPrograms | undefined;
}

/**
 * The first three are answered by one report each: `apply` by applied or refused (then nothing changed), `client` by
 * applied, `stop` by stopped.
 */
export type Command =
  | ({ readonly type: "apply" } & Pick<Start, "settings" | "sockets" | "before">)
  /** New rules for one client, at its number in the settings in force; all else about it is as it was. */
  | { readonly type: "client"; readonly client: number; readonly settings: ClientSettings }
  | { readonly type: "stop" }
  /** A DNS message for a name server (uint32, host order); its answer, if one comes, is reported as `answered`. */
  | { readonly type: "ask"; readonly id: number; readonly server: number; readonly question: Uint8Array }
  /** Lets go of an answer that `passing` has shown. */
  | { readonly type: "release"; readonly id: number };

/** The first report is ready or refused, but for kernelPathOff. The last is stopped, or at any time failed. */
export type Report =
  | { readonly type: "ready"; readonly state: SharedState }
  /** The programs do not do what the router does, or that could not be found out: they are not used. */
  | { readonly type: "kernelPathOff"; readonly reason: string }
  | { readonly type: "applied" }
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "stopped" }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "answered"; readonly id: number; readonly answer: Uint8Array }
  /** A name server's answer to a client with `watchNames`, held until `release` or for a second. */
  | { readonly type: "passing"; readonly id: number; readonly client: number; readonly answer: Uint8Array };

/** What control may read while the dataplane runs: all of it in shared memory. */
export interface SharedState {
  /** Frames by verdict code. */
  readonly verdicts: Float64Array;
  /** Frames by RING_COUNTERS. */
  readonly ring: Float64Array;
  /** Refused packets of clients that are to be logged: refusals.ts. */
  readonly refusals: Int32Array;
}
