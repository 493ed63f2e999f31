// RFC 7084, "Basic Requirements for IPv6 Customer Edge Routers": a test or more for each requirement that applies to a router whose
// addresses and prefixes are written down, by its name in docs/NAT.md. What asks for delegation or advertisements is not built.

import { describe, expect, test } from "bun:test";
import {
  advertisement,
  groupMac,
  groupOf,
  linkLocalOf,
  OVERRIDE,
  ROUTER,
  SOLICITED,
  solicitation,
} from "../../lab/discovery-frames.ts";
import { concat, ethernet, fromHex, payload, toHex } from "../../lab/frames.ts";
import { IPV6_TYPE, icmpv6, ip6, udp6 } from "../../lab/frames6.ts";
import { dropped, HOST_MAC, LAN, LAN_HOST, Lab, NEIGHBOUR, OUR_MAC, shown, UPLINK } from "../../lab/router-lab.ts";
import {
  answered6,
  forwarded6,
  frameFrom6,
  from6,
  GATEWAY_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  QUERY_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_6,
  ROUTED_GATEWAY,
  ROUTED_HOST,
  refused6,
  SETTINGS_6,
  UPLINK_6,
  WORK_HOST_6,
} from "../../lab/router-lab6.ts";
import { parseConfig } from "../../src/config/config.ts";

const HOST = ROUTED_HOST;
const OUT = { ...QUERY_6, source: HOST };
const LAN_MAC = HOST_MAC[LAN_HOST];
const SPOOFED = "source address spoofed";

const home = () => new Lab({ settings: ROUTED });

/** A home that has just started: its addresses are being looked for. Frames are those that it sends by IPv6. */
function started() {
  const lab = home();
  const first = ofIpv6(lab.command((router) => router.announce()));
  return { lab, first };
}

const ofIpv6 = (frames: readonly string[]) => frames.filter((frame) => frame.replaceAll("\n", " ").includes(" 86 dd "));

/** Message types of ICMPv6 that a home sends by itself in a while, whatever its interfaces. */
function typesSent(frames: readonly string[]): number[] {
  const types = frames.map((frame) => {
    const bytes = fromHex(frame.slice(frame.indexOf("\n") + 1));
    return bytes[20] === 0 ? bytes[62] : bytes[54]; // reports stand behind a hop-by-hop header of eight bytes
  });
  return [...new Set(types)].toSorted((a, b) => a - b);
}

const [ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT] = [133, 134];
const PROBE_OR_QUESTION = 135;
const TOLD = 136;
const REPORT = 143;

/** An advertisement of a router that says it has a way out, and which prefix hosts may take addresses of. */
function routerAdvertisement(mac: string, prefix: string): Uint8Array {
  const option = concat(fromHex("03 04 40 c0 00015180 00003840 00000000"), ip6(prefix));
  const content = concat(fromHex("00000000 00000000"), option);
  const ends = { source: linkLocalOf(mac), destination: "ff02::1", hopLimit: 255 };
  const packet = icmpv6({ ...ends, type: ROUTER_ADVERTISEMENT, rest: 0x40c00708 }, content);
  return ethernet(mac, groupMac("ff02::1"), IPV6_TYPE, packet);
}

const HOME = `[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
address6 = "2001:db8:ffff::2/64"
gateway6 = "fe80::1"
[[client]]
name = "lan"
interface = "eth2"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
network6 = "fd12:3456:789a:1::/64"
gateway6 = "fd12:3456:789a:1::1"
policy = "accept"
`;

describe("RFC 7084", () => {
  test("G-1: it is found by Neighbour Discovery, and its addresses answer echo requests", () => {
    const lab = home();
    const ours = { mac: OUR_MAC[LAN], target: ROUTED_GATEWAY, destination: HOST, destinationMac: LAN_MAC };
    expect(lab.receive(LAN, solicitation({ mac: LAN_MAC, source: HOST, target: ROUTED_GATEWAY }))).toEqual({
      verdict: "answered",
      sent: [shown(LAN, advertisement({ ...ours, flags: ROUTER | SOLICITED | OVERRIDE }))],
    });
    for (const [source, destination] of [
      [HOST, ROUTED_GATEWAY],
      [REMOTE_6, OUTSIDE_6],
    ]) {
      const request = icmpv6({ source, destination, type: 128, rest: 7 }, payload(5));
      const reply = icmpv6({ source: destination, destination: source, type: 129, rest: 7 }, payload(5));
      expect(from6(lab, source, request)).toEqual(answered6(source, reply));
    }
  });

  test("G-2: what is for the client that sends it is not sent back to it", () => {
    const packet = udp6({ ...QUERY_6, destination: WORK_HOST_6 }, payload(9));
    expect(from6(new Lab({ settings: SETTINGS_6 }), WORK_HOST_6, packet)).toEqual(dropped("to another client"));
  });

  test("G-3: nothing of IPv6 passes without an address outside", () => {
    const { ipv6: _, ...uplink } = ROUTED.uplink;
    const lab = new Lab({ settings: { ...ROUTED, uplink } });
    expect(from6(lab, HOST, udp6(OUT, payload(9)))).toEqual(dropped("IPv6 is not configured"));
    expect(from6(lab, REMOTE_6, udp6({ ...OUT, source: REMOTE_6, destination: HOST }, payload(9)))).toEqual(
      dropped("IPv6 is not configured"),
    );
  });

  test("G-3: nothing leaves before our address outside is known to be nobody else's", () => {
    const { lab } = started();
    expect(from6(lab, HOST, udp6(OUT, payload(9)))).toEqual({ verdict: "queued for ARP", sent: [] });
    const [left] = forwarded6(REMOTE_6, udp6({ ...OUT, hopLimit: 63 }, payload(9))).sent;
    expect(lab.wait(3000)).toContain(left);
  });

  test("G-4, G-5, ULA-5, L-4: no router advertisement is ever sent, asked for or not", () => {
    const { lab, first } = started();
    const ask = icmpv6({ source: "fe80::20", destination: "ff02::2", type: ROUTER_SOLICITATION, hopLimit: 255 });
    const outcome = lab.receive(LAN, ethernet(LAN_MAC, groupMac("ff02::2"), IPV6_TYPE, ask));
    expect(outcome).toEqual(dropped("ICMP type not handled"));
    expect(typesSent([...first, ...ofIpv6(lab.wait(60_000))])).toEqual([PROBE_OR_QUESTION, TOLD, REPORT]);
  });

  test("W-1, WAA-1, WAA-2, WAA-6: a router's advertisement gives no address", () => {
    const { lab } = started();
    lab.wait(5000);
    const from = HOST_MAC[NEIGHBOUR];
    expect(lab.receive(UPLINK, routerAdvertisement(from, "2001:db8:aaaa::"))).toEqual(dropped("ICMP type not handled"));
    expect(ofIpv6(lab.wait(5000))).toEqual([]);
    expect(from6(lab, HOST, udp6(OUT, payload(9)))).toEqual(
      forwarded6(REMOTE_6, udp6({ ...OUT, hopLimit: 63 }, payload(9))),
    );
  });

  test("W-2: both addresses outside are probed for before anything is sent from them, and no router is asked", () => {
    const { lab, first } = started();
    const probes = [linkLocalOf(OUR_MAC[UPLINK]), OUTSIDE_6].map((target) =>
      shown(UPLINK, solicitation({ mac: OUR_MAC[UPLINK], source: "::", target })),
    );
    const ofUplink = (frames: readonly string[]) => ofIpv6(frames).filter((frame) => frame.startsWith("uplink"));
    expect(ofUplink(first)).toEqual(expect.arrayContaining(probes));
    const unspecified = toHex(concat(ip6("::"))).replaceAll("\n", " ");
    for (const frame of ofUplink([...first, ...lab.wait(900)])) {
      const bytes = fromHex(frame.slice(frame.indexOf("\n") + 1));
      expect(toHex(bytes.subarray(22, 38)).replaceAll("\n", " ")).toBe(unspecified);
    }
    expect(typesSent([...first, ...ofIpv6(lab.wait(60_000))])).not.toContain(ROUTER_SOLICITATION);
  });

  test("W-3: what goes out goes to the gateway that is written down, whoever advertises himself", () => {
    const { gatewayMac: _, ...asked } = UPLINK_6;
    const lab = new Lab({ settings: { ...ROUTED, uplink: { ...ROUTED.uplink, ipv6: asked } } });
    lab.receive(UPLINK, routerAdvertisement(HOST_MAC[NEIGHBOUR], "2001:db8:ffff::"));
    const { verdict } = from6(lab, HOST, udp6(OUT, payload(9)));
    expect(verdict).toBe("queued for ARP");
    const question = { mac: OUR_MAC[UPLINK], source: linkLocalOf(OUR_MAC[UPLINK]), target: GATEWAY_6 };
    expect(lab.wait(1000)).toContain(shown(UPLINK, solicitation(question)));
    const gateway = { mac: "02:00:00:00:00:01", target: GATEWAY_6, destination: question.source };
    const answer = { ...gateway, destinationMac: OUR_MAC[UPLINK], flags: ROUTER | SOLICITED | OVERRIDE };
    const { sent } = lab.receive(UPLINK, advertisement(answer));
    expect(sent).toEqual(forwarded6(REMOTE_6, udp6({ ...OUT, hopLimit: 63 }, payload(9))).sent);
  });

  test("WLL-1: IPv6 stands in Ethernet frames as RFC 2464 has it", () => {
    const { first } = started();
    const target = "fe80::5054:ff:fe00:0"; // of 52:54:00:00:00:00
    const probe = solicitation({ mac: "52:54:00:00:00:00", source: "::", target });
    expect(toHex(probe)).toStartWith("33 33 ff 00 00 00 52 54 00 00 00 00 86 dd");
    expect(groupOf(target)).toBe("ff02::1:ff00:0");
    expect(first).toContain(shown(UPLINK, probe));
  });

  test("WAA-9: its address outside answers hosts inside; from outside only that one does", () => {
    const lab = home();
    const ask = (source: string, destination: string) =>
      from6(lab, source, icmpv6({ source, destination, type: 128, rest: 7 }, payload(5)));
    const reply = icmpv6({ source: OUTSIDE_6, destination: HOST, type: 129, rest: 7 }, payload(5));
    expect(ask(HOST, OUTSIDE_6)).toEqual(answered6(HOST, reply));
    expect(ask(REMOTE_6, ROUTED_GATEWAY)).toEqual(dropped("unsolicited"));
  });

  test("WPD-5: what comes in for a part of the prefix that no network has is dropped", () => {
    for (const destination of ["2001:db8:1:1::20", "2001:db8:1:ff::1", "2001:db8:2::1"]) {
      const packet = udp6({ ...OUT, source: REMOTE_6, destination }, payload(9));
      expect(from6(home(), REMOTE_6, packet)).toEqual(dropped("unsolicited"));
    }
  });

  test("WPD-5: what a host sends there goes out once, and is dropped when it comes back", () => {
    const lab = home();
    const packet = { ...OUT, destination: "2001:db8:1:1::20" };
    const onward = udp6({ ...packet, hopLimit: 63 }, payload(9));
    expect(from6(lab, HOST, udp6(packet, payload(9)))).toEqual(forwarded6(REMOTE_6, onward));
    const back = udp6({ ...packet, hopLimit: 62 }, payload(9));
    expect(lab.receive(UPLINK, frameFrom6(REMOTE_6, back))).toEqual(dropped(SPOOFED));
  });

  test("WPD-7: of itself it sends nothing outside but messages of Neighbour Discovery and of its own groups", () => {
    const { lab, first } = started();
    const all = [...first, ...ofIpv6(lab.wait(600_000))].filter((frame) => frame.startsWith("uplink"));
    expect(typesSent(all)).toEqual([PROBE_OR_QUESTION, TOLD, REPORT]);
  });

  test("ULA-2, ULA-3: a unique local prefix is the one that is written down, each time it is read", () => {
    for (let i = 0; i < 2; i++) {
      const read = parseConfig(HOME, "firewall.toml");
      if (!("config" in read)) throw new Error(read.errors.join("\n"));
      const [client] = read.config.clients;
      expect([client.ipv6?.network, client.ipv6?.prefix]).toEqual([ip6("fd12:3456:789a:1::"), 64]);
    }
  });

  test("ULA-4: of a network with a unique local prefix no such address leaves, and none comes in unasked", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    const packet = { ...QUERY_6, source: LAN_HOST_6 };
    const left = udp6({ ...packet, source: OUTSIDE_6, hopLimit: 63 }, payload(9));
    expect(from6(lab, LAN_HOST_6, udp6(packet, payload(9)))).toEqual(forwarded6(REMOTE_6, left));
    const locals = { source: "fd99::1", destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 40000 };
    expect(from6(lab, REMOTE_6, udp6(locals, payload(9)))).toEqual(dropped("unsolicited"));
  });

  test("L-1: a host is asked for on its link, and gets what is for it once it answers", () => {
    const lab = home();
    from6(lab, HOST, udp6(OUT, payload(9)));
    const other = "2001:db8:1::99";
    const packet = { ...OUT, source: other };
    const mac = "02:00:00:00:02:99";
    const { mac: _, ...anyMac } = LAN_SETTINGS_6;
    lab.apply({ ...ROUTED, clients: [ROUTED.clients[0], { ...anyMac, ipv6: ROUTED_6 }] });
    const first = lab.receive(LAN, ethernet(mac, OUR_MAC[LAN], IPV6_TYPE, udp6(packet, payload(9))));
    const answer = udp6({ source: REMOTE_6, destination: other, sourcePort: 5000, destinationPort: 40000 }, payload(3));
    const asked = shown(LAN, solicitation({ mac: OUR_MAC[LAN], source: ROUTED_GATEWAY, target: other }));
    expect([first.verdict, first.sent.includes(asked)]).toEqual(["forwarded", true]);
    expect(from6(lab, REMOTE_6, answer)).toEqual({ verdict: "queued for ARP", sent: [] });
    const here = { mac, target: other, destination: ROUTED_GATEWAY, destinationMac: OUR_MAC[LAN] };
    const { sent } = lab.receive(LAN, advertisement({ ...here, flags: SOLICITED | OVERRIDE }));
    const goes = udp6(
      { source: REMOTE_6, destination: other, sourcePort: 5000, destinationPort: 40000, hopLimit: 63 },
      payload(3),
    );
    expect(sent).toEqual([shown(LAN, ethernet(OUR_MAC[LAN], mac, IPV6_TYPE, goes))]);
  });

  test("L-2: two networks can't have one prefix", () => {
    const second = HOME.slice(HOME.indexOf("[[client]]"))
      .replace('"lan"', '"guests"')
      .replace("eth2", "eth3")
      .replaceAll("192.168.1.", "192.168.2.");
    const read = parseConfig(HOME + second, "firewall.toml");
    expect("errors" in read ? read.errors : []).toContain(
      'firewall.toml:20: client "guests": network6 "fd12:3456:789a:1::/64" overlaps client "lan", fd12:3456:789a:1::/64 (give each client addresses of its own)',
    );
  });

  test("L-14: a host that sends from a prefix which its network no longer has is told that its source address failed", () => {
    const lab = home();
    expect(from6(lab, HOST, udp6(OUT, payload(9))).verdict).toBe("forwarded");
    const network = { network: ip6("2001:db8:9::"), prefix: 64, gateway: ip6("2001:db8:9::1"), nat: "route" } as const;
    lab.apply({ ...ROUTED, clients: [ROUTED.clients[0], { ...LAN_SETTINGS_6, ipv6: network }] });
    const packet = udp6(OUT, payload(9));
    const told = icmpv6({ source: "2001:db8:9::1", destination: HOST, type: 1, code: 5 }, packet);
    expect(from6(lab, HOST, packet)).toEqual(refused6(SPOOFED, HOST, told));
  });

  test("L-14: nobody else is told: who claims an address of ours, of another client or of nobody, or is one host alone", () => {
    const lab = home();
    for (const source of [OUTSIDE_6, ROUTED_GATEWAY, WORK_HOST_6, "2001:db8:ffff::77", "fe80::20", "::"]) {
      expect([source, from6(lab, HOST, udp6({ ...OUT, source }, payload(9)))]).toEqual([source, dropped(SPOOFED)]);
    }
    expect(from6(lab, WORK_HOST_6, udp6({ ...QUERY_6, source: REMOTE_62 }, payload(9)))).toEqual(dropped(SPOOFED));
    expect(from6(lab, REMOTE_6, udp6({ ...OUT, source: HOST, destination: OUTSIDE_6 }, payload(9)))).toEqual(
      dropped(SPOOFED),
    );
  });

  test("L-14: what hosts are told so is theirs of the network's trickle of errors", () => {
    const lab = home();
    const stray = udp6({ ...OUT, source: REMOTE_62 }, payload(9));
    const told = Array.from({ length: 200 }, () => from6(lab, HOST, stray).sent.length);
    expect(told.filter((count) => count === 1).length).toBe(50);
    const last = udp6(
      { source: REMOTE_6, destination: HOST, sourcePort: 5000, destinationPort: 40000, hopLimit: 1 },
      payload(3),
    );
    from6(lab, HOST, udp6(OUT, payload(9)));
    expect(from6(lab, REMOTE_6, last).sent.length).toBe(1);
  });

  test("S-1: what nobody inside has asked for comes to no host, nor is anything offered outside", () => {
    for (const destination of [HOST, OUTSIDE_6, ROUTED_GATEWAY]) {
      const packet = udp6({ ...OUT, source: REMOTE_6, destination }, payload(9));
      expect(from6(home(), REMOTE_6, packet)).toEqual(dropped("unsolicited"));
    }
  });

  test("S-2: nothing leaves from an address that is not of the network's prefix", () => {
    for (const source of ["2001:db8:2::20", LAN_HOST_6, REMOTE_62, OUTSIDE_6]) {
      const lab = home();
      const { verdict, sent } = from6(lab, HOST, udp6({ ...OUT, source }, payload(9)));
      expect([verdict, sent.filter((frame) => frame.startsWith("uplink"))]).toEqual([`dropped: ${SPOOFED}`, []]);
    }
  });
});
