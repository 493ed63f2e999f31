// A firewall whose uplink is away: clients keep their interface and their gateway, and nothing is sent anywhere else.
import { expect, test } from "bun:test";
import { icmp, mac, payload, udp } from "../../../lab/frames.ts";
import {
  announcement,
  answered,
  GATEWAY,
  INTERFACES,
  LAN,
  LAN_SETTINGS,
  Lab,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";

/** "work" stays on interface 1, and "lan" has the number that was the uplink's. */
const NO_UPLINK: Settings = {
  ...SETTINGS,
  interfaces: [INTERFACES[LAN], INTERFACES[WORK]],
  uplink: { iface: 2, address: 0, prefix: 32, gateway: 0, dns: [], gatewayMac: mac("fe:ff:ff:ff:ff:ff") },
  clients: [
    { ...WORK_SETTINGS, ruleset: compileRuleset([], false) },
    { ...LAN_SETTINGS, iface: UPLINK, ruleset: compileRuleset([], false) },
  ],
};

const PING = { source: WORK_HOST, destination: WORK_GATEWAY, type: 8, rest: 0x00010001 };
const PONG = { source: WORK_GATEWAY, destination: WORK_HOST, type: 0, rest: 0x00010001 };
const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 53 };

function expectWaiting(lab: Lab): void {
  expect(lab.from(WORK_HOST, icmp(PING, payload(8)))).toEqual(answered(WORK_HOST, icmp(PONG, payload(8))));
  const { verdict, sent } = lab.from(WORK_HOST, udp(OUT, payload(1)));
  expect([verdict, sent.length]).toEqual(["dropped: refused by rules", 1]); // the ICMP error
  expect(lab.wait(300_000)).toEqual([]);
}

test("it answers its clients, refuses what they send, and asks nobody anything", () => {
  expectWaiting(new Lab({ settings: NO_UPLINK }));
});

test("when the uplink goes, so do its flows; when it is back, everything is as before", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, udp(OUT, payload(1)));
  expect(lab.router.flows.size).toBe(1);
  lab.apply(NO_UPLINK);
  lab.leap(1);
  expect(lab.router.flows.size).toBe(0);
  expectWaiting(lab);
  expect(lab.apply(SETTINGS)).toEqual([announcement(UPLINK)]);
  lab.leap(1);
  expect(lab.from(WORK_HOST, udp(OUT, payload(1))).verdict).toBe("forwarded");
  lab.answering.delete(GATEWAY);
  lab.apply(NO_UPLINK);
  lab.apply(SETTINGS);
  expect(lab.from(WORK_HOST, udp({ ...OUT, sourcePort: 4001 }, payload(1))).verdict).toBe("queued for ARP");
});
