// kernel-entries.ts INTERFACE… [ipv6]: what the kernel's program makes of an entry that changes while it is read, half of it old and half
// new. Prints how many changes there were, and which of them went unnoticed.

import { WORK } from "../../../lab/router-lab.ts";
import { ENTRY_STRIDE } from "../../../src/dataplane/kernel/entries.ts";
import {
  ADDRESSES,
  checksumOf,
  ENTRY,
  ENTRY_KEY,
  NUMBER_FACTOR,
  REWRITE6,
  writeChecksum,
} from "../../../src/dataplane/kernel/programs/layout.ts";
import { flowGiven } from "../../support/kernel-lab.ts";

const { lab, frame, isIpv6 } = flowGiven(process.argv.slice(2));

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
function tryChange(what: string, change: () => void, undo = () => {}): void {
  const before = entries.slice(place, place + ENTRY_STRIDE);
  change();
  changes++;
  if (isTaken()) unnoticed.push(what);
  entries.set(before, place);
  undo();
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
if (isIpv6) changeAddresses();
console.log(JSON.stringify({ changes, unnoticed }));

/** The same with the entry's addresses, which are beside it. */
function changeAddresses(): void {
  const number = entry.getInt32(ENTRY.NUMBER, true) / NUMBER_FACTOR;
  const at = number * ADDRESSES.LENGTH;
  const addresses = new DataView(lab.addresses.buffer, lab.addresses.byteOffset + at, ADDRESSES.LENGTH);
  const before = lab.addresses.slice(at, at + ADDRESSES.LENGTH);
  const tryAddresses = (what: string, change: () => void) => {
    tryChange(what, change, () => lab.addresses.set(before, at));
  };
  for (let i = 0; i < ADDRESSES.LENGTH; i++) {
    tryAddresses(`byte ${i} of its addresses`, () => addresses.setUint8(i, addresses.getUint8(i) ^ 0x10));
  }
  for (let i = 0; i < ADDRESSES.TO_SOURCE; i++) {
    tryAddresses(`another flow's addresses, byte ${i}`, () => {
      addresses.setUint8(i, addresses.getUint8(i) ^ 1);
      const checksum = checksumOf(addresses, ADDRESSES.LENGTH);
      entry.setInt32(ENTRY.REWRITE + REWRITE6.ADDRESSES_CHECKSUM, checksum, true);
      writeChecksum(entry);
    });
  }
  // The laboratory's keys are all the same: addresses of the same words in another order have the same sum.
  for (const [what, word] of [
    ["source", 22],
    ["destination", 38],
  ] as const) {
    const impostor = frame.slice();
    impostor.copyWithin(word + 8, word + 12, word + 16);
    impostor.set(frame.subarray(word + 8, word + 12), word + 12);
    changes++;
    if (lab.filter(WORK, impostor)) unnoticed.push(`another ${what} with the same sum`);
  }
}
