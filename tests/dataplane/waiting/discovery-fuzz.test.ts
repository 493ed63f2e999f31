// Mutated messages of Neighbour Discovery through the whole router: no exception, and whatever it sends is sound, from an address of ours,
// and speaks for no other.
import { expect, test } from "bun:test";
import {
  advertisement,
  groupOf,
  linkLocalOf,
  listenerQuery,
  listenerReport,
  OVERRIDE,
  SOLICITED,
  solicitation,
} from "../../../lab/discovery-frames.ts";
import { checksum6, text6, wrongChecksums6 } from "../../../lab/frames6.ts";
import {
  GATEWAY6,
  GATEWAY6_MAC,
  LAN_GATEWAY6,
  LAN_HOST6,
  LAN_HOST6_MAC,
  NEIGHBOUR6,
  NEIGHBOUR6_MAC,
  OUTSIDE6,
  SETTINGS6,
  WORK_GATEWAY6,
  WORK_HOST6,
  WORK_HOST6_MAC,
} from "../../../lab/home6.ts";
import { ICMPV6 } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { LAN, Lab, OUR_MAC, UPLINK, WORK } from "../../../lab/router-lab.ts";

const ROUNDS = 20_000;
const IP = 14;
const MESSAGE = IP + 40;

const asks = (from: string, source: string, target: string) => solicitation({ mac: from, source, target });
const says = (from: string, target: string, to: string, iface: number) =>
  advertisement({ mac: from, target, destination: to, destinationMac: OUR_MAC[iface], flags: SOLICITED | OVERRIDE });

/** What they are made of: interface, and a frame that is sound. */
const SOUND: readonly (readonly [iface: number, frame: Uint8Array])[] = [
  [UPLINK, asks(NEIGHBOUR6_MAC, NEIGHBOUR6, OUTSIDE6)],
  [UPLINK, asks(NEIGHBOUR6_MAC, "::", OUTSIDE6)],
  [UPLINK, says(GATEWAY6_MAC, GATEWAY6, OUTSIDE6, UPLINK)],
  [UPLINK, listenerQuery(GATEWAY6_MAC, 2)],
  [LAN, asks(LAN_HOST6_MAC, LAN_HOST6, LAN_GATEWAY6)],
  [LAN, asks(LAN_HOST6_MAC, linkLocalOf(LAN_HOST6_MAC), linkLocalOf(OUR_MAC[LAN]))],
  [LAN, says(LAN_HOST6_MAC, LAN_HOST6, LAN_GATEWAY6, LAN)],
  [LAN, listenerQuery(LAN_HOST6_MAC, 1)],
  [LAN, listenerReport(LAN_HOST6_MAC, linkLocalOf(LAN_HOST6_MAC), 4, [groupOf(LAN_HOST6)])],
  [WORK, asks(WORK_HOST6_MAC, WORK_HOST6, WORK_GATEWAY6)],
];

/** What we may send from, by interface. */
const OWN = [OUTSIDE6, WORK_GATEWAY6, LAN_GATEWAY6].map((address, iface) => [
  address,
  linkLocalOf(OUR_MAC[iface]),
  "::",
]);

/** @returns the frame with some bytes changed, or cut; mostly with a checksum that is right for it */
function mutated(random: Random, frame: Uint8Array): Uint8Array {
  const cut = random.chance(0.1) ? 1 + random.below(frame.length - 1) : frame.length;
  const copy = frame.slice(0, cut);
  for (let n = random.below(4); n > 0; n--) {
    // Where a change alters what is meant: in the header's last byte, addresses' ends, and the message.
    const at = random.pick([IP + 7, IP + 23, IP + 39, MESSAGE + random.below(40), random.below(frame.length)]);
    if (at < copy.length) copy[at] = random.pick([0, 1, 2, 0x80, 0xff, random.below(256)]);
  }
  if (copy.length > MESSAGE + 4 && copy[IP + 6] === ICMPV6 && random.chance(0.8)) {
    const length = Math.min(copy[IP + 4] * 256 + copy[IP + 5], copy.length - MESSAGE);
    copy.set([0, 0], MESSAGE + 2);
    const [source, destination] = [IP + 8, IP + 24].map((at) => text6(copy.subarray(at, at + 16)));
    const sum = checksum6(source, destination, ICMPV6, copy.subarray(MESSAGE, MESSAGE + length));
    copy.set([sum >>> 8, sum & 255], MESSAGE + 2);
  }
  return copy;
}

test("whatever is said to it, it says what is so", () => {
  const random = new Random(11);
  const lab = new Lab({ settings: SETTINGS6 });
  lab.command((router) => router.announce());
  lab.wait(5000);
  const verdicts = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    const [iface, frame] = random.pick(SOUND);
    const { verdict } = lab.receive(iface, mutated(random, frame));
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    if (round % 100 === 0) lab.wait(1000);
    for (const { iface: to, bytes } of lab.last) {
      if (bytes[12] !== 0x86 || bytes[IP + 6] !== ICMPV6) continue;
      expect(wrongChecksums6(bytes.subarray(IP))).toEqual([]);
      const source = text6(bytes.subarray(IP + 8, IP + 24));
      expect(OWN[to]).toContain(source);
      if (bytes[MESSAGE] === 136) expect(text6(bytes.subarray(MESSAGE + 8, MESSAGE + 24))).toBe(source);
    }
  }
  for (const wanted of ["answered", "ND taken", "dropped: ND not for us", "dropped: ND spoofed"]) {
    expect(verdicts.get(wanted)).toBeGreaterThan(ROUNDS / 100);
  }
  expect([...verdicts.keys()].filter((name) => name.startsWith("dropped: malformed nd")).length).toBe(5);
  expect([...verdicts.keys()]).not.toContain("forwarded");
});
