// Loads what the kernel path consists of: the programs of kernel/filter.ts, and the maps that they share with the dataplane's
// thread. Control does it, before that thread is there, and attaches the programs to interfaces (packet-sockets.ts).
import { toArrayBuffer } from "bun:ffi";
import { totalmem } from "node:os";
import { BPF_F_MMAPABLE, createMap, loadProgram, MAP_TYPE, PROGRAM_TYPE } from "../../linux/bpf/bpf.ts";
import type { SkbLayout } from "../../linux/bpf/skb-layout.ts";
import { requireKernelReads } from "../../linux/capabilities.ts";
import { libc, mapFile, mapMemory, pointer, reserveAddresses } from "../../linux/libc.ts";
import { type HashKeys, KeyedHash } from "../keyed-hash.ts";
import { FLOW_WORDS } from "../tables/flow-records.ts";
import { ENTRY_STRIDE, KernelEntries } from "./entries.ts";
import { socketFilter } from "./filter.ts";
import { forwarder } from "./forwarder.ts";
import { Gate } from "./gates.ts";
import { CONTROL, COUNTERS, INDEX_STRIDE, type Maps, NOTE } from "./layout.ts";

/** Of the machine's memory, what the maps may take. */
const SHARE_OF_MEMORY = 1 / 128;
const RECORD_LENGTH = FLOW_WORDS * 4;
/** Of each flow: an entry for each of its sides; and so many buckets of the index that most find room. */
const ENTRIES = 2;
const BUCKETS = 1 / 2;
const FLOW_NEEDS = RECORD_LENGTH + ENTRIES * ENTRY_STRIDE + BUCKETS * INDEX_STRIDE;

export interface KernelPrograms {
  readonly maps: Maps;
  /** Descriptors of the programs: of the filter of the socket with the first gate, and of the one at ingress. */
  readonly filter: number;
  readonly forwarder: number;
  /** Of this kernel's struct sk_buff: what the programs were made for. */
  readonly layout: SkbLayout;
  /** Flows that the map of flows has room for. */
  readonly flows: number;
  /** Addresses of these maps in this program's memory. */
  readonly control: number;
  readonly entries: number;
  readonly index: number;
}

/**
 * @param maxFlows capacity of the flow table
 * @param hashKeys keep clients from choosing addresses and ports that collide
 * @param layout of this kernel's struct sk_buff
 * @throws Error where the kernel can't do it, or this process may not
 */
export function loadKernelPrograms(maxFlows: number, hashKeys: HashKeys, layout: SkbLayout): KernelPrograms {
  requireKernelReads();
  const flows = Math.min(maxFlows, Math.floor((totalmem() * SHARE_OF_MEMORY) / FLOW_NEEDS));
  const entries = ENTRIES * flows;
  const buckets = 2 ** Math.floor(Math.log2(BUCKETS * flows));
  const { ARRAY, PERCPU_ARRAY } = MAP_TYPE;
  const opened: number[] = [];
  const opening = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
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
      hashKeys,
      flows: opening(
        createMap("flows", { type: ARRAY, key: 4, value: RECORD_LENGTH, entries: flows, flags: BPF_F_MMAPABLE }),
      ),
      note: opening(createMap("note", { type: PERCPU_ARRAY, key: 4, value: NOTE.LENGTH, entries: 1 })),
    };
    return {
      maps,
      filter: opening(loadFilter({ maps, layout }, 0)),
      forwarder: opening(loadProgram("forwarder", PROGRAM_TYPE.SCHED_CLS, forwarder(maps))),
      layout,
      flows,
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
export function unloadKernelPrograms({ maps, filter, forwarder }: KernelPrograms): void {
  for (const fd of [filter, forwarder, maps.control, maps.entries, maps.index, maps.flows, maps.note]) libc.close(fd);
}

/** @param address as `mapFlows` returned it @returns that memory */
export function flowRecordsAt(address: number, maxFlows: number): Int32Array {
  return new Int32Array(toArrayBuffer(pointer(address), 0, maxFlows * RECORD_LENGTH));
}

/** The memory of the entries and of their index, as KernelEntries takes them. */
export function entriesOf({ entries, index, flows, maps }: KernelPrograms): KernelEntries {
  const wordsAt = (address: number, length: number) => new Int32Array(toArrayBuffer(pointer(address), 0, length));
  return new KernelEntries(
    wordsAt(entries, ENTRIES * flows * ENTRY_STRIDE),
    wordsAt(index, maps.buckets * INDEX_STRIDE),
    new KeyedHash(maps.hashKeys),
  );
}

/**
 * Memory for a flow table's records, all zero: as far as the programs know them, it is theirs too. It stays until the program
 * ends, for control may read it at any time.
 * @param programs without them it is this program's alone
 * @returns its address
 */
export function mapFlows(maxFlows: number, programs: KernelPrograms | undefined): number {
  const length = maxFlows * RECORD_LENGTH;
  const address = reserveAddresses(length);
  mapMemory(address, length);
  if (programs !== undefined) mapFile(address, programs.flows * RECORD_LENGTH, programs.maps.flows);
  return address;
}
