// Who may send from which address and MAC address, on which interface; and what becomes of frames from all others.
import { describe, expect, test } from "bun:test";
import {
  ARP_TYPE,
  arp,
  ethernet,
  fragmented,
  IPV4_TYPE,
  icmp,
  ip,
  mac,
  payload,
  tcp,
  udp,
} from "../../../lab/frames.ts";
import { UDP } from "../../../lab/protocols.ts";
import {
  BROADCAST,
  dropped,
  forwarded,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  INTERFACES,
  LAN,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  Lab,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";

const PORTS = { sourcePort: 4000, destinationPort: 80 };
const OUT = { source: WORK_HOST, destination: REMOTE, ...PORTS };
const OUTSIDE_OUT = { ...OUT, source: OUTSIDE, ttl: 63 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 80, destinationPort: 4000 };

/** The packet in a frame of any MAC addresses. */
function framed(sourceMac: string, destinationMac: string, packet: Uint8Array): Uint8Array {
  return ethernet(sourceMac, destinationMac, IPV4_TYPE, packet);
}

describe("from a client", () => {
  test("only its own source addresses pass", () => {
    const lab = new Lab();
    const forged = [
      REMOTE,
      LAN_HOST,
      WORK_GATEWAY,
      OUTSIDE,
      GATEWAY,
      "0.0.0.0",
      "127.0.0.1",
      "224.0.0.1",
      BROADCAST_IP,
    ];
    for (const source of [...forged, "10.137.0.11"]) {
      expect(lab.from(WORK_HOST, udp({ ...OUT, source }, payload(1)))).toEqual(dropped("source address spoofed"));
    }
    for (const source of [...forged, WORK_HOST, LAN_GATEWAY, "192.168.1.0", "192.168.1.255", "192.168.2.20"]) {
      if (source === LAN_HOST) continue;
      expect(lab.from(LAN_HOST, udp({ ...OUT, source }, payload(1)))).toEqual(dropped("source address spoofed"));
    }
  });

  test("both addresses of a network of two may be hosts, but for ours (RFC 3021)", () => {
    const two = { ...LAN_SETTINGS, network: ip("192.168.1.20"), prefix: 31 };
    for (const [host, gateway] of [
      [LAN_HOST, LAN_HOST_2],
      [LAN_HOST_2, LAN_HOST],
    ]) {
      const lab = new Lab({ settings: withClient({ ...two, gateway: ip(gateway) }) });
      expect(lab.from(host, udp({ ...OUT, source: host }, payload(1)))).toEqual(
        forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))),
      );
      expect(lab.from(gateway, udp({ ...OUT, source: gateway }, payload(1)))).toEqual(
        dropped("source address spoofed"),
      );
    }
  });

  test("a forged source address reaches neither us nor another client", () => {
    const lab = new Lab();
    for (const destination of [WORK_GATEWAY, OUTSIDE, LAN_HOST, WORK_HOST]) {
      const packet = icmp({ source: LAN_HOST, destination, type: 8 }, payload(8));
      expect(lab.from(WORK_HOST, packet)).toEqual(dropped("source address spoofed"));
    }
  });

  test("nothing passes to another client, nor to its own network", () => {
    const lab = new Lab();
    const cases = [
      [WORK_HOST, LAN_HOST],
      [WORK_HOST, WORK_HOST],
      [LAN_HOST, WORK_HOST],
      [LAN_HOST, LAN_HOST_2],
      [LAN_HOST, "192.168.1.255"],
    ];
    for (const [source, destination] of cases) {
      for (const packet of [
        udp({ ...OUT, source, destination }, payload(1)),
        tcp({ ...OUT, source, destination, flags: "S" }),
        icmp({ source, destination, type: 8 }, payload(1)),
      ]) {
        expect(lab.from(source, packet)).toEqual(dropped("to another client"));
      }
    }
  });

  test("nothing passes to addresses that no host has", () => {
    const lab = new Lab();
    for (const destination of [
      "0.0.0.0",
      "0.1.2.3",
      "127.0.0.1",
      "169.254.1.1",
      "224.0.0.251",
      "239.255.255.250",
      "240.0.0.1",
      BROADCAST_IP,
      "192.0.2.0",
      "192.0.2.255",
    ]) {
      expect(lab.from(WORK_HOST, udp({ ...OUT, destination }, payload(1)))).toEqual(
        dropped("destination not routable"),
      );
    }
  });
});

const BROADCAST_IP = "255.255.255.255";

describe("from the uplink", () => {
  test("no source address of a client's, of ours, or of nobody passes, whomever it is for", () => {
    const lab = new Lab();
    const sources = [WORK_HOST, LAN_HOST, "192.168.1.255", OUTSIDE, WORK_GATEWAY, LAN_GATEWAY];
    for (const source of [...sources, "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]) {
      for (const destination of [OUTSIDE, WORK_HOST, LAN_HOST]) {
        expect(lab.from(REMOTE, udp({ ...BACK, source, destination }, payload(1)))).toEqual(
          dropped("source address spoofed"),
        );
        expect(lab.from(REMOTE, icmp({ source, destination, type: 8 }, payload(1)))).toEqual(
          dropped("source address spoofed"),
        );
      }
    }
  });
});

describe("an address of a client that may come", () => {
  const ABSENT = "10.137.0.20";
  const EXPECTING = {
    ...SETTINGS,
    uplink: { ...SETTINGS.uplink, inside: [ip(ABSENT), ip(WORK_HOST), ip("192.0.2.9")] },
  };

  test("does not pass as a source from the uplink, in whatever packet, nor by ARP", () => {
    const lab = new Lab({ settings: EXPECTING });
    const fields = { source: ABSENT, destination: OUTSIDE };
    const whole = udp({ ...BACK, ...fields }, payload(1));
    const [fragment] = fragmented(udp({ ...BACK, ...fields, fragment: 0 }, payload(1200)), 600);
    for (const packet of [
      whole,
      fragment,
      icmp({ ...fields, type: 8 }, payload(1)),
      icmp({ ...fields, type: 3 }, whole),
    ]) {
      expect(lab.from(REMOTE, packet)).toEqual(dropped("source address spoofed"));
    }
    const claim = arp({ operation: "request", senderMac: HOST_MAC[GATEWAY], senderIp: "192.0.2.9", targetIp: OUTSIDE });
    const frame = ethernet(HOST_MAC[GATEWAY], BROADCAST, ARP_TYPE, claim);
    expect(lab.receive(UPLINK, frame)).toEqual(dropped("ARP spoofed"));
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
  });

  test("is not sought behind the uplink", () => {
    const lab = new Lab({ settings: EXPECTING });
    expect(lab.from(WORK_HOST, udp({ ...OUT, destination: ABSENT }, payload(1)))).toEqual(
      dropped("destination not routable"),
    );
  });

  test("passes until it is told, and then ends the flows with it, whoever opened them", () => {
    const port = { protocol: UDP, portLow: 5000, portHigh: 5000, toPort: 5000 };
    const forwards = [{ ...port, client: 0, to: ip(WORK_HOST), from: [] }];
    const lab = new Lab({ settings: { ...SETTINGS, forwards } });
    const out = udp({ ...OUT, destination: ABSENT }, payload(1));
    const back = udp({ ...BACK, source: ABSENT }, payload(1));
    const inbound = udp({ ...BACK, source: ABSENT, destinationPort: 5000 }, payload(1));
    const pass = () => [lab.from(WORK_HOST, out), lab.from(REMOTE, back), lab.from(REMOTE, inbound)];
    expect(pass().map(({ verdict }) => verdict)).toEqual(["forwarded", "forwarded", "forwarded"]);
    lab.apply({ ...EXPECTING, forwards });
    expect(pass()).toEqual([
      dropped("destination not routable"),
      dropped("source address spoofed"),
      dropped("source address spoofed"),
    ]);
    lab.apply({ ...SETTINGS, forwards });
    expect(pass().map(({ verdict }) => verdict)).toEqual(["forwarded", "forwarded", "forwarded"]);
  });
});

describe("a flow's packet", () => {
  test("that came in on another interface is not the flow's", () => {
    const lab = new Lab();
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
    const out = udp(OUT, payload(2));
    expect(lab.receive(LAN, framed(HOST_MAC[WORK_HOST], OUR_MAC[LAN], out))).toEqual(dropped("source address spoofed"));
    expect(lab.receive(UPLINK, framed(HOST_MAC[WORK_HOST], OUR_MAC[UPLINK], out))).toEqual(
      dropped("source address spoofed"),
    );
    const back = udp(BACK, payload(3));
    for (const iface of [WORK, LAN]) {
      expect(lab.receive(iface, framed(HOST_MAC[GATEWAY], OUR_MAC[iface], back))).toEqual(
        dropped("source address spoofed"),
      );
    }
    expect(lab.from(REMOTE, back)).toEqual(
      forwarded(WORK_HOST, udp({ ...BACK, destination: WORK_HOST, ttl: 63 }, payload(3))),
    );
  });
});

describe("MAC addresses", () => {
  const stranger = "02:00:00:00:0b:ad";

  test("that are not ours are not for us, on any interface", () => {
    const lab = new Lab();
    for (const other of [OUR_MAC[LAN], OUR_MAC[UPLINK], stranger]) {
      expect(lab.receive(WORK, framed(HOST_MAC[WORK_HOST], other, udp(OUT, payload(1))))).toEqual(
        dropped("not to our MAC address"),
      );
    }
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    for (const other of [OUR_MAC[LAN], OUR_MAC[WORK], stranger]) {
      expect(lab.receive(UPLINK, framed(HOST_MAC[GATEWAY], other, udp(BACK, payload(1))))).toEqual(
        dropped("not to our MAC address"),
      );
    }
  });

  test("of groups are not for us", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    for (const group of [BROADCAST, "01:00:5e:00:00:01", "53:54:00:00:00:01"]) {
      expect(lab.receive(WORK, framed(HOST_MAC[WORK_HOST], group, udp(OUT, payload(1))))).toEqual(
        dropped("not to our MAC address"),
      );
      const ping = icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8 }, payload(8));
      expect(lab.receive(WORK, framed(HOST_MAC[WORK_HOST], group, ping))).toEqual(dropped("not to our MAC address"));
    }
  });

  test("of groups are no sender's, so that no answer is sent to a group", () => {
    const lab = new Lab();
    for (const group of [BROADCAST, "01:00:5e:00:00:01"]) {
      const ping = icmp({ source: LAN_HOST, destination: LAN_GATEWAY, type: 8 }, payload(8));
      expect(lab.receive(LAN, framed(group, OUR_MAC[LAN], ping))).toEqual(dropped("source MAC address spoofed"));
      const refused = udp({ ...OUT, source: LAN_HOST, destination: LAN_GATEWAY }, payload(8));
      expect(lab.receive(LAN, framed(group, OUR_MAC[LAN], refused))).toEqual(dropped("source MAC address spoofed"));
    }
  });

  test("that are pinned are demanded of new flows, of known flows, and of packets to us", () => {
    const lab = new Lab({ settings: withClient({ ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]) }) });
    const forged = (packet: Uint8Array) => lab.receive(WORK, framed(stranger, OUR_MAC[WORK], packet));
    expect(forged(udp(OUT, payload(1)))).toEqual(dropped("source MAC address spoofed"));
    expect(lab.router.flows.size).toBe(0);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
    expect(forged(udp(OUT, payload(1)))).toEqual(dropped("source MAC address spoofed"));
    expect(forged(icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8 }, payload(8)))).toEqual(
      dropped("source MAC address spoofed"),
    );
    const expired = udp({ ...OUT, ttl: 1 }, payload(1));
    expect(forged(expired)).toEqual(dropped("source MAC address spoofed"));
  });

  test("of any unicast kind are ours in replay, and still no group's", () => {
    const interfaces = INTERFACES.map((iface) => ({ ...iface, anyMac: true }));
    const lab = new Lab({ settings: { ...SETTINGS, interfaces } });
    expect(lab.receive(WORK, framed(HOST_MAC[WORK_HOST], stranger, udp(OUT, payload(1))))).toEqual(
      forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))),
    );
    expect(lab.receive(WORK, framed(HOST_MAC[WORK_HOST], BROADCAST, udp(OUT, payload(1))))).toEqual(
      dropped("not to our MAC address"),
    );
  });
});

test("EtherTypes other than IPv4 and ARP are dropped", () => {
  const lab = new Lab();
  for (const type of [0x8101, 0x88cc, 0x0805, 0x0000, 46, 0xffff]) {
    const frame = ethernet(HOST_MAC[WORK_HOST], OUR_MAC[WORK], type, payload(60));
    expect(lab.receive(WORK, frame)).toEqual(dropped("EtherType not handled"));
  }
});

test("IPv6 is dropped under its own name where nobody has it, to whomever it goes", () => {
  const lab = new Lab();
  for (const destination of [OUR_MAC[WORK], "33:33:00:00:00:01", BROADCAST, HOST_MAC[LAN_HOST]]) {
    const frame = ethernet(HOST_MAC[WORK_HOST], destination, 0x86dd, payload(60));
    expect(lab.receive(WORK, frame)).toEqual(dropped("IPv6 is not configured"));
    expect(lab.receive(UPLINK, frame)).toEqual(dropped("IPv6 is not configured"));
  }
});

test("an interface that is no client's and not the uplink forwards and answers nothing", () => {
  const interfaces = [
    ...INTERFACES,
    { name: "spare", index: 9, mac: mac("52:54:00:00:00:03"), anyMac: false, mtu: 1500, clampMss: false },
  ];
  const lab = new Lab({ settings: { ...SETTINGS, interfaces } });
  const frame = frameFrom(WORK_HOST, udp(OUT, payload(1)));
  frame.set(mac("52:54:00:00:00:03"), 0);
  expect(lab.receive(3, frame)).toEqual(dropped("source address spoofed"));
});
