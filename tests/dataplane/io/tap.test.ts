// What captures see around a router: each frame as it came in, and all that was sent because of it, at once or later; and which of them a
// filter means.
import { describe, expect, test } from "bun:test";
import { arp, ethernet, fragmented, icmp, ip, payload, tcp, toHex, udp } from "../../../lab/frames.ts";
import { udp6 } from "../../../lab/frames6.ts";
import {
  frameFrom,
  GATEWAY,
  HOST_MAC,
  LAN,
  LAN_HOST,
  Lab,
  type LabOptions,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_HOST,
  withRules,
} from "../../../lab/router-lab.ts";
import { from6, OUTSIDE_6, REMOTE_6, REMOTE_62, SETTINGS_6, WORK_HOST_6 } from "../../../lab/router-lab6.ts";
import { readCaptureFilter } from "../../../src/control/captures/capture-filter.ts";
import type { CaptureMatch } from "../../../src/dataplane/io/capture-match.ts";
import { CaptureConsumer, captureLength, WHAT } from "../../../src/dataplane/io/capture-ring.ts";
import { Tap } from "../../../src/dataplane/io/tap.ts";
import { VERDICT, VERDICT_NAMES, VERDICT_SLUGS } from "../../../src/dataplane/verdict.ts";

const RECORDS = 2 ** 19;

interface Seen {
  /** `in work`, `out uplink`, with `*` where it is the packet itself. */
  readonly where: string;
  readonly verdict: string;
  readonly packet: number;
  readonly rule: number;
  readonly hasFlow: boolean;
  readonly bytes: Uint8Array;
}

/** A router with a tap around it, as the worker has it. */
class TappedLab {
  readonly lab: Lab;
  readonly tap: Tap;
  private readonly rings: readonly { memory: ArrayBuffer; consumer: CaptureConsumer }[];

  constructor(matches: readonly CaptureMatch[], options: LabOptions = {}, snap = 262_144) {
    this.lab = new Lab(options);
    if (options.answering === undefined) meetHosts(this.lab);
    const { router, ring } = this.lab;
    this.rings = matches.map(() => {
      const memory = new ArrayBuffer(captureLength(RECORDS));
      return { memory, consumer: new CaptureConsumer(memory) };
    });
    this.tap = new Tap(
      ring,
      router,
      (address) => this.rings[address].memory,
      () => 0,
    );
    this.tap.configure(matches.map((match, i) => ({ id: i, address: i, length: 0, snap, match })));
    const receive = router.receive.bind(router);
    router.receive = (iface, at, length) => {
      this.tap.begin(iface, at, length, 0);
      const verdict = receive(iface, at, length);
      this.tap.end(verdict);
      this.tap.publish();
      return verdict;
    };
    const send = ring.send.bind(ring);
    ring.send = (iface, at, length) => {
      this.tap.sent(iface, at, length);
      ring.bytes[at - 10] &= 3; // as the packet ring does
      send(iface, at, length);
    };
  }

  /** What the i-th capture has seen since. */
  seen(i = 0): Seen[] {
    const { consumer } = this.rings[i];
    const seen: Seen[] = [];
    while (consumer.next()) {
      const { facts, bytes, at, captured } = consumer;
      const side = (facts.what & WHAT.SENT) === 0 ? "in" : "out";
      const mark = (facts.what & WHAT.PACKET) === 0 ? "" : " *";
      seen.push({
        where: `${side} ${SETTINGS.interfaces[facts.iface].name}${mark}`,
        verdict: VERDICT_NAMES[facts.verdict],
        packet: facts.packet,
        rule: facts.rule,
        hasFlow: facts.flow >= 0,
        bytes: Uint8Array.from(bytes.subarray(at, at + captured)),
      });
    }
    expect(consumer.lost()).toBe(0);
    return seen;
  }
}

/** So that nobody is asked for by ARP any more. */
function meetHosts(lab: Lab): void {
  for (const host of [WORK_HOST, LAN_HOST]) {
    lab.from(host, udp({ source: host, destination: REMOTE, sourcePort: 7, destinationPort: 7 }, payload(1)));
  }
}

const summary = (seen: readonly Seen[]) => seen.map(({ where, verdict, packet }) => `${where}, ${verdict}, ${packet}`);
const IN = "in work *";
const OUT = "out uplink *";

const question = (size = 32) =>
  icmp({ source: WORK_HOST, destination: REMOTE, type: 8, code: 0, rest: 7 << 16 }, payload(size));
const answer = () => icmp({ source: REMOTE, destination: OUTSIDE, type: 0, code: 0, rest: 7 << 16 }, payload(32));
const datagram = (port: number, length = 8, fragment = 0x4000) =>
  udp({ source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: port, fragment }, payload(length));

test("both sides of a packet, as it came and as it went, with one number, its rule and its flow", () => {
  const tapped = new TappedLab([{}]);
  const came = frameFrom(WORK_HOST, question());
  const { sent } = tapped.lab.receive(WORK, came);
  const seen = tapped.seen();
  expect(summary(seen)).toEqual([`${IN}, forwarded, 1`, `${OUT}, forwarded, 1`]);
  expect(toHex(seen[0].bytes)).toBe(toHex(came));
  expect(sent).toEqual([`uplink\n${toHex(seen[1].bytes)}`]);
  expect(seen.map(({ rule, hasFlow }) => [rule, hasFlow])).toEqual([
    [0, true],
    [0, true],
  ]);
  tapped.lab.receive(UPLINK, frameFrom(REMOTE, answer()));
  expect(summary(tapped.seen())).toEqual(["in uplink *, forwarded, 2", "out work *, forwarded, 2"]);
});

test("of a fast path's packet of any length too, and no more of it than is to be kept", () => {
  for (const snap of [14, 60, 61, 62, 63, 200, 255, 256, 257, 300, 1000]) {
    const tapped = new TappedLab([{}], {}, snap);
    for (const length of [0, 1, 100, 229, 230, 231, 700]) {
      const came = frameFrom(WORK_HOST, datagram(9, length));
      tapped.lab.receive(WORK, came);
      const [first, second] = tapped.seen();
      expect(toHex(first.bytes)).toBe(toHex(came.subarray(0, snap)));
      expect(toHex(second.bytes)).toBe(toHex(tapped.lab.last[0].bytes.subarray(0, snap)));
    }
  }
});

test("a packet that waits for ARP has its number when it goes at last, and so has its neighbour", () => {
  const tapped = new TappedLab([{}], { answering: [] });
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, question(8)));
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(9)));
  expect(summary(tapped.seen()).filter((line) => !line.startsWith("out"))).toEqual([
    `${IN}, queued for ARP, 1`,
    `${IN}, queued for ARP, 2`,
  ]);
  const [senderMac, targetMac] = [HOST_MAC[GATEWAY], OUR_MAC[UPLINK]];
  const reply = arp({ operation: "reply", senderMac, senderIp: GATEWAY, targetMac, targetIp: OUTSIDE });
  tapped.lab.receive(UPLINK, ethernet(senderMac, targetMac, 0x0806, reply));
  expect(summary(tapped.seen())).toEqual(["in uplink, ARP taken, 0", `${OUT}, forwarded, 1`, `${OUT}, forwarded, 2`]);
});

test("fragments that came before the first one have numbers of their own, and keep them", () => {
  const tapped = new TappedLab([{}]);
  const [first, second] = fragmented(datagram(9, 1200), 800);
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, second));
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, first));
  expect(summary(tapped.seen())).toEqual([
    `${IN}, held until the first fragment comes, 1`,
    `${IN}, forwarded, 2`,
    `${OUT}, forwarded, 2`,
    `${OUT}, forwarded, 1`,
  ]);
});

test("a packet that is cut into many fragments is there once, and each of them", () => {
  const interfaces = SETTINGS.interfaces.map((iface, i) => ({ ...iface, mtu: i === UPLINK ? 68 : iface.mtu }));
  const tapped = new TappedLab([{}], { settings: { ...SETTINGS, interfaces } });
  tapped.lab.verifiesChecksums = false;
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(9, 4000, 0)));
  const seen = tapped.seen();
  expect(seen.length).toBeGreaterThan(80);
  expect(new Set(summary(seen.slice(1)))).toEqual(new Set([`${OUT}, forwarded, 1`]));
  expect(summary(seen)[0]).toBe(`${IN}, forwarded, 1`);
  // This ring, unlike the packet ring, has memory for one frame of the router's at a time: their bytes can't be compared.
  expect(seen.slice(1).map(({ bytes }) => bytes.length)).toEqual(tapped.lab.last.map(({ bytes }) => bytes.length));
});

describe("of IPv6", () => {
  const network = (address: string, bits: number) => {
    const match = readCaptureFilter([`dst=${address}/${bits}`], { settings: SETTINGS_6, addressesOf: () => undefined });
    return match.destination ?? [];
  };
  const ends = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 4000, destinationPort: 5000 };
  const back = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 4000 };

  /** How many frames a filter means: of a talk by UDP, and of a stray datagram from outside. */
  function counts(match: CaptureMatch): number[] {
    const tapped = new TappedLab([match], { settings: SETTINGS_6 });
    const { lab } = tapped;
    from6(lab, WORK_HOST_6, udp6({ ...ends, sourcePort: 1 }, payload(1)));
    tapped.seen();
    from6(lab, WORK_HOST_6, udp6(ends, payload(9)));
    from6(lab, REMOTE_6, udp6(back, payload(9)));
    const talk = tapped.seen();
    if (talk.length === 4) expect(talk.map(({ packet }) => packet - talk[0].packet)).toEqual([0, 0, 1, 1]);
    from6(lab, REMOTE_62, udp6({ ...back, source: REMOTE_62, destination: WORK_HOST_6 }, payload(9)));
    from6(lab, WORK_HOST_6, udp6({ ...ends, destination: "ff05::1" }, payload(9)));
    return [talk.length, tapped.seen().length];
  }

  test.each<[string, CaptureMatch, number[]]>([
    ["without a word", {}, [4, 2]],
    ["client, of what has no flow too", { client: 0 }, [4, 1]],
    ["dst6, both ways", { destination: network("2001:db8:7::", 48) }, [4, 0]],
    ["dst6 by a prefix inside of a word", { destination: network("2001:db8::", 29) }, [4, 0]],
    ["all of an address", { destination: network(REMOTE_6, 128) }, [4, 0]],
    ["another's", { destination: network("2001:db8:7::8", 128) }, [0, 0]],
    ["an IPv4 network is none of it", { destination: [{ words: [0], masks: [0] }] }, [0, 0]],
    ["proto and dstports", { protocols: [17], destinationPorts: { low: 5000, high: 5000 } }, [4, 1]],
    ["proto icmp", { protocols: [1, 58] }, [0, 0]],
  ])("by %s", (_, match, expected) => {
    expect(counts(match)).toEqual(expected);
  });
});

test("what is refused, and the error about it, which is not the packet", () => {
  const tapped = new TappedLab([{}], { settings: withRules([]) });
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(9)));
  const [came, error] = tapped.seen();
  expect(summary([came, error])).toEqual([
    "in work, dropped: refused by rules, 1",
    "out work, dropped: refused by rules, 0",
  ]);
  expect([came.rule, came.hasFlow, error.bytes[23]]).toEqual([0, false, 1]);
});

test("what the firewall says of its own accord", () => {
  const tapped = new TappedLab([{}, { verdicts: VERDICT_SLUGS.map(() => true) }]);
  tapped.lab.command((router) => router.ask(1, ip(GATEWAY), payload(20)));
  expect(summary(tapped.seen())).toEqual(["out uplink, forwarded, 0"]);
  expect(tapped.seen(1)).toEqual([]);
});

test("what the firewall says of its own accord is by no rule, whatever came before", () => {
  const tapped = new TappedLab([{ rule: 0 }]);
  tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(9)));
  expect(tapped.seen().map(({ rule }) => rule)).toEqual([0, 0]);
  tapped.lab.command((router) => router.ask(1, ip(GATEWAY), payload(20)));
  expect(summary(tapped.seen())).toEqual([]);
});

describe("a filter", () => {
  const only = (slug: string) => VERDICT_SLUGS.map((each) => each === slug);
  const network = (address: string, mask = -1) => [{ words: [ip(address) & mask], masks: [mask] }];
  const ports = (low: number, high = low) => ({ low, high });

  /** How many frames of a talk by UDP, of a ping, of a foreign one's frame and of a refused SYN it means, in that order. */
  function counts(match: CaptureMatch, settings = SETTINGS): number[] {
    const tapped = new TappedLab([match], { settings });
    const reply = udp({ source: REMOTE, destination: OUTSIDE, sourcePort: 53, destinationPort: 4000 }, payload(8));
    const stray = tcp({ source: REMOTE_2, destination: OUTSIDE, sourcePort: 80, destinationPort: 81, flags: "S" });
    const parts = [
      () => {
        tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(53)));
        tapped.lab.receive(UPLINK, frameFrom(REMOTE, reply));
      },
      () => tapped.lab.receive(WORK, frameFrom(WORK_HOST, question())),
      () => tapped.lab.receive(UPLINK, frameFrom(REMOTE_2, stray)),
      () =>
        tapped.lab.receive(
          LAN,
          frameFrom(
            LAN_HOST,
            udp({ source: LAN_HOST, destination: REMOTE_2, sourcePort: 1, destinationPort: 2 }, payload(1)),
          ),
        ),
    ];
    return parts.map((part) => {
      part();
      return tapped.seen().length;
    });
  }

  test.each<[string, CaptureMatch, number[]]>([
    ["without a word", {}, [4, 2, 1, 2]],
    ["client", { client: 0 }, [4, 2, 0, 0]],
    ["a client that is gone", { client: -2 }, [0, 0, 0, 0]],
    ["interface", { iface: UPLINK }, [2, 1, 1, 1]],
    ["proto", { protocols: [17] }, [4, 0, 0, 2]],
    ["src, as the originator has it, both ways", { source: network(WORK_HOST) }, [4, 2, 0, 0]],
    ["src of what has no flow", { source: network(REMOTE_2) }, [0, 0, 1, 0]],
    ["src by prefix", { source: network("10.0.0.0", -0x1000000) }, [4, 2, 0, 0]],
    ["dst", { destination: network(REMOTE) }, [4, 2, 0, 0]],
    ["srcports", { sourcePorts: ports(4000, 4001) }, [4, 0, 0, 0]],
    ["dstports", { destinationPorts: ports(53) }, [4, 0, 0, 0]],
    ["dstports are not ICMP's", { destinationPorts: ports(0, 65_535) }, [4, 0, 1, 2]],
    ["icmptype", { icmpType: 8 }, [0, 2, 0, 0]],
    ["rule", { rule: 0 }, [4, 2, 0, 2]],
    ["verdict", { verdicts: only("unsolicited") }, [0, 0, 1, 0]],
    ["verdict, of those that passed", { verdicts: only("forwarded") }, [4, 2, 0, 2]],
    ["all of it must hold", { protocols: [17], client: 0, iface: WORK }, [2, 0, 0, 0]],
    ["addresses of nothing", { source: [] }, [0, 0, 0, 0]],
  ])("by %s", (_, match, expected) => {
    expect(counts(match)).toEqual(expected);
  });

  test("several captures at once see each what they mean, and one packet has the same number in all", () => {
    const tapped = new TappedLab([{ protocols: [17] }, { protocols: [1] }, {}]);
    tapped.lab.receive(WORK, frameFrom(WORK_HOST, datagram(53)));
    tapped.lab.receive(WORK, frameFrom(WORK_HOST, question()));
    expect([0, 1, 2].map((i) => tapped.seen(i).map(({ packet }) => packet))).toEqual([
      [1, 1],
      [2, 2],
      [1, 1, 2, 2],
    ]);
  });

  test("keeps flows that it means off the kernel path, if it means what is forwarded", () => {
    const held = (match: CaptureMatch, frame: Uint8Array) => {
      const tapped = new TappedLab([match]);
      tapped.lab.receive(WORK, frame);
      return tapped.tap.isHeld;
    };
    const frame = frameFrom(WORK_HOST, datagram(53));
    expect(held({ protocols: [17] }, frame)).toBeTrue();
    expect(held({ protocols: [17], iface: LAN }, frame)).toBeTrue();
    expect(held({ protocols: [6] }, frame)).toBeFalse();
    expect(held({ protocols: [17], verdicts: only("refused") }, frame)).toBeFalse();
    expect(new TappedLab([{}]).tap.configure([])).toBeFalse();
    const recording = new TappedLab([{}]);
    const order = { id: 9, address: 0, length: 0, snap: 64, match: {}, isRecorder: true };
    expect(recording.tap.configure([order])).toBeFalse();
    recording.lab.receive(WORK, frame);
    expect(recording.tap.isHeld).toBeFalse();
    expect(recording.seen().length).toBe(2);
  });
});

test("a frame that was lost when it was sent says so on both sides", () => {
  const memory = new ArrayBuffer(captureLength(RECORDS));
  const consumer = new CaptureConsumer(memory);
  const lab = new Lab();
  meetHosts(lab);
  const tap = new Tap(
    lab.ring,
    lab.router,
    () => memory,
    () => 5,
  );
  tap.configure([{ id: 1, address: 0, length: 0, snap: 100, match: {} }]);
  const frame = frameFrom(WORK_HOST, datagram(9));
  const at = lab.ring.put(frame);
  tap.begin(WORK, at, frame.length, 3);
  const send = lab.ring.send.bind(lab.ring);
  lab.ring.send = (...sent) => {
    tap.sent(...sent);
    send(...sent);
  };
  tap.end(lab.router.receive(WORK, at, frame.length));
  tap.judge(3, VERDICT.EGRESS_FULL);
  tap.publish();
  const seen: number[][] = [];
  while (consumer.next()) seen.push([consumer.facts.verdict, consumer.facts.packet, consumer.facts.time]);
  expect(seen).toEqual([
    [VERDICT.EGRESS_FULL, 1, 5],
    [VERDICT.EGRESS_FULL, 1, 5],
  ]);
});
