// What would become of the flows under other settings: judged by the router's own code, over the records that it is working with, of which
// nothing is changed. What it reads beside them, the interfaces that a flow is on, follows from whose it is.
import { ADDRESS_WORDS, AddressBook, drawAddressKeys, isIpv6 } from "../../dataplane/address-book.ts";
import { type Judged, readmit, rejudge } from "../../dataplane/frame/readmission.ts";
import type { Settings } from "../../dataplane/settings.ts";
import { FlowRecords } from "../../dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../dataplane/tables/flow-state.ts";
import { hasSameLayout, Topology } from "../../dataplane/topology.ts";
import { type Flow, type Iface, NOBODY, type Side } from "../../dataplane/types.ts";
import { GONE } from "../../dataplane/waiting/neighbours.ts";
import type { Address } from "../../wire/ipv4.ts";

/** Addresses of IPv6 that settings have, at most. */
const OF_SETTINGS = 65_536;

/** Records that somebody else writes to, and numbers of IPv6 addresses with them: here these are in a book of our own. */
class OthersRecords extends FlowRecords {
  constructor(
    private readonly others: FlowRecords,
    private readonly book: AddressBook,
  ) {
    super(others.words, others.external);
  }

  override setClientRule(): void {}

  override source(flow: Flow, side: Side): Address {
    return this.own(super.source(flow, side));
  }

  override destination(flow: Flow, side: Side): Address {
    const address = super.destination(flow, side);
    return side === 1 && this.hasState(flow, FLOW_STATE.OUTBOUND) ? address : this.own(address); // else it is our own address
  }

  private own(address: Address): Address {
    if (!isIpv6(address)) return address;
    const { addresses } = this.others;
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => addresses.word(address, i));
    return this.book.take(a, b, c, d);
  }
}

class Prospect implements Judged {
  readonly flows: FlowRecords;
  readonly topology: Topology;
  private readonly before: Topology;
  /** By an interface's number before: the new one. */
  private readonly renumber: Int32Array;

  constructor(records: FlowRecords, before: Settings, after: Settings) {
    const capacity = records.addresses.words.length / ADDRESS_WORDS + OF_SETTINGS;
    const book = new AddressBook(
      capacity,
      drawAddressKeys(() => crypto.getRandomValues(new Uint32Array(1))[0]),
    );
    this.topology = new Topology(after, undefined, book);
    this.before = new Topology(before, undefined, book);
    this.flows = new OthersRecords(records, book);
    this.flows.external6 = this.before.ipv6.uplinkAddress;
    this.renumber = Int32Array.from(before.interfaces, (iface) =>
      after.interfaces.findIndex(({ name }) => name === iface.name),
    );
  }

  interfaceOf(flow: Flow, side: Side): Iface {
    return (this.renumber[this.interfaceBefore(flow, side)] ?? GONE) as Iface;
  }

  nextHopOf(flow: Flow, side: Side): Address | undefined {
    const host = this.flows.source(flow, side);
    return host === this.before.uplinkAddressLike(host) ? undefined : this.before.uplinkNextHop(host);
  }

  private interfaceBefore(flow: Flow, side: Side): Iface {
    const { flows, before } = this;
    if (flows.hasState(flow, FLOW_STATE.DIRECT)) {
      const client = before.clientOf(flows.source(flow, side));
      return client === NOBODY ? before.uplink : before.clientInterface[client]; // the remote of a network that is routed
    }
    const remote = flows.hasState(flow, FLOW_STATE.INBOUND) ? 0 : 1;
    return side === remote ? before.uplink : before.clientInterface[flows.client(flow)];
  }
}

/**
 * @param records judged by `before`, which is in force
 * @returns whether a flow of them would end if `after` were
 */
export function foresee(records: FlowRecords, before: Settings, after: Settings): (flow: Flow) => boolean {
  const prospect = new Prospect(records, before, after);
  const livesOn = hasSameLayout(before, after) ? rejudge : readmit;
  return (flow) => !livesOn(prospect, flow);
}
