// How long flows live without traffic: each has the number of one of the settings' timeouts in its STATE, so that new
// settings hold for old flows too.

import type { Timeouts } from "../settings.ts";
import type { Flow } from "../types.ts";
import type { FlowTable } from "./flows.ts";

/** Numbers of the timeouts. */
export const TIMEOUT = {
  UDP_NEW: 0,
  UDP: 1,
  DNS: 2,
  TCP_ESTABLISHED: 3,
  TCP_OPENING: 4,
  TCP_CLOSING: 5,
  ICMP: 6,
  OTHER: 7,
} as const;

export class FlowTimeouts {
  /** Seconds, by number. */
  private readonly seconds = new Int32Array(Object.keys(TIMEOUT).length);

  constructor(private readonly flows: FlowTable) {}

  apply(timeouts: Timeouts): void {
    const { seconds } = this;
    seconds[TIMEOUT.UDP_NEW] = timeouts.udpNew;
    seconds[TIMEOUT.UDP] = timeouts.udp;
    seconds[TIMEOUT.DNS] = timeouts.dns;
    seconds[TIMEOUT.TCP_ESTABLISHED] = timeouts.tcpEstablished;
    seconds[TIMEOUT.TCP_OPENING] = timeouts.tcpOpening;
    seconds[TIMEOUT.TCP_CLOSING] = timeouts.tcpClosing;
    seconds[TIMEOUT.ICMP] = timeouts.icmp;
    seconds[TIMEOUT.OTHER] = timeouts.other;
  }

  /** @returns seconds that this flow lives without traffic */
  of(flow: Flow): number {
    return this.seconds[this.flows.timeout(flow)];
  }

  /** @returns second of the clock at which a flow had its last traffic that keeps it alive, or one or two later */
  lastUsed(flow: Flow): number {
    return this.flows.deadline(flow) - this.of(flow);
  }
}
