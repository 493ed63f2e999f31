// Whether anybody gets more of IPv6's kernel path than the slow path gives: by frames of open flows that differ in something, and by
// those that come right after a change. All of them go the slow path of another router too, which must do the same.
import { afterAll, expect, test } from "bun:test";
import { Lab } from "../../lab/namespaces.ts";
import { kernelBench } from "./kernel-bench.ts";

const lab = new Lab("attacks6");
const onBench = kernelBench(lab);
afterAll(() => lab.close());

/** The clients' network is translated, or routed to us: neither is forwarded more. */
const KINDS = [["translated", []], ["routed", ["routed"]]] as const; // biome-ignore format: a table

/** Of each kind, how many frames of how many took the kernel path: UDP and TCP, there and back. */
const TAKEN = {
  "extension headers": "0 of 88",
  "a hop limit of 0 or 1": "0 of 8",
  "one of 2 or 255": "8 of 8",
  "another version": "0 of 16",
  "a traffic class, a flow label": "112 of 112",
  "another next header": "0 of 1020",
  "another EtherType": "0 of 64",
  "a tag": "0 of 12",
  "a wrong payload length": "0 of 30",
  padding: "12 of 12",
  "padding of what is to be cut": "0 of 8",
  "to be cut": "8 of 16", // TCP's
  "to be cut too small": "0 of 8",
  "as long as the MTU": "4 of 4",
  longer: "0 of 12",
  "to be cut to the MTU": "2 of 4",
  "to be cut longer": "0 of 8",
  "no checksum": "2 of 4", // TCP's, of which 0 is one as any other
  "a checksum about zero": "32 of 32",
  "another source": "0 of 512",
  "another destination": "0 of 512",
  "somebody's source": "0 of 40",
  "somebody's destination": "0 of 40",
  "other ports": "0 of 128",
  "to another MAC address": "0 of 192",
  "from another MAC address": "94 of 192", // from the uplink: any but a group's
  "on another interface": "0 of 16",
  "cut short": "0 of 432",
  "UDP shorter than its packet": "6 of 6",
  "UDP of a wrong length": "0 of 10",
  "TCP with another header length": "22 of 32",
  "TCP flags": "32 of 512",
  "TCP out of the window": "0 of 24",
  "TCP that acknowledges what was not sent": "0 of 24",
};

test.each(KINDS)(
  "frames that differ in one thing: %s",
  async (_, words) => {
    expect(await onBench("kernel-attacks6", ...words)).toEqual(TAKEN);
  },
  120_000,
);

const ALL = "work, to work, lan, to lan";
/**
 * Which ways take the kernel path right after a change, and later. The first frame, of "work", enters both ways of its flow where the
 * router has it; so does that of "lan".
 */
const AFTER = {
  nothing: [ALL, ALL],
  "the uplink has another address": ["", ""],
  "it had, for a moment": ["", ""],
  "another gateway": ["", "work"], // whose flow is a new one
  "the gateway has another MAC address": ["to work, to lan", ALL],
  "lan is no longer translated, or routed": ["to work", "work, to work"],
  "lan has a longer prefix": ["to work, to lan", ALL],
  "work has no IPv6": ["lan, to lan", "lan, to lan"],
  "the uplink has no IPv6": ["", ""],
  "work is refused all": ["lan, to lan", "lan, to lan"],
  "lan is, by its rules alone": ["work, to work", "work, to work"],
  "work has another MAC address": ["to work, lan, to lan", "to work, lan, to lan"],
  "we have another MAC address to work": ["lan, to lan", "to work, lan, to lan"],
  "the uplink takes smaller packets": ["to work, to lan", "to work, to lan"],
  "clients and interfaces have other numbers": ["to work, to lan", ALL],
  "lan has no link": ["to work", "work, to work"],
  "lan has a new link": ["to work, to lan", ALL],
  "the uplink has no link": ["", ""],
  "the uplink has a new one": ["", ""],
  "nobody said there that our address is his": ["to work, to lan", ALL],
  "somebody did": ["", ""],
  "somebody says so later": [ALL, ALL],
};

test.each(KINDS)(
  "what is taken after a change: %s",
  async (_, words) => {
    expect(await onBench("kernel-changes6", ...words)).toEqual(AFTER);
  },
  120_000,
);
