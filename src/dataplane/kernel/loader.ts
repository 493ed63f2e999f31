// Loads what the kernel path consists of: those in kernel/programs, and the maps that they share with the dataplane's
// thread. Control does it, before that thread is there, and attaches the programs to interfaces (packet-sockets.ts).
import { toArrayBuffer } from "bun:ffi";
import { totalmem } from "node:os";
import { BPF_F_MMAPABLE, createMap, loadProgram, MAP_TYPE, PROGRAM_TYPE } from "../../linux/bpf/bpf.ts";
import type { SkbLayout } from "../../linux/bpf/skb-layout.ts";
import { requireKernelReads } from "../../linux/capabilities.ts";
import { libc, mapFile, mapMemory, pointer, reserveAddresses } from "../../linux/libc.ts";
import { KeyedHash } from "../keyed-hash.ts";
import { FLOW_WORDS } from "../tables/flow-records.ts";
import { createAddressMaps } from "./addresses6.ts";
import { createCountMaps } from "./counts.ts";
import { ENTRY_STRIDE, KernelEntries } from "./entries.ts";
import { Gate } from "./gates.ts";
import { socketFilter } from "./programs/filter.ts";
import { forwarder } from "./programs/forwarder.ts";
import { ADDRESSES, CONTROL, COUNTERS, INDEX_STRIDE, type KernelKeys, type Maps, NOTE } from "./programs/layout.ts";
import { createRecordMap, createRecordMaps, putInPlace, recordsLength } from "./records.ts";

/** Of the machine's memory, what the maps may take. */
const SHARE_OF_MEMORY = 1 / 128;
const RECORD_LENGTH = FLOW_WORDS * 4;
/** Of each flow that has a place: an entry for each side; and so many buckets of the index, or twice that, that nearly all find room. */
const ENTRIES = 2;
const BUCKETS = 1;
const PLACE_NEEDS = ENTRIES * ENTRY_STRIDE + 1.5 * BUCKETS * INDEX_STRIDE;

export interface KernelPrograms {
  readonly maps: Maps;
  /** Descriptors of the programs: of the filter of the socket with the first gate, and of the one at ingress. */
  readonly filter: number;
  readonly forwarder: number;
  /** Of this kernel's struct sk_buff: what the programs were made for. */
  readonly layout: SkbLayout;
  /** Flows that have a place in the table of entries at a time: kernel/places.ts. */
  readonly places: number;
  /** Descriptor of the map of the first records. */
  readonly records: number;
  /** Addresses of these maps in this program's memory. */
  readonly control: number;
  readonly entries: number;
  readonly index: number;
}

/**
 * @param maxFlows capacity of the flow table
 * @param keys keep clients from choosing addresses and ports that collide
 * @param layout of this kernel's struct sk_buff
 * @param memory of the machine, in bytes
 * @throws Error where the kernel can't do it, or this process may not
 */
export function loadKernelPrograms(
  maxFlows: number,
  keys: KernelKeys,
  layout: SkbLayout,
  memory = totalmem(),
): KernelPrograms {
  requireKernelReads();
  const places = Math.min(maxFlows, Math.floor((memory * SHARE_OF_MEMORY) / PLACE_NEEDS));
  const entries = ENTRIES * places;
  const buckets = 2 ** Math.ceil(Math.log2(BUCKETS * places));
  const { ARRAY, PERCPU_ARRAY } = MAP_TYPE;
  const opened: number[] = [];
  const opening = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const records = opening(createRecordMap());
    const maps: Maps = {
      control: opening(
        createMap("control", { type: ARRAY, key: 4, value: CONTROL.LENGTH, entries: 1, flags: BPF_F_MMAPABLE }),
      ),
      entries: opening(
        createMap("entries", { type: ARRAY, key: 4, value: ENTRY_STRIDE, entries, flags: BPF_F_MMAPABLE }),
      ),
      index: opening(
        createMap("index", { type: ARRAY, key: 4, value: INDEX_STRIDE, entries: buckets, flags: BPF_F_MMAPABLE }),
      ),
      buckets,
      keys,
      records: opening(createRecordMaps(maxFlows, records)),
      counts: opening(createCountMaps(maxFlows)),
      addresses: opening(createAddressMaps(entries)),
      note: opening(createMap("note", { type: PERCPU_ARRAY, key: 4, value: NOTE.LENGTH, entries: 1 })),
    };
    return {
      maps,
      filter: opening(loadFilter({ maps, layout }, 0)),
      forwarder: opening(loadProgram("forwarder", PROGRAM_TYPE.SCHED_CLS, forwarder(maps))),
      layout,
      places,
      records,
      control: mapOnce(maps.control, CONTROL.LENGTH),
      entries: mapOnce(maps.entries, entries * ENTRY_STRIDE),
      index: mapOnce(maps.index, buckets * INDEX_STRIDE),
    };
  } catch (error) {
    for (const fd of opened) libc.close(fd);
    throw error;
  }
}

/** @returns descriptor of the filter for the socket that has a gate */
export function loadFilter({ maps, layout }: Pick<KernelPrograms, "maps" | "layout">, gate: number): number {
  return loadProgram("filter", PROGRAM_TYPE.SOCKET_FILTER, socketFilter(maps, layout, gate));
}

/** @returns all of CONTROL */
export function controlOf({ control }: KernelPrograms): Int32Array {
  return new Int32Array(toArrayBuffer(pointer(control), 0, CONTROL.LENGTH));
}

/** @returns the gate of a number */
export function gateOf(programs: KernelPrograms, number: number): Gate {
  return new Gate(controlOf(programs), number);
}

/** A map that stays mapped until the program ends: control may read its counters at any time. */
function mapOnce(fd: number, length: number): number {
  const address = reserveAddresses(length);
  mapFile(address, length, fd);
  return address;
}

/** Frames that never came to this program, by what became of them. */
export class KernelCounters {
  private readonly counters: DataView | undefined;

  /** @param programs without them, there are no such frames */
  constructor(programs: KernelPrograms | undefined) {
    if (programs === undefined) return;
    const memory = toArrayBuffer(pointer(programs.control), 0, CONTROL.LENGTH);
    this.counters = new DataView(memory, CONTROL.COUNTERS);
  }

  get forwarded(): number {
    return this.sum(COUNTERS.FORWARDED);
  }

  /** Dropped, since the kernel could not forward them. */
  get failed(): number {
    return this.sum(COUNTERS.FAILED);
  }

  private sum(counter: number): number {
    const { counters } = this;
    if (counters === undefined) return 0;
    let sum = 0;
    for (let i = 0; i < COUNTERS.COUNT; i++) sum += Number(counters.getBigUint64(i * COUNTERS.STRIDE + counter, true));
    return sum;
  }
}

/** Closes all descriptors. */
export function unloadKernelPrograms({ maps, filter, forwarder, records }: KernelPrograms): void {
  const { control, entries, index, note, counts, addresses } = maps;
  const fds = [filter, forwarder, control, entries, index, records, maps.records, counts, addresses, note];
  for (const fd of fds) libc.close(fd);
}

/** @param address as `mapFlows` returned it @returns that memory */
export function flowRecordsAt(address: number, maxFlows: number): Int32Array {
  return new Int32Array(toArrayBuffer(pointer(address), 0, maxFlows * RECORD_LENGTH));
}

/** The memory of the entries and of their index, as KernelEntries takes them. */
export function entriesOf({ entries, index, places, maps }: KernelPrograms): KernelEntries {
  const wordsAt = (address: number, length: number) => new Int32Array(toArrayBuffer(pointer(address), 0, length));
  return new KernelEntries(
    wordsAt(entries, ENTRIES * places * ENTRY_STRIDE),
    wordsAt(index, maps.buckets * INDEX_STRIDE),
    new KeyedHash(maps.keys.hash),
  );
}

/** @returns how many entries there are */
export function entryCount({ places }: KernelPrograms): number {
  return ENTRIES * places;
}

/** @param map of IPv6's addresses, as addAddressMap made it @returns its memory, which stays mapped until the program ends */
export function addressesOf(programs: KernelPrograms, map: number): Int32Array {
  const length = entryCount(programs) * ADDRESSES.LENGTH;
  return new Int32Array(toArrayBuffer(pointer(mapOnce(map, length)), 0, length));
}

/**
 * Memory for a flow table's records, all zero: of the first ones, it is the programs' too. It stays until the program ends, for control
 * may read it at any time.
 * @param programs without them it is this program's alone
 * @returns its address
 */
export function mapFlows(maxFlows: number, programs: KernelPrograms | undefined): number {
  const length = recordsLength(maxFlows);
  const address = reserveAddresses(length);
  mapMemory(address, length);
  if (programs !== undefined) putInPlace(address, 0, programs.records);
  return address;
}
