// What the firewall rewrote in a packet: the fields that differ between a frame that came in and one that left of it.
import { dissect, type Field } from "./dissect.ts";

/** A field, as it came in and as it left: one of the two is missing where it was added or taken away. */
export interface Pair {
  readonly layer: string;
  readonly name: string;
  readonly before: Field | undefined;
  readonly after: Field | undefined;
  /** Whether its bytes differ. */
  readonly isChanged: boolean;
}

/** @returns all fields of both, paired by layer and name, in the order of the frame that came in */
export function pairFields(before: Buffer, after: Buffer): Pair[] {
  const left = byKey(dissect(after));
  const pairs: Pair[] = [];
  for (const [key, field] of byKey(dissect(before))) {
    const other = left.get(key);
    left.delete(key);
    const isChanged = other === undefined || !bytesOf(before, field).equals(bytesOf(after, other));
    pairs.push({ layer: field.layer, name: field.name, before: field, after: other, isChanged });
  }
  const added = Array.from(left.values(), (field) => ({
    layer: field.layer,
    name: field.name,
    before: undefined,
    after: field,
    isChanged: true,
  }));
  return [...pairs, ...added];
}

/** Options may be there twice: they are numbered. */
function byKey(fields: readonly Field[]): Map<string, Field> {
  const seen = new Map<string, Field>();
  for (const field of fields) {
    let n = 0;
    while (seen.has(`${field.layer}/${field.name}/${n}`)) n++;
    seen.set(`${field.layer}/${field.name}/${n}`, field);
  }
  return seen;
}

function bytesOf(frame: Buffer, { at, length }: Field): Buffer {
  return frame.subarray(at, at + length);
}
