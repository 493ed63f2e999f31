// ICMP errors that we send: about which packets and which not, what they quote, and how many at most.
import { describe, expect, test } from "bun:test";
import { ethernet, type IcmpFields, IPV4_TYPE, icmp, ip, payload, tcp, toHex, udp } from "../../../lab/frames.ts";
import { GSO, leaveChecksum } from "../../../lab/offload.ts";
import { UDP } from "../../../lab/protocols.ts";
import {
  dropped,
  forwarded,
  frameFrom,
  INTERFACES,
  LAN_GATEWAY,
  LAN_HOST,
  Lab,
  OUTSIDE,
  type Outcome,
  REMOTE,
  refused,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";

const PORTS = { sourcePort: 4000, destinationPort: 33434 };
const OUT = { source: WORK_HOST, destination: REMOTE, ...PORTS };
const OUTSIDE_OUT = { ...OUT, source: OUTSIDE, ttl: 63 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 33434, destinationPort: 4000 };

const TIME_EXCEEDED = { type: 11, code: 0 };

/** An error of ours to a host, quoting what it sent. */
function error(host: string, own: string, fields: Omit<IcmpFields, "source" | "destination">, packet: Uint8Array) {
  return icmp({ source: own, destination: host, ...fields }, packet.subarray(0, 548));
}

function expired(host: string, own: string, packet: Uint8Array): Outcome {
  return refused("TTL exceeded", host, error(host, own, TIME_EXCEEDED, packet));
}

describe("a packet's TTL", () => {
  test("of 2 becomes 1; of 1 or 0 the packet ends here, and its sender is told", () => {
    const lab = new Lab();
    expect(lab.from(WORK_HOST, udp({ ...OUT, ttl: 2 }, payload(40)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, ttl: 1 }, payload(40))),
    );
    for (const ttl of [1, 0]) {
      const packet = udp({ ...OUT, ttl }, payload(40));
      expect(lab.from(WORK_HOST, packet)).toEqual(expired(WORK_HOST, WORK_GATEWAY, packet));
    }
    expect(lab.from(WORK_HOST, udp({ ...OUT, ttl: 255 }, payload(40)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, ttl: 254 }, payload(40))),
    );
  });

  test("of 1 in a flow's first packet ends it here too, and makes no flow", () => {
    const lab = new Lab();
    for (const [host, own] of [
      [WORK_HOST, WORK_GATEWAY],
      [LAN_HOST, LAN_GATEWAY],
    ]) {
      for (const packet of [
        udp({ ...OUT, source: host, ttl: 1 }, payload(40)),
        tcp({ ...OUT, source: host, ttl: 1, flags: "S" }),
        icmp({ source: host, destination: REMOTE, ttl: 1, type: 8 }, payload(40)),
      ]) {
        expect(lab.from(host, packet)).toEqual(expired(host, own, packet));
      }
    }
    expect(lab.router.flows.size).toBe(0);
  });

  test("of 1 from the uplink is told to the remote, from our outside address, of the packet as it came", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    const packet = udp({ ...BACK, ttl: 1 }, payload(600));
    expect(lab.from(REMOTE, packet)).toEqual(expired(REMOTE, OUTSIDE, packet));
  });

  test("of 1 does not matter to us: we answer pings", () => {
    const lab = new Lab();
    const ping = icmp({ source: WORK_HOST, destination: WORK_GATEWAY, ttl: 1, type: 8 }, payload(8));
    expect(lab.from(WORK_HOST, ping).verdict).toBe("answered");
  });
});

describe("errors are not sent", () => {
  test("about a packet that was expired on its way to a group or to all", () => {
    const lab = new Lab();
    for (const destination of ["224.0.0.1", "255.255.255.255", "192.0.2.255"]) {
      expect(lab.from(WORK_HOST, udp({ ...OUT, destination, ttl: 1 }, payload(1))).sent).toEqual([]);
    }
  });

  test("about frames to a group", () => {
    const lab = new Lab();
    const frame = frameFrom(WORK_HOST, udp({ ...OUT, ttl: 1 }, payload(1)));
    frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    expect(lab.receive(WORK, frame).sent).toEqual([]);
  });

  test("about errors to us", () => {
    const lab = new Lab();
    const about = udp({ source: OUTSIDE, destination: REMOTE, sourcePort: 1, destinationPort: 2 }, payload(8));
    const unreachable = icmp({ source: REMOTE, destination: OUTSIDE, type: 3, code: 3, ttl: 1 }, about.subarray(0, 28));
    expect(lab.from(REMOTE, unreachable).sent).toEqual([]);
    const toUs = icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 3, code: 3 }, about.subarray(0, 28));
    expect(lab.from(WORK_HOST, toUs).sent).toEqual([]);
  });
});

describe("a packet larger than the egress MTU", () => {
  const settings = {
    ...SETTINGS,
    interfaces: INTERFACES.map((iface, i) => ({ ...iface, mtu: [1400, 1500, 1500][i] })),
  };

  test("with DF is answered by fragmentation needed, with that MTU", () => {
    const lab = new Lab({ settings });
    expect(lab.from(WORK_HOST, udp(OUT, payload(1372)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1372))));
    const packet = udp(OUT, payload(1373));
    expect(lab.from(WORK_HOST, packet)).toEqual(
      refused(
        "larger than the egress MTU",
        WORK_HOST,
        error(WORK_HOST, WORK_GATEWAY, { type: 3, code: 4, rest: 1400 }, packet),
      ),
    );
  });

  test("with DF in the first packet of a flow is answered too", () => {
    const lab = new Lab({ settings });
    const packet = icmp({ source: WORK_HOST, destination: REMOTE, type: 8 }, payload(1400));
    expect(lab.from(WORK_HOST, packet)).toEqual(
      refused(
        "larger than the egress MTU",
        WORK_HOST,
        error(WORK_HOST, WORK_GATEWAY, { type: 3, code: 4, rest: 1400 }, packet),
      ),
    );
  });

  test("with DF from the uplink is told to the remote", () => {
    const narrow = {
      ...SETTINGS,
      interfaces: INTERFACES.map((iface, i) => ({ ...iface, mtu: [1500, 1280, 1500][i] })),
    };
    const lab = new Lab({ settings: narrow });
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    const packet = udp(BACK, payload(1400));
    expect(lab.from(REMOTE, packet)).toEqual(
      refused("larger than the egress MTU", REMOTE, error(REMOTE, OUTSIDE, { type: 3, code: 4, rest: 1280 }, packet)),
    );
  });

  test("passes when it is one of segments that each fit", () => {
    const lab = new Lab({ settings });
    const ends = { source: WORK_HOST, destination: REMOTE, ...PORTS, flags: "S" };
    lab.from(WORK_HOST, tcp(ends));
    const back = { source: REMOTE, destination: OUTSIDE, sourcePort: 33434, destinationPort: 4000 };
    lab.from(REMOTE, tcp({ ...back, flags: "S.", acknowledgment: 1, window: 65535 }));
    const data = { ...ends, flags: ".", sequence: 1, acknowledgment: 1 };
    const segments = (gsoSize: number) =>
      leaveChecksum(frameFrom(WORK_HOST, tcp(data, payload(4000))), { gsoType: GSO.TCPV4, gsoSize, headerLength: 54 });
    const fits = segments(1360);
    expect(lab.receive(WORK, fits.frame, fits.vnet).verdict).toBe("forwarded");
    const tooBig = segments(1361);
    expect(lab.receive(WORK, tooBig.frame, tooBig.vnet)).toEqual(
      refused(
        "larger than the egress MTU",
        WORK_HOST,
        error(WORK_HOST, WORK_GATEWAY, { type: 3, code: 4, rest: 1400 }, tooBig.frame.subarray(14)),
      ),
    );
  });
});

test("an error about the second half of a hairpin reaches the client, and does not leave by the uplink", () => {
  const forward = { protocol: UDP, portLow: 8443, portHigh: 8443, client: 1, to: ip(LAN_HOST), toPort: 443, from: [] };
  const lab = new Lab({ settings: { ...SETTINGS, forwards: [forward] } });
  const hairpin = { source: WORK_HOST, destination: OUTSIDE, sourcePort: 5000, destinationPort: 8443 };
  lab.from(WORK_HOST, udp(hairpin, payload(4)));
  const quoted = udp({ ...hairpin, ttl: 1 }, payload(4));
  expect(lab.from(WORK_HOST, udp({ ...hairpin, ttl: 2 }, payload(4)))).toEqual(
    refused("TTL exceeded", WORK_HOST, error(WORK_HOST, OUTSIDE, { ...TIME_EXCEEDED, ttl: 63 }, quoted)),
  );
});

test("errors to the uplink have a limit of their own", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, udp(OUT, payload(1)));
  const packet = udp({ ...BACK, ttl: 1 }, payload(1));
  const sent = Array.from({ length: 60 }, () => lab.from(REMOTE, packet).sent.length);
  expect(sent).toEqual([...new Array(50).fill(1), ...new Array(10).fill(0)]);
  expect(lab.from(REMOTE, packet)).toEqual(dropped("TTL exceeded"));
  expect(lab.from(WORK_HOST, udp({ ...OUT, ttl: 1 }, payload(1))).sent.length).toBe(1);
});

test("an error is a frame of its own: the packet that it is about is not changed", () => {
  const lab = new Lab();
  const frame = frameFrom(WORK_HOST, udp({ ...OUT, ttl: 1 }, payload(30)));
  const at = lab.ring.put(frame);
  lab.router.receive(WORK, at, frame.length);
  expect(toHex(lab.ring.bytes.subarray(at, at + frame.length))).toBe(toHex(frame));
});

test("an error about a packet with a checksum left to the NIC has none left", () => {
  const lab = new Lab();
  const packet = udp({ ...OUT, ttl: 1 }, payload(30));
  const left = leaveChecksum(frameFrom(WORK_HOST, packet));
  expect(lab.receive(WORK, left.frame, left.vnet)).toEqual(expired(WORK_HOST, WORK_GATEWAY, left.frame.subarray(14)));
});

test("an error goes back to where the packet came from, whatever is known of its sender by ARP", () => {
  const lab = new Lab();
  const stranger = "02:00:00:00:0b:ad";
  const packet = udp({ ...OUT, source: LAN_HOST, ttl: 1 }, payload(1));
  const { sent } = lab.receive(2, ethernet(stranger, "52:54:00:00:00:02", IPV4_TYPE, packet));
  const answer = error(LAN_HOST, LAN_GATEWAY, TIME_EXCEEDED, packet);
  expect(sent).toEqual([`lan\n${toHex(ethernet("52:54:00:00:00:02", stranger, IPV4_TYPE, answer))}`]);
  expect(lab.receive(UPLINK, frameFrom(REMOTE, packet)).sent).toEqual([]);
});
