// Neighbour Discovery: what we answer and what we don't, whom we believe, how neighbours are asked and confirmed, our own addresses probed
// for and told, and our groups reported. Whole frames are compared.
import { describe, expect, test } from "bun:test";
import {
  type Advertisement,
  advertisement,
  groupMac,
  groupOf,
  linkLocalOf,
  listenerQuery,
  listenerReport,
  listenerReport1,
  OVERRIDE,
  ROUTER,
  SOLICITED,
  type Solicitation,
  solicitation,
} from "../../../lab/discovery-frames.ts";
import { ethernet, mac, payload, toHex } from "../../../lab/frames.ts";
import { IPV6_TYPE, icmpv6, ip6, udp6 } from "../../../lab/frames6.ts";
import {
  GATEWAY6 as GATEWAY,
  GATEWAY6_MAC as GATEWAY_MAC,
  SETTINGS6 as HOME,
  LAN_GATEWAY6 as LAN_GATEWAY,
  LAN_HOST6 as LAN_HOST,
  LAN_HOST6_MAC as LAN_MAC,
  NEIGHBOUR6 as NEIGHBOUR,
  NEIGHBOUR6_MAC as NEIGHBOUR_MAC,
  OUTSIDE6 as OUTSIDE,
  QUBE_SETTINGS6 as QUBE,
  REMOTE6 as REMOTE,
  UPLINK6,
  WORK_GATEWAY6 as WORK_GATEWAY,
  WORK_HOST6 as WORK_HOST,
  WORK_HOST6_MAC as WORK_MAC,
} from "../../../lab/home6.ts";
import { Random } from "../../../lab/random.ts";
import { INTERFACES, LAN, OUR_MAC, UPLINK, WORK } from "../../../lab/router-lab.ts";
import { State } from "../../../src/dataplane/frame/state.ts";
import { MemoryRing } from "../../../src/dataplane/memory-ring.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { Topology } from "../../../src/dataplane/topology.ts";
import { type Iface, type Neighbour, NO_FLOW, NO_NEIGHBOUR } from "../../../src/dataplane/types.ts";
import { VERDICT_NAMES } from "../../../src/dataplane/verdict.ts";
import { HeaderChain } from "../../../src/wire/header-chain.ts";
import { checkIpv6, totalLength6 } from "../../../src/wire/ipv6.ts";

/** A frame that was sent, as text. */
const shown = (iface: number, frame: Uint8Array): string => `to ${iface}: ${toHex(frame).replaceAll("\n", " ")}`;

/** Discovery alone, with a State around it, between interfaces of plain memory. */
class Bench {
  readonly ring = new MemoryRing();
  readonly state: State;
  readonly duplicates: string[] = [];
  /** How often we were told that our address is looked for anew. */
  freed = 0;
  now = 1_000_000;
  private readonly chain = new HeaderChain();

  constructor(settings = HOME) {
    const random = new Random(7);
    this.state = new State(this.ring, settings, (words) => {
      for (let i = 0; i < words.length; i++) words[i] = random.next();
    });
    this.state.setTime(this.now);
    this.state.discovery.onFreed = () => void this.freed++;
    this.state.discovery.onDuplicate = (number, head, tail) =>
      this.duplicates.push(`${toHex(this.state.book.bytes(number))} ${(head >>> 0).toString(16)} ${tail}`);
  }

  /** @returns what became of a frame; what was sent is to be taken */
  put(iface: number, frame: Uint8Array): string {
    const { ring, chain, state } = this;
    const at = ring.put(frame);
    const ip = at + 14;
    const fault = checkIpv6(ring.view, ip, frame.length - 14) || chain.walk(ring.view, ip, totalLength6(ring.view, ip));
    if (fault !== 0) throw new Error("a frame that is at fault");
    const source = state.book.takeAt(ring.view, ip + 8);
    const destination = state.book.takeAt(ring.view, ip + 24);
    const { transport, length } = chain;
    const verdict = state.discovery.receive({
      iface: iface as Iface,
      at,
      ip,
      transport,
      length,
      source,
      destination,
      chain,
    });
    state.book.release(source);
    state.book.release(destination);
    return VERDICT_NAMES[verdict];
  }

  sent(): string[] {
    return this.ring.takeSent().map(({ iface, bytes }) => shown(iface, bytes));
  }

  /** @returns what is sent in so many seconds */
  pass(seconds: number): string[] {
    const { state } = this;
    for (let i = 0; i < seconds; i++) {
      this.now += 1000;
      state.setTime(this.now);
      state.neighbours.tick(this.now);
      while (state.neighbours.isBusy) state.neighbours.step(16);
      state.discovery.tick(this.now);
    }
    return this.sent();
  }

  /** @returns only messages about neighbours: 135 and 136 */
  passQuietly(seconds: number): string[] {
    return this.pass(seconds).filter((frame) => !frame.startsWith("to 0: ff ff"));
  }

  hold(iface: number, address: string): Neighbour {
    const { book, neighbours, topology } = this.state;
    const view = new DataView(ip6(address).buffer);
    const number = book.takeAt(view, 0);
    const neighbour = neighbours.hold(iface as Iface, number, topology.parties.ourselves);
    book.release(number);
    expect(neighbour).not.toBe(NO_NEIGHBOUR);
    return neighbour;
  }

  macOf(n: Neighbour): string {
    const { head, tail, state } = this.state.neighbours;
    if (state[n] < 3) return "unknown";
    const bytes = [head[n] >>> 24, head[n] >>> 16, head[n] >>> 8, head[n], tail[n] >>> 8, tail[n]];
    return bytes.map((byte) => (byte & 255).toString(16).padStart(2, "0")).join(":");
  }
}

/** What the gateway is asked first, by ARP and ND, is of no interest. */
/** Interfaces are in another state. */
function change(state: State, interfaces: Settings["interfaces"]): void {
  const before = state.topology;
  state.followInterfaces(new Topology({ ...before.settings, interfaces }, before));
  state.followLinks(before);
}

function bench(settings = HOME): Bench {
  const made = new Bench(settings);
  made.sent();
  return made;
}

const askedBy = (address: string, macAddress: string, target: string, more: Partial<Solicitation> = {}) =>
  solicitation({ mac: macAddress, source: address, target, ...more });
const answerTo = (iface: number, destination: string, destinationMac: string, target: string): string =>
  shown(
    iface,
    advertisement({ mac: OUR_MAC[iface], target, destination, destinationMac, flags: ROUTER | SOLICITED | OVERRIDE }),
  );
const ourSolicitation = (iface: number, source: string, target: string, more: Partial<Solicitation> = {}): string =>
  shown(iface, solicitation({ mac: OUR_MAC[iface], source, target, ...more }));
const said = (address: string, macAddress: string, more: Partial<Advertisement> = {}) =>
  advertisement({
    mac: macAddress,
    target: address,
    destination: OUTSIDE,
    destinationMac: OUR_MAC[UPLINK],
    flags: SOLICITED | OVERRIDE,
    ...more,
  });

describe("a solicitation is answered", () => {
  test("on the uplink for our address there, and for our link-local one", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(4);
    for (const target of [OUTSIDE, linkLocalOf(OUR_MAC[UPLINK])]) {
      expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, target))).toBe("answered");
      expect(lab.sent()).toEqual([answerTo(UPLINK, NEIGHBOUR, NEIGHBOUR_MAC, target)]);
    }
    const linkLocal = linkLocalOf(NEIGHBOUR_MAC);
    expect(lab.put(UPLINK, askedBy(linkLocal, NEIGHBOUR_MAC, OUTSIDE))).toBe("answered");
    expect(lab.sent()).toEqual([answerTo(UPLINK, linkLocal, NEIGHBOUR_MAC, OUTSIDE)]);
    for (const target of [LAN_GATEWAY, WORK_GATEWAY, LAN_HOST, REMOTE, NEIGHBOUR]) {
      expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, target))).toBe("dropped: ND not for us");
    }
    expect(lab.sent()).toEqual([]);
  });

  test("of a client that is one host from its own address alone, for its gateway and our link-local address", () => {
    const lab = bench(QUBE);
    lab.state.followLinks();
    lab.sent();
    for (const target of [WORK_GATEWAY, linkLocalOf(OUR_MAC[WORK])]) {
      expect(lab.put(WORK, askedBy(WORK_HOST, WORK_MAC, target))).toBe("answered");
      expect(lab.sent()).toEqual([answerTo(WORK, WORK_HOST, WORK_MAC, target)]);
      for (const source of [linkLocalOf(WORK_MAC), "::", LAN_HOST, REMOTE, "fd09:24ef:4179::a89:b"]) {
        expect([source, lab.put(WORK, askedBy(source, WORK_MAC, target))]).toEqual([source, "dropped: ND spoofed"]);
      }
    }
    expect(lab.put(WORK, askedBy(WORK_HOST, WORK_MAC, REMOTE))).toBe("dropped: ND taken".replace("dropped: ", ""));
    expect(lab.sent()).toEqual([]);
  });

  test("on a LAN from all its hosts, and their link-local addresses, for our own ones", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.sent();
    const sources = [LAN_HOST, linkLocalOf(LAN_MAC)];
    for (const target of [LAN_GATEWAY, linkLocalOf(OUR_MAC[LAN])]) {
      for (const source of sources) {
        expect(lab.put(LAN, askedBy(source, LAN_MAC, target))).toBe("answered");
        expect(lab.sent()).toEqual([answerTo(LAN, source, LAN_MAC, target)]);
      }
    }
    expect(lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, "2001:db8:2::21"))).toBe("ND taken");
    expect(lab.put(LAN, askedBy(linkLocalOf(LAN_MAC), LAN_MAC, OUTSIDE))).toBe("dropped: ND not for us");
    expect(lab.sent()).toEqual([]);
  });

  test("to the frame's sender where the message says no MAC address", () => {
    const lab = bench();
    expect(lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY, { says: null }))).toBe("answered");
    expect(lab.sent()).toEqual([answerTo(LAN, LAN_HOST, LAN_MAC, LAN_GATEWAY)]);
  });

  test("that goes to its group, or to the address itself, and to nobody else's", () => {
    const lab = bench();
    const asked = (destination: string) =>
      lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY, { destination, destinationMac: OUR_MAC[LAN] }));
    expect([LAN_GATEWAY, groupOf(LAN_GATEWAY), "ff02::1"].map(asked)).toEqual(new Array(3).fill("answered"));
    expect([LAN_HOST, OUTSIDE, REMOTE].map(asked)).toEqual(new Array(3).fill("dropped: ND not for us"));
  });

  test("to all, who probes for an address of ours", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(4);
    for (const [iface, target, from] of [
      [UPLINK, OUTSIDE, NEIGHBOUR_MAC],
      [LAN, LAN_GATEWAY, LAN_MAC],
    ] as const) {
      expect(lab.put(iface, askedBy("::", from, target))).toBe("answered");
      const told = advertisement({ mac: OUR_MAC[iface], target, destination: "ff02::1", flags: ROUTER | OVERRIDE });
      expect(lab.sent()).toEqual([shown(iface, told)]);
      expect(lab.put(iface, askedBy("::", from, REMOTE))).toBe("dropped: ND not for us");
    }
    expect(lab.duplicates).toEqual([]);
  });
});

describe("nobody is believed", () => {
  const lab = bench();
  lab.state.followLinks();
  lab.pass(4);

  test("who says that he has an address of ours, or is on another interface", () => {
    for (const [iface, frame] of [
      [UPLINK, said(OUTSIDE, NEIGHBOUR_MAC)],
      [UPLINK, said(LAN_HOST, NEIGHBOUR_MAC)],
      [UPLINK, said(LAN_GATEWAY, NEIGHBOUR_MAC)],
      [UPLINK, askedBy(LAN_HOST, NEIGHBOUR_MAC, OUTSIDE)],
      [UPLINK, askedBy(OUTSIDE, NEIGHBOUR_MAC, OUTSIDE)],
      [LAN, said(LAN_GATEWAY, LAN_MAC, { destination: LAN_GATEWAY })],
      [LAN, said(OUTSIDE, LAN_MAC, { destination: LAN_GATEWAY })],
      [LAN, askedBy(LAN_GATEWAY, LAN_MAC, LAN_GATEWAY)],
      [LAN, askedBy(WORK_HOST, LAN_MAC, LAN_GATEWAY)],
      [LAN, askedBy("2001:db8:2::", LAN_MAC, LAN_GATEWAY)],
      [WORK, said(LAN_HOST, WORK_MAC, { destination: WORK_GATEWAY })],
    ] as const) {
      expect(lab.put(iface, frame)).toBe("dropped: ND spoofed");
    }
  });

  test("with a group's MAC address, ours, or another than the one he is pinned to", () => {
    for (const [iface, frame] of [
      [LAN, askedBy(LAN_HOST, "33:33:00:00:00:01", LAN_GATEWAY)],
      [LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY, { says: "ff:ff:ff:ff:ff:ff" })],
      [LAN, askedBy(LAN_HOST, OUR_MAC[LAN], LAN_GATEWAY)],
      [WORK, askedBy(WORK_HOST, LAN_MAC, WORK_GATEWAY)],
      [WORK, askedBy(WORK_HOST, WORK_MAC, WORK_GATEWAY, { says: LAN_MAC })],
      [WORK, said(WORK_HOST, LAN_MAC, { destination: WORK_GATEWAY })],
    ] as const) {
      expect(lab.put(iface, frame)).toBe("dropped: ND spoofed");
    }
    const pinned = bench({ ...HOME, uplink: { ...HOME.uplink, ipv6: { ...UPLINK6, gatewayMac: mac(GATEWAY_MAC) } } });
    expect(pinned.put(UPLINK, said(GATEWAY, NEIGHBOUR_MAC))).toBe("dropped: ND spoofed");
    expect(pinned.put(UPLINK, said(GATEWAY, GATEWAY_MAC))).toBe("ND taken");
  });

  test("from afar, about groups, or about routers: redirects and advertisements are not read", () => {
    expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE, { hopLimit: 254 }))).toContain("nd: hop limit");
    expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, "ff02::1"))).toContain("nd: addresses");
    for (const type of [131, 132, 133, 134, 137, 141, 143]) {
      const packet = icmpv6(
        { source: linkLocalOf(GATEWAY_MAC), destination: "ff02::1", hopLimit: 255, type },
        payload(32),
      );
      expect(lab.put(UPLINK, ethernet(GATEWAY_MAC, groupMac("ff02::1"), IPV6_TYPE, packet))).toBe(
        "dropped: ICMP type not handled",
      );
    }
    expect(lab.sent()).toEqual([]);
  });

  test("whom nobody has asked for: no neighbour is noted of what a host on the uplink says", () => {
    expect(lab.put(UPLINK, said(NEIGHBOUR, NEIGHBOUR_MAC))).toBe("dropped: ND not for us");
    expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE))).toBe("answered");
    lab.sent();
    const n = lab.hold(UPLINK, NEIGHBOUR);
    expect(lab.macOf(n)).toBe("unknown");
    lab.state.neighbours.release(n);
    lab.sent();
    // A client's host is, for it will want an answer soon.
    expect(lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY))).toBe("answered");
    const host = lab.hold(LAN, LAN_HOST);
    expect(lab.macOf(host)).toBe(LAN_MAC);
  });
});

describe("a neighbour", () => {
  test("is asked for in his group, three times, a second apart, and has failed then", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(4);
    const n = lab.hold(UPLINK, NEIGHBOUR);
    const question = ourSolicitation(UPLINK, OUTSIDE, NEIGHBOUR);
    const about = (frames: string[]) => frames.filter((frame) => frame === question).length;
    expect(lab.sent()).toEqual([question]);
    expect([about(lab.pass(1)), about(lab.pass(1)), about(lab.pass(1)), about(lab.pass(5))]).toEqual([1, 1, 0, 0]);
    expect(lab.state.neighbours.mayAnswer(n)).toBe(true);
    expect(about(lab.sent())).toBe(1);
  });

  test("that is link-local is asked from our link-local address", () => {
    const gateway = "fe80::1";
    const lab = new Bench({ ...HOME, uplink: { ...HOME.uplink, ipv6: { ...UPLINK6, gateway: ip6(gateway) } } });
    lab.state.followLinks();
    lab.sent();
    const question = ourSolicitation(UPLINK, linkLocalOf(OUR_MAC[UPLINK]), gateway);
    expect(lab.pass(4)).toContain(question);
    const answer = said(gateway, GATEWAY_MAC, { destination: linkLocalOf(OUR_MAC[UPLINK]) });
    expect(lab.put(UPLINK, answer)).toBe("ND taken");
    expect(lab.macOf(lab.hold(UPLINK, gateway))).toBe(GATEWAY_MAC);
  });

  test("on a client's side is asked from the address that it has as its gateway", () => {
    const lab = bench();
    lab.hold(LAN, LAN_HOST);
    expect(lab.sent()).toEqual([ourSolicitation(LAN, LAN_GATEWAY, LAN_HOST)]);
  });

  test("gets what waited for it once it has answered", () => {
    const lab = bench();
    const n = lab.hold(LAN, LAN_HOST);
    lab.sent();
    const packet = udp6({ source: REMOTE, destination: LAN_HOST, sourcePort: 1, destinationPort: 2 }, payload(100));
    const frame = ethernet(OUR_MAC[LAN], "00:00:00:00:00:00", IPV6_TYPE, packet);
    const at = lab.ring.put(frame);
    const { neighbours, topology } = lab.state;
    expect(VERDICT_NAMES[neighbours.queue(n, at, frame.length, NO_FLOW, topology.parties.ourselves)]).toBe(
      "queued for ARP",
    );
    expect(lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY }))).toBe("ND taken");
    expect(lab.sent()).toEqual([shown(LAN, ethernet(OUR_MAC[LAN], LAN_MAC, IPV6_TYPE, packet))]);
  });

  /** A LAN with a host that has answered. */
  function acquainted(): { lab: Bench; n: Neighbour } {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(4);
    const n = lab.hold(LAN, LAN_HOST);
    lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY }));
    lab.sent();
    return { lab, n };
  }
  const OTHER_MAC = "02:00:00:00:02:99";
  const confirmation = (macAddress: string) =>
    ourSolicitation(LAN, LAN_GATEWAY, LAN_HOST, { destination: LAN_HOST, destinationMac: macAddress });

  test("is confirmed after a minute by a question to itself, and by all when it is silent", () => {
    const { lab, n } = acquainted();
    const own = (frames: string[]) => frames.filter((frame) => frame.startsWith(`to ${LAN}`));
    expect(own(lab.pass(59))).toEqual([]);
    expect(own(lab.pass(2))).toEqual([confirmation(LAN_MAC), confirmation(LAN_MAC)]);
    expect(lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY, says: null }))).toBe("ND taken");
    expect(own(lab.pass(59))).toEqual([]);
    expect(own(lab.pass(6))).toEqual([
      ...new Array(5).fill(confirmation(LAN_MAC)),
      ourSolicitation(LAN, LAN_GATEWAY, LAN_HOST),
    ]);
    expect(lab.macOf(n)).toBe("unknown");
  });

  /** The LAN's host says that it has another MAC address. */
  const news = (flags: number) => said(LAN_HOST, OTHER_MAC, { destination: LAN_GATEWAY, flags });

  test("that is said to have another MAC address is asked at its own first, and keeps it as long as it answers there", () => {
    const { lab, n } = acquainted();
    const changed: number[] = [];
    lab.state.neighbours.onChange = (neighbour) => changed.push(neighbour);
    lab.pass(1);
    for (const lie of [news(OVERRIDE), news(OVERRIDE | SOLICITED), askedBy(LAN_HOST, OTHER_MAC, LAN_GATEWAY)]) {
      for (let i = 0; i < 100; i++) lab.put(LAN, lie); // no more is asked for a flood of it
      expect(lab.sent().filter((frame) => frame === confirmation(LAN_MAC))).toEqual([confirmation(LAN_MAC)]);
      lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY }));
      lab.pass(2);
      expect([lab.macOf(n), changed]).toEqual([LAN_MAC, []]);
    }
  });

  test("that is silent where it was has the other MAC address then, and is asked there", () => {
    for (const word of [news(OVERRIDE), askedBy(LAN_HOST, OTHER_MAC, LAN_GATEWAY)]) {
      const { lab, n } = acquainted();
      const changed: number[] = [];
      lab.state.neighbours.onChange = (neighbour) => changed.push(neighbour);
      lab.pass(1);
      lab.put(LAN, word);
      lab.sent();
      expect(lab.macOf(n)).toBe(LAN_MAC);
      expect(lab.pass(1)).toContain(confirmation(OTHER_MAC));
      expect([lab.macOf(n), changed]).toEqual([OTHER_MAC, [n]]);
      lab.put(LAN, news(SOLICITED));
      expect(lab.pass(5)).not.toContain(confirmation(OTHER_MAC));
    }
  });

  test("of whom it is said a moment after he was asked is asked again once a second has gone by", () => {
    const { lab } = acquainted();
    lab.put(LAN, news(OVERRIDE));
    expect(lab.sent()).toEqual([]);
    expect(lab.pass(1)).toContain(confirmation(LAN_MAC));
  });

  test("that says another one without overriding keeps its own, and is asked there (RFC 4861 section 7.2.5)", () => {
    const { lab, n } = acquainted();
    lab.pass(1);
    expect(lab.put(LAN, said(LAN_HOST, OTHER_MAC, { destination: LAN_GATEWAY, flags: SOLICITED }))).toBe("ND taken");
    expect(lab.macOf(n)).toBe(LAN_MAC);
    expect(lab.sent()).toEqual([confirmation(LAN_MAC)]);
  });

  test("is asked for in its group where the link is another, and whoever answers first is it", () => {
    const { lab, n } = acquainted();
    const changed: number[] = [];
    lab.state.neighbours.onChange = (neighbour) => changed.push(neighbour);
    for (const isDown of [true, false])
      change(
        lab.state,
        INTERFACES.map((iface) => ({ ...iface, isDown })),
      );
    while (lab.state.neighbours.isBusy) lab.state.neighbours.step(16);
    expect(lab.sent()).toContain(ourSolicitation(LAN, LAN_GATEWAY, LAN_HOST));
    expect(lab.macOf(n)).toBe(LAN_MAC); // served meanwhile
    lab.put(LAN, news(SOLICITED | OVERRIDE));
    expect([lab.macOf(n), changed]).toEqual([OTHER_MAC, [n]]);
    lab.pass(1);
    lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY }));
    expect(lab.macOf(n)).toBe(OTHER_MAC);
    expect(lab.sent()).toEqual([confirmation(OTHER_MAC)]);
  });

  test("is not confirmed by what shows only that it speaks", () => {
    const { lab } = acquainted();
    lab.pass(50);
    lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY));
    lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: "ff02::1", flags: OVERRIDE }));
    lab.sent();
    expect(lab.pass(11)).toContain(confirmation(LAN_MAC));
  });

  test("of a netvm that is silent has the MAC address that Qubes OS gives it", () => {
    const lab = bench(QUBE);
    lab.pass(4);
    expect(lab.macOf(lab.hold(UPLINK, GATEWAY))).toBe("fe:ff:ff:ff:ff:ff");
  });

  test("finds room after any number of hosts that only asked, and the book is no larger for them than the table", () => {
    const lab = bench();
    const before = lab.state.book.size;
    for (let i = 0; i < 10_000; i++) {
      const host = `2001:db8:2::1:${(i >>> 8).toString(16)}:${(i & 255).toString(16)}`;
      expect(lab.put(LAN, askedBy(host, LAN_MAC, LAN_GATEWAY))).toBe("answered");
      lab.ring.takeSent();
    }
    expect(lab.state.book.size - before).toBeLessThan(4096);
    const n = lab.hold(LAN, LAN_HOST);
    lab.put(LAN, said(LAN_HOST, LAN_MAC, { destination: LAN_GATEWAY }));
    expect(lab.macOf(n)).toBe(LAN_MAC);
  });

  test("holds its address in the book for as long as it is known", () => {
    const lab = bench();
    const before = lab.state.book.size;
    const n = lab.hold(LAN, LAN_HOST);
    expect(lab.state.book.size).toBe(before + 1);
    lab.state.neighbours.release(n);
    lab.pass(20);
    expect(lab.state.book.size).toBe(before);
  });
});

describe("our own addresses", () => {
  const probes = [linkLocalOf(OUR_MAC[UPLINK]), OUTSIDE].map((target) => ourSolicitation(UPLINK, "::", target));
  const told = (iface: number, target: string) =>
    shown(iface, advertisement({ mac: OUR_MAC[iface], target, destination: "ff02::1", flags: ROUTER | OVERRIDE }));
  /** Of frames those of Neighbour Discovery. */
  const ofDiscovery = (frames: string[]) => frames.filter((frame) => /^to \d: 33 33 (?:ff|00 00 00 01)/.test(frame));

  test("are probed for on the uplink, told a second or two later, and not used until then", () => {
    const lab = bench();
    lab.state.followLinks();
    const lan = [linkLocalOf(OUR_MAC[LAN]), LAN_GATEWAY].map((target) => told(LAN, target));
    expect(ofDiscovery(lab.sent())).toEqual([...probes, ...lan]);
    expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE))).toBe("dropped: ND not for us");
    lab.hold(UPLINK, NEIGHBOUR);
    expect(lab.sent()).toEqual([]);
    const uplink = [linkLocalOf(OUR_MAC[UPLINK]), OUTSIDE].map((target) => told(UPLINK, target));
    expect(ofDiscovery(lab.pass(1))).toEqual(lan);
    const then = lab.pass(1);
    expect(then).toEqual(expect.arrayContaining([...uplink, ourSolicitation(UPLINK, OUTSIDE, NEIGHBOUR)]));
    expect(ofDiscovery(lab.pass(1)).filter((frame) => uplink.includes(frame))).toEqual(uplink);
    expect(ofDiscovery(lab.pass(3)).filter((frame) => uplink.includes(frame))).toEqual([]);
    expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE))).toBe("answered");
  });

  test("are told to nobody in Qubes OS, nor probed for, nor reported", () => {
    const clients = [HOME.clients[0]];
    const lab = bench({ ...QUBE, clients });
    lab.state.followLinks();
    const isIpv6 = (frame: string) => frame.startsWith("86 dd", "to 0: ".length + 12 * 3);
    expect(lab.sent().filter(isIpv6)).toEqual([]);
    const question = ourSolicitation(UPLINK, OUTSIDE, GATEWAY);
    expect(lab.pass(2).filter(isIpv6)).toEqual([question, question]);
    expect(lab.put(UPLINK, askedBy(GATEWAY, GATEWAY_MAC, OUTSIDE))).toBe("ND taken".replace("ND taken", "answered"));
    lab.sent();
    expect(lab.put(UPLINK, listenerQuery(GATEWAY_MAC, 2))).toBe("dropped: ND not for us");
    expect(lab.pass(2).filter(isIpv6)).toEqual([]);
  });

  for (const [who, frame] of [
    ["another probes for", askedBy("::", NEIGHBOUR_MAC, OUTSIDE)],
    ["another has", said(OUTSIDE, NEIGHBOUR_MAC, { destination: "ff02::1", flags: OVERRIDE })],
  ] as const) {
    test(`that ${who} are not used, and that is told`, () => {
      const lab = bench();
      const gateway = lab.hold(UPLINK, GATEWAY);
      lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC));
      const changed: number[] = [];
      lab.state.neighbours.onChange = (neighbour) => changed.push(neighbour);
      lab.state.followLinks();
      lab.sent();
      expect(lab.put(UPLINK, frame)).toBe("ND taken");
      expect(lab.duplicates).toEqual([`${toHex(ip6(OUTSIDE))} 2000000 119`]);
      expect([lab.macOf(gateway), changed]).toEqual(["unknown", [gateway]]);
      const after = ofDiscovery(lab.pass(5)).filter((sent) => sent.startsWith(`to ${UPLINK}`));
      expect(after.filter((sent) => sent.includes(toHex(ip6(OUTSIDE))))).toEqual([]);
      expect(lab.put(UPLINK, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE))).toBe("dropped: ND not for us");
      expect(lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC))).toBe("ND taken");
      expect(lab.macOf(gateway)).toBe("unknown");
      // IPv4, and IPv6 elsewhere, go on.
      expect(lab.put(LAN, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY))).toBe("answered");
    });
  }

  test("that come back to us are nobody's duplicates (RFC 7527)", () => {
    const lab = bench();
    lab.state.followLinks();
    expect(lab.put(UPLINK, askedBy("::", OUR_MAC[UPLINK], OUTSIDE))).toBe("dropped: ND spoofed");
    expect(lab.put(UPLINK, said(OUTSIDE, OUR_MAC[UPLINK], { destination: "ff02::1", flags: OVERRIDE }))).toBe(
      "dropped: ND spoofed",
    );
    expect(lab.duplicates).toEqual([]);
  });

  test("are used again where settings give us another one", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.put(UPLINK, askedBy("::", NEIGHBOUR_MAC, OUTSIDE));
    const gateway = lab.hold(UPLINK, GATEWAY);
    const other = "2001:db8:1::253";
    const before = lab.state.topology;
    const uplink = { ...HOME.uplink, ipv6: { ...UPLINK6, address: ip6(other) } };
    lab.state.follow(new Topology({ ...HOME, uplink }, before));
    lab.state.followLinks(before);
    lab.sent();
    expect(lab.freed).toBe(1);
    const frames = lab.pass(2);
    expect(frames).toContain(told(UPLINK, other));
    expect(frames).toContain(ourSolicitation(UPLINK, other, GATEWAY));
    lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC, { destination: other }));
    expect(lab.macOf(gateway)).toBe(GATEWAY_MAC);
  });

  test("are used by nobody's packets while they may be another's: who is known already is not sent to, and asked for then", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(5);
    const gateway = lab.hold(UPLINK, GATEWAY);
    lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC));
    expect(lab.macOf(gateway)).toBe(GATEWAY_MAC);
    const changed: number[] = [];
    lab.state.neighbours.onChange = (neighbour) => changed.push(neighbour);
    const other = "2001:db8:1::253";
    const before = lab.state.topology;
    const uplink = { ...HOME.uplink, ipv6: { ...UPLINK6, address: ip6(other) } };
    lab.state.follow(new Topology({ ...HOME, uplink }, before));
    expect([lab.macOf(gateway), changed]).toEqual(["unknown", [gateway]]); // frames may come before the rest is done
    lab.state.followLinks(before);
    lab.sent();
    expect([lab.macOf(gateway), changed]).toEqual(["unknown", [gateway]]);
    lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC, { destination: "ff02::1", flags: OVERRIDE }));
    expect(lab.macOf(gateway)).toBe("unknown");
    expect(ofDiscovery(lab.pass(1)).filter((frame) => frame.includes(toHex(ip6(GATEWAY))))).toEqual([]);
    expect(lab.pass(1)).toContain(ourSolicitation(UPLINK, other, GATEWAY));
    lab.put(UPLINK, said(GATEWAY, GATEWAY_MAC, { destination: other }));
    expect(lab.macOf(gateway)).toBe(GATEWAY_MAC);
  });

  test("are probed for and told again when the link is there again, and not for other news", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(5);
    const state = (isDown: boolean, mtu: number) => INTERFACES.map((iface) => ({ ...iface, isDown, mtu }));
    change(lab.state, state(false, 1400));
    expect(ofDiscovery(lab.sent())).toEqual([]);
    change(lab.state, state(true, 1400));
    change(lab.state, state(false, 1400));
    expect(ofDiscovery(lab.sent())).toEqual(expect.arrayContaining(probes));
  });

  test("are ours as before where interfaces are numbered anew, and go with an interface that goes", () => {
    const lab = bench();
    lab.state.followLinks();
    lab.pass(5);
    const before = lab.state.topology;
    // The uplink becomes the last; "work" goes.
    const [uplink, , home] = INTERFACES;
    const [, homes] = HOME.clients;
    const settings: Settings = {
      ...HOME,
      interfaces: [home, uplink],
      uplink: { ...HOME.uplink, iface: 1 },
      clients: [{ ...homes, iface: 0 }],
    };
    const held = lab.state.book.size;
    lab.state.follow(new Topology(settings, before));
    lab.state.followLinks(before);
    expect(ofDiscovery(lab.sent())).toEqual([]);
    expect(ofDiscovery(lab.pass(2))).toEqual([]);
    expect(lab.put(1, askedBy(NEIGHBOUR, NEIGHBOUR_MAC, OUTSIDE))).toBe("answered");
    expect(lab.put(0, askedBy(LAN_HOST, LAN_MAC, LAN_GATEWAY))).toBe("answered");
    lab.put(0, listenerQuery(LAN_MAC, 2));
    lab.sent();
    const groups = [linkLocalOf(OUR_MAC[LAN]), LAN_GATEWAY].map(groupOf);
    const report = listenerReport(OUR_MAC[LAN], linkLocalOf(OUR_MAC[LAN]), 2, groups);
    expect(lab.pass(1)).toContain(shown(0, report));
    // Our two addresses on the side of "work" are no more; LAN_HOST has been noted meanwhile.
    expect(lab.state.book.size).toBe(held - 2 + 1);
  });

  test("hold their numbers in the book for as long as they are ours", () => {
    const lab = bench();
    lab.state.followLinks();
    const { size } = lab.state.book;
    for (let i = 0; i < 5; i++) {
      change(
        lab.state,
        INTERFACES.map((iface) => ({ ...iface, mac: mac(`52:54:00:00:0${i}:00`) })),
      );
    }
    // On all three interfaces the same link-local address.
    expect(lab.state.book.size).toBe(size - 2);
  });
});

describe("our groups", () => {
  const LINK_LOCAL = linkLocalOf(OUR_MAC[LAN]);
  const groups = [groupOf(LINK_LOCAL), groupOf(LAN_GATEWAY)];
  const report = (mode: number) => shown(LAN, listenerReport(OUR_MAC[LAN], LINK_LOCAL, mode, groups));
  const onLan = (frames: string[]) =>
    frames.filter(
      (frame) => frame.startsWith(`to ${LAN}: 33 33 00 00 00 16`) || frame.startsWith(`to ${LAN}: 33 33 ff`),
    );

  function started(): Bench {
    const lab = bench();
    lab.state.followLinks();
    return lab;
  }

  test("are reported twice when they are new, on the uplink too, and on no link of one client", () => {
    const lab = started();
    const first = lab.sent();
    expect(onLan(first)).toEqual([report(4)]);
    const uplink = [groupOf(linkLocalOf(OUR_MAC[UPLINK])), groupOf(OUTSIDE)];
    // From no address, as long as it is being probed for (RFC 3590).
    expect(first).toContain(shown(UPLINK, listenerReport(OUR_MAC[UPLINK], "::", 4, uplink)));
    const second = lab.pass(1);
    expect(onLan(second)).toEqual([report(4)]);
    const own = shown(UPLINK, listenerReport(OUR_MAC[UPLINK], linkLocalOf(OUR_MAC[UPLINK]), 4, uplink));
    expect(lab.pass(4).filter((frame) => frame === own)).toEqual([own, own]);
    expect([...first, ...second].filter((frame) => frame.startsWith(`to ${WORK}: 33 33 00 00 00 16`))).toEqual([]);
    expect(onLan(lab.pass(3))).toEqual([]);
  });

  test("are reported to a querier, once a second at most, by the version that it speaks", () => {
    const lab = started();
    lab.pass(3);
    for (let i = 0; i < 10; i++) expect(lab.put(LAN, listenerQuery(LAN_MAC, 2))).toBe("ND taken");
    expect(onLan(lab.pass(3))).toEqual([report(2)]);
    expect(lab.put(LAN, listenerQuery(LAN_MAC, 2, groups[1], 1000))).toBe("ND taken");
    expect(onLan(lab.pass(1))).toEqual([report(2)]);
    expect(lab.put(LAN, listenerQuery(LAN_MAC, 2, "ff02::1:ff00:99"))).toBe("dropped: ND not for us");
    expect(onLan(lab.pass(1))).toEqual([]);
    lab.put(LAN, listenerQuery(LAN_MAC, 1));
    const old = groups.map((group) => shown(LAN, listenerReport1(OUR_MAC[LAN], LINK_LOCAL, group)));
    expect(onLan(lab.pass(1))).toEqual(old);
    lab.pass(257);
    lab.put(LAN, listenerQuery(LAN_MAC, 2));
    expect(onLan(lab.pass(1))).toEqual(old);
    lab.pass(1);
    lab.put(LAN, listenerQuery(LAN_MAC, 2));
    expect(onLan(lab.pass(1))).toEqual([report(2)]);
  });
});
