// Puts bytes where a check must find them: not at the start of the memory, and with nothing readable behind them.

export interface Placed {
  readonly view: DataView;
  readonly at: number;
  readonly length: number;
}

/** @returns the bytes at the very end of a view: a check that reads further throws a RangeError */
export function place(bytes: Uint8Array): Placed {
  const at = 5;
  const memory = new Uint8Array(at + bytes.length).fill(0xee);
  memory.set(bytes, at);
  return { view: new DataView(memory.buffer), at, length: bytes.length };
}

/** @returns a copy with the bytes at `offset` replaced */
export function patched(bytes: Uint8Array, offset: number, ...values: readonly number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, offset);
  return copy;
}

/** @returns what `check` says of every prefix of the bytes, from none to all but the last */
export function judgePrefixes<T>(bytes: Uint8Array, check: (placed: Placed) => T): T[] {
  return Array.from({ length: bytes.length }, (_, length) => check(place(bytes.subarray(0, length))));
}
