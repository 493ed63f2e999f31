// Of the packet in hand (packet.ts), what is needed of an ICMPv6 message that is of one link alone.
import type { HeaderChain } from "../../wire/header-chain.ts";
import type { Address } from "../../wire/ipv4.ts";
import type { Iface } from "../types.ts";

export interface LinkMessage {
  readonly iface: Iface;
  /** Offsets of its frame, IPv6 header, and ICMPv6 message. */
  readonly at: number;
  readonly ip: number;
  readonly transport: number;
  /** Bytes of the message. */
  readonly length: number;
  /** Numbers of its addresses; NO_NUMBER of the unspecified address, and when the book is full. */
  readonly source: Address;
  readonly destination: Address;
  readonly chain: HeaderChain;
}
