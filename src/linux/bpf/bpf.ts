// bpf(2): maps, which programs in the kernel and this one share, and programs. Structures and constants are those of linux/bpf.h.
import { type Bytes, withAddresses } from "../addresses.ts";
import { cString, EAGAIN, errno, must, SystemError, systemCall } from "../libc.ts";

const SYS_BPF = process.arch === "arm64" ? 280 : 321; // asm/unistd.h

/** All that the program asks of bpf(2). The filter of its system calls has to let them through (limits/calls.ts). */
export const BPF_COMMAND = { MAP_CREATE: 0, MAP_UPDATE_ELEM: 2, MAP_DELETE_ELEM: 3, PROG_LOAD: 5 } as const;

export const MAP_TYPE = { ARRAY: 2, PERCPU_ARRAY: 6, ARRAY_OF_MAPS: 12 } as const;
/** An array map can be mapped into this program's memory. */
export const BPF_F_MMAPABLE = 1024;

export const PROGRAM_TYPE = { SOCKET_FILTER: 1, SCHED_CLS: 3 } as const;

/**
 * What the kernel is told of our programs' license. They are under the MIT license as all else here is, and whoever wants may have
 * them under the GPL: the kernel lets only such programs read its memory (include/linux/license.h, bpf-helpers(7)).
 */
const LICENSE = "Dual MIT/GPL";

const ATTRIBUTES_LENGTH = 144; // of union bpf_attr, as far as it is used here
const LOG_LENGTH = 256 * 1024;

/** union bpf_attr: numbers little-endian, addresses of 64 bits. */
class Attributes {
  private readonly view = new DataView(new ArrayBuffer(ATTRIBUTES_LENGTH));
  private readonly pointers: [at: number, bytes: Bytes][] = [];

  u32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }

  pointer(at: number, bytes: Bytes): this {
    this.pointers.push([at, bytes]);
    return this;
  }

  /** @returns what the system call returns, -1 when it fails */
  call(command: number): number {
    const { view, pointers } = this;
    return withAddresses((addressOf) => {
      for (const [at, bytes] of pointers) view.setBigUint64(at, BigInt(addressOf(bytes)), true);
      return systemCall(SYS_BPF, command, addressOf(view), ATTRIBUTES_LENGTH);
    });
  }
}

export interface MapShape {
  readonly type: number;
  /** Bytes of a key and of a value. */
  readonly key: number;
  readonly value: number;
  readonly entries: number;
  readonly flags?: number;
  /** Of an array of maps: the descriptor of one that is like all that may be put into it. */
  readonly inner?: number;
}

/** @returns the map's descriptor @throws SystemError */
export function createMap(what: string, { type, key, value, entries, flags = 0, inner = 0 }: MapShape): number {
  const attributes = new Attributes().u32(0, type).u32(4, key).u32(8, value).u32(12, entries).u32(16, flags);
  attributes.u32(20, inner);
  return must(attributes.call(BPF_COMMAND.MAP_CREATE), `bpf map ${what}`);
}

/**
 * Puts a map into an array of maps. The kernel waits until no program can still be using what was there: some milliseconds.
 * @param array, map descriptors @param at place in the array
 * @throws SystemError
 */
export function putMap(what: string, array: number, at: number, map: number): void {
  const attributes = new Attributes().u32(0, array).pointer(8, Uint32Array.of(at)).pointer(16, Uint32Array.of(map));
  must(attributes.call(BPF_COMMAND.MAP_UPDATE_ELEM), `bpf map ${what}`);
}

/** Takes a map out of an array of maps; likewise. @throws SystemError */
export function removeMap(what: string, array: number, at: number): void {
  const attributes = new Attributes().u32(0, array).pointer(8, Uint32Array.of(at));
  must(attributes.call(BPF_COMMAND.MAP_DELETE_ELEM), `bpf map ${what}`);
}

/** How often it is tried to load a program that signals come between: as often as libbpf does. */
const LOADS = 5;

/**
 * @param type one of PROGRAM_TYPE
 * @returns the program's descriptor
 * @throws SystemError; where the verifier does not like the program, with what it does not like
 */
export function loadProgram(what: string, type: number, instructions: Uint8Array): number {
  const license = cString(LICENSE);
  const attributes = new Attributes()
    .u32(0, type)
    .u32(4, instructions.length / 8)
    .pointer(8, instructions)
    .pointer(16, license);
  let fd = attributes.call(BPF_COMMAND.PROG_LOAD);
  // A signal breaks the verifier off (kernel/bpf/verifier.c); when it has been taken, nothing is wrong with the program.
  for (let i = 1; fd < 0 && errno() === EAGAIN && i < LOADS; i++) fd = attributes.call(BPF_COMMAND.PROG_LOAD);
  if (fd >= 0) return fd;
  const reason = errno();
  const log = new Uint8Array(LOG_LENGTH);
  const logged = attributes.u32(24, 1).u32(28, LOG_LENGTH).pointer(32, log).call(BPF_COMMAND.PROG_LOAD);
  if (logged >= 0) return logged;
  const lines = new TextDecoder().decode(log.subarray(0, log.indexOf(0))).split("\n");
  const said = lines.findLast((line) => line !== "" && !line.startsWith("processed"));
  throw new SystemError(`bpf program ${what}${said === undefined ? "" : `: ${said}`}`, reason);
}
