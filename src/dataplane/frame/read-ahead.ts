// Reads ahead what opening flows will need of the tables, for a batch of packets that belong to none: so their cache misses
// overlap, which are most of the time that a new flow takes. Nothing is changed, and what is wrongly guessed costs a miss later.
//
// A closure, as the fast path is, for the same reason; and loops that miss do nothing else, as there.
import { IPV4, readAddress } from "../../wire/ipv4.ts";
import { destinationPort, joinPorts, type Port, type Ports, sourcePort } from "../../wire/ports.ts";
import type { Mapping } from "../types.ts";
import type { State } from "./state.ts";

/** @param most packets that are read ahead at most */
export function makeReadAheadForNew(state: State, most: number): (packets: Int32Array, count: number) => void {
  const { view, flows, mappings } = state;
  const words = new Int32Array(most);

  /** @param packets offsets of their IPv4 headers; those to our own address, which open few flows, are taken out */
  return (packets, all) => {
    let count = 0;
    for (let i = 0; i < all; i++) {
      const ip = packets[i];
      if (readAddress(view, ip + IPV4.DESTINATION) === flows.external) continue;
      packets[count] = ip;
      const port = sourcePort(view.getInt32(ip + IPV4.HEADER_LENGTH) as Ports);
      words[count++] = mappings.hash(view.getUint8(ip + IPV4.PROTOCOL), readAddress(view, ip + IPV4.SOURCE), port);
    }
    for (let i = 0; i < count; i++) words[i] = mappings.first(words[i]);
    for (let i = 0; i < count; i++) words[i] = words[i] < 0 ? 0 : mappings.portPair(words[i] as Mapping);
    for (let i = 0; i < count; i++) {
      const ip = packets[i];
      const ports = view.getInt32(ip + IPV4.HEADER_LENGTH) as Ports;
      // Without a mapping, or where another's is the first in the chain, a flow most likely gets the port that is its own.
      const own = sourcePort(ports);
      const external = words[i] >>> 16 === own ? ((words[i] & 0xffff) as Port) : own;
      const back = joinPorts(destinationPort(ports), external);
      const remote = readAddress(view, ip + IPV4.DESTINATION);
      words[i] = flows.hash4(remote, flows.external, back, view.getUint8(ip + IPV4.PROTOCOL));
    }
    for (let i = 0; i < count; i++) words[i] = flows.readIndex(words[i]);
  };
}
