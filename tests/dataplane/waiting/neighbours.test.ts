// ARP through the router: what we answer, what we ask and how often, what we believe, and which frames wait meanwhile.
import { describe, expect, test } from "bun:test";
import {
  ARP_TYPE,
  type ArpFields,
  arp,
  ethernet,
  IPV4_TYPE,
  icmp,
  ip,
  mac,
  payload,
  udp,
} from "../../../lab/frames.ts";
import {
  BROADCAST,
  dropped,
  forwarded,
  frameTo,
  GATEWAY,
  HOST_MAC,
  LAN,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  Lab,
  NEIGHBOUR,
  OUR_MAC,
  OUTSIDE,
  type Outcome,
  REMOTE,
  SETTINGS,
  shown,
  shownTo,
  UPLINK,
  UPLINK_SETTINGS,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";

const ANYONE = "0.0.0.0";
const STRANGER_MAC = "02:00:00:00:0b:ad";

/** The frame with another source MAC address. */
function from(source: string, frame: Uint8Array): Uint8Array {
  const changed = frame.slice();
  changed.set(mac(source), 6);
  return changed;
}

/** A broadcast request as a host makes it. */
function request(senderMac: string, senderIp: string, targetIp: string): Uint8Array {
  return ethernet(senderMac, BROADCAST, ARP_TYPE, arp({ operation: "request", senderMac, senderIp, targetIp }));
}

/** A host's reply to us. */
function reply(iface: number, senderMac: string, senderIp: string, targetIp: string): Uint8Array {
  const fields: ArpFields = { operation: "reply", senderMac, senderIp, targetMac: OUR_MAC[iface], targetIp };
  return ethernet(senderMac, OUR_MAC[iface], ARP_TYPE, arp(fields));
}

/** Our answer to a host: `address` is at our MAC address. */
function answer(iface: number, address: string, targetMac: string, targetIp: string): Outcome {
  const packet = arp({ operation: "reply", senderMac: OUR_MAC[iface], senderIp: address, targetMac, targetIp });
  return { verdict: "answered", sent: [shown(iface, ethernet(OUR_MAC[iface], targetMac, ARP_TYPE, packet))] };
}

/** Our own question, as text. */
function question(iface: number, senderIp: string, targetIp: string): string {
  return shown(iface, request(OUR_MAC[iface], senderIp, targetIp));
}

const ASK_GATEWAY = question(UPLINK, OUTSIDE, GATEWAY);
const ASK_NEIGHBOUR = question(UPLINK, OUTSIDE, NEIGHBOUR);
const ASK_WORK = question(WORK, WORK_GATEWAY, WORK_HOST);

const OUT = { source: WORK_HOST, destination: NEIGHBOUR, sourcePort: 5000, destinationPort: 5001 };
const OUT_OUTSIDE = { ...OUT, source: OUTSIDE, ttl: 63 };

/** The frame that a packet of `length` bytes to the neighbour leaves in. */
function toNeighbour(length: number): string {
  return shownTo(NEIGHBOUR, udp(OUT_OUTSIDE, payload(length)));
}

/** A lab where everybody but the neighbour on the uplink answers. */
function labWithoutNeighbour(): Lab {
  return new Lab({ answering: [GATEWAY, WORK_HOST, LAN_HOST] });
}

describe("ARP requests", () => {
  test("of a point-to-point client are answered for every address but its own", () => {
    const lab = new Lab();
    for (const target of [WORK_GATEWAY, "10.137.0.11", "8.8.8.8", GATEWAY, OUTSIDE, LAN_GATEWAY, LAN_HOST]) {
      expect(lab.receive(WORK, request(HOST_MAC[WORK_HOST], WORK_HOST, target))).toEqual(
        answer(WORK, target, HOST_MAC[WORK_HOST], WORK_HOST),
      );
    }
    const own = lab.receive(WORK, request(HOST_MAC[WORK_HOST], WORK_HOST, WORK_HOST));
    expect(own.sent).toEqual([]);
  });

  test("of a network's hosts are answered for the gateway only", () => {
    const lab = new Lab();
    expect(lab.receive(LAN, request(HOST_MAC[LAN_HOST], LAN_HOST, LAN_GATEWAY))).toEqual(
      answer(LAN, LAN_GATEWAY, HOST_MAC[LAN_HOST], LAN_HOST),
    );
    for (const target of [LAN_HOST_2, LAN_HOST, "192.168.1.99", "8.8.8.8", OUTSIDE, WORK_HOST, WORK_GATEWAY]) {
      expect(lab.receive(LAN, request(HOST_MAC[LAN_HOST], LAN_HOST, target)).sent).toEqual([]);
    }
  });

  test("on the uplink are answered for our address only", () => {
    const lab = new Lab();
    expect(lab.receive(UPLINK, request(HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE))).toEqual(
      answer(UPLINK, OUTSIDE, HOST_MAC[NEIGHBOUR], NEIGHBOUR),
    );
    for (const target of [GATEWAY, "192.0.2.253", WORK_HOST, WORK_GATEWAY, LAN_HOST, LAN_GATEWAY, "8.8.8.8"]) {
      expect(lab.receive(UPLINK, request(HOST_MAC[NEIGHBOUR], NEIGHBOUR, target))).toEqual(dropped("ARP not for us"));
    }
  });

  test("sent to our MAC address alone are answered like broadcast ones", () => {
    const lab = new Lab();
    const fields: ArpFields = {
      operation: "request",
      senderMac: HOST_MAC[LAN_HOST],
      senderIp: LAN_HOST,
      targetMac: OUR_MAC[LAN],
      targetIp: LAN_GATEWAY,
    };
    expect(lab.receive(LAN, ethernet(HOST_MAC[LAN_HOST], OUR_MAC[LAN], ARP_TYPE, arp(fields)))).toEqual(
      answer(LAN, LAN_GATEWAY, HOST_MAC[LAN_HOST], LAN_HOST),
    );
  });

  test("to another's MAC address are none of ours", () => {
    const lab = new Lab();
    const packet = arp({
      operation: "request",
      senderMac: HOST_MAC[LAN_HOST],
      senderIp: LAN_HOST,
      targetIp: LAN_GATEWAY,
    });
    expect(lab.receive(LAN, ethernet(HOST_MAC[LAN_HOST], HOST_MAC[LAN_HOST_2], ARP_TYPE, packet))).toEqual(
      dropped("not to our MAC address"),
    );
  });

  test("are answered without the padding they came with", () => {
    const lab = new Lab();
    const padded = new Uint8Array(60);
    padded.set(request(HOST_MAC[LAN_HOST], LAN_HOST, LAN_GATEWAY));
    expect(lab.receive(LAN, padded)).toEqual(answer(LAN, LAN_GATEWAY, HOST_MAC[LAN_HOST], LAN_HOST));
  });
});

describe("address probes (RFC 5227)", () => {
  test("in a network are answered for the gateway's address, and for no other in the world", () => {
    const lab = new Lab();
    expect(lab.receive(LAN, request(HOST_MAC[LAN_HOST], ANYONE, LAN_GATEWAY))).toEqual(
      answer(LAN, LAN_GATEWAY, HOST_MAC[LAN_HOST], ANYONE),
    );
    for (const target of [LAN_HOST, "169.254.7.7", "10.0.0.5", WORK_HOST, WORK_GATEWAY, OUTSIDE, REMOTE]) {
      expect(lab.receive(LAN, request(HOST_MAC[LAN_HOST], ANYONE, target))).toEqual(dropped("ARP not for us"));
    }
  });

  test("of a point-to-point client for its own address are not answered", () => {
    const lab = new Lab();
    expect(lab.receive(WORK, request(HOST_MAC[WORK_HOST], ANYONE, WORK_HOST))).toEqual(dropped("ARP not for us"));
    expect(lab.receive(WORK, request(HOST_MAC[WORK_HOST], ANYONE, WORK_GATEWAY))).toEqual(
      answer(WORK, WORK_GATEWAY, HOST_MAC[WORK_HOST], ANYONE),
    );
  });

  test("on the uplink are answered for our address only", () => {
    const lab = new Lab();
    expect(lab.receive(UPLINK, request(STRANGER_MAC, ANYONE, OUTSIDE))).toEqual(
      answer(UPLINK, OUTSIDE, STRANGER_MAC, ANYONE),
    );
    expect(lab.receive(UPLINK, request(STRANGER_MAC, ANYONE, "192.0.2.8"))).toEqual(dropped("ARP not for us"));
  });
});

describe("spoofed ARP is dropped:", () => {
  const cases: readonly (readonly [string, number, Uint8Array])[] = [
    ["a client as its gateway", WORK, request(STRANGER_MAC, WORK_GATEWAY, WORK_HOST)],
    ["a client as another client", WORK, request(STRANGER_MAC, LAN_HOST, WORK_GATEWAY)],
    ["a client as a remote host", WORK, request(STRANGER_MAC, REMOTE, WORK_GATEWAY)],
    ["a network's host as the gateway", LAN, request(STRANGER_MAC, LAN_GATEWAY, LAN_HOST)],
    ["a network's host as the network", LAN, request(STRANGER_MAC, "192.168.1.0", LAN_GATEWAY)],
    ["a network's host as broadcast", LAN, request(STRANGER_MAC, "192.168.1.255", LAN_GATEWAY)],
    ["a network's host as the uplink's gateway", LAN, request(STRANGER_MAC, GATEWAY, LAN_GATEWAY)],
    ["a host on the uplink as us", UPLINK, request(STRANGER_MAC, OUTSIDE, OUTSIDE)],
    ["a host on the uplink as a client", UPLINK, request(STRANGER_MAC, WORK_HOST, OUTSIDE)],
    ["a host on the uplink as a network's host", UPLINK, reply(UPLINK, STRANGER_MAC, LAN_HOST, OUTSIDE)],
    ["a host on the uplink as a client's gateway", UPLINK, request(STRANGER_MAC, WORK_GATEWAY, OUTSIDE)],
    ["a frame from a group", LAN, from("03:00:00:00:02:20", request(HOST_MAC[LAN_HOST], LAN_HOST, LAN_GATEWAY))],
    ["a sender with a group MAC address", LAN, request("03:00:00:00:02:20", LAN_HOST, LAN_GATEWAY)],
    ["a sender with the broadcast MAC address", LAN, request(BROADCAST, LAN_HOST, LAN_GATEWAY)],
  ];
  for (const [name, iface, frame] of cases) {
    test(name, () => {
      expect(new Lab().receive(iface, frame)).toEqual(dropped("ARP spoofed"));
    });
  }
});

describe("a virtual router, whose frames have another source address than its ARP (RFC 9568 section 8.1.2),", () => {
  const VIRTUAL_MAC = "00:00:5e:00:01:07";
  const packet = { ...OUT, destination: REMOTE };
  const translated = udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1));
  const toVirtual = {
    verdict: "forwarded",
    sent: [shown(UPLINK, ethernet(OUR_MAC[UPLINK], VIRTUAL_MAC, 0x800, translated))],
  };

  test("is reached at the address that its answer tells", () => {
    const lab = new Lab({ answering: [] });
    expect(lab.from(WORK_HOST, udp(packet, payload(1))).verdict).toBe("queued for ARP");
    expect(lab.receive(UPLINK, from(HOST_MAC[GATEWAY], reply(UPLINK, VIRTUAL_MAC, GATEWAY, OUTSIDE)))).toEqual({
      ...toVirtual,
      verdict: "ARP taken",
    });
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual(toVirtual);
  });

  test("is answered there too", () => {
    const lab = new Lab();
    expect(lab.receive(UPLINK, from(STRANGER_MAC, request(VIRTUAL_MAC, GATEWAY, OUTSIDE)))).toEqual(
      answer(UPLINK, OUTSIDE, VIRTUAL_MAC, GATEWAY),
    );
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual(toVirtual);
  });

  test("may be pinned, and no other is believed", () => {
    const settings = { ...SETTINGS, uplink: { ...UPLINK_SETTINGS, gatewayMac: mac(VIRTUAL_MAC) } };
    const lab = new Lab({ settings, answering: [] });
    expect(lab.receive(UPLINK, from(HOST_MAC[GATEWAY], reply(UPLINK, VIRTUAL_MAC, GATEWAY, OUTSIDE)))).toEqual({
      verdict: "ARP taken",
      sent: [],
    });
    expect(lab.receive(UPLINK, from(VIRTUAL_MAC, reply(UPLINK, STRANGER_MAC, GATEWAY, OUTSIDE)))).toEqual(
      dropped("ARP spoofed"),
    );
  });
});

describe("pinned MAC addresses", () => {
  const pinnedClient = withClient({ ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]) });
  const pinnedGateway = { ...SETTINGS, uplink: { ...UPLINK_SETTINGS, gatewayMac: mac(HOST_MAC[GATEWAY]) } };

  test("of a client are the only ones it may use in ARP", () => {
    const lab = new Lab({ settings: pinnedClient });
    const own = request(HOST_MAC[WORK_HOST], WORK_HOST, WORK_GATEWAY);
    for (const frame of [request(STRANGER_MAC, WORK_HOST, WORK_GATEWAY), from(STRANGER_MAC, own)]) {
      expect(lab.receive(WORK, frame)).toEqual(dropped("ARP spoofed"));
    }
    expect(lab.receive(WORK, request(HOST_MAC[WORK_HOST], WORK_HOST, WORK_GATEWAY))).toEqual(
      answer(WORK, WORK_GATEWAY, HOST_MAC[WORK_HOST], WORK_HOST),
    );
  });

  test("of a client are never asked for", () => {
    const lab = new Lab({ settings: pinnedClient, answering: [GATEWAY] });
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
    );
    const back = { source: REMOTE, destination: OUTSIDE, sourcePort: 5001, destinationPort: 5000 };
    expect(lab.from(REMOTE, udp(back, payload(1)))).toEqual(
      forwarded(WORK_HOST, udp({ ...back, destination: WORK_HOST, ttl: 63 }, payload(1))),
    );
    expect(lab.wait(2000)).toEqual([]);
  });

  test("of the gateway are used without asking, and no other is believed", () => {
    const lab = new Lab({ settings: pinnedGateway, answering: [] });
    expect(lab.last).toEqual([]);
    expect(lab.wait(5000)).toEqual([]);
    expect(lab.receive(UPLINK, reply(UPLINK, STRANGER_MAC, GATEWAY, OUTSIDE))).toEqual(dropped("ARP spoofed"));
    expect(lab.receive(UPLINK, request(STRANGER_MAC, GATEWAY, OUTSIDE))).toEqual(dropped("ARP spoofed"));
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual({
      verdict: "forwarded",
      sent: [ASK_WORK, shownTo(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1)))],
    });
  });
});

describe("the uplink's gateway", () => {
  test("is asked for and used on the uplink though it is outside its network", () => {
    const far = "198.51.100.1";
    const uplink = { ...UPLINK_SETTINGS, prefix: 32, gateway: ip(far) };
    const lab = new Lab({ settings: { ...SETTINGS, uplink }, answering: [] });
    expect(lab.last.map(({ iface, bytes }) => shown(iface, bytes))).toEqual([question(UPLINK, OUTSIDE, far)]);
    expect(lab.receive(UPLINK, reply(UPLINK, HOST_MAC[GATEWAY], far, OUTSIDE)).verdict).toBe("ARP taken");
    for (const destination of [REMOTE, far, NEIGHBOUR]) {
      const packet = { ...OUT, destination };
      expect(lab.from(WORK_HOST, udp(packet, payload(1))).sent).toContain(
        shownTo(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
      );
    }
  });

  test("is asked for at the start, once", () => {
    const lab = new Lab({ answering: [] });
    expect(lab.last.map(({ iface, bytes }) => shown(iface, bytes))).toEqual([ASK_GATEWAY]);
  });

  test("is asked for once a second, three times, and then no more", () => {
    const lab = new Lab({ answering: [] });
    expect(lab.wait(900)).toEqual([]);
    expect(lab.wait(200)).toEqual([ASK_GATEWAY]);
    expect(lab.wait(1000)).toEqual([ASK_GATEWAY]);
    expect(lab.wait(60_000)).toEqual([]);
  });

  test("is confirmed every 60 seconds while it answers", () => {
    const lab = new Lab({ answering: [] });
    expect(lab.receive(UPLINK, reply(UPLINK, HOST_MAC[GATEWAY], GATEWAY, OUTSIDE))).toEqual({
      verdict: "ARP taken",
      sent: [],
    });
    expect(lab.wait(59_000)).toEqual([]);
    expect(lab.wait(1500)).toEqual([ASK_GATEWAY]);
    lab.receive(UPLINK, reply(UPLINK, HOST_MAC[GATEWAY], GATEWAY, OUTSIDE));
    expect(lab.wait(59_000)).toEqual([]);
    expect(lab.wait(1500)).toEqual([ASK_GATEWAY]);
  });

  test("stays usable while it is being confirmed", () => {
    const lab = new Lab({ answering: [WORK_HOST] });
    lab.receive(UPLINK, reply(UPLINK, HOST_MAC[GATEWAY], GATEWAY, OUTSIDE));
    expect(lab.wait(62_500)).toEqual([ASK_GATEWAY, ASK_GATEWAY, ASK_GATEWAY]);
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
    );
  });

  test("that has a new MAC address gets its frames there", () => {
    const lab = new Lab();
    lab.receive(UPLINK, request(STRANGER_MAC, GATEWAY, GATEWAY));
    const packet = { ...OUT, destination: REMOTE };
    const frame = frameTo(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1)));
    frame.set(mac(STRANGER_MAC), 0);
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual({
      verdict: "forwarded",
      sent: [shown(UPLINK, frame)],
    });
  });
});

describe("a gateway whose MAC address is known for the case that it answers no ARP", () => {
  const FALLBACK = "fe:ff:ff:ff:ff:ff";
  const settings = { ...SETTINGS, uplink: { ...SETTINGS.uplink, gatewayFallbackMac: mac(FALLBACK) } };
  const away = { source: WORK_HOST, destination: REMOTE, sourcePort: 5000, destinationPort: 5001 };
  const left = { ...away, source: OUTSIDE, ttl: 63 };
  const toFallback = shown(UPLINK, ethernet(OUR_MAC[UPLINK], FALLBACK, IPV4_TYPE, udp(left, payload(10))));

  test("is asked, and gets what waits for it there when it does not answer; it is served on, and asked again", () => {
    const lab = new Lab({ settings, answering: [WORK_HOST] });
    expect(lab.from(WORK_HOST, udp(away, payload(10))).verdict).toBe("queued for ARP");
    expect(lab.wait(4000)).toEqual([ASK_GATEWAY, ASK_GATEWAY, toFallback]);
    for (let minute = 0; minute < 3; minute++) {
      expect(lab.wait(70_000).every((sent) => sent === ASK_GATEWAY)).toBe(true);
      expect(lab.from(WORK_HOST, udp(away, payload(10)))).toEqual({ verdict: "forwarded", sent: [toFallback] });
    }
  });

  test("is believed when it answers", () => {
    const lab = new Lab({ settings, answering: [WORK_HOST] });
    lab.wait(4000);
    lab.answering.add(GATEWAY);
    lab.wait(70_000);
    expect(lab.from(WORK_HOST, udp(away, payload(10)))).toEqual(forwarded(REMOTE, udp(left, payload(10))));
  });
});

describe("packets to a neighbour that has to be asked for", () => {
  test("wait, and leave in order when it answers", () => {
    const lab = labWithoutNeighbour();
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual({ verdict: "queued for ARP", sent: [ASK_NEIGHBOUR] });
    expect(lab.from(WORK_HOST, udp(OUT, payload(2)))).toEqual({ verdict: "queued for ARP", sent: [] });
    expect(lab.from(WORK_HOST, udp(OUT, payload(3)))).toEqual({ verdict: "queued for ARP", sent: [] });
    expect(lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE))).toEqual({
      verdict: "ARP taken",
      sent: [toNeighbour(1), toNeighbour(2), toNeighbour(3)],
    });
    expect(lab.from(WORK_HOST, udp(OUT, payload(4)))).toEqual({ verdict: "forwarded", sent: [toNeighbour(4)] });
  });

  test("leave as well when it asks for us first", () => {
    const lab = labWithoutNeighbour();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    const { verdict, sent } = lab.receive(UPLINK, request(HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE));
    expect(verdict).toBe("answered");
    expect(sent).toEqual([toNeighbour(1), ...answer(UPLINK, OUTSIDE, HOST_MAC[NEIGHBOUR], NEIGHBOUR).sent]);
  });

  test("wait at most eight at a time", () => {
    const lab = labWithoutNeighbour();
    const verdicts = Array.from({ length: 10 }, (_, i) => lab.from(WORK_HOST, udp(OUT, payload(i))).verdict);
    expect(verdicts).toEqual([
      ...new Array(8).fill("queued for ARP"),
      "dropped: ARP queue full",
      "dropped: ARP queue full",
    ]);
    const { sent } = lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE));
    expect(sent).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map(toNeighbour));
  });

  test("wait at most 128 for all neighbours together", () => {
    const lab = labWithoutNeighbour();
    const verdicts = Array.from({ length: 130 }, (_, i) => {
      const packet = udp({ ...OUT, destination: `192.0.2.${80 + (i % 130)}` }, payload(1));
      return lab.from(WORK_HOST, packet).verdict;
    });
    expect(verdicts.filter((verdict) => verdict === "queued for ARP").length).toBe(128);
    expect(verdicts.slice(128)).toEqual(new Array(2).fill("dropped: ARP queue full"));
  });

  test("are dropped when it does not answer three requests; later ones are answered by host unreachable", () => {
    const lab = labWithoutNeighbour();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    expect(lab.wait(2500)).toEqual([ASK_NEIGHBOUR, ASK_NEIGHBOUR]);
    expect(lab.wait(1000)).toEqual([]);
    const late = udp(OUT, payload(2));
    const error = { source: WORK_GATEWAY, destination: WORK_HOST, type: 3, code: 1 };
    expect(lab.from(WORK_HOST, late)).toEqual({
      verdict: "dropped: next hop does not answer ARP",
      sent: [shownTo(WORK_HOST, icmp(error, late))],
    });
    // What waited is gone for good.
    const { sent } = lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE));
    expect(sent).toEqual([]);
  });

  test("make us ask again once its failure is a second old", () => {
    const lab = labWithoutNeighbour();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    lab.wait(3500);
    expect(lab.from(WORK_HOST, udp(OUT, payload(2))).verdict).toBe("dropped: next hop does not answer ARP");
    lab.wait(1500);
    expect(lab.from(WORK_HOST, udp(OUT, payload(3)))).toEqual({ verdict: "queued for ARP", sent: [ASK_NEIGHBOUR] });
    expect(lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE)).sent).toEqual([toNeighbour(3)]);
  });

  test("of a client wait for the client's answer in the other direction", () => {
    const lab = new Lab({ answering: [GATEWAY] });
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1))).sent).toEqual([
      ASK_WORK,
      shownTo(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
    ]);
    const back = { source: REMOTE, destination: OUTSIDE, sourcePort: 5001, destinationPort: 5000 };
    expect(lab.from(REMOTE, udp(back, payload(9)))).toEqual({ verdict: "queued for ARP", sent: [] });
    expect(lab.receive(WORK, reply(WORK, HOST_MAC[WORK_HOST], WORK_HOST, WORK_GATEWAY)).sent).toEqual([
      shownTo(WORK_HOST, udp({ ...back, destination: WORK_HOST, ttl: 63 }, payload(9))),
    ]);
  });
});

describe("a neighbour", () => {
  test("that stops answering is asked five times more, and then its packets wait", () => {
    const lab = labWithoutNeighbour();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE));
    const asked: string[] = [];
    for (let second = 0; second < 68; second++) {
      asked.push(...lab.wait(1000));
      if (second % 20 === 0) lab.from(WORK_HOST, udp(OUT, payload(1)));
    }
    expect(asked.every((frame) => frame === ASK_NEIGHBOUR)).toBe(true);
    expect(asked.length).toBeGreaterThanOrEqual(6);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1))).verdict).not.toBe("forwarded");
  });

  test("that answered nobody's question is not noted", () => {
    const lab = labWithoutNeighbour();
    expect(lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE))).toEqual(
      dropped("ARP not for us"),
    );
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual({ verdict: "queued for ARP", sent: [ASK_NEIGHBOUR] });
  });

  test("of a client's is noted when it asks for us, so that its first answer need not wait", () => {
    const lab = new Lab({ answering: [GATEWAY] });
    lab.receive(LAN, request(HOST_MAC[LAN_HOST], LAN_HOST, LAN_GATEWAY));
    const packet = { ...OUT, source: LAN_HOST, destination: REMOTE };
    expect(lab.from(LAN_HOST, udp(packet, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
    );
  });

  test("that no flow needs is forgotten after five minutes", () => {
    const lab = labWithoutNeighbour();
    lab.from(WORK_HOST, udp(OUT, payload(1)));
    lab.receive(UPLINK, reply(UPLINK, HOST_MAC[NEIGHBOUR], NEIGHBOUR, OUTSIDE));
    lab.wait(40_000); // the flow ends
    expect(lab.router.flows.size).toBe(0);
    lab.wait(240_000);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1))).verdict).toBe("forwarded");
    lab.wait(400_000);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual({
      verdict: "queued for ARP",
      sent: [ASK_NEIGHBOUR],
    });
  });

  test("forged in a network by the thousand does not keep other clients from theirs", () => {
    const settings = withClient({ ...LAN_SETTINGS, network: 0x0a000000, prefix: 9, gateway: 0x0a000001 });
    const lab = new Lab({ settings });
    for (let i = 0; i < 5000; i++) {
      const sender = `10.1.${i >>> 8}.${i & 255}`;
      lab.receive(LAN, request(STRANGER_MAC, sender, "10.0.0.1"));
    }
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, ttl: 63 }, payload(1))),
    );
  });

  test("with a pinned MAC address makes room like any other", () => {
    const pinned = { ...LAN_SETTINGS, network: 0x0a000000, prefix: 9, gateway: 0x0a000001, mac: mac(STRANGER_MAC) };
    const lab = new Lab({ settings: withClient(pinned) });
    for (let i = 0; i < 5000; i++) lab.receive(LAN, request(STRANGER_MAC, `10.1.${i >>> 8}.${i & 255}`, "10.0.0.1"));
    const packet = { ...OUT, destination: REMOTE };
    expect(lab.from(WORK_HOST, udp(packet, payload(1))).verdict).toBe("forwarded");
  });

  test("that has failed does not get what was meant for it, nor does who comes after it", () => {
    // The client has a flow but does not answer ARP; errors about its flow come in.
    const lab = new Lab({ answering: [GATEWAY] });
    const packet = { ...OUT, source: LAN_HOST, destination: REMOTE };
    lab.from(LAN_HOST, udp(packet, payload(1)));
    lab.wait(3500);
    const about = udp({ ...packet, source: OUTSIDE, ttl: 1 }, payload(1));
    const error = icmp({ source: REMOTE, destination: OUTSIDE, type: 3, code: 3 }, about);
    expect(lab.from(REMOTE, error)).toEqual(dropped("next hop does not answer ARP"));
    lab.wait(60_000);
    for (let i = 30; i < 40; i++) {
      const other = `192.168.1.${i}`;
      const { sent } = lab.receive(LAN, request(STRANGER_MAC, other, LAN_GATEWAY));
      expect(sent).toEqual(answer(LAN, LAN_GATEWAY, STRANGER_MAC, other).sent);
    }
  });
});
