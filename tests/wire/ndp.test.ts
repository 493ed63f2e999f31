// Neighbour Discovery: which messages are sound (RFC 4861 sections 7.1.1, 7.1.2), and how ours are written.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, mac, toHex } from "../../lab/frames.ts";
import { type Icmpv6Fields, icmpv6, ip6 } from "../../lab/frames6.ts";
import { macHead, macTail } from "../../src/wire/ethernet.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import {
  groupMacHead,
  groupMacTail,
  NeighbourMessage,
  OVERRIDE,
  ROUTER,
  SOLICITED,
  writeAdvertisement,
  writeLinkLocal,
  writeSolicitation,
  writeSolicitedGroup,
} from "../../src/wire/ndp.ts";
import { patched, place } from "../support/place.ts";

const HOST = "2001:db8::a:12:3456";
const TARGET = "fe80::fcff:ffff:feff:ffff";
const GROUP = "ff02::1:ffff:ffff";
const NONE = "::";
const MAC = "02:00:00:00:00:0a";
const SOLICITATION = 135;
const ADVERTISEMENT = 136;

/** An option of 8 bytes with a MAC address. */
const option = (type: number, address = MAC) => concat(Uint8Array.of(type, 1), mac(address));

const solicitation = (fields: Partial<Icmpv6Fields> = {}, target = TARGET, options = option(1)) =>
  icmpv6(
    { source: HOST, destination: GROUP, hopLimit: 255, type: SOLICITATION, ...fields },
    concat(ip6(target), options),
  );

const advertisement = (fields: Partial<Icmpv6Fields> = {}, target = TARGET, options = option(2)) =>
  icmpv6(
    {
      source: TARGET,
      destination: HOST,
      hopLimit: 255,
      type: ADVERTISEMENT,
      rest: (SOLICITED | OVERRIDE) * 0x1000000,
      ...fields,
    },
    concat(ip6(target), options),
  );

function read(packet: Uint8Array, isFragmented = false): NeighbourMessage {
  const { view, at, length } = place(packet);
  const message = new NeighbourMessage();
  const fault = message.read(view, at, at + 40, length - 40, isFragmented);
  if (fault !== FAULT.NONE) throw new Error(FAULT_NAMES[fault]);
  return message;
}

function judge(packet: Uint8Array, isFragmented = false): string {
  try {
    read(packet, isFragmented);
    return "none";
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
}

/** Offsets count from where `place` puts a packet. */
const AT = 5;

describe("a message", () => {
  test("tells its type, flags, addresses, and the MAC address that it is for", () => {
    const asked = { type: SOLICITATION, flags: 0, source: AT + 8, target: AT + 48, isProbe: false, mac: AT + 66 };
    expect({ ...read(solicitation()) }).toEqual(asked);
    expect({ ...read(solicitation({}, TARGET, new Uint8Array(0))) }).toEqual({ ...asked, mac: 0 });
    const flags = SOLICITED | OVERRIDE;
    expect({ ...read(advertisement()) }).toEqual({ ...asked, type: ADVERTISEMENT, flags });
    const probe = solicitation({ source: NONE }, TARGET, new Uint8Array(0));
    expect({ ...read(probe) }).toEqual({ ...asked, isProbe: true, mac: 0 });
  });

  test("has the first of several such options, and others are passed over (RFC 4861 section 4.6)", () => {
    const nonce = Uint8Array.of(14, 1, 1, 2, 3, 4, 5, 6);
    const options = concat(nonce, option(2, "02:00:00:00:00:99"), option(1), option(1, "02:00:00:00:00:98"));
    expect(read(solicitation({}, TARGET, options)).mac).toBe(AT + 64 + 8 + 8 + 2);
  });

  test("that has passed a router is refused, and so is one of another code, with a wrong checksum, or in fragments (RFC 6980)", () => {
    expect(judge(solicitation({ hopLimit: 254 }))).toBe("nd: hop limit is not 255");
    expect(judge(solicitation({ code: 1 }))).toBe("nd: code or fragment header");
    expect(judge(solicitation(), true)).toBe("nd: code or fragment header");
    expect(judge(patched(solicitation(), 42, 0, 0))).toBe("icmpv6: checksum");
  });

  test("cut short is truncated, and nothing behind it is read", () => {
    const packet = solicitation({}, TARGET, new Uint8Array(0));
    for (let length = 8; length < 24; length++) {
      const { view, at } = place(packet.subarray(0, 40 + length));
      expect(new NeighbourMessage().read(view, at, at + 40, length, false)).toBe(FAULT.ND_TRUNCATED);
    }
  });

  test("with an option of no length, cut short, or of another kind of address is refused; so are too many", () => {
    const bad = [
      "01 00 02 00 00 00 00 0a",
      "01 02 02 00 00 00 00 0a",
      "01 01 02 00",
      "01",
      "01 02 02 00 00 00 00 0a 00 00 00 00 00 00 00 00",
    ];
    expect(bad.map((hex) => judge(solicitation({}, TARGET, fromHex(hex))))).toEqual(bad.map(() => "nd: options"));
    const many = (count: number) => concat(...new Array(count).fill(Uint8Array.of(14, 1, 0, 0, 0, 0, 0, 0)));
    expect([16, 17].map((count) => judge(solicitation({}, TARGET, many(count))))).toEqual(["none", "nd: options"]);
  });

  test("about a group, or from one, is refused", () => {
    expect(judge(solicitation({}, GROUP))).toBe("nd: addresses");
    expect(judge(advertisement({}, GROUP))).toBe("nd: addresses");
    expect(judge(solicitation({ source: "ff02::1" }))).toBe("nd: addresses");
  });

  test("that probes for an address says no MAC address, and goes to a solicited-node group (RFC 4861 section 7.1.1)", () => {
    expect(judge(solicitation({ source: NONE }))).toBe("nd: options");
    for (const destination of [TARGET, "ff02::1", "ff02::1:fe00:1", "ff02::2:ff00:1", "ff05::1:ff00:1"]) {
      expect(judge(solicitation({ source: NONE, destination }, TARGET, new Uint8Array(0)))).toBe("nd: addresses");
    }
  });

  test("that advertises to all is not solicited, and comes from somebody (RFC 4861 section 7.1.2)", () => {
    expect(judge(advertisement({ destination: "ff02::1" }))).toBe("nd: addresses");
    expect(judge(advertisement({ destination: "ff02::1", rest: OVERRIDE * 0x1000000 }))).toBe("none");
    expect(judge(advertisement({ source: NONE }))).toBe("nd: addresses");
  });
});

/** @returns a packet of ours whose addresses stand where they belong, completed by `finish` */
function written(
  source: string,
  destination: string,
  finish: (view: DataView, at: number, head: number, tail: number) => number,
): string {
  const { view, at } = place(new Uint8Array(72).fill(0xee));
  const bytes = new Uint8Array(view.buffer);
  bytes.set(ip6(source), at + 8);
  bytes.set(ip6(destination), at + 24);
  bytes.set(ip6(TARGET), at + 48);
  const own = place(mac(MAC));
  const length = finish(view, at, macHead(own.view, own.at), macTail(own.view, own.at));
  return toHex(bytes.subarray(at, at + length));
}

describe("ours", () => {
  test("ask as RFC 4861 section 4.3 has it, and say no MAC address where they probe", () => {
    expect(written(HOST, GROUP, writeSolicitation)).toBe(toHex(solicitation()));
    expect(written(HOST, TARGET, writeSolicitation)).toBe(toHex(solicitation({ destination: TARGET })));
    const probe = solicitation({ source: NONE }, TARGET, new Uint8Array(0));
    expect(written(NONE, GROUP, writeSolicitation)).toBe(toHex(probe));
  });

  test("answer as section 4.4 has it", () => {
    const flags = ROUTER | SOLICITED | OVERRIDE;
    const answer = written(TARGET, HOST, (view, at, head, tail) => writeAdvertisement(view, at, flags, head, tail));
    expect(answer).toBe(toHex(advertisement({ rest: flags * 0x1000000 })));
    const told = written(TARGET, "ff02::1", (view, at, head, tail) => writeAdvertisement(view, at, 0, head, tail));
    expect(told).toBe(toHex(advertisement({ destination: "ff02::1", rest: 0 })));
  });
});

test("the solicited-node group of an address, and its MAC address (RFC 4291 section 2.7.1, RFC 2464 section 7)", () => {
  for (const [address, group, groupMac] of [
    [HOST, "ff02::1:ff12:3456", "33:33:ff:12:34:56"],
    [TARGET, GROUP, "33:33:ff:ff:ff:ff"],
    ["::1", "ff02::1:ff00:1", "33:33:ff:00:00:01"],
  ]) {
    const { view, at } = place(concat(ip6(address), new Uint8Array(16)));
    writeSolicitedGroup(view, at + 16, view.getInt32(at + 12));
    expect(toHex(new Uint8Array(view.buffer, at + 16))).toBe(toHex(ip6(group)));
    const wanted = place(mac(groupMac));
    const word = view.getInt32(at + 28);
    const found = [groupMacHead(word) | 0, groupMacTail(word)];
    expect(found).toEqual([macHead(wanted.view, wanted.at), macTail(wanted.view, wanted.at)]);
  }
});

test("an interface's link-local address is made of its MAC address (RFC 4291 appendix A)", () => {
  for (const [own, address] of [
    ["fe:ff:ff:ff:ff:ff", TARGET],
    ["52:54:00:12:34:56", "fe80::5054:ff:fe12:3456"],
    ["00:00:00:00:00:00", "fe80::200:ff:fe00:0"],
  ]) {
    const macs = place(mac(own));
    const { view, at } = place(new Uint8Array(16).fill(0xee));
    writeLinkLocal(view, at, macs.view, macs.at);
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(ip6(address)));
  }
});
