// Memory of the flows' counts, while somebody asks for them: maps where the kernel path's programs know the flows' records
// (dataplane/kernel/counts.ts). Nothing of it is there otherwise, but its addresses: whoever still reads it then reads zeros.
import { toArrayBuffer } from "bun:ffi";
import {
  COUNT_MAP_LENGTH,
  countsLength,
  createCountMap,
  putCountMap,
  removeCountMap,
} from "../../dataplane/kernel/counts.ts";
import { libc, mapFile, mapMemory, pointer, reserveAddresses } from "../../linux/libc.ts";

export class CountMemory {
  readonly address: number;
  /** As tables/flow-counts.ts has them, by flow. */
  readonly words: Int32Array;
  private readonly length: number;
  /** By place: descriptors. */
  private readonly maps = new Map<number, number>();

  /** @param array of the maps, where there is a kernel path */
  constructor(
    maxFlows: number,
    private readonly array: number | undefined,
  ) {
    this.length = countsLength(maxFlows);
    this.address = reserveAddresses(this.length);
    mapMemory(this.address, this.length);
    this.words = new Int32Array(toArrayBuffer(pointer(this.address), 0, this.length));
  }

  /** All is zero, and the programs count from now on. @param places how many maps of records there are @throws SystemError */
  begin(places: number): void {
    for (let at = 0; at < places; at++) {
      const map = this.make(at);
      if (map === undefined) return;
      mapFile(this.address + at * COUNT_MAP_LENGTH, COUNT_MAP_LENGTH, map);
      this.put(at);
    }
  }

  /** A map for one more place, which is to take the place of the memory there before `put`. @throws SystemError */
  make(at: number): number | undefined {
    if (this.array === undefined) return undefined;
    const map = createCountMap();
    this.maps.set(at, map);
    return map;
  }

  /** The programs count in the map of a place from now on. @throws SystemError */
  put(at: number): void {
    const map = this.maps.get(at);
    if (this.array !== undefined && map !== undefined) putCountMap(this.array, at, map);
  }

  /** The programs count no more; the dataplane's thread is not to either. */
  end(): void {
    for (const [at, map] of this.maps) {
      if (this.array !== undefined) removeCountMap(this.array, at);
      libc.close(map);
    }
    this.maps.clear();
    mapMemory(this.address, this.length);
  }
}
