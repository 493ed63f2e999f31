// Lists that the page has as a whole: in an order, and a page of them.
import type { Rows } from "../messages.ts";
import type { Wanted } from "./ask.ts";

/** By the key of an order: which of two comes first. */
export type Orders<Row> = Readonly<Record<string, (one: Row, other: Row) => number>>;

export function sorted<Row>(rows: readonly Row[], sort: string, orders: Orders<Row>): readonly Row[] {
  const order = orders[sort.replace(/^-/, "")];
  if (order === undefined) return rows;
  const upward = [...rows].sort(order);
  return sort.startsWith("-") ? upward.reverse() : upward;
}

export function piece<Row>(
  all: readonly Row[],
  { offset, limit }: Wanted,
): { readonly rows: readonly Row[]; readonly total: number } {
  return { rows: all.slice(offset, offset + limit), total: all.length };
}

export function pieceOf<Row>(found: Rows<Row>, wanted: Wanted): Rows<Row> {
  return "problem" in found ? found : piece(found.rows, wanted);
}
