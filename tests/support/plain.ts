// The dataplane's tables without the types of their numbers, for tests that make numbers up.

type PlainValue<V> = V extends number ? number : V;

export type Plain<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R
    ? (...args: { [I in keyof A]: PlainValue<A[I]> }) => PlainValue<R>
    : PlainValue<T[K]>;
};

/** @returns the same object */
export function plain<T>(table: T): Plain<T> {
  return table as unknown as Plain<T>;
}
