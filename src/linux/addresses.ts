// Addresses of buffers, for the kernel. To the JavaScript engine an address is a number: a buffer that is known by that alone it may
// collect before the call has returned, and what the kernel then reads or writes is something else's. So a view is handed to the C
// library itself wherever that takes a pointer, which keeps it as long; this is for the rest: system calls that take numbers, and
// structures that hold addresses. Nobody else asks for one (tests/linux/addresses.test.ts).
import { ptr } from "bun:ffi";

export type Bytes = NodeJS.TypedArray | DataView;

/** What is being used by address, those of an inner call behind those of the outer. */
const kept: Bytes[] = [];

/**
 * @param use is given a function that tells a buffer's address; must not wait. All buffers whose addresses it asks for stay where they
 * are until it returns, and no longer.
 */
export function withAddresses<T>(use: (addressOf: (buffer: Bytes) => number) => T): T {
  const outer = kept.length;
  try {
    return use(keep);
  } finally {
    kept.length = outer;
  }
}

function keep(buffer: Bytes): number {
  kept.push(buffer);
  return ptr(buffer);
}
