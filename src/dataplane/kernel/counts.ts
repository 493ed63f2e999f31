// Memory of the flows' counts, as far as the kernel path's programs add to it: maps, each of as many flows as one of records.ts.
// They are there only while somebody asks for counts. Without a map in its place a program counts nothing: it costs the look for one.
import { BPF_F_MMAPABLE, createMap, MAP_TYPE, putMap, removeMap } from "../../linux/bpf/bpf.ts";
import { libc } from "../../linux/libc.ts";
import { COUNT_LENGTH } from "../tables/flow-counts.ts";
import { RECORDS_AT_ONCE } from "./programs/layout.ts";
import { recordMaps } from "./records.ts";

/** Bytes of one map. */
export const COUNT_MAP_LENGTH = RECORDS_AT_ONCE * COUNT_LENGTH;

/** @param maxFlows capacity of the flow table @returns bytes of all maps, side by side */
export function countsLength(maxFlows: number): number {
  return recordMaps(maxFlows) * COUNT_MAP_LENGTH;
}

/** A map of counts, all zero. @returns its descriptor @throws SystemError */
export function createCountMap(): number {
  const shape = { type: MAP_TYPE.ARRAY, key: 4, value: COUNT_LENGTH, entries: RECORDS_AT_ONCE };
  return createMap("counts", { ...shape, flags: BPF_F_MMAPABLE });
}

/** The array that the programs find the maps in, empty. @throws SystemError */
export function createCountMaps(maxFlows: number): number {
  const like = createCountMap();
  try {
    const shape = { type: MAP_TYPE.ARRAY_OF_MAPS, key: 4, value: 4, entries: recordMaps(maxFlows) };
    return createMap("maps of counts", { ...shape, inner: like });
  } finally {
    libc.close(like);
  }
}

/** From now on the programs count. @param maps the array of them @param at its place there @throws SystemError */
export function putCountMap(maps: number, at: number, map: number): void {
  putMap("maps of counts", maps, at, map);
}

/** They do so no more. */
export function removeCountMap(maps: number, at: number): void {
  removeMap("maps of counts", maps, at);
}
