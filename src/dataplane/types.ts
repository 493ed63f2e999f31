// Numbers that must not be taken for one another, each with a type of its own. At run time they are plain numbers, and the
// functions here are so small that the compiler inlines them: the types cost nothing. Settings, and what control asks of the
// router, have plain numbers; the router and Topology, which take them in, give them their types.

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** A flow: the number of its record in the flow table. Once the flow has ended, its number may come to name another. */
export type Flow = Branded<"Flow">;
export const NO_FLOW = -1 as Flow;

/** One of the two ends of a flow: 0 the originator, 1 the responder. */
export type Side = 0 | 1;
export const otherSide = (side: Side): Side => (side ^ 1) as Side;

/** A flow and one of its sides, as look-ups return them: flow << 1 | side. */
export type FlowSide = Branded<"FlowSide">;
export const NO_FLOW_SIDE = -1 as FlowSide;
export const flowSide = (flow: Flow, side: Side): FlowSide => ((flow << 1) | side) as FlowSide;
export const flowOf = (flowSide: FlowSide): Flow => (flowSide >>> 1) as Flow;
export const sideOf = (flowSide: FlowSide): Side => (flowSide & 1) as Side;

/** A host that frames are handed to: its number in the neighbour table. */
export type Neighbour = Branded<"Neighbour">;
export const NO_NEIGHBOUR = -1 as Neighbour;

/** An interface, or a client: its position in the settings in force. */
export type Iface = Branded<"Iface">;
export type Client = Branded<"Client">;
/** No client: for a sender, the uplink. */
export const NOBODY = -1 as Client;

/** Who shares a table with others, and a group of them: parties.ts numbers them. */
export type Party = Branded<"Party">;
export type Group = Branded<"Group">;
/** No party's number: of what is the firewall's own. */
export const NO_PARTY = -1 as Party;

/** A NAT mapping: its number in the mapping table. */
export type Mapping = Branded<"Mapping">;
export const NO_MAPPING = -1 as Mapping;

/** A typed array that is indexed by one kind of number and holds another. */
export type Column<Key extends number, Value extends number = number> = { [K in Key]: Value } & {
  readonly length: number;
};

/** @param array all zero, or with the values that the type says */
export const column = <Key extends number, Value extends number = number>(
  array: Uint8Array | Int32Array | Float64Array,
): Column<Key, Value> => array as unknown as Column<Key, Value>;

/** @returns an array that has room, the same if it has already. @param fill what is new in it */
export function grown(array: Int32Array, length: number, fill: number): Int32Array {
  if (array.length >= length) return array;
  const larger = new Int32Array(length).fill(fill);
  larger.set(array);
  return larger;
}
