// Reads ahead what opening flows will need of the tables, for a batch of packets that belong to none: so their cache misses
// overlap, which are most of the time that a new flow takes. Nothing is changed, and what is wrongly guessed costs a miss later.
//
// A closure, as the fast path is, for the same reason.
import { IPV4, readAddress } from "../../wire/ipv4.ts";
import { destinationPort, joinPorts, type Ports, sourcePort } from "../../wire/ports.ts";
import type { Mapping } from "../types.ts";
import type { State } from "./state.ts";

/** @param most packets that are read ahead at most */
export function makeReadAheadForNew(state: State, most: number): (packets: Int32Array, count: number) => void {
  const { view, flows, mappings } = state;
  const found = new Int32Array(most);

  /**
   * In three passes, of which each needs what the one before has read.
   * @param packets offsets of their IPv4 headers; those to our own address, which open few flows, are taken out
   */
  return (packets, all) => {
    let count = 0;
    for (let i = 0; i < all; i++) {
      const ip = packets[i];
      if (readAddress(view, ip + IPV4.DESTINATION) !== flows.external) packets[count++] = ip;
    }
    for (let i = 0; i < count; i++) {
      const ip = packets[i];
      const port = sourcePort(view.getInt32(ip + IPV4.HEADER_LENGTH) as Ports);
      found[i] = mappings.first(view.getUint8(ip + IPV4.PROTOCOL), readAddress(view, ip + IPV4.SOURCE), port);
    }
    for (let i = 0; i < count; i++) {
      // Without a mapping, a flow most likely gets the port that is its own.
      const own = sourcePort(view.getInt32(packets[i] + IPV4.HEADER_LENGTH) as Ports);
      found[i] = found[i] < 0 ? own : mappings.externalPort(found[i] as Mapping);
    }
    for (let i = 0; i < count; i++) {
      const ip = packets[i];
      const port = destinationPort(view.getInt32(ip + IPV4.HEADER_LENGTH) as Ports);
      const back = joinPorts(port, found[i] as typeof port);
      const remote = readAddress(view, ip + IPV4.DESTINATION);
      found[i] = flows.readIndex(flows.hash(remote, flows.external, back, view.getUint8(ip + IPV4.PROTOCOL)));
    }
  };
}
