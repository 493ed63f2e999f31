// What else happens to a frame than its verdict says: it is answered with an error, waits and goes on, opens a flow in place of
// another, is translated, cut, or comes in again.
import { advertisement, listenerQuery, OVERRIDE, SOLICITED, solicitation } from "../../../lab/discovery-frames.ts";
import { ARP_TYPE, arp, ethernet, icmp, ip, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import { GATEWAY6, GATEWAY6_MAC, LAN_GATEWAY6, LAN_HOST6, LAN_HOST6_MAC, OUTSIDE6 } from "../../../lab/home6.ts";
import { vnet } from "../../../lab/offload.ts";
import {
  ANYTHING,
  BROADCAST,
  GATEWAY,
  HOST_MAC,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  LAN as LAN_INTERFACE,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK as WORK_INTERFACE,
} from "../../../lab/router-lab.ts";
import { CaptureConsumer, captureLength } from "../../../src/dataplane/io/capture-ring.ts";
import { Tap } from "../../../src/dataplane/io/tap.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { VERDICT, type Verdict } from "../../../src/dataplane/verdict.ts";
import { type Kept, LAN, PINNED, type Treadmill, WORK } from "../../support/treadmill.ts";
import type { Judged } from "./drive.ts";
import { connect, NEAR, ON_LINK, PINNED6, withMtu, withWork } from "./verdicts.ts";

const OUT = { source: WORK_HOST, destination: REMOTE };
const BACK = { source: REMOTE, destination: OUTSIDE };
const PORTS = { sourcePort: 5000, destinationPort: 5001 };
const SMALL = payload(20);
const SCTP = 132;
/** SCTP's checksum, left to the interface. */
const SCTP_LEFT = vnet({ flags: 1, checksumStart: 34, checksumOffset: 8 });
const GRE = 47;

// Offsets in a frame without IP options.
const IDENTIFICATION = 18;
const DESTINATION_LOW = 32;
const SOURCE_PORT = 34;
/** Of ICMP. */
const IDENTIFIER = 38;

/** Few flows of "work" at a time: the oldest gives way to the next. */
const FEW = { ...WORK.limits, flows: 50 };

export interface Branch {
  readonly verdict: Judged;
  /** Frames that are sent each time, at least. */
  readonly sends: number;
  readonly settings: Settings;
  /** Has a router come to where it can happen again and again. @returns what makes it happen once more */
  readonly make: (mill: Treadmill) => () => Verdict;
}

export const branch = (verdict: Judged, sends: number, make: Branch["make"], settings = PINNED): Branch => ({
  verdict,
  sends,
  settings,
  make,
});

/** Frames that come one after the other each time; the verdict is the last one's. */
export const cycle =
  (keep: (mill: Treadmill) => readonly Kept[], wait = 0) =>
  (mill: Treadmill) => {
    const kept = keep(mill);
    return () => {
      if (wait > 0) mill.wait(wait);
      let verdict = mill.put(kept[0]);
      for (let i = 1; i < kept.length; i++) verdict = mill.put(kept[i]);
      return verdict;
    };
  };

/** Frames with another number each time: a port, an identifier. */
export const counting = (at: number, keep: (mill: Treadmill) => readonly Kept[]) => (mill: Treadmill) => {
  const kept = keep(mill);
  let number = 0;
  return () => {
    number = (number + 1) % 50_000;
    let verdict = 0 as Verdict;
    for (let i = 0; i < kept.length; i++) {
      mill.set16(kept[i], at, 10_000 + number);
      verdict = mill.put(kept[i]);
    }
    return verdict;
  };
};

const from =
  (host: string, ...packets: readonly Uint8Array[]) =>
  (mill: Treadmill) =>
    packets.map((packet) => mill.keepFrom(host, packet));

/** The same while two capture it, of whom one takes nothing. */
const captured = (make: Branch["make"]) => (mill: Treadmill) => {
  const memories = [1, 2].map(() => new ArrayBuffer(captureLength(2 ** 19)));
  const consumer = new CaptureConsumer(memories[0]);
  const tap = new Tap(
    mill,
    mill.router,
    (address) => memories[address],
    () => performance.now(),
  );
  const match = { client: 0, destination: [{ words: [0], masks: [0] }], destinationPorts: { low: 1, high: 65_535 } };
  tap.configure(memories.map((_, i) => ({ id: i, address: i, length: 0, snap: 2048, match })));
  const step = make(mill);
  mill.tap = tap;
  return () => {
    const verdict = step();
    while (consumer.next());
    return verdict;
  };
};

/** So much time that there may be another error. */
export const ERROR_INTERVAL = 20;

const refusing = (work: Partial<typeof WORK>): Settings =>
  withWork({ ruleset: compileRuleset([{ ...ANYTHING, accept: false }], true), ...work });

/** A frame to a host that is not known, which then answers. */
function resolved(mill: Treadmill): () => Verdict {
  const datagram = mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS, destination: NEAR }, SMALL));
  const reply = mill.keepReply(NEAR, HOST_MAC[GATEWAY]);
  let host = 0;
  return () => {
    const number = 0x0300 + (host++ % 50_000);
    mill.set16(datagram, DESTINATION_LOW, number);
    mill.set16(reply, 30, number);
    mill.put(datagram);
    return mill.put(reply);
  };
}

/** A later fragment that waits, and the first one. @param packet in two fragments @param host that sends it */
const outOfOrder =
  (host: string, fragments: readonly Uint8Array[]) =>
  (mill: Treadmill): (() => Verdict) =>
    counting(IDENTIFICATION, from(host, fragments[1], fragments[0]))(mill);

const part = (fragment: number, protocol: number, content: Uint8Array, destination = REMOTE) =>
  ipv4({ ...OUT, destination, fragment }, protocol, content);
const whole = udp({ ...OUT, ...PORTS }, payload(56)).subarray(20);
const IN_TWO = [part(0x2000, 17, whole.subarray(0, 32)), part(4, 17, whole.subarray(32))];
const ping = icmp({ ...OUT, destination: WORK_GATEWAY, type: 8 }, payload(56)).subarray(20);
const PING_IN_TWO = [part(0x2000, 1, ping.subarray(0, 32), WORK_GATEWAY), part(4, 1, ping.subarray(32), WORK_GATEWAY)];

/** A TCP connection from its SYN to its RST. */
function connection(mill: Treadmill): readonly Kept[] {
  const ends = { ...OUT, sourcePort: 5000, destinationPort: 80 };
  const back = { ...BACK, sourcePort: 80, destinationPort: 5000 };
  const mss = Uint8Array.of(2, 4, 5, 180);
  return [
    mill.keepFrom(WORK_HOST, tcp({ ...ends, flags: "S", sequence: 100, tcpOptions: mss })),
    mill.keepFrom(REMOTE, tcp({ ...back, flags: "S.", sequence: 900, acknowledgment: 101, tcpOptions: mss })),
    mill.keepFrom(WORK_HOST, tcp({ ...ends, flags: ".", sequence: 101, acknowledgment: 901 }, SMALL)),
    mill.keepFrom(REMOTE, tcp({ ...back, flags: "F.", sequence: 901, acknowledgment: 121 })),
    mill.keepFrom(WORK_HOST, tcp({ ...ends, flags: "F.", sequence: 121, acknowledgment: 902 })),
    mill.keepFrom(REMOTE, tcp({ ...back, flags: "R", sequence: 902 })),
  ];
}

const datagram = udp({ ...OUT, ...PORTS }, SMALL);
const error = (code: number, rest: number, quoted: Uint8Array) => icmp({ ...BACK, type: 3, code, rest }, quoted);
const asSent = udp({ source: OUTSIDE, destination: REMOTE, ...PORTS }, payload(600));

const FORWARD: Settings = {
  ...PINNED,
  forwards: [
    {
      protocol: 17,
      portLow: 7000,
      portHigh: 7010,
      client: 0,
      to: ip(WORK_HOST),
      toPort: 7000,
      from: [{ address: ip("198.51.100.0"), prefix: 24 }],
    },
  ],
};
const OPEN = { ...PINNED, clients: [{ ...WORK, openFilter: true, limits: FEW }, LAN] };

/** More rules than are walked. */
const MANY = Array.from({ length: 50 }, (_, i) => ({
  ...ANYTHING,
  rule: i + 1,
  protocol: 17,
  portLow: 6000 + i,
  portHigh: 6000 + i,
}));

/** The gateway says that it has a MAC address, and has heard us. */
const gatewayAt = (host: string): Uint8Array =>
  advertisement({
    mac: host,
    target: GATEWAY6,
    destination: OUTSIDE6,
    destinationMac: OUR_MAC[UPLINK],
    flags: SOLICITED | OVERRIDE,
  });

export const BRANCHES: Readonly<Record<string, Branch>> = {
  "an ICMP error": branch("TTL", 1, cycle(from(WORK_HOST, udp({ ...OUT, ...PORTS, ttl: 1 }, SMALL)), ERROR_INTERVAL)),
  "a refusal by ICMP, noted for the log": branch(
    "REFUSED",
    1,
    (mill) => {
      const step = counting(SOURCE_PORT, from(WORK_HOST, datagram))(mill);
      return () => {
        mill.wait(ERROR_INTERVAL);
        return step();
      };
    },
    refusing({ log: true }),
  ),
  "a frame that was lost in transmission": branch("EGRESS_DOWN", 1, (mill) => {
    const kept = mill.keepFrom(WORK_HOST, datagram);
    return () => {
      mill.put(kept);
      return mill.lose(kept, VERDICT.EGRESS_DOWN);
    };
  }),
  "a refusal by RST": branch(
    "REFUSED",
    1,
    cycle(from(WORK_HOST, tcp({ ...OUT, ...PORTS, flags: "S" })), ERROR_INTERVAL),
    refusing({ refuse: "reset" }),
  ),
  "a RST to a segment of no connection": branch(
    "TCP_STATE",
    1,
    cycle(from(WORK_HOST, tcp({ ...OUT, ...PORTS, flags: "." })), ERROR_INTERVAL),
  ),
  "what waits for ARP leaves": branch("ARP_TAKEN", 1, resolved, {
    ...ON_LINK,
    clients: [{ ...WORK, limits: FEW }, LAN],
  }),
  "an answer to a solicitation": branch(
    "ANSWERED",
    1,
    cycle((mill) => [
      mill.keep(LAN_INTERFACE, solicitation({ mac: LAN_HOST6_MAC, source: LAN_HOST6, target: LAN_GATEWAY6 })),
    ]),
    PINNED6,
  ),
  "an answer to all, when one probes for our address": branch(
    "ANSWERED",
    1,
    cycle((mill) => [
      mill.keep(LAN_INTERFACE, solicitation({ mac: LAN_HOST6_MAC, source: "::", target: LAN_GATEWAY6 })),
    ]),
    PINNED6,
  ),
  "a querier's question about groups": branch(
    "ND_TAKEN",
    0,
    cycle((mill) => [mill.keep(LAN_INTERFACE, listenerQuery(LAN_HOST6_MAC, 2))]),
    PINNED6,
  ),
  "a neighbour of IPv6 that is asked whether he has moved": branch(
    "ND_TAKEN",
    1,
    cycle((mill) => [GATEWAY6_MAC, LAN_HOST6_MAC].map((host) => mill.keep(UPLINK, gatewayAt(host))), 2000),
    PINNED6,
  ),
  "what waits for its first fragment leaves": branch("FORWARDED", 2, outOfOrder(WORK_HOST, IN_TWO)),
  "fragments in order": branch("FORWARDED", 2, outOfOrder(WORK_HOST, [...IN_TWO].reverse())),
  "an echo in fragments": branch("ANSWERED", 2, outOfOrder(WORK_HOST, [...PING_IN_TWO].reverse())),
  "an echo in fragments, the first one last": branch("ANSWERED", 2, outOfOrder(WORK_HOST, PING_IN_TWO)),
  "an echo": branch("ANSWERED", 1, cycle(from(WORK_HOST, icmp({ ...OUT, destination: WORK_GATEWAY, type: 8 }, SMALL)))),
  "an echo to be cut": branch(
    "ANSWERED",
    2,
    cycle(from(WORK_HOST, icmp({ ...OUT, destination: WORK_GATEWAY, type: 8, fragment: 0 }, payload(1000)))),
    withMtu(600),
  ),
  "a datagram to be cut": branch(
    "FORWARDED",
    2,
    cycle(from(WORK_HOST, udp({ ...OUT, ...PORTS, fragment: 0 }, payload(1000)))),
    withMtu(600),
  ),
  "a datagram with options": branch(
    "FORWARDED",
    1,
    cycle(from(WORK_HOST, udp({ ...OUT, ...PORTS, options: Uint8Array.of(148, 4, 0, 0) }, SMALL))),
  ),
  "a datagram that is scrubbed": branch(
    "FORWARDED",
    1,
    cycle(from(WORK_HOST, udp({ ...OUT, ...PORTS, ttl: 3, tos: 0xff }, SMALL))),
    withWork({ scrub: { dropOptions: true, randomId: true, minTtl: 64, clearDscp: true } }),
  ),
  "a new flow of UDP in place of an old one": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, from(WORK_HOST, datagram)),
    withWork({ limits: FEW }),
  ),
  "a new flow of TCP in place of an old one": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, from(WORK_HOST, tcp({ ...OUT, ...PORTS, flags: "S" }))),
    withWork({ limits: FEW }),
  ),
  "a new flow of ICMP in place of an old one": branch(
    "FORWARDED",
    1,
    counting(IDENTIFIER, from(WORK_HOST, icmp({ ...OUT, type: 8 }, SMALL))),
    withWork({ limits: FEW }),
  ),
  "a new flow without ports": branch(
    "FORWARDED",
    1,
    counting(DESTINATION_LOW, from(WORK_HOST, ipv4(OUT, GRE, SMALL))),
    withWork({ limits: FEW }),
  ),
  "two hosts that have the same port": branch(
    "FORWARDED",
    2,
    counting(SOURCE_PORT, (mill) => {
      for (const host of [LAN_HOST, LAN_HOST_2]) mill.put(mill.keepRequest(host, LAN_GATEWAY));
      return [LAN_HOST, LAN_HOST_2].map((source) => mill.keepFrom(source, udp({ ...OUT, ...PORTS, source }, SMALL)));
    }),
    { ...PINNED, clients: [WORK, { ...LAN, limits: FEW }] },
  ),
  "new flows by many rules": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, from(WORK_HOST, udp({ ...OUT, ...PORTS, destinationPort: 6030 }, SMALL))),
    withWork({ limits: FEW, ruleset: compileRuleset(MANY, false) }),
  ),
  "flows that expire": branch("FORWARDED", 1, (mill) => {
    const step = counting(SOURCE_PORT, from(WORK_HOST, datagram))(mill);
    return () => {
      mill.wait(100);
      return step();
    };
  }),
  "a connection from SYN to RST": branch("FORWARDED", 5, cycle(connection), {
    ...PINNED,
    interfaces: PINNED.interfaces.map((iface) => ({ ...iface, clampMss: true, mtu: 1400 })),
  }),
  "segments of a connection": branch("FORWARDED", 1, (mill) => {
    connect(mill, 5000);
    const ends = { ...OUT, sourcePort: 5000, destinationPort: 80, sequence: 101, acknowledgment: 901 };
    return cycle(from(WORK_HOST, tcp({ ...ends, flags: "." }, SMALL)))(mill);
  }),
  "pings and their answers": branch(
    "FORWARDED",
    2,
    cycle((mill) => [
      mill.keepFrom(WORK_HOST, icmp({ ...OUT, type: 8, rest: 0x10001 }, SMALL)),
      mill.keepFrom(REMOTE, icmp({ ...BACK, type: 0, rest: 0x10001 }, SMALL)),
    ]),
  ),
  "a checksum of SCTP": branch(
    "FORWARDED",
    1,
    cycle((mill) => [mill.keepFrom(WORK_HOST, ipv4(OUT, SCTP, payload(40)), SCTP_LEFT)]),
  ),
  "an ICMP error about a flow": branch(
    "FORWARDED",
    2,
    cycle((mill) => [mill.keepFrom(WORK_HOST, datagram), mill.keepFrom(REMOTE, error(1, 0, asSent.subarray(0, 28)))]),
  ),
  "a datagram of a VLAN's priority": branch(
    "FORWARDED",
    1,
    cycle((mill) => [
      mill.keep(WORK_INTERFACE, tagged(ethernet(HOST_MAC[WORK_HOST], "52:54:00:00:00:01", 0x0800, datagram))),
    ]),
  ),
  "a forwarded port": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, from(REMOTE, udp({ ...BACK, sourcePort: 5000, destinationPort: 7003 }, SMALL))),
    { ...FORWARD, clients: [{ ...WORK, limits: FEW }, LAN] },
  ),
  "a name server's answer that control sees": branch("FORWARDED", 1, (mill) => {
    mill.put(
      mill.keepFrom(WORK_HOST, udp({ ...OUT, destination: GATEWAY, sourcePort: 5000, destinationPort: 53 }, SMALL)),
    );
    const answer = mill.keepFrom(
      GATEWAY,
      udp({ ...BACK, source: GATEWAY, sourcePort: 53, destinationPort: 5000 }, SMALL),
    );
    return () => {
      mill.now += 200; // so that it may be told of each
      mill.router.setTime(mill.now);
      return mill.put(answer);
    };
  }),
  "a hairpin by a forwarded port": branch(
    "FORWARDED",
    1,
    cycle((mill) => {
      mill.put(mill.keepRequest(LAN_HOST, LAN_GATEWAY));
      return [
        mill.keepFrom(
          LAN_HOST,
          udp({ source: LAN_HOST, destination: OUTSIDE, sourcePort: 5000, destinationPort: 7003 }, SMALL),
        ),
      ];
    }),
    { ...FORWARD, forwards: FORWARD.forwards.map((forward) => ({ ...forward, from: [] })) },
  ),
  "an error about a hairpin": branch(
    "TTL",
    1,
    cycle((mill) => {
      mill.put(mill.keepRequest(LAN_HOST, LAN_GATEWAY));
      return [
        mill.keepFrom(
          LAN_HOST,
          udp({ source: LAN_HOST, destination: OUTSIDE, sourcePort: 5000, destinationPort: 7003, ttl: 2 }, SMALL),
        ),
      ];
    }, ERROR_INTERVAL),
    { ...FORWARD, forwards: FORWARD.forwards.map((forward) => ({ ...forward, from: [] })) },
  ),
  "an open mapping": branch(
    "FORWARDED",
    2,
    (mill) => {
      const out = mill.keepFrom(WORK_HOST, datagram);
      const back = mill.keepFrom(
        REMOTE,
        udp({ ...BACK, source: "203.0.113.9", sourcePort: 1, destinationPort: 5000 }, SMALL),
      );
      let port = 0;
      return () => {
        port = (port + 1) % 50_000;
        mill.set16(back, SOURCE_PORT, 1 + port);
        mill.put(out);
        return mill.put(back);
      };
    },
    OPEN,
  ),
  "one client that reaches another": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, (mill) => {
      mill.put(mill.keepRequest(LAN_HOST, LAN_GATEWAY));
      return [mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS, destination: LAN_HOST }, SMALL))];
    }),
    { ...PINNED, clients: [{ ...WORK, reach: [1], limits: FEW }, LAN] },
  ),
  "redirected DNS": branch(
    "FORWARDED",
    1,
    counting(
      SOURCE_PORT,
      from(WORK_HOST, udp({ ...OUT, ...PORTS, destination: "10.139.1.1", destinationPort: 53 }, SMALL)),
    ),
    {
      ...withWork({ limits: FEW }),
      redirects: [
        { from: ip("10.139.1.2"), to: ip(GATEWAY) },
        { from: ip("10.139.1.1"), to: ip(GATEWAY) },
      ],
    },
  ),
  "an ARP probe": branch(
    "ANSWERED",
    1,
    cycle((mill) => [
      mill.keep(
        WORK_INTERFACE,
        ethernet(
          HOST_MAC[WORK_HOST],
          BROADCAST,
          ARP_TYPE,
          arp({ operation: "request", senderMac: HOST_MAC[WORK_HOST], senderIp: "0.0.0.0", targetIp: "10.137.0.99" }),
        ),
      ),
    ]),
  ),
  "a packet that is captured": branch("FORWARDED", 1, captured(cycle(from(WORK_HOST, datagram)))),
  "a refusal that is captured": branch(
    "REFUSED",
    1,
    captured((mill) => {
      const step = cycle(from(WORK_HOST, datagram))(mill);
      return () => {
        mill.wait(ERROR_INTERVAL);
        return step();
      };
    }),
    refusing({}),
  ),
  "a gateway that is confirmed": branch(
    "ARP_TAKEN",
    1,
    cycle((mill) => [mill.keepReply(GATEWAY)], 70_000),
    SETTINGS,
  ),
};

function tagged(frame: Uint8Array): Uint8Array {
  return Uint8Array.of(...frame.subarray(0, 12), 0x81, 0, 0xe0, 0, ...frame.subarray(12));
}
