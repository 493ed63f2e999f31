// Whose part of the uplink's line a frame is on: a flow's frames are its client's, whoever opened it; what answers the internet is on
// the uplink's own part, which a flood uses up without harm to others; and the firewall's own questions have theirs.
import { expect, test } from "bun:test";
import { fragmented, icmp, ip, payload, udp } from "../../../lab/frames.ts";
import { UDP } from "../../../lab/protocols.ts";
import { GATEWAY, LAN_HOST, Lab, OUTSIDE, REMOTE, SETTINGS, UPLINK, WORK_HOST } from "../../../lab/router-lab.ts";
import { HOST_SHIFT, LINE_HOSTS } from "../../../src/dataplane/line-shares.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { sentPort } from "../../support/nat.ts";

const PARTS = ["the uplink", "the firewall", "work", "lan"];
const PORT = 8080;

const FORWARDING: Settings = {
  ...SETTINGS,
  forwards: [{ protocol: UDP, portLow: PORT, portHigh: PORT, client: 1, to: ip(LAN_HOST), toPort: PORT, from: [] }],
};

/** Whose the frames were that were sent to the uplink last, and of which host. */
const lastOf = (lab: Lab) => lab.last.filter(({ iface }) => iface === UPLINK).map(({ share }) => partOf(share));

function partOf(share: number): string {
  const part = PARTS[share & 0xffff];
  return part === "work" || part === "lan" ? hostOf(part, share >>> HOST_SHIFT) : part;
}

/** @param host an address, or what is left of it by 16 */
const hostOf = (part: string, host: number): string => `${part}'s host ${host & (LINE_HOSTS - 1)}`;
const WORKS = hostOf("work", ip(WORK_HOST));
const LANS = hostOf("lan", ip(LAN_HOST));

const out = (source: string, sourcePort = 4000) => ({ source, sourcePort, destination: REMOTE, destinationPort: 9 });

test("a client's: TCP, UDP and echo requests, fragments, answers to what was forwarded, and all of them after it was another's turn", () => {
  const lab = new Lab({ settings: FORWARDING });
  for (let turn = 0; turn < 3; turn++) {
    for (const [source, name] of [
      [WORK_HOST, WORKS],
      [LAN_HOST, LANS],
    ]) {
      lab.from(source, udp(out(source), payload(9)));
      expect(lastOf(lab)).toEqual([name]);
      lab.from(source, icmp({ source, destination: REMOTE, type: 8, rest: 0x00010001 }, payload(9)));
      expect(lastOf(lab)).toEqual([name]);
      for (const part of fragmented(udp(out(source), payload(200)), 104)) {
        lab.from(source, part);
        expect(lastOf(lab)).toEqual([name]);
      }
    }
    const inward = { source: REMOTE, sourcePort: 4000 + turn, destination: OUTSIDE, destinationPort: PORT };
    lab.from(REMOTE, udp(inward, payload(9)));
    const answer = { source: LAN_HOST, sourcePort: PORT, destination: REMOTE, destinationPort: 4000 + turn };
    lab.from(LAN_HOST, udp(answer, payload(9)));
    expect(lastOf(lab)).toEqual([LANS]);
  }
});

test("a client's too: frames that have waited for the gateway's MAC address, each on its own part", () => {
  const lab = new Lab({ answering: [WORK_HOST, LAN_HOST] });
  for (const source of [WORK_HOST, LAN_HOST])
    expect(lab.from(source, udp(out(source), payload(9))).verdict).toBe("queued for ARP");
  lab.answering.add(GATEWAY);
  for (let tries = 0; tries < 50 && lastOf(lab).length === 0; tries++) lab.leap(100);
  expect(lastOf(lab).toSorted()).toEqual([LANS, WORKS]);
});

test("the uplink's: answers to echo requests, and errors, whoever had his turn before", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, udp(out(WORK_HOST), payload(9)));
  const port = sentPort(lab);
  lab.from(REMOTE, icmp({ source: REMOTE, destination: OUTSIDE, type: 8, rest: 0x00010001 }, payload(9)));
  expect(lastOf(lab)).toEqual(["the uplink"]);
  lab.from(WORK_HOST, udp(out(WORK_HOST), payload(9)));
  const late = { source: REMOTE, sourcePort: 9, destination: OUTSIDE, destinationPort: port, ttl: 1 };
  lab.from(REMOTE, udp(late, payload(9)));
  expect(lastOf(lab)).toEqual(["the uplink"]);
});

test("the firewall's: questions to name servers, and ARP", () => {
  const lab = new Lab({ answering: [WORK_HOST, LAN_HOST] });
  lab.from(WORK_HOST, udp(out(WORK_HOST), payload(9)));
  lab.wait(1000);
  expect([...new Set(lastOf(lab))]).toEqual(["the firewall"]); // who has the gateway's address?
  lab.answering.add(GATEWAY);
  lab.wait(2000);
  lab.from(WORK_HOST, udp(out(WORK_HOST), payload(9)));
  lab.command((router) => router.ask(1, ip(REMOTE), payload(30)));
  expect(lastOf(lab)).toEqual(["the firewall"]);
});
