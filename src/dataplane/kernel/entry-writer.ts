// What the kernel path is to know of one side of a flow: its entry, written where it is to be copied from.
import { ETHERNET, writeMac } from "../../wire/ethernet.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import type { AddressKeys, Number6 } from "../address-book.ts";
import { portsTowards } from "../frame/rewrite.ts";
import type { State } from "../frame/state.ts";
import { BOTH_SYNS_AGREED, ENDING, FLOW_STATE, TIMEOUT_MASK } from "../tables/flow-state.ts";
import { type Flow, type Iface, otherSide, type Side } from "../types.ts";
import { PINNED } from "../waiting/neighbours.ts";
import { sumAddress } from "./addresses6.ts";
import {
  ADDRESSES,
  checksumOf,
  ENTRY,
  ENTRY_KEY,
  ENTRY_REWRITE,
  EXTRA_HEADER6,
  MARKED,
  NUMBER_FACTOR,
  OF_IPV6,
  REWRITE6,
  writeChecksum,
} from "./programs/layout.ts";

/** Bytes of a packet: of one of IPv6 that has more it is not asked. */
const LONGEST_PACKET = 65_535;

export class EntryWriter {
  /** What was written last. */
  readonly entry = new DataView(new ArrayBuffer(ENTRY.LENGTH));

  /** Of a flow of IPv6, its addresses. */
  readonly addresses = new DataView(new ArrayBuffer(ADDRESSES.LENGTH));

  constructor(
    private readonly state: State,
    private readonly addressKeys: AddressKeys,
  ) {}

  /** What packets from a side carry, and where they come in. @param ingress the kernel's number of the interface */
  writeKey(flow: Flow, side: Side, ingress: number): void {
    const { entry } = this;
    const { flows } = this.state;
    const key = ENTRY.KEY;
    const source = flows.source(flow, side);
    const destination = flows.destination(flow, side);
    const comesBy = flows.protocol(flow) | (ingress << 8);
    entry.setInt32(key + ENTRY_KEY.PORTS, flows.ports(flow, side));
    if (flows.isIpv6(flow)) {
      entry.setInt32(key + ENTRY_KEY.SOURCE, this.sumOf(ADDRESSES.SOURCE, source as Number6), true);
      entry.setInt32(key + ENTRY_KEY.DESTINATION, this.sumOf(ADDRESSES.DESTINATION, destination as Number6), true);
      entry.setInt32(key + ENTRY_KEY.INGRESS, comesBy | OF_IPV6, true);
    } else {
      entry.setInt32(key + ENTRY_KEY.SOURCE, source);
      entry.setInt32(key + ENTRY_KEY.DESTINATION, destination);
      entry.setInt32(key + ENTRY_KEY.INGRESS, comesBy, true);
    }
  }

  /** Writes an address to its place among `addresses`. @returns what stands for it in the key */
  private sumOf(at: number, address: Number6): number {
    this.state.book.write(this.addresses, at, address);
    return sumAddress(this.addressKeys, this.addresses, at);
  }

  /**
   * All but the key, which is there; and the checksum.
   * @param number of the entry @param generation that it holds in @param changes as ENTRY.CHANGES
   */
  write(flow: Flow, side: Side, number: number, generation: number, changes: number): void {
    const { entry } = this;
    const { flows, neighbours, timeouts, topology } = this.state;
    const neighbour = flows.neighbour(flow, side);
    const iface = neighbours.interfaceOf[neighbour];
    const egress = neighbours.interfaceOf[flows.neighbour(flow, otherSide(side))];
    const protocol = flows.protocol(flow);
    const needed = neededState(protocol, side);
    const stateWord = flows.state(flow);
    // Of UDP only the client's packets keep a flow alive (RFC 4787 REQ-6).
    const keepsAlive = protocol === PROTOCOL.TCP || iface !== topology.uplink;
    entry.setInt32(ENTRY.GENERATION, generation, true);
    entry.setInt32(ENTRY.FLOW, flow, true);
    entry.setInt32(ENTRY.NUMBER, number * NUMBER_FACTOR, true);
    entry.setInt32(ENTRY.TIMEOUT, keepsAlive ? timeouts.of(flow) : 0, true);
    // A flow that has another timeout by now is to get that one.
    entry.setInt32(ENTRY.STATE_MASK, needed.mask | TIMEOUT_MASK, true);
    entry.setInt32(ENTRY.STATE, needed.value | (stateWord & TIMEOUT_MASK), true);
    entry.setInt32(ENTRY.FLOW_SOURCE, flows.source(flow, 0), true);
    entry.setInt32(ENTRY.FLOW_PORTS, flows.ports(flow, 0), true);
    entry.setInt32(ENTRY.FLOW_BACK_PORTS, flows.ports(flow, 1), true);
    const extra = flows.isIpv6(flow) ? EXTRA_HEADER6 : 0;
    entry.setUint16(ENTRY.MTU, Math.min(topology.mtu[egress], LONGEST_PACKET) - extra, true);
    const isMarked = egress === topology.uplink && topology.settings.uplink.rate !== undefined;
    entry.setUint16(ENTRY.NEIGHBOUR, flows.neighbour(flow, otherSide(side)) | (isMarked ? MARKED : 0), true);
    entry.setUint16(ENTRY.CLIENT, flows.client(flow), true);
    entry.setInt32(ENTRY.CHANGES, changes, true);
    writeMac(entry, ENTRY.OUR_MAC, topology.macHead[iface], topology.macTail[iface]);
    const isPinned = iface !== topology.uplink && neighbours.state[neighbour] === PINNED;
    writeMac(entry, ENTRY.PINNED_MAC, neighbours.head[neighbour], neighbours.tail[neighbour]);
    entry.setUint16(ENTRY.PINNED, isPinned ? 1 : 0, true);
    this.writeRewrite(flow, side, egress);
    writeChecksum(entry);
  }

  private writeRewrite(flow: Flow, side: Side, egress: Iface): void {
    const { entry } = this;
    const { flows, neighbours, topology } = this.state;
    const back = otherSide(side);
    const next = flows.neighbour(flow, back);
    const source = flows.destination(flow, back);
    const destination = flows.source(flow, back);
    const ports = portsTowards(flows, flow, back);
    entry.setInt32(ENTRY_REWRITE.EGRESS, topology.settings.interfaces[egress].index, true);
    writeMac(entry, ENTRY_REWRITE.MACS, neighbours.head[next], neighbours.tail[next]);
    writeMac(entry, ENTRY_REWRITE.MACS + ETHERNET.SOURCE, topology.macHead[egress], topology.macTail[egress]);
    entry.setInt32(ENTRY_REWRITE.PORTS, ports);
    entry.setInt32(ENTRY_REWRITE.PORT_DELTA, wireDelta(flows.ports(flow, side), ports), true);
    let delta = 0;
    if (flows.isIpv6(flow)) {
      delta = this.writeAddresses6(source as Number6, destination as Number6);
      entry.setInt32(ENTRY.REWRITE + REWRITE6.ADDRESSES_CHECKSUM, checksumOf(this.addresses, ADDRESSES.LENGTH), true);
      entry.setInt32(ENTRY.REWRITE + REWRITE6.SOURCE_NUMBER, flows.source(flow, side));
    } else {
      delta = wireDelta(flows.source(flow, side), source) + wireDelta(flows.destination(flow, side), destination);
      entry.setInt32(ENTRY_REWRITE.SOURCE, source);
      entry.setInt32(ENTRY_REWRITE.DESTINATION, destination);
    }
    entry.setInt32(ENTRY_REWRITE.ADDRESS_DELTA, delta, true);
    entry.setInt32(ENTRY_REWRITE.HEADER_DELTA, delta + TTL_WIRE_DELTA, true);
  }

  /** The addresses that packets leave with, beside those that they come with. @returns their delta: below 2^21 */
  private writeAddresses6(source: Number6, destination: Number6): number {
    const { addresses } = this;
    this.state.book.write(addresses, ADDRESSES.TO_SOURCE, source);
    this.state.book.write(addresses, ADDRESSES.TO_DESTINATION, destination);
    let delta = 0;
    for (let at = 0; at < ADDRESSES.TO_SOURCE; at += 4)
      delta += wireDelta(addresses.getInt32(at), addresses.getInt32(ADDRESSES.TO_SOURCE + at));
    return delta;
  }
}

/** @returns what STATE must be, in which bits, for packets from a side to change nothing in it: what fast-path.ts asks of it */
export function neededState(protocol: number, side: Side): { readonly mask: number; readonly value: number } {
  if (protocol === PROTOCOL.TCP) return OPEN_TCP;
  return side === 0 ? USED : ASSURED;
}

const OPEN_TCP = { mask: ENDING | FLOW_STATE.USED, value: BOTH_SYNS_AGREED | FLOW_STATE.USED };
const USED = { mask: FLOW_STATE.USED, value: FLOW_STATE.USED };
/** The first answer of UDP makes it that. */
const ASSURED = { mask: FLOW_STATE.ASSURED | FLOW_STATE.USED, value: FLOW_STATE.ASSURED | FLOW_STATE.USED };

/** One less in a packet's TTL, likewise: the protocol beside it stays. */
const TTL_WIRE_DELTA = 0xfffe;

/** As delta32 of wire/checksum.ts, of words read in this machine's order where they stand in network order. */
function wireDelta(before: number, after: number): number {
  return swapped(~before >>> 16) + swapped(~before & 0xffff) + swapped(after >>> 16) + swapped(after & 0xffff);
}

function swapped(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
