// What the kernel gets the address of stays there until the call has returned, whatever the collector does meanwhile.

import { type Pointer, ptr, read } from "bun:ffi";
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Glob } from "bun";
import { withAddresses } from "../../src/linux/addresses.ts";

const BUFFERS = 500;
const LENGTH = 144; // of union bpf_attr
const OURS = 0x5a;

/** @returns what is at the addresses of buffers that nothing else knows of, after a collection and much that is new */
function afterCollection(addressOf: (buffer: DataView) => number): number[] {
  const addresses = Array.from({ length: BUFFERS }, () => addressOf(filled(OURS)));
  Bun.gc(true);
  const others = Array.from({ length: 2 * BUFFERS }, () => filled(0xff));
  const found = addresses.map((address) => read.u8(address as Pointer, 0));
  expect(others).toHaveLength(2 * BUFFERS);
  return found;
}

function filled(byte: number): DataView {
  return new DataView(new Uint8Array(new ArrayBuffer(LENGTH)).fill(byte).buffer);
}

const ALL_OURS = new Array<number>(BUFFERS).fill(OURS);

test("the address of a buffer does not keep it", () => {
  expect(afterCollection(ptr)).not.toEqual(ALL_OURS);
});

test("a buffer whose address is in use stays", () => {
  expect(withAddresses(afterCollection)).toEqual(ALL_OURS);
});

test("an inner use ends for its own buffers alone", () => {
  const found = withAddresses((addressOf) =>
    afterCollection((buffer) => {
      const address = addressOf(buffer);
      withAddresses((inner) => inner(filled(OURS)));
      return address;
    }),
  );
  expect(found).toEqual(ALL_OURS);
});

test("nobody else asks for an address", () => {
  const sources = [...new Glob("src/**/*.ts").scanSync({ cwd: `${import.meta.dir}/../..` })];
  const asking = sources.filter((file) =>
    /\bptr\b/.test(withoutTypes(readFileSync(`${import.meta.dir}/../../${file}`, "utf8"))),
  );
  expect(asking).toEqual(["src/linux/addresses.ts"]);
});

/** Without the names of types in what libc.ts declares. */
function withoutTypes(source: string): string {
  return source.replaceAll('"ptr"', "");
}
