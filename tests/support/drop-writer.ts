// A thread that does nothing but write one record of a drop ring, one number into all its fields, the next one each time.
import { parentPort } from "node:worker_threads";
import { drawHashKeys, KeyedHash } from "../../src/dataplane/keyed-hash.ts";
import { DROP_RECORDS } from "../../src/dataplane/tables/drop-records.ts";
import { Drop, Drops } from "../../src/dataplane/tables/drops.ts";

/** So many of others' records are in the ring that each frame takes the one that is left. */
const PARTIES = DROP_RECORDS;
const TURNS = 1_000_000_000;

const drops = new Drops(new KeyedHash(drawHashKeys(() => 12345)));
drops.reset(
  PARTIES,
  Int32Array.from({ length: PARTIES }, (_, party) => party),
  new Int32Array(0),
  () => 0,
);
const drop = new Drop();
for (let party = 0; party < PARTIES; party++) note(party, 0);
parentPort?.postMessage(drops.words);
for (let number = 1; number < TURNS; number++) note(0, number);

function note(party: number, number: number): void {
  drop.party = party;
  drop.source = number;
  drop.destination = number;
  drop.ports = number;
  drop.client = number;
  drop.rule = number;
  drops.setTime(number);
  drops.note(drop);
}
