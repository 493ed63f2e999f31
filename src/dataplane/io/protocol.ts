// What control and the dataplane's thread say to each other: the thread's start, commands, reports, and what of its memory
// control may read. Types, and the numbers of what goes by mail.
import type { MessagePort } from "node:worker_threads";
import type { InterfaceBefore } from "../../linux/net/take.ts";
import type { KernelPrograms } from "../kernel/loader.ts";
import type { Ruleset } from "../rules/ruleset.ts";
import type { Settings } from "../settings.ts";
import type { PacketSocket } from "./packet-sockets.ts";
import type { CaptureOrder } from "./tap.ts";

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
  /** Memory of the mailboxes: for messages to the dataplane's thread, and to control. */
  readonly toDataplane: SharedArrayBuffer;
  readonly toControl: SharedArrayBuffer;
  /** Memory of a third: for clients' rules to the dataplane's thread. */
  readonly rules: SharedArrayBuffer;
  /** As Liveness has them, in shared memory. */
  readonly signs: Int32Array;
  /** Address of memory for the flow table's records. */
  readonly flows: number;
  /** What the kernel path consists of, where there is one. */
  readonly kernelPrograms: KernelPrograms | undefined;
}

/**
 * They are answered by one report each: `apply` by applied or refused (then nothing changed), `client`,
 * `records`, `addresses`, `captures` and `counts` by applied, `stop` by stopped.
 */
export type Command =
  | ({ readonly type: "apply" } & Pick<Start, "settings" | "sockets" | "before">)
  /**
   * New rules for one client, at its number in the settings in force; all else about it is as it was. Those that the mailbox for rules has
   * room for go by that, and are answered likewise: MAIL.RULES.
   */
  | { readonly type: "client"; readonly client: number; readonly ruleset: Ruleset }
  /**
   * Another map of the flow table's records, and its place among them: recordsWanted has asked for it. While flows are counted, also
   * a map of their counts.
   */
  | { readonly type: "records"; readonly at: number; readonly map: number; readonly counts?: number | undefined }
  /** The map of the addresses of the kernel path's entries of IPv6: addressesWanted has asked for it. */
  | { readonly type: "addresses"; readonly map: number }
  /** Flows are counted from now on, in memory at this address; 0: they are not any more. */
  | { readonly type: "counts"; readonly address: number }
  /** All captures there are from now on: those that stay keep their ids. Memory of others is not touched any more. */
  | { readonly type: "captures"; readonly captures: readonly CaptureOrder[] }
  | { readonly type: "stop" };

/**
 * What goes by the mailboxes (mailbox.ts): messages of which others decide how many there are. One to the dataplane is looked at
 * after all commands that were posted before it.
 */
export const MAIL = {
  /** To the dataplane: a DNS message for a name server, `number` (uint32, host order). An answer, if one comes, has the same id. */
  ASK: 1,
  /**
   * To the dataplane: a TCP segment, header and payload, of a connection to a name server, `number`, which begins with the first one;
   * ports and checksum are filled in. Those that come back have the same id, as answers have.
   */
  SEGMENT: 5,
  /** As these two, for a server of IPv6: its address stands in front of the bytes, and `number` is 0. */
  ASK6: 9,
  SEGMENT6: 10,
  /** To the dataplane: ends that. */
  HANG_UP: 6,
  /** To the dataplane: lets go of an answer that PASSING has shown. */
  RELEASE: 2,
  /** To the dataplane: ends a flow, if it is there still: `id` is its protocol, the bytes are as Router.endFlow has them. */
  END_FLOW: 7,
  /**
   * To the dataplane, by a mailbox of its own: rules for a client, `id`, as rules/packed.ts has them. `number` is how many commands were
   * posted before: it is their turn after those, and before any that follow.
   */
  RULES: 11,
  /** To control, like the reports of these names, which there are for what finds no room in the mailbox. */
  ANSWERED: 3,
  PASSING: 4,
  /** To control: a name server's answer to a client without `watchNames`, `number`. */
  SEEN: 8,
} as const;

/** The first report is ready or refused, but for kernelPathOff and kernelPath6Off. The last is stopped, or at any time failed. */
export type Report =
  | { readonly type: "ready"; readonly state: SharedState }
  /** The programs do not do what the router does, or that could not be found out: they are not used. */
  | { readonly type: "kernelPathOff"; readonly reason: string }
  /** The same of IPv6 alone, or it was not tried. */
  | { readonly type: "kernelPath6Off"; readonly reason: string }
  | { readonly type: "applied" }
  /** Flows have got numbers of which the kernel path's programs don't know the records: kernel/records.ts. */
  | { readonly type: "recordsWanted" }
  /** A flow of IPv6 wants the kernel path, for the first time: kernel/addresses6.ts. */
  | { readonly type: "addressesWanted" }
  /** There is something in the mailbox. */
  | { readonly type: "mail" }
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "stopped" }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "answered"; readonly id: number; readonly answer: Uint8Array }
  /** As ControlEvents.duplicated. */
  | { readonly type: "duplicated"; readonly address: Uint8Array; readonly mac: Uint8Array }
  /** As ControlEvents.freed. */
  | { readonly type: "freed" }
  /** A name server's answer to a client with `watchNames`, held until it is released, or for three seconds. */
  | { readonly type: "passing"; readonly id: number; readonly client: number; readonly answer: Uint8Array };

/** What control may read while the dataplane runs: all of it in shared memory. */
export interface SharedState {
  /** Frames by verdict code. */
  readonly verdicts: Float64Array;
  /** Frames by RING_COUNTERS. */
  readonly ring: Float64Array;
  /** What the numbers of IPv6 addresses mean: words of address-book.ts. */
  readonly addresses: Int32Array;
  /** What became of frames that were not forwarded: tables/drop-records.ts. */
  readonly drops: Int32Array;
  /** How often each rule has decided something: tables/rule-hits.ts. */
  readonly ruleHits: SharedArrayBuffer;
}
