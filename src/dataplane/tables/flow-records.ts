// The records of flows: 16 words each, a cache line, with all that a packet of the flow needs. They lie in memory that control
// reads too, to list flows while the dataplane runs, and that the kernel path's programs read and write. Where in a record what
// stands is told here, and of the words that belong to TCP and to the timer wheel in tcp.ts and timer-wheel.ts. All others use
// the accessors of FlowRecords, and the kernel path's programs the offsets.
import { type Address, toAddress } from "../../wire/ipv4.ts";
import type { Ports } from "../../wire/ports.ts";
import { Addresses, isIpv6, NO_NUMBER, type Number6 } from "../address-book.ts";
import type { UplinkSettings } from "../settings.ts";
import type { Client, Flow, Neighbour, Side } from "../types.ts";
import { FLOW_STATE, generationOf, timeoutOf, windowScaleOf, withGeneration, withTimeout } from "./flow-state.ts";

export const FLOW_WORDS = 16;

/** Offsets in a record, in words. */
export const FLOW = {
  /** What packets from side 0 carry when they arrive. */
  SOURCE: 0,
  DESTINATION: 1,
  PORTS: 2,
  /** What packets from side 1 carry; their destination follows from STATE. */
  BACK_SOURCE: 3,
  BACK_PORTS: 4,
  /** protocol | neighbour that packets to side 0 are handed to << 8 | the same of side 1 << 20 */
  NEIGHBOURS: 5,
  /** As flow-state.ts says; 0 in a free record. */
  STATE: 6,
  /** Second of the clock at which the flow ends, unless traffic moves it. */
  DEADLINE: 7,
  /** Number of the client that it counts for << 16 | number of the rule that accepted it (0: policy). */
  CLIENT_RULE: 8,
  /** Two words of timer-wheel.ts. */
  WHEEL: 9,
  /** Five words of tables/tcp.ts. */
  TCP: 11,
} as const;

/** Neighbours that a record can number. */
export const MAX_NEIGHBOURS = 1 << 12;
const NEIGHBOUR_SHIFT = 8;
/** From the bits of side 0's neighbour to those of side 1's. */
const NEIGHBOUR_BITS = 12;

const NOBODYS = new Addresses(new Int32Array(0));

/** What a new flow is made of. */
export interface FlowFields {
  readonly client: Client;
  /** Number of the rule that accepted it, 0 for the policy. */
  readonly rule: number;
  /** FLOW_STATE.OUTBOUND, INBOUND or DIRECT. */
  readonly kind: number;
  readonly isMapped: boolean;
  readonly protocol: number;
  /** What packets from side 0 carry, and what packets from side 1 do, whose destination follows from the kind. */
  readonly source: Address;
  readonly destination: Address;
  readonly ports: Ports;
  readonly backSource: Address;
  readonly backPorts: Ports;
  /** FlowTable's hashes of what packets from side 0 and from side 1 carry. */
  readonly hash: number;
  readonly backHash: number;
  /** Number of its timeout. */
  readonly timeout: number;
}

export class FlowRecords {
  /**
   * @param words the records' memory, FLOW_WORDS each
   * @param external, external6 the addresses that OUTBOUND flows have in place of the client's, by family
   * @param addresses what the numbers of IPv6 addresses mean, for `ip`
   * @param ownIp6 external6, for who does not know its number
   */
  constructor(
    readonly words: Int32Array,
    public external: Address,
    public external6: Number6 = NO_NUMBER,
    readonly addresses: Addresses = NOBODYS,
    public ownIp6: Uint8Array = new Uint8Array(16),
  ) {}

  /** Takes our addresses for who shows flows. */
  setExternal({ address, ipv6 }: Pick<UplinkSettings, "address" | "ipv6">): void {
    this.external = toAddress(address);
    if (ipv6 !== undefined) this.ownIp6 = ipv6.address;
  }

  /** @returns an address of a flow for who shows it: uint32 in host order, or 16 bytes; of a flow that is gone, that of another maybe */
  ip(address: Address): number | Uint8Array {
    if (!isIpv6(address)) return address >>> 0;
    return address === NO_NUMBER ? this.ownIp6 : this.addresses.bytes(address);
  }

  /** @returns whether this record holds a flow */
  isUsed(flow: Flow): boolean {
    return this.words[flow * FLOW_WORDS + FLOW.STATE] !== 0;
  }

  /** @returns the word that flow-state.ts describes */
  state(flow: Flow): number {
    return this.words[flow * FLOW_WORDS + FLOW.STATE];
  }

  setState(flow: Flow, state: number): void {
    this.words[flow * FLOW_WORDS + FLOW.STATE] = state;
  }

  /** @param bits of FLOW_STATE @returns whether the flow has any of them */
  hasState(flow: Flow, bits: number): boolean {
    return (this.words[flow * FLOW_WORDS + FLOW.STATE] & bits) !== 0;
  }

  /** @returns the source address of packets from a side, as they arrive */
  source(flow: Flow, side: Side): Address {
    return this.words[flow * FLOW_WORDS + (side === 0 ? FLOW.SOURCE : FLOW.BACK_SOURCE)] as Address;
  }

  /** @returns the destination address of packets from a side, as they arrive */
  destination(flow: Flow, side: Side): Address {
    return this.isIpv6(flow) ? this.destination6(flow, side) : this.destination4(flow, side);
  }

  /** `destination` of a flow of IPv4. */
  destination4(flow: Flow, side: Side): Address {
    const { words } = this;
    const at = flow * FLOW_WORDS;
    if (side === 0) return words[at + FLOW.DESTINATION] as Address;
    if ((words[at + FLOW.STATE] & FLOW_STATE.OUTBOUND) !== 0) return this.external;
    return words[at + FLOW.SOURCE] as Address;
  }

  /** `destination` of a flow whose addresses are numbers of the address book. */
  destination6(flow: Flow, side: Side): Number6 {
    const { words } = this;
    const at = flow * FLOW_WORDS;
    if (side === 0) return words[at + FLOW.DESTINATION] as Number6;
    if ((words[at + FLOW.STATE] & FLOW_STATE.OUTBOUND) !== 0) return this.external6;
    return words[at + FLOW.SOURCE] as Number6;
  }

  /** @returns whether a flow's addresses are numbers of the address book */
  isIpv6(flow: Flow): boolean {
    return isIpv6(this.words[flow * FLOW_WORDS + FLOW.SOURCE] as Address);
  }

  /** @returns the ports of packets from a side, as they arrive */
  ports(flow: Flow, side: Side): Ports {
    return this.words[flow * FLOW_WORDS + FLOW.PORTS + side * (FLOW.BACK_PORTS - FLOW.PORTS)] as Ports; // which side can't be foretold
  }

  protocol(flow: Flow): number {
    return this.words[flow * FLOW_WORDS + FLOW.NEIGHBOURS] & 0xff;
  }

  /** @returns the neighbour that packets to a side are handed to */
  neighbour(flow: Flow, side: Side): Neighbour {
    const word = this.words[flow * FLOW_WORDS + FLOW.NEIGHBOURS];
    return ((word >>> (NEIGHBOUR_SHIFT + side * NEIGHBOUR_BITS)) & (MAX_NEIGHBOURS - 1)) as Neighbour;
  }

  /** @returns second of the clock at which the flow ends, unless traffic moves it */
  deadline(flow: Flow): number {
    return this.words[flow * FLOW_WORDS + FLOW.DEADLINE];
  }

  setDeadline(flow: Flow, second: number): void {
    this.words[flow * FLOW_WORDS + FLOW.DEADLINE] = second;
  }

  /** @returns the client that the flow counts for */
  client(flow: Flow): Client {
    return (this.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] >>> 16) as Client;
  }

  /** @returns number of the rule that accepted the flow, 0 for the policy */
  rule(flow: Flow): number {
    return this.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] & 0xffff;
  }

  setClientRule(flow: Flow, client: Client, rule: number): void {
    this.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] = (client << 16) | rule;
  }

  /** @returns the generation of its client's rules that the flow was judged by, below GENERATIONS */
  generation(flow: Flow): number {
    return generationOf(this.words[flow * FLOW_WORDS + FLOW.STATE]);
  }

  setGeneration(flow: Flow, generation: number): void {
    this.setState(flow, withGeneration(this.state(flow), generation));
  }

  /** @returns number of the flow's timeout (tables/timeouts.ts) */
  timeout(flow: Flow): number {
    return timeoutOf(this.words[flow * FLOW_WORDS + FLOW.STATE]);
  }

  setTimeout(flow: Flow, timeout: number): void {
    this.setState(flow, withTimeout(this.state(flow), timeout));
  }

  /** @returns the scale of a side's TCP window */
  windowScale(flow: Flow, side: Side): number {
    return windowScaleOf(this.words[flow * FLOW_WORDS + FLOW.STATE], side);
  }

  /**
   * Fills in a record that is in use, but for its deadline.
   * @param neighbour0, neighbour1 whom packets to side 0 and to side 1 are handed to
   */
  fill(flow: Flow, fields: FlowFields, neighbour0: Neighbour, neighbour1: Neighbour): void {
    const { words } = this;
    const at = flow * FLOW_WORDS;
    words[at + FLOW.SOURCE] = fields.source;
    words[at + FLOW.DESTINATION] = fields.destination;
    words[at + FLOW.PORTS] = fields.ports;
    words[at + FLOW.BACK_SOURCE] = fields.backSource;
    words[at + FLOW.BACK_PORTS] = fields.backPorts;
    words[at + FLOW.NEIGHBOURS] =
      fields.protocol | (neighbour0 << NEIGHBOUR_SHIFT) | (neighbour1 << (NEIGHBOUR_SHIFT + NEIGHBOUR_BITS));
    const kind = fields.kind | (fields.isMapped ? FLOW_STATE.MAPPED : 0);
    words[at + FLOW.STATE] = withTimeout(FLOW_STATE.USED | kind, fields.timeout);
    words[at + FLOW.CLIENT_RULE] = (fields.client << 16) | fields.rule;
  }
}
