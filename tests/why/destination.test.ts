// What `why` takes for DESTINATION, and which packet it asks about: what somebody may write, and what he is told where it is wrong.

import { describe, expect, test } from "bun:test";
import { parseAddress } from "../../src/base/address.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { packetMeant, readDestination, requireOne } from "../../src/why/destination.ts";
import { PROTOCOL } from "../../src/wire/ipv4.ts";
import { sound } from "../support/sound.ts";

function asking() {
  const parsed = sound(
    parseConfig(
      `[uplink]
interface = "up"
address = "192.0.2.254/24"
gateway = "192.0.2.1"

[[client]]
name = "work"
interface = "in"
address = "10.137.0.10"
gateway = "10.137.0.1"
rules = ["action=accept dsthost=www.example.org"]

[[client]]
name = "lan"
interface = "lan"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
`,
      "fw.toml",
    ),
  );
  const made = sound(makeSettings(parsed.config, configuredDevices(parsed.config)));
  const address = parseAddress("198.51.100.80") ?? 0;
  const addressesOf = (name: string) => (name === "www.example.org" ? [address] : undefined);
  return { config: parsed.config, settings: made.settings, addressesOf };
}

const ASKING = asking();
const read = (text: string, ...words: readonly string[]) => readDestination(text, words, ASKING);
const meant = (text: string, ...words: readonly string[]) => packetMeant(read(text, ...words), words, PROTOCOL.ICMP);

test.each([
  ["203.0.113.7", "203.0.113.7", undefined],
  ["203.0.113.7:443", "203.0.113.7", "443"],
  ["203.0.113.7:80-443", "203.0.113.7", "80-443"],
  ["WWW.example.org:443", "WWW.example.org", "443"],
  ["2001:db8::7", "2001:db8::7", undefined],
  ["[2001:db8::7]", "2001:db8::7", undefined],
  ["[2001:db8::7]:443", "2001:db8::7", "443"],
])("%s is understood", (text, host, port) => {
  expect(read(text)).toEqual({ host, port });
});

describe("it says what is wrong, and what can be written", () => {
  test.each([
    ["work", '"work" is a client (write 10.137.0.10)'],
    ["work:443", '"work" is a client (write 10.137.0.10)'],
    ["lan", '"lan" is a client (write an address of it)'],
    ["198.51.100.0/24", '"198.51.100.0/24" is a network (write one of its addresses)'],
    ["2001:db8::/32", '"2001:db8::/32" is a network (write one of its addresses)'],
    ["ftp.example.org", '"ftp.example.org" is in no rule, so that its addresses are not known (write an address)'],
    ["a b", '"a b" is neither an address nor a host name (write 203.0.113.7 or 203.0.113.7:443)'],
    ["", '"" is neither an address nor a host name (write 203.0.113.7 or 203.0.113.7:443)'],
    ["203.0.113.7:", 'port "" is none (write 203.0.113.7:443)'],
    ["203.0.113.7:99999", 'port "99999" is none (write 203.0.113.7:443)'],
    ["[2001:db8::7]:x", 'port "x" is none (write [2001:db8::7]:443)'],
  ])("%p", (text, error) => {
    expect(() => read(text)).toThrow(new Error(error));
  });

  test.each(["proto=icmp", "proto=47", "icmptype=8"])("a port beside %s", (word) => {
    expect(() => read("203.0.113.7:443", word)).toThrow(
      new Error('ICMP and protocols by number have no ports (leave out ":443")'),
    );
  });

  test("a network in place of who sends", () => {
    expect(() => requireOne("10.137.0.0/24")).toThrow(
      new Error('"10.137.0.0/24" is a network (write one of its addresses)'),
    );
    requireOne("10.137.0.10");
    requireOne("nobody");
  });
});

describe("the packet that is asked about", () => {
  const { TCP, UDP, ICMP } = PROTOCOL;
  test.each([
    ["203.0.113.7", [], ICMP, undefined],
    ["203.0.113.7", ["icmptype=13"], ICMP, 13],
    ["203.0.113.7", ["proto=icmp"], ICMP, undefined],
    ["203.0.113.7:443", [], TCP, 443],
    ["203.0.113.7", ["dstports=443"], TCP, 443],
    ["203.0.113.7:53", ["proto=udp"], UDP, 53],
    ["203.0.113.7", ["proto=17", "dstports=53-60"], UDP, 53],
    ["203.0.113.7", ["proto=47"], 47, 0],
  ])("of %s %p", (text, words, protocol, selector) => {
    expect(meant(text, ...words)).toEqual({ protocol, selector });
  });

  test("takes a port, where it decides", () => {
    const needs = (host: string) =>
      new Error(
        `nothing of this was dropped, as far as it is remembered; to say what would happen now takes a port (write ${host}:443)`,
      );
    expect(() => meant("203.0.113.7", "proto=tcp")).toThrow(needs("203.0.113.7"));
    expect(() => meant("2001:db8::7", "proto=udp")).toThrow(needs("[2001:db8::7]"));
  });
});
