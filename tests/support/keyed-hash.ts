// The hash of the dataplane's tables, with keys from a seed.
import { Random } from "../../lab/random.ts";
import { drawHashKeys, KeyedHash } from "../../src/dataplane/keyed-hash.ts";

export function keyedHash(seed: number): KeyedHash {
  const random = new Random(seed);
  return new KeyedHash(drawHashKeys(() => random.next()));
}
