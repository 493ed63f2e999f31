// Loads what the kernel path consists of: the programs of kernel-programs.ts, and the maps that they share with the dataplane's
// thread. Control does it, before that thread is there, and attaches the programs to interfaces (packet-sockets.ts).
import { toArrayBuffer } from "bun:ffi";
import { totalmem } from "node:os";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, createMap, loadProgram, MAP_TYPE, PROGRAM_TYPE } from "../linux/bpf.ts";
import { libc, mapFile, mapMemory, pointer, reserveAddresses } from "../linux/libc.ts";
import { FLOW_WORDS } from "./flows.ts";
import {
  CONTROL,
  COUNTERS,
  ENTRY,
  ENTRY_KEY,
  forwarder,
  type Maps,
  NOTE_LENGTH,
  socketFilter,
} from "./kernel-programs.ts";

/** Of the machine's memory, what the maps may take; and bytes of it that a flow needs, with both of its entries. */
const SHARE_OF_MEMORY = 1 / 64;
const FLOW_NEEDS = 480;
const RECORD_LENGTH = FLOW_WORDS * 4;

export interface KernelPrograms {
  readonly maps: Maps;
  /** Descriptors of the programs: of the filter of packet sockets, and of the one at ingress. */
  readonly filter: number;
  readonly forwarder: number;
  /** Flows that the map of flows has room for. */
  readonly flows: number;
  /** Address of the map of control, CONTROL, in this program's memory. */
  readonly control: number;
}

/**
 * @param maxFlows capacity of the flow table
 * @throws SystemError where the kernel can't do it, or this process may not
 */
export function loadKernelPrograms(maxFlows: number): KernelPrograms {
  const flows = Math.min(maxFlows, Math.floor((totalmem() * SHARE_OF_MEMORY) / FLOW_NEEDS));
  const { ARRAY, HASH, PERCPU_ARRAY } = MAP_TYPE;
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
        createMap("entries", {
          type: HASH,
          key: ENTRY_KEY.LENGTH,
          value: ENTRY.LENGTH,
          entries: 2 * flows,
          flags: BPF_F_NO_PREALLOC,
        }),
      ),
      flows: opening(
        createMap("flows", { type: ARRAY, key: 4, value: RECORD_LENGTH, entries: flows, flags: BPF_F_MMAPABLE }),
      ),
      note: opening(createMap("note", { type: PERCPU_ARRAY, key: 4, value: NOTE_LENGTH, entries: 1 })),
    };
    return {
      maps,
      filter: opening(loadProgram("filter", PROGRAM_TYPE.SOCKET_FILTER, socketFilter(maps))),
      forwarder: opening(loadProgram("forwarder", PROGRAM_TYPE.SCHED_CLS, forwarder(maps))),
      flows,
      control: mapControl(maps.control),
    };
  } catch (error) {
    for (const fd of opened) libc.close(fd);
    throw error;
  }
}

/** It stays mapped, for control may read its counters at any time. */
function mapControl(fd: number): number {
  const address = reserveAddresses(CONTROL.LENGTH);
  mapFile(address, CONTROL.LENGTH, fd);
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

  /** Dropped, since the place of their checksum lied. */
  get refused(): number {
    return this.sum(COUNTERS.REFUSED);
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
  for (const fd of [filter, forwarder, maps.control, maps.entries, maps.flows, maps.note]) libc.close(fd);
}

/** @param address as `mapFlows` returned it @returns that memory */
export function flowRecordsAt(address: number, maxFlows: number): Int32Array {
  return new Int32Array(toArrayBuffer(pointer(address), 0, maxFlows * RECORD_LENGTH));
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
