// Frames that lie about themselves or are cut short: each is dropped under the name of its fault, and nothing behind it is read.
import { describe, expect, test } from "bun:test";
import { concat, mac } from "../../../lab/frames.ts";
import { Random } from "../../../lab/random.ts";
import { Lab, OUR_MAC, SETTINGS } from "../../../lab/router-lab.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { VERDICT_NAMES } from "../../../src/dataplane/verdict.ts";
import { bombard } from "../../support/bombardment.ts";
import { checkMemory, mutate, repairHeader } from "../../support/hostile.ts";
import { patched } from "../../support/place.ts";
import { BUSY, MORE_SAMPLES, SAMPLES } from "../../support/samples.ts";

/** A lab in which all samples' flows are there. */
function labWithFlows(settings: Settings = SETTINGS): Lab {
  const lab = new Lab({ settings });
  for (const { iface, frame } of SAMPLES) expect(lab.receive(iface, frame).verdict).toMatch(/forwarded|answered/);
  return lab;
}

describe("a truncated frame", () => {
  test("is dropped as malformed at every length, and nothing is sent", () => {
    const lab = labWithFlows();
    for (const { iface, frame } of SAMPLES) {
      for (let length = 0; length < frame.length; length++) {
        const { verdict, sent } = lab.receive(iface, frame.subarray(0, length));
        expect(verdict).toStartWith("dropped: malformed ");
        expect(sent).toEqual([]);
      }
    }
  });

  test("whose total length says so is dropped when the transport header is not whole", () => {
    const lab = labWithFlows();
    for (const { iface, frame } of SAMPLES.slice(3)) {
      const header = (frame[14] & 15) * 4;
      const least = { 1: 8, 6: 20, 17: 8 }[frame[23]] ?? 0;
      for (let length = 0; length < least; length++) {
        const total = header + length;
        const cut = patched(frame.subarray(0, 14 + total), 16, total >>> 8, total & 255);
        repairHeader(cut);
        const { verdict, sent } = lab.receive(iface, cut);
        expect(verdict).toStartWith("dropped: malformed ");
        expect(sent).toEqual([]);
      }
    }
  });
});

describe("a lying length", () => {
  test("of the IPv4 header is found out, each of them", () => {
    const lab = labWithFlows();
    for (const { iface, frame } of SAMPLES.slice(3)) {
      const words = frame[14] & 15;
      for (let lie = 0; lie < 16; lie++) {
        if (lie === words) continue;
        const { sent } = lab.receive(iface, patched(frame, 14, 0x40 | lie));
        expect(sent).toEqual([]);
      }
    }
  });

  test("of the whole packet is found out, when it is more than there is", () => {
    const lab = labWithFlows();
    for (const { iface, frame } of SAMPLES.slice(3)) {
      for (const total of [frame.length - 13, frame.length, 1500, 9000, 65535]) {
        const lie = patched(frame, 16, total >>> 8, total & 255);
        repairHeader(lie);
        expect(lab.receive(iface, lie)).toEqual({ verdict: "dropped: malformed ipv4: total length", sent: [] });
      }
    }
  });

  test("of a UDP datagram is found out, each that is too short or too long", () => {
    const lab = labWithFlows();
    const { iface, frame } = SAMPLES[3];
    for (const length of [0, 1, 7, frame.length - 33, 1500, 65535]) {
      expect(lab.receive(iface, patched(frame, 38, length >>> 8, length & 255))).toEqual({
        verdict: "dropped: malformed udp: length",
        sent: [],
      });
    }
  });

  test("of the TCP header is found out", () => {
    const lab = labWithFlows();
    const { iface, frame } = SAMPLES[9];
    for (const words of [0, 1, 4, 6, 15]) {
      expect(lab.receive(iface, patched(frame, 46, words << 4))).toEqual({
        verdict: "dropped: malformed tcp: data offset",
        sent: [],
      });
    }
  });
});

test("TCP flags that no end would send together are malformed", () => {
  const lab = labWithFlows();
  lab.verifiesChecksums = false;
  const { iface, frame } = SAMPLES[8];
  for (let flags = 0; flags < 256; flags++) {
    const [fin, syn, rst, ack] = [1, 2, 4, 16].map((bit) => (flags & bit) !== 0);
    const isSound = syn ? !fin && !rst : rst ? !fin : ack;
    const { verdict } = lab.receive(iface, patched(frame, 47, flags));
    if (isSound) expect(verdict).not.toStartWith("dropped: malformed");
    else expect(verdict).toBe("dropped: malformed tcp: flags");
    if (rst) lab.receive(SAMPLES[6].iface, SAMPLES[6].frame);
  }
});

describe("the router does no harm, whatever it is given:", () => {
  test("100 000 frames of random bytes", () => {
    const random = new Random(21);
    const lab = labWithFlows(BUSY);
    const next = () => {
      const iface = random.below(3);
      const frame = Uint8Array.from({ length: random.below(random.pick([16, 60, 120])) }, () => random.below(256));
      // Most of them get past the first checks.
      if (random.chance(0.9)) frame.set(mac(OUR_MAC[iface]).subarray(0, frame.length));
      if (frame.length >= 14 && random.chance(0.9)) frame.set([8, random.chance(0.9) ? 0 : 6], 12);
      if (frame.length >= 34 && random.chance(0.9)) {
        frame[14] = 0x45 + (random.chance(0.2) ? random.below(4) : 0);
        frame.set([0, 20 + random.below(frame.length - 33)], 16);
        frame[20] &= random.pick([0, 0x20, 0xff]);
        frame[23] = random.pick([1, 6, 17, random.below(256)]);
        if (random.chance(0.7)) frame.set([192, 168, 1, 20], 26);
        repairHeader(frame);
      }
      return { iface, frame };
    };
    bombard(lab, 100_000, next, random);
  });

  test("100 000 sound frames, mutated", () => {
    const random = new Random(22);
    const lab = labWithFlows(BUSY);
    const all = [...SAMPLES, ...MORE_SAMPLES];
    const next = () => {
      const { iface, frame } = random.pick(all);
      if (random.chance(0.1)) return { iface, frame };
      return { iface: random.chance(0.97) ? iface : random.below(3), frame: mutate(frame, random) };
    };
    const forwarded = bombard(lab, 100_000, next, random);
    expect(forwarded).toBeGreaterThan(5000);
  });

  test("frames of every length up to 400, all bytes alike", () => {
    const lab = labWithFlows(BUSY);
    const random = new Random(23);
    for (const byte of [0, 1, 0x45, 0xff]) {
      for (let length = 0; length <= 400; length++) {
        const plain = new Uint8Array(length).fill(byte);
        bombard(lab, 1, () => ({ iface: 1, frame: plain }), random);
        const frame = concat(mac(OUR_MAC[1]), plain);
        if (frame.length >= 14) frame.set([8, 0], 12);
        bombard(lab, 1, () => ({ iface: 1, frame }), random);
      }
    }
  });

  test("20 000 sound frames with offload headers of random bytes", () => {
    const random = new Random(24);
    const lab = labWithFlows(BUSY);
    const all = [...SAMPLES.slice(3), ...MORE_SAMPLES];
    for (let i = 0; i < 20_000; i++) {
      const { iface, frame } = random.pick(all);
      const vnet = Uint8Array.from({ length: 10 }, () => random.below(random.chance(0.5) ? 4 : 256));
      vnet[7] &= random.pick([0, 1, 0xff]);
      vnet[9] &= random.pick([0, 1, 0xff]);
      const at = lab.ring.put(frame, vnet);
      const verdict = VERDICT_NAMES[lab.router.receive(iface, at, frame.length)];
      checkMemory(lab.ring, at, frame.length, true);
      for (const sent of lab.ring.takeSent()) {
        // What the kernel is asked to complete must be the transport checksum's place, or it would write elsewhere.
        if ((sent.vnet[0] & 1) === 0) continue;
        const place = [sent.vnet[6] + sent.vnet[7] * 256, sent.vnet[8] + sent.vnet[9] * 256];
        const wanted = { 6: 16, 17: 6, 33: 6, 136: 6 }[sent.bytes[23]];
        if (place[0] !== 14 + (sent.bytes[14] & 15) * 4 || place[1] !== wanted) {
          throw new Error(`${verdict}: checksum asked for at ${place} of protocol ${sent.bytes[23]}`);
        }
      }
    }
  });
});
