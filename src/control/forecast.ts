// What would become of the flows under other settings: judged by the router's own code, over the records that it is working with, of which
// nothing is changed. What it reads beside them, the interfaces that a flow is on, follows from whose it is.
import { type Judged, readmit, rejudge } from "../dataplane/frame/readmission.ts";
import type { Settings } from "../dataplane/settings.ts";
import { FlowRecords } from "../dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../dataplane/tables/flow-state.ts";
import { hasSameLayout, Topology } from "../dataplane/topology.ts";
import type { Flow, Iface, Side } from "../dataplane/types.ts";
import { GONE } from "../dataplane/waiting/neighbours.ts";
import type { Address } from "../wire/ipv4.ts";

/** Records that somebody else writes to. */
class OthersRecords extends FlowRecords {
  override setClientRule(): void {}
}

class Prospect implements Judged {
  readonly flows: FlowRecords;
  readonly topology: Topology;
  private readonly before: Topology;
  /** By an interface's number before: the new one. */
  private readonly renumber: Int32Array;

  constructor(records: FlowRecords, before: Settings, after: Settings) {
    this.flows = new OthersRecords(records.words, records.external);
    this.topology = new Topology(after);
    this.before = new Topology(before);
    this.renumber = Int32Array.from(before.interfaces, (iface) =>
      after.interfaces.findIndex(({ name }) => name === iface.name),
    );
  }

  interfaceOf(flow: Flow, side: Side): Iface {
    return (this.renumber[this.interfaceBefore(flow, side)] ?? GONE) as Iface;
  }

  nextHopOf(flow: Flow, side: Side): Address | undefined {
    const host = this.flows.source(flow, side);
    return host === this.before.uplinkAddress ? undefined : this.before.uplinkNextHop(host);
  }

  private interfaceBefore(flow: Flow, side: Side): Iface {
    const { flows, before } = this;
    if (flows.hasState(flow, FLOW_STATE.DIRECT)) {
      return before.clientInterface[before.clientOf(flows.source(flow, side))];
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
