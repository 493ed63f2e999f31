// How each verdict on a frame is brought about, as often as wanted. The type of the table asks for every one of them.
import { NO_SCRUB } from "../../../lab/defaults.ts";
import { type Advertisement, advertisement, OVERRIDE, solicitation } from "../../../lab/discovery-frames.ts";
import { ARP_TYPE, arp, ethernet, icmp, ip, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import {
  GATEWAY6,
  GATEWAY6_MAC,
  LAN_HOST6,
  LAN_HOST6_MAC,
  OUTSIDE6,
  REMOTE6,
  SETTINGS6,
  UPLINK6,
} from "../../../lab/home6.ts";
import { GSO, vnet } from "../../../lab/offload.ts";
import {
  ANYTHING,
  GATEWAY,
  HOST_MAC,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  LAN as LAN_INTERFACE,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  UPLINK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK as WORK_INTERFACE,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, Settings } from "../../../src/dataplane/settings.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { type Kept, PINNED, Treadmill, WORK } from "../../support/treadmill.ts";
import type { Drive, Judged } from "./drive.ts";

/** Offsets in a frame without IP options. */
const IDENTIFICATION = 18;
const DESTINATION_LOW = 32;
const SOURCE_PORT = 34;

const GRE = 47;
const PORTS = { sourcePort: 5000, destinationPort: 5001 };
const OUT = { source: WORK_HOST, destination: REMOTE };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 5001, destinationPort: 5000 };
const SMALL = payload(20);

/** Settings with other ones for "work". */
export const withWork = (work: Partial<ClientSettings>): Settings => ({
  ...PINNED,
  clients: [{ ...WORK, ...work }, ...PINNED.clients.slice(1)],
});
const limited = (limits: Partial<ClientSettings["limits"]>) => withWork({ limits: { ...WORK.limits, ...limits } });
const withNat = (nat: Partial<Settings["nat"]>): Settings => ({ ...PINNED, nat: { ...PINNED.nat, ...nat } });
export const withMtu = (mtu: number): Settings => ({
  ...PINNED,
  interfaces: PINNED.interfaces.map((iface) => ({ ...iface, mtu })),
});
const UPLINK_DOWN: Settings = {
  ...PINNED,
  interfaces: PINNED.interfaces.map((iface, i) => ({ ...iface, isDown: i === PINNED.uplink.iface })),
};
/** All of 192.0.0.0/16 is on the uplink's link: more hosts than there is room for. */
export const ON_LINK = { ...PINNED, uplink: { ...PINNED.uplink, prefix: 16 } };
export const NEAR = "192.0.0.0";
/** The last 16 bits of such hosts' addresses. */
const FIRST_STRANGER = 0x0300;
const LAST_STRANGER = 0xff00;

/** The same frame, again and again. */
const same =
  (keep: (mill: Treadmill) => Kept, settings = PINNED): Drive =>
  () => {
    const mill = new Treadmill(settings);
    const kept = keep(mill);
    return () => mill.put(kept);
  };

const fromWork = (packet: Uint8Array, settings = PINNED): Drive =>
  same((mill) => mill.keepFrom(WORK_HOST, packet), settings);
const fromOutside = (packet: Uint8Array, settings = PINNED): Drive =>
  same((mill) => mill.keepFrom(REMOTE, packet), settings);

/** A datagram of "work" from another port each time. */
const fromAnyPort =
  (settings: Settings, prepare: (mill: Treadmill) => void = () => {}): Drive =>
  () => {
    const mill = new Treadmill(settings);
    prepare(mill);
    const kept = mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS }, SMALL));
    let port = 0;
    return () => {
      mill.set16(kept, SOURCE_PORT, 10_000 + (port++ % 50_000));
      return mill.put(kept);
    };
  };

/** Opens a TCP connection that nobody else may end. */
export function connect(mill: Treadmill, sourcePort: number): void {
  const ends = { ...OUT, sourcePort, destinationPort: 80 };
  const back = { ...BACK, sourcePort: 80, destinationPort: sourcePort };
  mill.put(mill.keepFrom(WORK_HOST, tcp({ ...ends, flags: "S", sequence: 100 })));
  mill.put(mill.keepFrom(REMOTE, tcp({ ...back, flags: "S.", sequence: 900, acknowledgment: 101 })));
  mill.put(mill.keepFrom(WORK_HOST, tcp({ ...ends, flags: ".", sequence: 101, acknowledgment: 901 })));
}

/** Two connections that nobody else may end. */
function connectTwo(mill: Treadmill): void {
  connect(mill, 5000);
  connect(mill, 5001);
}

/** A datagram to a host on the uplink's link that nobody knows: another one each time. */
const toStrangers =
  (settings: Settings): Drive =>
  () => {
    const mill = new Treadmill(settings);
    const kept = mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS, destination: NEAR }, SMALL));
    let host = FIRST_STRANGER;
    return () => {
      mill.set16(kept, DESTINATION_LOW, host);
      // Those of the beginning may have been noted.
      host = host === LAST_STRANGER ? FIRST_STRANGER + 10_000 : host + 1;
      return mill.put(kept);
    };
  };

/** A fragment of a packet of its own each time. @param second comes behind it, of the same packet */
const fragments =
  (first: number, second?: number): Drive =>
  () => {
    const mill = new Treadmill();
    const parts = [first, second ?? first].map((fragment) =>
      mill.keepFrom(WORK_HOST, ipv4({ ...OUT, fragment }, 17, udp({ ...OUT, ...PORTS }, payload(56)).subarray(20))),
    );
    let id = 0;
    return () => {
      id++;
      for (let i = 0; i < 2; i++) mill.set16(parts[i], IDENTIFICATION, id & 0xffff);
      const verdict = mill.put(parts[0]);
      return second === undefined ? verdict : mill.put(parts[1]);
    };
  };

/** As many fragments of one packet wait as may; then one of another packet each time, until the first packet is forgotten. */
const tooManyFragments: Drive = () => {
  const mill = new Treadmill();
  const kept = mill.keepFrom(WORK_HOST, ipv4({ ...OUT, fragment: 0x2000 }, 17, payload(8)));
  let id = 0;
  const next = (offset: number) => {
    mill.set16(kept, IDENTIFICATION, id & 0xffff);
    mill.set16(kept, IDENTIFICATION + 2, 0x2000 | offset);
    return mill.put(kept);
  };
  let most = 1;
  while (next(most) === VERDICT.HELD) most++;
  return () => {
    for (;;) {
      id++;
      const verdict = next(1);
      if (verdict !== VERDICT.HELD) return verdict;
      for (let offset = 2; offset < most; offset++) next(offset);
    }
  };
};

const arpFrom = (host: string, senderMac: string, targetIp: string, settings = PINNED): Drive =>
  same(
    (mill) =>
      mill.keep(
        WORK_INTERFACE,
        ethernet(
          senderMac,
          OUR_MAC[WORK_INTERFACE],
          ARP_TYPE,
          arp({ operation: "request", senderMac, senderIp: host, targetIp }),
        ),
      ),
    settings,
  );

/** An answer of the name server to "work", which waits until control says so: at once. */
const heldAnswer: Drive = () => {
  let shown = 0;
  const control = {
    answered: () => {},
    passing: (id: number) => {
      shown = id;
    },
  };
  const mill = new Treadmill(withWork({ watchNames: true }), control);
  const question = { source: WORK_HOST, destination: GATEWAY, sourcePort: 5000, destinationPort: 53 };
  mill.put(mill.keepFrom(WORK_HOST, udp(question, SMALL)));
  const answer = mill.keepFrom(
    GATEWAY,
    udp({ source: GATEWAY, destination: OUTSIDE, sourcePort: 53, destinationPort: 5000 }, payload(200)),
  );
  return () => {
    const verdict = mill.put(answer);
    mill.router.releaseAnswer(shown);
    return verdict;
  };
};

/** An answer to a question of control's. */
const takenAnswer: Drive = () => {
  const mill = new Treadmill(PINNED, { answered: () => {}, passing: () => {} });
  const server = ip(GATEWAY);
  const question = Uint8Array.of(1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0);
  const answer = mill.keepFrom(
    GATEWAY,
    udp({ source: GATEWAY, destination: OUTSIDE, sourcePort: 53, destinationPort: 0 }, question),
  );
  mill.set16(answer, 40, 0); // no checksum
  return () => {
    mill.router.ask(1, server, question);
    mill.set16(answer, SOURCE_PORT + 2, mill.sentPort());
    return mill.put(answer);
  };
};

/** A host of "lan" has the protocol without ports, another one wants it. */
const noPort: Drive = () => {
  const mill = new Treadmill();
  for (const host of [LAN_HOST, LAN_HOST_2]) mill.put(mill.keepRequest(host, LAN_GATEWAY));
  mill.put(mill.keepFrom(LAN_HOST, ipv4({ source: LAN_HOST, destination: REMOTE }, GRE, SMALL)));
  const kept = mill.keepFrom(LAN_HOST_2, ipv4({ source: LAN_HOST_2, destination: REMOTE }, GRE, SMALL));
  return () => mill.put(kept);
};

/** One who has failed to answer. */
const unresolved: Drive = () => {
  const mill = new Treadmill();
  const kept = mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS, destination: "192.0.2.99" }, SMALL));
  mill.put(kept);
  for (let second = 0; second < 3; second++) mill.wait(1000);
  return () => mill.put(kept);
};

const openFlow: Drive = () => {
  const mill = new Treadmill();
  const out = mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS }, SMALL));
  return () => mill.put(out);
};

/** "Fragmentation needed" about a packet that needed none. */
const errorAboutFlow: Drive = () => {
  const mill = new Treadmill();
  mill.put(mill.keepFrom(WORK_HOST, udp({ ...OUT, ...PORTS }, SMALL)));
  const asSent = udp({ source: OUTSIDE, destination: REMOTE, ...PORTS }, SMALL);
  const error = icmp({ source: REMOTE, destination: OUTSIDE, type: 3, code: 4, rest: 1400 }, asSent);
  const kept = mill.keepFrom(REMOTE, error);
  return () => mill.put(kept);
};

const outsideTheWindow: Drive = () => {
  const mill = new Treadmill();
  connect(mill, 5000);
  const segment = tcp({
    ...OUT,
    sourcePort: 5000,
    destinationPort: 80,
    flags: ".",
    sequence: 1e9,
    acknowledgment: 901,
  });
  const kept = mill.keepFrom(WORK_HOST, segment);
  return () => mill.put(kept);
};

const datagram = udp({ ...OUT, ...PORTS }, SMALL);
const unknownSegment = tcp({ ...OUT, ...PORTS, flags: ".", sequence: 1, acknowledgment: 1 });
const orphan = icmp(
  { source: REMOTE, destination: OUTSIDE, type: 3, code: 1 },
  udp({ ...BACK, ...OUT, source: OUTSIDE }, SMALL),
);
const lies = vnet({ flags: 1, checksumStart: 34, checksumOffset: 0 });
const tiny = vnet({ gsoType: GSO.TCPV4, gsoSize: 1 });
const NOBODYS_MAC = "02:00:00:00:09:09";
const framed = (type: number) => ethernet(HOST_MAC[WORK_HOST], OUR_MAC[WORK_INTERFACE], type, SMALL);

/** With IPv6, by which the gateway is to be asked for. */
export const PINNED6: Settings = { ...PINNED, uplink: { ...PINNED.uplink, ipv6: UPLINK6 }, clients: SETTINGS6.clients };
const toUs = { mac: GATEWAY6_MAC, target: GATEWAY6, destination: OUTSIDE6, destinationMac: OUR_MAC[UPLINK] };
const ofDiscovery = (iface: number, fields: Advertisement): Drive =>
  same((mill) => mill.keep(iface, advertisement(fields)), PINNED6);

export const VERDICT_DRIVES: Readonly<Record<Judged, Drive>> = {
  FORWARDED: openFlow,
  ANSWERED: arpFrom(WORK_HOST, HOST_MAC[WORK_HOST], WORK_GATEWAY),
  // Of 1000 flows at a time the oldest gives way to the next, and its frame with it.
  QUEUED: toStrangers({ ...ON_LINK, clients: limited({ flows: 100 }).clients }),
  HELD: fragments(0x2001),
  ANSWER_HELD: heldAnswer,
  TAKEN: takenAnswer,
  ARP_TAKEN: same((mill) => mill.keepReply(GATEWAY)),
  ND_TAKEN: ofDiscovery(UPLINK, { ...toUs, flags: OVERRIDE }),
  NOT_TO_US: same((mill) => mill.keep(WORK_INTERFACE, ethernet(HOST_MAC[WORK_HOST], NOBODYS_MAC, 0x0800, datagram))),
  ETHERTYPE: same((mill) => mill.keep(WORK_INTERFACE, framed(0x88cc))),
  NO_IPV6: same((mill) => mill.keep(WORK_INTERFACE, framed(0x86dd))),
  VLAN: same((mill) => mill.keep(WORK_INTERFACE, framed(0x8100))),
  ARP_NOT_FOR_US: same((mill) => mill.keepRequest(LAN_HOST, LAN_HOST_2)),
  ARP_SPOOFED: arpFrom(WORK_HOST, NOBODYS_MAC, WORK_GATEWAY),
  ND_NOT_FOR_US: same(
    (mill) => mill.keep(LAN_INTERFACE, solicitation({ mac: LAN_HOST6_MAC, source: LAN_HOST6, target: REMOTE6 })),
    PINNED6,
  ),
  ND_SPOOFED: ofDiscovery(UPLINK, { ...toUs, target: LAN_HOST6, flags: OVERRIDE }),
  SPOOFED: fromWork(udp({ ...OUT, ...PORTS, source: "10.137.0.11" }, SMALL)),
  MAC_SPOOFED: same((mill) =>
    mill.keep(WORK_INTERFACE, ethernet(NOBODYS_MAC, OUR_MAC[WORK_INTERFACE], 0x0800, datagram)),
  ),
  UNROUTABLE: fromWork(udp({ ...OUT, ...PORTS, destination: "127.0.0.1" }, SMALL)),
  CLIENT_TO_CLIENT: fromWork(udp({ ...OUT, ...PORTS, destination: LAN_HOST }, SMALL)),
  TO_FIREWALL: fromWork(udp({ ...OUT, ...PORTS, destination: WORK_GATEWAY }, SMALL)),
  REFUSED: fromWork(datagram, withWork({ ruleset: compileRuleset([{ ...ANYTHING, accept: false }], true) })),
  UNSOLICITED: fromOutside(udp(BACK, SMALL)),
  IP_OPTIONS: fromWork(
    udp({ ...OUT, ...PORTS, options: Uint8Array.of(148, 4, 0, 0) }, SMALL),
    withWork({ scrub: { ...NO_SCRUB, dropOptions: true } }),
  ),
  TTL: fromWork(udp({ ...OUT, ...PORTS, ttl: 1 }, SMALL)),
  TOO_BIG: fromWork(udp({ ...OUT, ...PORTS }, payload(800)), withMtu(600)),
  TCP_STATE: fromWork(unknownSegment),
  TCP_WINDOW: outsideTheWindow,
  ICMP_ORPHAN: fromOutside(orphan),
  ICMP_MTU: errorAboutFlow,
  ICMP_TYPE: fromWork(icmp({ ...OUT, type: 5 }, SMALL)),
  FRAGMENT: fragments(0x2000, 0x2000),
  FRAGMENT_OVERLAP: fragments(0x2000, 0x2001),
  FRAGMENT_LIMIT: tooManyFragments,
  TABLE_FULL: fromAnyPort(withNat({ maxFlows: 2 }), connectTwo),
  NEIGHBOURS_FULL: toStrangers({ ...ON_LINK, nat: { ...PINNED.nat, maxFlows: 10_000 } }),
  NO_PORT: noPort,
  CLIENT_FLOWS: fromAnyPort(limited({ flows: 2 }), connectTwo),
  CLIENT_MAPPINGS: fromAnyPort(limited({ mappings: 2 }), connectTwo),
  CLIENT_RATE: fromAnyPort(limited({ flowsPerSecond: 2 }), connectTwo),
  EGRESS_DOWN: fromWork(datagram, UPLINK_DOWN),
  UNRESOLVED: unresolved,
  ARP_QUEUE_FULL: fromWork(udp({ ...OUT, ...PORTS, destination: "192.0.2.99" }, SMALL)),
  OFFLOAD: same((mill) => mill.keepFrom(WORK_HOST, datagram, lies)),
  SEGMENTS: same((mill) => mill.keepFrom(WORK_HOST, unknownSegment, tiny)),
};
