// kernel/entries.ts INTERFACE…: what the kernel's program makes of an entry that changes while it is read, half of it old and half new. Prints how many changes there were, and which of them went unnoticed.

import { WORK } from "../../../lab/router-lab.ts";
import { ENTRY_STRIDE } from "../../../src/dataplane/kernel/entries.ts";
import { ENTRY, ENTRY_KEY, writeChecksum } from "../../../src/dataplane/kernel/layout.ts";
import { labWithFlow } from "../../support/kernel-lab.ts";

const { lab, frame } = labWithFlow(process.argv.slice(2));

/** @returns whether the frame takes the kernel path; afterwards it would be entered anew if it were not */
function isTaken(): boolean {
  const before = lab.byKernel;
  lab.receive(WORK, frame);
  return lab.byKernel > before;
}

const { entries } = lab;
const places = Array.from({ length: entries.length / ENTRY_STRIDE }, (_, i) => i * ENTRY_STRIDE);
const place = places.find((at) => entries[at] !== 0) ?? 0;
const entry = new DataView(entries.buffer, entries.byteOffset + place, ENTRY_STRIDE);
const unnoticed: string[] = [];
let changes = 0;

/** Changes the entry, looks, and changes it back. */
function tryChange(what: string, change: () => void): void {
  const before = entries.slice(place, place + ENTRY_STRIDE);
  change();
  changes++;
  if (isTaken()) unnoticed.push(what);
  entries.set(before, place);
  if (!isTaken()) throw new Error(`after ${what} the old entry does not hold`);
}

for (let at = 0; at < ENTRY.LENGTH; at++) {
  tryChange(`byte ${at}`, () => entry.setUint8(at, entry.getUint8(at) ^ 0x10));
}
for (let at = 0; at < ENTRY_KEY.LENGTH; at++) {
  tryChange(`another flow's entry, byte ${at} of its key`, () => {
    entry.setUint8(ENTRY.KEY + at, entry.getUint8(ENTRY.KEY + at) ^ 1);
    writeChecksum(entry);
  });
}
tryChange("an entry of another generation", () => {
  entry.setInt32(ENTRY.GENERATION, entry.getInt32(ENTRY.GENERATION, true) - 1, true);
  writeChecksum(entry);
});
console.log(JSON.stringify({ changes, unnoticed }));
