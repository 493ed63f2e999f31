// The flow table's records, as far as the kernel path's programs know them: in place of this program's own memory they are that of
// maps, each of which has so many of them. There is one map at first. The others come as the table is used: a map takes its memory at
// once, and most machines never have so many flows. Control makes a map; the dataplane's thread puts it in place.
import { toArrayBuffer } from "bun:ffi";
import { BPF_F_MMAPABLE, createMap, MAP_TYPE, putMap } from "../../linux/bpf/bpf.ts";
import { libc, mapDevice, mapFile, pointer, releaseAddresses } from "../../linux/libc.ts";
import { FLOW_WORDS } from "../tables/flow-records.ts";
import { RECORDS_AT_ONCE } from "./programs/layout.ts";

const RECORD_LENGTH = FLOW_WORDS * 4;
const MAP_LENGTH = RECORDS_AT_ONCE * RECORD_LENGTH;

/** @param maxFlows capacity of the flow table @returns how many maps have all its records */
export function recordMaps(maxFlows: number): number {
  return Math.ceil(maxFlows / RECORDS_AT_ONCE);
}

/** @returns bytes that these maps have, side by side */
export function recordsLength(maxFlows: number): number {
  return recordMaps(maxFlows) * MAP_LENGTH;
}

/** A map of records, all zero. @returns its descriptor @throws SystemError */
export function createRecordMap(): number {
  const shape = { type: MAP_TYPE.ARRAY, key: 4, value: RECORD_LENGTH, entries: RECORDS_AT_ONCE };
  return createMap("records", { ...shape, flags: BPF_F_MMAPABLE });
}

/** The array that the programs find the maps in. @param first the map of the first records @throws SystemError */
export function createRecordMaps(maxFlows: number, first: number): number {
  const shape = { type: MAP_TYPE.ARRAY_OF_MAPS, key: 4, value: 4, entries: recordMaps(maxFlows) };
  const maps = createMap("maps of records", { ...shape, inner: first });
  putMap("maps of records", maps, 0, first);
  return maps;
}

/**
 * Makes another map that the programs know.
 * @param maps the array of them @param at its place there
 * @returns its descriptor; `putInPlace` has the flow table use it
 * @throws SystemError
 */
export function addRecordMap(maps: number, at: number): number {
  const map = createRecordMap();
  try {
    putMap("maps of records", maps, at, map);
  } catch (error) {
    libc.close(map);
    throw error;
  }
  return map;
}

/**
 * Has a map's memory take the place of the flow table's own, with what is in that: 0.1 ms. Nobody else may write there meanwhile.
 * @param records address of the table's records @param at place of the map among the others
 */
export function putInPlace(records: number, at: number, map: number): void {
  moveToMap(records + at * MAP_LENGTH, MAP_LENGTH, map);
}

/** The same of any memory, page-aligned, and a map that has as many bytes. */
export function moveToMap(address: number, length: number, map: number): void {
  const copy = mapDevice(map, 0, length);
  bytesAt(copy, length).set(bytesAt(address, length));
  releaseAddresses(copy, length);
  mapFile(address, length, map);
}

function bytesAt(address: number, length: number): Uint8Array {
  return new Uint8Array(toArrayBuffer(pointer(address), 0, length));
}
