// The wire formats on captured frames: whole ones have no fault, cut ones are found out.
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Glob } from "bun";
import { readCapture } from "../../lab/captures.ts";
import { wrongChecksums } from "../../lab/frames.ts";
import { wrongChecksums6 } from "../../lab/frames6.ts";
import { checkArp } from "../../src/wire/arp.ts";
import { checkEthernet, ETHERTYPE } from "../../src/wire/ethernet.ts";
import { FAULT_NAMES } from "../../src/wire/fault.ts";
import { HeaderChain } from "../../src/wire/header-chain.ts";
import { checkIcmp, checkIcmpSum } from "../../src/wire/icmp.ts";
import { checkIcmpv6 } from "../../src/wire/icmpv6.ts";
import { checkIpv4, headerLength, IPV4, PROTOCOL } from "../../src/wire/ipv4.ts";
import { checkIpv6, totalLength6 } from "../../src/wire/ipv6.ts";
import { checkTcp } from "../../src/wire/tcp.ts";
import { checkUdp } from "../../src/wire/udp.ts";
import { place } from "../support/place.ts";

const DIRECTORY = join(import.meta.dir, "../captures");
const NAMES = [...new Glob("*.pcap").scanSync(DIRECTORY)].sort();

/** @returns the name of the fault that the checks of all of a frame's formats find */
function judge(frame: Uint8Array): string {
  const { view, at, length } = place(frame);
  const fault = checkEthernet(length);
  if (fault !== 0) return FAULT_NAMES[fault];
  if (view.getUint16(at + 12) === ETHERTYPE.ARP) return FAULT_NAMES[checkArp(view, at + 14, length - 14)];
  if (view.getUint16(at + 12) === ETHERTYPE.IPV6) return FAULT_NAMES[judgeIpv6(view, at + 14, length - 14)];
  return FAULT_NAMES[judgeIpv4(view, at + 14, length - 14)];
}

function judgeIpv6(view: DataView, at: number, length: number): number {
  const chain = new HeaderChain();
  const fault = checkIpv6(view, at, length) || chain.walk(view, at, totalLength6(view, at));
  if (fault !== 0 || chain.fragment !== 0) return fault;
  switch (chain.protocol) {
    case PROTOCOL.TCP:
      return checkTcp(view, chain.transport, chain.length);
    case PROTOCOL.UDP:
      return checkUdp(view, chain.transport, chain.length);
    default:
      return checkIcmpv6(chain.length);
  }
}

function judgeIpv4(view: DataView, at: number, length: number): number {
  const fault = checkIpv4(view, at, length);
  if (fault !== 0) return fault;
  const content = at + headerLength(view, at);
  const contentLength = at + view.getUint16(at + IPV4.TOTAL_LENGTH) - content;
  switch (view.getUint8(at + IPV4.PROTOCOL)) {
    case PROTOCOL.TCP:
      return checkTcp(view, content, contentLength);
    case PROTOCOL.UDP:
      return checkUdp(view, content, contentLength);
    default:
      return checkIcmp(contentLength) || checkIcmpSum(view, content, contentLength);
  }
}

describe("of the captured frames", () => {
  test("there are enough to mean something", () => {
    expect(NAMES.length).toBe(33);
  });

  for (const name of NAMES) {
    test(`those of ${name} have no fault, and checksums that verify; cut ones are found out`, async () => {
      const { frames } = await readCapture(await Bun.file(join(DIRECTORY, name)).bytes());
      expect(frames.length).toBeGreaterThan(0);
      for (const { bytes, originalLength } of frames) {
        const isIpv4 = bytes[12] === 0x08 && bytes[13] === 0x00;
        const isIpv6 = bytes[12] === 0x86 && bytes[13] === 0xdd;
        if (bytes.length < originalLength) {
          expect(judge(bytes)).toBe("ipv4: total length");
        } else {
          expect(judge(bytes)).toBe("none");
          if (isIpv4) expect(wrongChecksums(bytes.subarray(14))).toEqual([]);
          if (isIpv6) expect(wrongChecksums6(bytes.subarray(14))).toEqual([]);
        }
      }
    });
  }
});
