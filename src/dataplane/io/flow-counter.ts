// Counts the bytes and packets of flows whose frames come to the dataplane's thread, while somebody asks for them: around the router, which
// knows nothing of it. What goes the kernel path is counted there (kernel/programs/forwarder.ts). A frame counts once it is sent, or waits.
import { ETHERNET, ETHERTYPE } from "../../wire/ethernet.ts";
import { type Address, IPV4 } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import type { Router } from "../frame/router.ts";
import type { Ring } from "../ring.ts";
import { countPacket } from "../tables/flow-counts.ts";
import { type Flow, type Iface, NO_FLOW, type Side } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";

export class FlowCounter {
  private words: Int32Array | undefined;
  // Of the frames of a batch: flow or NO_FLOW, side, bytes.
  private readonly flows: Int32Array;
  private readonly sides: Uint8Array;
  private readonly bytes: Int32Array;

  /** @param batch frames of one at most */
  constructor(
    private readonly ring: Pick<Ring, "view">,
    private readonly router: Pick<Router, "flows" | "lastFlow" | "sideOn">,
    batch: number,
  ) {
    this.flows = new Int32Array(batch);
    this.sides = new Uint8Array(batch);
    this.bytes = new Int32Array(batch);
  }

  get isOn(): boolean {
    return this.words !== undefined;
  }

  /** @param words memory of the counts; undefined: nobody asks any more */
  configure(words: Int32Array | undefined): void {
    this.words = words;
  }

  /** The router has received a frame of a batch. @param i its number there; the others are as Router.receive has them */
  note(i: number, iface: number, at: number, length: number, verdict: Verdict): void {
    const { view } = this.ring;
    const { lastFlow, flows } = this.router;
    this.flows[i] = NO_FLOW;
    if (lastFlow === NO_FLOW || !flows.isUsed(lastFlow)) return;
    if (verdict !== VERDICT.FORWARDED && verdict !== VERDICT.QUEUED && verdict !== VERDICT.ANSWER_HELD) return;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const type = view.getUint16(at + ETHERNET.TYPE);
    this.flows[i] = lastFlow;
    // Of IPv6, whose addresses the flow has only numbers of: there is no hairpin from and to one interface but on a network's own.
    this.sides[i] =
      type === ETHERTYPE.IPV4
        ? this.sideOf(lastFlow, view.getInt32(ip + IPV4.DESTINATION) as Address)
        : this.router.sideOn(lastFlow, iface as Iface);
    this.bytes[i] = packetLength(view, type, ip, length - ETHERNET.HEADER_LENGTH);
  }

  /** The batch has been sent. @param lost by number in it: not 0 where it was lost */
  add(frames: number, lost: Uint8Array): void {
    const { words, flows } = this;
    if (words === undefined) return;
    const table = this.router.flows;
    for (let i = 0; i < frames; i++) {
      const flow = flows[i] as Flow;
      if (flow !== NO_FLOW && lost[i] === 0) {
        countPacket(words, flow, table.birth(flow), this.sides[i] as Side, this.bytes[i]);
      }
    }
  }

  /** @param destination of a packet that has been rewritten: its originator's, of what came from side 1 */
  private sideOf(flow: Flow, destination: Address): Side {
    return destination === this.router.flows.source(flow, 0) ? 1 : 0;
  }
}

/** @param left bytes behind the Ethernet header, padding among them */
function packetLength(view: DataView, type: number, ip: number, left: number): number {
  if (type === ETHERTYPE.IPV4) return view.getUint16(ip + IPV4.TOTAL_LENGTH);
  return type === ETHERTYPE.IPV6 ? IPV6.HEADER_LENGTH + view.getUint16(ip + IPV6.PAYLOAD_LENGTH) : left;
}
