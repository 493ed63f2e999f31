// What a qube's configuration is made of: QubesDB, the clients' interfaces and the uplink's, as they are at one moment.
import type { QubeOptions } from "../config/qubes.ts";
import type { ClientRules, Database } from "./client-rules.ts";

/** A client's interface that is there to be used. */
export interface ClientVif {
  readonly name: string;
  /** The address that dom0 gave the client, as an unsigned 32-bit number in host order. */
  readonly address: number;
  /** The IPv6 address that dom0 gave it, if any. */
  readonly address6?: Uint8Array | undefined;
  /** What dom0 wrote beside these that is no address of a client. */
  readonly unread?: readonly string[];
  /** Its MAC address, as dom0 gave it: no other is believed. */
  readonly mac: Uint8Array | undefined;
}

export interface QubeState {
  /** QubesDB as it is in force. */
  readonly database: Pick<Database, "get">;
  /** The rules in force, by each of the client's addresses as text. */
  rulesOf(address: string): ClientRules | undefined;
  /** Those of clients; no two with one address. */
  readonly vifs: readonly ClientVif[];
  /** The interface to the netvm, if there is one. */
  readonly uplink: string | undefined;
  /** Where the netvm is a client of ours, of which dom0 knows nothing: these count instead of what QubesDB says. */
  readonly options: QubeOptions | undefined;
}

/** Our address on all clients' interfaces: what Linux's netback has, and Qubes OS expects. */
export const CLIENT_SIDE_MAC = Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff);
