// Runs a BPF program on a frame, as the kernel would (BPF_PROG_TEST_RUN of linux/bpf.h).
import { ptr } from "bun:ffi";
import { must, systemCall } from "../../src/linux/libc.ts";

const SYS_BPF = 321;
const PROG_TEST_RUN = 10;

/** struct __sk_buff, as far as the kernel lets a test say it. */
const CONTEXT = { LENGTH: 192, MARK: 8, INGRESS_IFINDEX: 36, IFINDEX: 40, GSO_SIZE: 176 } as const;

export interface Run {
  readonly result: number;
  /** The frame afterwards. */
  readonly frame: Uint8Array;
  /** Its mark then. */
  readonly mark: number;
}

// What the kernel gets addresses of is kept for good: what only an address tells of, the collector may take while the call goes on.
const input = new Uint8Array(1 << 17);
const output = new Uint8Array(65536);
const context = new DataView(new ArrayBuffer(CONTEXT.LENGTH));
const contextAfter = new DataView(new ArrayBuffer(CONTEXT.LENGTH));
const attributes = new DataView(new ArrayBuffer(80)); // the member `test` of union bpf_attr

/**
 * @param program its descriptor
 * @param frame what the program is to see, at least 14 bytes
 * @param ifindex of the interface that it came in on
 */
export function runProgram(program: number, frame: Uint8Array, ifindex: number, gsoSize: number): Run {
  input.set(frame);
  context.setUint32(CONTEXT.IFINDEX, ifindex, true);
  context.setUint32(CONTEXT.GSO_SIZE, gsoSize, true);
  attributes.setUint32(0, program, true);
  attributes.setUint32(8, frame.length, true);
  attributes.setUint32(12, output.length, true);
  attributes.setBigUint64(16, BigInt(ptr(input)), true);
  attributes.setBigUint64(24, BigInt(ptr(output)), true);
  attributes.setUint32(40, CONTEXT.LENGTH, true);
  attributes.setUint32(44, CONTEXT.LENGTH, true);
  attributes.setBigUint64(48, BigInt(ptr(context)), true);
  attributes.setBigUint64(56, BigInt(ptr(contextAfter)), true);
  must(systemCall(SYS_BPF, PROG_TEST_RUN, ptr(attributes), attributes.byteLength), "BPF_PROG_TEST_RUN");
  return {
    result: attributes.getUint32(4, true),
    frame: output.slice(0, attributes.getUint32(12, true)),
    mark: contextAfter.getUint32(CONTEXT.MARK, true),
  };
}
