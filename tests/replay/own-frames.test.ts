// Which frames of a capture count as the router's own, by MAC address, by addresses, and by what the capture says of their direction.

import { describe, expect, test } from "bun:test";
import { ARP_TYPE, arp, concat, ethernet, IPV4_TYPE, udp } from "../../lab/frames.ts";
import { DIRECTION } from "../../src/captures/frame.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { OwnFrames } from "../../src/replay/own-frames.ts";
import { sound } from "../support/sound.ts";

const OUR_MAC = "02:00:00:00:01:00";
const OTHER_MAC = "02:00:00:00:00:0a";
const BROADCAST = "ff:ff:ff:ff:ff:ff";
const { UNKNOWN, INBOUND, OUTBOUND } = DIRECTION;

/** A router between 10.137.0.10 or 192.168.1.0/24 and the uplink. @param mac its own on all interfaces, if that is known */
function settings(mac = ""): Settings {
  const own = mac === "" ? "" : `own_mac = "${mac}"\n`;
  const text = `[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
${own}
[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
${own}
[[client]]
name = "lan"
interface = "eth2"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
${own}`;
  const parsed = sound(parseConfig(text, "firebreak.toml"));
  return sound(makeSettings(parsed.config, configuredDevices(parsed.config), { anyMac: true, now: 0 })).settings;
}

function judge(made: Settings, iface: string, frame: Uint8Array, direction: number = UNKNOWN, hasMacs = true): boolean {
  const number = made.interfaces.findIndex(({ name }) => name === iface);
  const view = new DataView(concat(new Uint8Array(2), frame).buffer);
  return new OwnFrames(made).has(number, hasMacs, direction, view, 2, frame.length);
}

const packet = (source: string, destination: string, from = OTHER_MAC, to = OUR_MAC) =>
  ethernet(from, to, IPV4_TYPE, udp({ source, destination, sourcePort: 1, destinationPort: 2 }, new Uint8Array(4)));
const question = (senderIp: string, targetIp: string, senderMac = OTHER_MAC) =>
  ethernet(senderMac, BROADCAST, ARP_TYPE, arp({ operation: "request", senderMac, senderIp, targetIp }));

describe("where own_mac is configured", () => {
  const known = settings(OUR_MAC);

  test("what it sent is ours, and what is sent to it or to all is not, whatever direction is told", () => {
    for (const direction of [UNKNOWN, INBOUND, OUTBOUND]) {
      expect(judge(known, "eth0", packet("8.8.8.8", "10.137.0.10", OUR_MAC, OTHER_MAC), direction)).toBe(true);
      expect(judge(known, "eth0", packet("10.137.0.10", "8.8.8.8"), direction)).toBe(false);
      expect(judge(known, "eth0", question("10.137.0.10", "10.137.0.1"), direction)).toBe(false);
    }
  });

  test("a frame between others is ours only if the capture says that it went out", () => {
    const frame = packet("8.8.8.8", "10.137.0.10", "02:00:00:00:00:0b", OTHER_MAC);
    expect([UNKNOWN, INBOUND, OUTBOUND].map((direction) => judge(known, "eth0", frame, direction))).toEqual([
      false,
      false,
      true,
    ]);
  });

  test("addresses tell where the capture has no MAC addresses", () => {
    expect(judge(known, "eth0", packet("8.8.8.8", "10.137.0.10"), UNKNOWN, false)).toBe(true);
    expect(judge(known, "eth0", packet("10.137.0.10", "8.8.8.8", OUR_MAC), UNKNOWN, false)).toBe(false);
  });
});

describe("where it is not", () => {
  const unknown = settings();

  test("addresses tell", () => {
    const told = (iface: string, source: string, destination: string) =>
      judge(unknown, iface, packet(source, destination), OUTBOUND);
    expect(told("eth0", "10.137.0.10", "8.8.8.8")).toBe(false);
    expect(told("eth0", "8.8.8.8", "10.137.0.10")).toBe(true);
    expect(told("eth0", "10.137.0.1", "10.137.0.10")).toBe(true);
    expect(told("eth0", "10.137.0.10", "10.137.0.1")).toBe(false);
    expect(told("eth2", "192.168.1.7", "192.168.1.8")).toBe(false);
    expect(told("eth2", "192.168.1.1", "192.168.1.8")).toBe(true);
    expect(told("eth2", "8.8.8.8", "192.168.1.8")).toBe(true);
    expect(told("eth1", "192.0.2.254", "8.8.8.8")).toBe(true);
    expect(told("eth1", "8.8.8.8", "192.0.2.254")).toBe(false);
  });

  test("so do those of ARP", () => {
    expect(judge(unknown, "eth0", question("10.137.0.10", "10.137.0.1"), OUTBOUND)).toBe(false);
    expect(judge(unknown, "eth0", question("10.137.0.1", "10.137.0.10"))).toBe(true);
    expect(judge(unknown, "eth1", question("192.0.2.254", "192.0.2.1"))).toBe(true);
    expect(judge(unknown, "eth1", question("192.0.2.1", "192.0.2.254"), OUTBOUND)).toBe(false);
  });

  test("and where they don't, the direction that the capture tells", () => {
    const others = [
      packet("8.8.8.8", "9.9.9.9"),
      ethernet(OTHER_MAC, OUR_MAC, 0x86dd, new Uint8Array(40)),
      new Uint8Array(9),
    ];
    for (const frame of others) {
      const all = [UNKNOWN, INBOUND, OUTBOUND].map((direction) => judge(unknown, "eth1", frame, direction));
      expect(all).toEqual([false, false, true]);
    }
  });
});
