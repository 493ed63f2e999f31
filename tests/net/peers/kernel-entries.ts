// kernel-entries.ts INTERFACE…: what the kernel's programs make of an entry that was changed under their hands, for the kernel may use
// its memory for another one at any time. Prints how many changes there were, and which of them went unnoticed.
import { ENTRY, ENTRY_KEY, seal } from "../../../src/dataplane/kernel-programs.ts";
import { MapAccess } from "../../../src/linux/bpf.ts";
import { interfaceIndex } from "../../../src/linux/interfaces.ts";
import { payload, udp } from "../../support/frames.ts";
import { KernelLab } from "../../support/kernel-lab.ts";
import { frameFrom, REMOTE, SETTINGS, WORK, WORK_HOST } from "../../support/lab.ts";

const indexes = process.argv.slice(2).map(interfaceIndex);
const settings = {
  ...SETTINGS,
  interfaces: SETTINGS.interfaces.map((iface, i) => ({ ...iface, index: indexes[i] ?? 0 })),
};

const lab = new KernelLab(settings);
const ends = { source: WORK_HOST, sourcePort: 40_000, destination: REMOTE, destinationPort: 9 };
const frame = frameFrom(WORK_HOST, udp(ends, payload(50)));

/** @returns whether the frame takes the kernel path */
function isTaken(): boolean {
  const before = lab.byKernel;
  lab.receive(WORK, frame);
  return lab.byKernel > before;
}

let access: MapAccess | undefined;
const { update } = MapAccess.prototype;
MapAccess.prototype.update = function () {
  access = this;
  return update.call(this);
};
for (let i = 0; i < 2; i++) lab.receive(WORK, frame); // the first has the client asked for its MAC address
if (access === undefined || !isTaken()) throw new Error("the flow was not entered");
MapAccess.prototype.update = update;

const { value } = access;
const unnoticed: string[] = [];
let changes = 0;

/** Puts a changed entry in the map, looks, and puts the old one back. */
function tryChange(what: string, change: (entry: DataView) => void): void {
  const before = new Uint8Array(value.buffer).slice();
  change(value);
  access?.update();
  changes++;
  if (isTaken()) unnoticed.push(what);
  new Uint8Array(value.buffer).set(before);
  access?.update();
  if (!isTaken()) throw new Error(`after ${what} the old entry does not hold`);
}

for (let at = 0; at < ENTRY.LENGTH; at++) {
  tryChange(`byte ${at}`, (entry) => entry.setUint8(at, entry.getUint8(at) ^ 0x10));
}
for (let at = 0; at < ENTRY_KEY.LENGTH; at++) {
  tryChange(`another flow's entry, byte ${at} of its key`, (entry) => {
    entry.setUint8(ENTRY.KEY + at, entry.getUint8(ENTRY.KEY + at) ^ 1);
    seal(entry);
  });
}
tryChange("an entry of another generation", (entry) => {
  entry.setInt32(ENTRY.GENERATION, entry.getInt32(ENTRY.GENERATION, true) - 1, true);
  seal(entry);
});
console.log(JSON.stringify({ changes, unnoticed }));
