import { describe, expect, test } from "bun:test";
import { ARP_TYPE, arp, concat, ethernet, fromHex, payload, udp } from "../../../lab/frames.ts";
import {
  BROADCAST,
  dropped,
  forwarded,
  frameFrom,
  HOST_MAC,
  LAN,
  LAN_GATEWAY,
  LAN_HOST,
  Lab,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  shown,
  WORK,
  WORK_HOST,
} from "../../../lab/router-lab.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 5000, destinationPort: 5001 };
const PASSED = forwarded(REMOTE, udp({ ...OUT, source: OUTSIDE, ttl: 63 }, payload(30)));

/** The frame with tags in front of its EtherType. */
function tagged(frame: Uint8Array, ...tags: string[]): Uint8Array {
  return concat(frame.subarray(0, 12), ...tags.map(fromHex), frame.subarray(12));
}

describe("a frame with a VLAN tag", () => {
  const frame = frameFrom(WORK_HOST, udp(OUT, payload(30)));

  test("of VLAN 0, whatever its priority, is as good as one without (802.1Q section 6.9)", () => {
    for (const tags of [["81000000"], ["8100e000"], ["88a80000"], ["81006000", "8100e000"]]) {
      const lab = new Lab();
      expect(lab.receive(WORK, tagged(frame, ...tags))).toEqual(PASSED);
      expect(lab.receive(WORK, tagged(frame, ...tags))).toEqual(PASSED); // by the flow
      expect(lab.receive(WORK, frame)).toEqual(PASSED);
    }
  });

  test("of VLAN 0 may be ARP", () => {
    const fields = { senderMac: HOST_MAC[LAN_HOST], senderIp: LAN_HOST } as const;
    const request = arp({ ...fields, operation: "request", targetIp: LAN_GATEWAY });
    const reply = arp({
      operation: "reply",
      senderMac: OUR_MAC[LAN],
      senderIp: LAN_GATEWAY,
      targetMac: HOST_MAC[LAN_HOST],
      targetIp: LAN_HOST,
    });
    expect(
      new Lab().receive(LAN, tagged(ethernet(HOST_MAC[LAN_HOST], BROADCAST, ARP_TYPE, request), "81000000")),
    ).toEqual({
      verdict: "answered",
      sent: [shown(LAN, ethernet(OUR_MAC[LAN], HOST_MAC[LAN_HOST], ARP_TYPE, reply))],
    });
  });

  test("of another VLAN is dropped under a name of its own", () => {
    const lab = new Lab();
    for (const tags of [["81000007"], ["8100efff"], ["88a80001"], ["81000000", "81000001"], ["81000001", "81000000"]]) {
      expect(lab.receive(WORK, tagged(frame, ...tags))).toEqual(dropped("of a VLAN"));
    }
    expect(lab.counts()).toMatchObject({ "dropped: of a VLAN": 5 });
  });

  test("that ends in its tag is malformed", () => {
    for (let length = 14; length < 18; length++) {
      expect(new Lab().receive(WORK, tagged(frame, "81000000").subarray(0, length))).toEqual(
        dropped("malformed ethernet: truncated"),
      );
    }
  });
});
