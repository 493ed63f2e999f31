// Rules that change by themselves: which clients get new rules when, as the dataplane sees it.

import { beforeEach, describe, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { wordsOfBytes } from "../../lab/rulesets.ts";
import { formatAddress } from "../../src/base/address.ts";
import { formatIp } from "../../src/base/ip.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { LiveRules, type RulesDataplane } from "../../src/control/live-rules.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { judge, judge6, type Ruleset } from "../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, Settings } from "../../src/dataplane/settings.ts";
import { PROTOCOL } from "../../src/wire/ipv4.ts";
import { type Asked, FakeNameServers, hosts, readQuestion, reply } from "../support/name-servers.ts";
import { rejectionOf } from "../support/rejection.ts";
import { EPOCH, SimulatedClock } from "../support/simulated-clock.ts";
import { sound } from "../support/sound.ts";

const DNS = 0x0a8b0101;

/** Writes down what is posted to it: `work: 192.0.2.7 192.0.2.8`, the destinations that the client's rules accept. */
class FakeDataplane implements RulesDataplane {
  posted: string[] = [];
  /** The last one of each client. */
  readonly rulesets = new Map<string, Ruleset>();
  onPassing: (client: number, answer: Uint8Array) => Promise<void> = async () => {};

  constructor(private readonly servers: FakeNameServers) {}

  ask(server: number, question: Uint8Array): Promise<Uint8Array> {
    return this.servers.ask(server, question);
  }

  askByTcp(server: number, question: Uint8Array): Promise<Uint8Array> {
    return this.servers.askByTcp(server, question);
  }

  async setClient(client: number, settings: ClientSettings): Promise<void> {
    this.posted.push(`${client} ${describeRules(settings)}`);
    this.rulesets.set(settings.name, settings.ruleset);
  }
}

/** `work: 192.0.2.1 192.0.2.3`: which addresses of the network that all are from the rules accept */
function describeRules({ name, ruleset }: ClientSettings): string {
  const addresses = Array.from({ length: 256 }, (_, host) => ip("192.0.2.0") + host);
  const accepted = addresses.filter((address) => judge(ruleset, PROTOCOL.TCP, address | 0, 80) & 1);
  return `${name}: ${accepted.map(formatAddress).join(" ")}`;
}

let clock: SimulatedClock;
let servers: FakeNameServers;
let dataplane: FakeDataplane;
let rules: LiveRules;
let updates: number;

/** What names mean to each client. */
function namesNow(): Record<string, Record<string, string[]>> {
  const clients = Array.from(rules.resolvedNames, ([client, names]) => {
    return [client, Object.fromEntries(Array.from(names, ([name, found]) => [name, found.map(formatIp)]))] as const;
  });
  return Object.fromEntries(clients);
}

beforeEach(() => {
  clock = new SimulatedClock();
  servers = new FakeNameServers(clock, (asked) => reply(asked, hosts(asked.name, ["192.0.2.7"], 3600)));
  dataplane = new FakeDataplane(servers);
  updates = 0;
  rules = new LiveRules(dataplane, clock, { say: () => {}, updated: () => updates++ });
});

/**
 * @param clients name and rules of each, without "action=", or without "action=accept "
 * @param uplink6, first6 further keys of the uplink, and of the first client
 */
function configOf(clients: Readonly<Record<string, readonly string[]>>, uplink6 = "", first6 = ""): Config {
  const tables = Object.entries(clients).map(([name, lines], i) => {
    const quoted = lines.map((line) => `"action=${line.startsWith("drop ") ? line : `accept ${line}`}"`).join(", ");
    return `[[client]]\nname = "${name}"\ninterface = "eth${i}"\naddress = "10.0.0.${i + 2}"\ngateway = "10.0.0.1"\nrules = [${quoted}]\n${i === 0 ? first6 : ""}`;
  });
  const uplink = `[uplink]\ninterface = "eth9"\naddress = "192.0.2.254/24"\ngateway = "192.0.2.1"\ndns = ["${formatAddress(DNS)}"]\n${uplink6}`;
  return sound(parseConfig(uplink + tables.join(""), "firewall.toml")).config;
}

function settingsOf(config: Config): Settings {
  const result = sound(
    makeSettings(config, configuredDevices(config), {
      now: clock.unixTime(),
      ...rules.knownNames,
    }),
  );
  return result.settings;
}

function follow(clients: Readonly<Record<string, readonly string[]>>): void {
  const config = configOf(clients);
  rules.follow(config, settingsOf(config), clock.unixTime());
}

/** From now on all names have this address. */
function now(address: string): void {
  servers.answer = (asked) => reply(asked, hosts(asked.name, [address], 3600));
}

/** An answer to a client that asked for a name. */
function passingBy(name: string, address: string): Uint8Array {
  const message = Buffer.from(`123401000001000000000000${nameHex(name)}00010001`, "hex");
  return reply(readQuestion(DNS, 0, message), hosts(name, [address]));
}

function nameHex(name: string): string {
  const labels = name.split(".").map((label) => Buffer.of(label.length, ...Buffer.from(label)));
  return `${Buffer.concat(labels).toString("hex")}00`;
}

describe("names", () => {
  test("that resolve change the rules of the clients that have them, and only of these", async () => {
    servers.answer = (asked) =>
      asked.name === "a.example" ? reply(asked, hosts(asked.name, ["192.0.2.8", "192.0.2.9"])) : undefined;
    follow({
      work: ["dsthost=a.example"],
      mail: ["dsthost=b.example", "dsthost=a.example"],
      vault: ["dst4=192.0.2.1"],
    });
    await clock.advance(100);
    expect(dataplane.posted).toEqual(["0 work: 192.0.2.8 192.0.2.9", "1 mail: 192.0.2.8 192.0.2.9"]);
  });

  test("whose addresses a client is about to learn are in all rules before that, if we are told them too", async () => {
    follow({ work: ["dsthost=a.example"], mail: ["dsthost=a.example"] });
    await clock.advance(100);
    dataplane.posted = [];
    now("192.0.2.70");
    let postedBefore: string[] = [];
    dataplane.onPassing(1, passingBy("a.example", "192.0.2.70")).then(() => {
      postedBefore = [...dataplane.posted];
    });
    await clock.advance(100);
    expect(postedBefore).toEqual(["0 work: 192.0.2.7 192.0.2.70", "1 mail: 192.0.2.7 192.0.2.70"]);
    for (const [client, name, address] of [
      [1, "a.example", "192.0.2.66"],
      [1, "a.example", "192.0.2.70"],
      [1, "b.example", "192.0.2.71"],
      [7, "a.example", "192.0.2.71"],
    ] as const) {
      dataplane.onPassing(client, passingBy(name, address));
      await clock.advance(1000);
    }
    expect(dataplane.posted).toHaveLength(2);
  });

  test("are told with what they mean to each client, whenever that changes", async () => {
    servers.answer = (asked) =>
      asked.name === "a.example" ? reply(asked, hosts(asked.name, ["192.0.2.8"])) : undefined;
    follow({ work: ["dsthost=a.example"], mail: ["dsthost=b.example", "dsthost=a.example"], vault: [] });
    expect([namesNow(), updates]).toEqual([
      { work: { "a.example": [] }, mail: { "b.example": [], "a.example": [] }, vault: {} },
      0,
    ]);
    await clock.advance(100);
    const known = { work: { "a.example": ["192.0.2.8"] }, mail: { "b.example": [], "a.example": ["192.0.2.8"] } };
    expect([namesNow(), updates]).toEqual([{ ...known, vault: {} }, 2]);
    now("192.0.2.70");
    dataplane.onPassing(0, passingBy("a.example", "192.0.2.70"));
    await clock.advance(100);
    const both = ["192.0.2.8", "192.0.2.70"];
    const after = { work: { "a.example": both }, mail: { "b.example": [], "a.example": both }, vault: {} };
    expect([namesNow(), updates]).toEqual([after, 4]);
    follow({ mail: ["dsthost=a.example"] });
    expect(namesNow()).toEqual({ mail: { "a.example": both } });
    rules.stop();
    expect(namesNow()).toEqual({});
  });

  test("are asked of the servers that clients' questions are redirected to, too", async () => {
    servers.answer = () => undefined;
    const config = configOf({ work: ["dsthost=a.example"] });
    const redirected = { ...config, redirects: [{ from: ip("10.139.1.9"), to: ip("192.0.2.53") }] };
    rules.follow(redirected, settingsOf(redirected), clock.unixTime());
    await clock.advance(10_000);
    expect([...new Set(servers.asked.map(({ server }) => formatIp(server)))]).toEqual(["10.139.1.1", "192.0.2.53"]);
  });

  test("keep their addresses when the configuration is replaced by one that has them", async () => {
    follow({ work: ["dsthost=a.example"] });
    await clock.advance(100);
    const config = configOf({ mail: ["dsthost=a.example"], work: ["dsthost=a.example"] });
    expect(settingsOf(config).clients.map(describeRules)).toEqual(["mail: 192.0.2.7", "work: 192.0.2.7"]);
  });
});

describe("while other settings are on their way", () => {
  const before = { work: ["dsthost=a.example"], mail: ["dsthost=b.example"] };
  const after = { mail: ["dsthost=b.example"], work: ["dsthost=a.example", "dst4=192.0.2.99"] };
  let finish: (error?: Error) => void;
  let replaced: Promise<void>;

  beforeEach(async () => {
    follow(before);
    await clock.advance(100);
    dataplane.posted = [];
    const config = configOf(after);
    const settings = settingsOf(config);
    const applied = new Promise<Settings>((resolve, reject) => {
      finish = (error) => (error ? reject(error) : resolve(settings));
    });
    replaced = rules.replace(config, () => applied);
    await clock.advance(0);
    now("192.0.2.70");
    dataplane.onPassing(0, passingBy("a.example", "192.0.2.70"));
    await clock.advance(100);
  });

  test("no rules are posted; then those that changed meanwhile are, by the new numbers", async () => {
    expect(dataplane.posted).toEqual([]);
    finish();
    await replaced;
    expect(dataplane.posted).toEqual(["1 work: 192.0.2.7 192.0.2.70 192.0.2.99"]);
  });

  test("and are refused, the old ones are followed on", async () => {
    finish(new Error("no"));
    expect(await rejectionOf(replaced)).toContain("no");
    expect(dataplane.posted).toEqual(["0 work: 192.0.2.7 192.0.2.70"]);
    now("192.0.2.71");
    dataplane.onPassing(1, passingBy("b.example", "192.0.2.71"));
    await clock.advance(100);
    expect(dataplane.posted.slice(1)).toEqual(["1 mail: 192.0.2.7 192.0.2.71"]);
  });
});

describe("names that rules drop", () => {
  const ADDRESSES = ["192.0.2.6", "192.0.2.7"];
  const accepting = ADDRESSES.map((address) => `dst4=${address}`);

  test("shut what comes after them as long as they are unknown", async () => {
    const config = configOf({ work: ["dst4=192.0.2.1", "drop dsthost=a.example", ...accepting] });
    servers.answer = () => undefined;
    expect(settingsOf(config).clients.map(describeRules)).toEqual(["work: 192.0.2.1"]);
    rules.follow(config, settingsOf(config), clock.unixTime());
    await clock.advance(60_000);
    expect(dataplane.posted).toEqual([]);
    servers.answer = (asked) => reply(asked, hosts(asked.name, ["192.0.2.7"], 3600));
    await clock.advance(300_000);
    expect(dataplane.posted).toEqual(["0 work: 192.0.2.1 192.0.2.6"]);
  });

  test("shut nothing once a server says that they have no address", async () => {
    servers.answer = (asked) => reply(asked, [], { rcode: 3 });
    follow({ work: ["drop dsthost=a.example", ...accepting] });
    await clock.advance(100);
    expect(dataplane.posted).toEqual(["0 work: 192.0.2.6 192.0.2.7"]);
  });

  async function replaceBy(clients: Readonly<Record<string, readonly string[]>>): Promise<string[]> {
    const config = configOf(clients);
    let described: string[] = [];
    await rules.replace(config, async () => {
      const settings = settingsOf(config);
      described = settings.clients.map(describeRules);
      return settings;
    });
    return described;
  }

  test("are known when new rules that have them come into force", async () => {
    follow({ work: ["dsthost=b.example", ...accepting] });
    await clock.advance(100);
    const replaced = replaceBy({ work: ["drop dsthost=a.example", "dsthost=c.example", ...accepting] });
    await clock.advance(100);
    expect(await replaced).toEqual(["work: 192.0.2.6"]);
    expect(servers.asked.map(({ name }) => name)).toEqual(["b.example", "a.example", "c.example"]);
  });

  test("are not waited for long", async () => {
    follow({ work: accepting });
    servers.answer = () => undefined;
    const replaced = replaceBy({ work: ["drop dsthost=a.example", ...accepting] });
    let isInForce = false;
    replaced.then(() => {
      isInForce = true;
    });
    await clock.advance(999);
    expect(isInForce).toBe(false);
    await clock.advance(1);
    expect(await replaced).toEqual(["work: "]);
  });

  test("of rules that are refused are forgotten", async () => {
    follow({ work: accepting });
    const config = configOf({ work: ["drop dsthost=a.example"] });
    const refused = rejectionOf(rules.replace(config, () => Promise.reject(new Error("no"))));
    await clock.advance(100);
    expect(await refused).toContain("no");
    expect(rules.addressesOf("a.example")).toBeUndefined();
    expect(clock.pending).toBe(0);
  });
});

describe("rules that expire", () => {
  test("do so at their second, and only their clients get new rules", async () => {
    follow({
      work: ["dst4=192.0.2.1", `dst4=192.0.2.2 expire=${EPOCH + 10}`, `dst4=192.0.2.3 expire=${EPOCH + 7200}`],
      mail: ["dst4=192.0.2.4"],
    });
    await clock.advance(9_999);
    expect(dataplane.posted).toEqual([]);
    await clock.advance(1);
    expect(dataplane.posted).toEqual(["0 work: 192.0.2.1 192.0.2.3"]);
    await clock.advance(7_189_999);
    expect(dataplane.posted).toHaveLength(1);
    await clock.advance(1);
    expect(dataplane.posted.slice(1)).toEqual(["0 work: 192.0.2.1"]);
    await clock.advance(86_400_000);
    expect(dataplane.posted).toHaveLength(2);
  });
});

test("a rule that expires while the settings that it is in are put in force has expired afterwards", async () => {
  const config = configOf({ work: ["dst4=192.0.2.1", `dst4=192.0.2.2 expire=${EPOCH + 10}`] });
  await clock.advance(9000);
  const replaced = rules.replace(config, async () => {
    const settings = settingsOf(config);
    await clock.advance(2000); // the dataplane takes its time
    return settings;
  });
  await replaced;
  await clock.advance(0);
  expect(dataplane.posted).toEqual(["0 work: 192.0.2.1"]);
});

describe("rules that expire, while the machine's time is set", () => {
  const DAY = 86_400;
  const text = { work: ["dst4=192.0.2.1", `dst4=192.0.2.2 expire=${EPOCH + DAY}`], mail: ["dst4=192.0.2.4"] };
  const both = "0 work: 192.0.2.1 192.0.2.2";
  const expired = "0 work: 192.0.2.1";

  test("forward past their second, expire within a minute", async () => {
    follow(text);
    clock.shift(2 * DAY);
    await clock.advance(60_000);
    expect(dataplane.posted).toEqual([expired]);
    await clock.advance(3 * DAY * 1000);
    expect(dataplane.posted).toHaveLength(1);
  });

  test("back before it, hold again within a minute, and expire when it comes", async () => {
    clock.shift(2 * DAY);
    follow(text);
    await clock.advance(120_000);
    expect(dataplane.posted).toEqual([]);
    clock.shift(-2 * DAY);
    await clock.advance(60_000);
    expect(dataplane.posted).toEqual([both]);
    await clock.advance(DAY * 1000);
    expect(dataplane.posted.slice(1)).toEqual([expired]);
  });

  test("to where it was before there was a clock, and to now: are asked for once a minute, not more", async () => {
    clock.shift(-EPOCH);
    follow(text);
    let looks = 0;
    const unixTime = clock.unixTime.bind(clock);
    clock.unixTime = () => {
      looks++;
      return unixTime();
    };
    await clock.advance(600_000);
    expect(looks).toBeLessThan(40);
    clock.shift(EPOCH + 2 * DAY);
    await clock.advance(60_000);
    expect(dataplane.posted).toEqual([expired]);
  });
});

/** A client "work" that has IPv6, and rules as `configOf` takes them; beside it one that has none. */
function configWithIpv6(...lines: readonly string[]): Config {
  const uplink6 = 'address6 = "2001:db8:1::2/64"\ngateway6 = "fe80::1"\n';
  return configOf(
    { work: lines, old: ["dsthost=a.example"] },
    uplink6,
    'address6 = "fd00::10"\ngateway6 = "fd00::1"\n',
  );
}

/** @returns the last rules posted for "work", as judged for addresses of IPv4 and IPv6 */
function decided(...destinations: string[]): boolean[] {
  const ruleset = dataplane.rulesets.get("work");
  if (ruleset === undefined) throw new Error("no rules were posted");
  return destinations.map((text) => {
    const words = text.includes(":") ? wordsOfBytes(ip6(text)) : undefined;
    const judgement = words
      ? judge6(ruleset, PROTOCOL.TCP, ...words, 80)
      : judge(ruleset, PROTOCOL.TCP, ip(text) | 0, 80);
    return (judgement & 1) === 1;
  });
}

describe("names in rules of a client that has IPv6", () => {
  const both = (asked: Asked, v4 = ["192.0.2.7"], v6 = ["2001:db8::7"]) =>
    reply(asked, hosts(asked.name, asked.type === "A" ? v4 : v6, 3600));

  test("are looked up for both families, once each; and what changes of either is in its rules", async () => {
    servers.answer = (asked) => both(asked);
    const config = configWithIpv6("dsthost=a.example");
    rules.follow(config, settingsOf(config), clock.unixTime());
    await clock.advance(100);
    expect(servers.asked.map(({ type }) => type).sort()).toEqual(["A", "AAAA"]);
    expect(decided("192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::8")).toEqual([true, false, true, false]);
    expect(namesNow()).toEqual({
      work: { "a.example": ["192.0.2.7", "2001:db8::7"] },
      old: { "a.example": ["192.0.2.7"] },
    });
    expect(dataplane.posted).toContain("1 old: 192.0.2.7");
    servers.answer = (asked) => both(asked, ["192.0.2.7"], ["2001:db8::8"]);
    await clock.advance(2 * 3_600_000);
    expect(decided("192.0.2.7", "2001:db8::7", "2001:db8::8")).toEqual([true, false, true]);
  });

  test("shut IPv6 alone while AAAA is unknown, and nothing once a server says that there is none", async () => {
    servers.answer = (asked) => (asked.type === "A" ? both(asked) : reply(asked, [], { rcode: 2 }));
    const config = configWithIpv6("drop dsthost=a.example", "dst4=0.0.0.0/0", "dst6=::/0");
    rules.follow(config, settingsOf(config), clock.unixTime());
    await clock.advance(5000);
    expect(decided("192.0.2.7", "192.0.2.8", "2001:db8::7")).toEqual([false, true, false]);
    servers.answer = (asked) => both(asked, ["192.0.2.7"], []);
    await clock.advance(600_000);
    expect(decided("192.0.2.7", "192.0.2.8", "2001:db8::7")).toEqual([false, true, true]);
  });

  test("that it comes to drop are waited for in both families, also where one is known already", async () => {
    servers.answer = (asked) => both(asked);
    const before = configOf({ work: ["drop dsthost=a.example"] });
    rules.follow(before, settingsOf(before), clock.unixTime());
    await clock.advance(100);
    servers.latency = 400;
    const config = configWithIpv6("drop dsthost=a.example");
    let known: readonly Uint8Array[] | undefined;
    const replaced = rules.replace(config, async () => {
      known = rules.addresses6Of("a.example");
      return settingsOf(config);
    });
    await clock.advance(500);
    await replaced;
    expect(known?.map(formatIp)).toEqual(["2001:db8::7"]);
  });
});

test("nothing happens after stop", async () => {
  follow({ work: ["dsthost=a.example", `dst4=192.0.2.2 expire=${EPOCH + 10}`] });
  rules.stop();
  await clock.advance(86_400_000);
  dataplane.onPassing(0, passingBy("a.example", "192.0.2.70"));
  expect(dataplane.posted).toEqual([]);
  expect(clock.pending).toBe(0);
});
