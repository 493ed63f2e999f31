// Rules mean what the Linux kernel makes of the rules that Qubes' Linux agent installs for them: the same probes go through
// a kernel with the agent's nftables rules and through our dataplane, and meet the same fate. The differences there are,
// each with its reason, stand in docs/RULES.md, and are shown here to be those.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { parseAddress } from "../../src/base/address.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { Router } from "../../src/dataplane/frame/router.ts";
import { MemoryRing } from "../../src/dataplane/memory-ring.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { type Database, readClientRules } from "../../src/qubes/client-rules.ts";
import { type Circumstances, compileRules } from "../../src/rules/compile.ts";
import { agentChain, agentTables, IPV4, RuleError, refuseAll } from "./linux-agent.ts";
import { answerOf, BATCH, CLIENT_MAC, FIREWALL_MAC, type Outcome, type Probe, probeFrame } from "./probes.ts";
import { DNS, NAMES, type RuleSet, randomProbe, randomRuleSet } from "./rule-sets.ts";

const RANDOM_SETS = 2000;
const PROBES_A_SET = 24;
/** Unix time at which the rules are compiled. */
const NOW = 1_700_000_000;

const UPLINK = "192.0.2.254";
const ROUTER = "192.0.2.255";
const ROUTER_MAC = "02:00:00:00:00:03";
const NEXT_CLIENT = "10.128.0.2"; // the kernel's way to all clients
const OTHER_CLIENT = "10.137.0.2";
/** Its probes come through: they show that all before them have been handled. */
const LAST_CLIENT = "10.137.255.254";
const LAST_PROBE: Probe = { protocol: UDP, destination: "198.51.100.1", selector: 9 };

/** Names of the cases in which what rules alone don't decide meets rules that accept and that refuse. */
const ACCEPTED = "odd packets where everything is accepted";
const REFUSED = "odd packets where everything is refused";

interface Case extends RuleSet {
  readonly name: string;
  readonly client: string;
  readonly probes: readonly Probe[];
  /** Of the probes. */
  readonly frames: readonly Uint8Array[];
}

const random = new Random(7);
const cases: Case[] = [];

function addCase(name: string, texts: readonly string[], policy: "accept" | "drop", probes?: readonly Probe[]): void {
  const number = cases.length + 256;
  const client = `10.137.${number >>> 8}.${number & 255}`;
  const asked = probes ?? Array.from({ length: PROBES_A_SET }, () => randomProbe(random, texts));
  const frames = asked.map((probe, i) => probeFrame(client, i, probe));
  cases.push({ name, texts, policy, client, probes: asked, frames });
}

/** Rule sets that a person would try first, and all that is wrong for both. */
const SAME: [string, string[], ("accept" | "drop")?][] = [
  ["no rules", []],
  ["no rules, accepted by policy", [], "accept"],
  ["everything accepted", ["action=accept"]],
  ["everything dropped before it is accepted", ["action=drop", "action=accept"], "accept"],
  [
    "the default of Qubes OS for a restricted qube",
    [
      "action=accept dsthost=one.example proto=tcp dstports=443-443",
      "action=accept specialtarget=dns",
      "action=accept proto=icmp",
      "action=drop",
    ],
  ],
  ["one host", ["action=accept dst4=93.184.216.34"]],
  ["bits behind the prefix", ["action=accept dst4=93.184.216.34/20"]],
  ["a hole in a network", ["action=drop dst4=198.51.100.0/25", "action=accept dst4=198.51.0.0/16"]],
  ["half of the Internet", ["action=accept dst4=200.1.2.3/1"]],
  ["all of it", ["action=drop dst4=200.1.2.3/0"], "accept"],
  ["one port", ["action=accept proto=tcp dstports=443"]],
  ["a port range", ["action=accept proto=udp dstports=1000-2000"]],
  ["all ports", ["action=accept proto=udp dstports=0-65535"]],
  ["the first and the last port", ["action=accept dstports=0", "action=accept dstports=65535"]],
  ["ports without a protocol", ["action=accept dstports=53"]],
  ["a drop of ports without a protocol", ["action=drop dstports=0-1023"], "accept"],
  ["TCP", ["action=accept proto=tcp"]],
  ["UDP", ["action=drop proto=udp"], "accept"],
  ["ICMP", ["action=drop proto=icmp", "action=accept"]],
  ["an ICMP type", ["action=accept proto=icmp icmptype=8"]],
  ["all ICMP types but one", ["action=drop proto=icmp icmptype=13", "action=accept proto=icmp"]],
  ["name servers", ["action=accept specialtarget=dns"]],
  ["name servers by TCP", ["action=accept specialtarget=dns proto=tcp dstports=53"]],
  ["one name server", ["action=accept specialtarget=dns dst4=10.139.1.1"]],
  ["a name server by name", ["action=accept specialtarget=dns dsthost=dns.example proto=udp"]],
  ["name servers at another port", ["action=drop specialtarget=dns dstports=54", "action=accept"]],
  ["name servers at a range of ports", ["action=accept specialtarget=dns dstports=53-54"]],
  ["a name with many addresses", ["action=drop dsthost=many.example", "action=accept dst4=8.0.0.0/8"]],
  ["a drop of a name that nobody knows", ["action=drop dsthost=unknown.example", "action=accept"], "accept"],
  ["an IPv6 destination", ["action=accept", "action=accept dst6=2001:db8::1"], "accept"],
  ["an unknown key", ["action=accept dpi=http"], "accept"],
  ["an unknown action", ["action=reject"], "accept"],
  ["an unknown protocol", ["action=accept proto=quic"], "accept"],
  ["ports of ICMP", ["action=accept proto=icmp dstports=80"], "accept"],
  ["an ICMP type of TCP", ["action=accept proto=tcp icmptype=8"], "accept"],
  ["an ICMP type with ports", ["action=accept icmptype=8 dstports=80"], "accept"],
  ["name servers by ICMP", ["action=accept", "action=drop proto=icmp specialtarget=dns"], "accept"],
  ["a range of ports the wrong way round", ["action=accept dstports=443-80"], "accept"],
  ["a port too large", ["action=accept proto=tcp dstports=65536"], "accept"],
  ["a list of ports", ["action=accept proto=tcp dstports=80,443"], "accept"],
  ["an ICMP type too large", ["action=accept proto=icmp icmptype=256"], "accept"],
  ["a prefix too long", ["action=accept dst4=10.0.0.0/33"], "accept"],
  ["an IPv6 address in dst4", ["action=accept dst4=::1"], "accept"],
];

/** Who enforces these rules; the other refuses everything. */
const ONE_SIDED: ["agent" | "ours", string, string[]][] = [
  ["ours", "a comment", ["action=accept comment=for now"]],
  ["ours", "an expiry", [`action=accept expire=${NOW + 1}`]],
  ["ours", "a name without an address", ["action=drop dsthost=none.example", "action=accept"]],
  ["ours", "a name that nobody knows, accepted", ["action=accept dsthost=unknown.example", "action=accept"]],
  ["ours", "a name that nobody knows, by TCP", ["action=drop proto=tcp dsthost=unknown.example", "action=accept"]],
  [
    "agent",
    "name servers at ports the wrong way round",
    ["action=drop specialtarget=dns dstports=22-21", "action=accept"],
  ],
  ["agent", "name servers at a port by name", ["action=drop specialtarget=dns dstports=domain", "action=accept"]],
  ["agent", "a key twice", ["action=drop action=accept"]],
  ["agent", "two destinations", ["action=accept dst4=0.0.0.0/0 dsthost=one.example"]],
  ["agent", "an ICMP type without a protocol", ["action=accept icmptype=8"]],
  ["agent", "a protocol by number", ["action=accept proto=6"]],
  ["agent", "another protocol's name", ["action=accept proto=esp"]],
  ["agent", "a port by name", ["action=accept dstports=https"]],
  ["agent", "an ICMP type by name", ["action=accept proto=icmp icmptype=echo-request"]],
  ["agent", "a range of addresses", ["action=accept dst4=8.0.0.0-9.0.0.0"]],
  ["agent", "an octal address", ["action=accept dst4=010.010.010.010"]],
];
/** Some of which each of those rules would accept. */
const WELCOME: readonly Probe[] = [
  { protocol: TCP, destination: "8.8.8.8", selector: 443 },
  { protocol: ICMP, destination: "8.8.8.8", selector: 8 },
  { protocol: 50, destination: "8.8.8.8", selector: 0 },
];

/** Packets that rules alone do not decide about. */
interface Oddity {
  readonly what: string;
  readonly probe: Probe;
  /** By kernel and by ours, where rules accept everything, and where they refuse everything. */
  readonly accepted: readonly [Outcome, Outcome];
  readonly refused: readonly [Outcome, Outcome];
}

function odd(what: string, probe: Probe, accepted: Oddity["accepted"], refused: Oddity["refused"]): Oddity {
  return { what, probe, accepted, refused };
}

function udpTo(destination: string): Probe {
  return { protocol: UDP, destination, selector: 53 };
}

function icmpOf(type: number): Probe {
  return { protocol: ICMP, destination: "8.8.8.8", selector: type };
}

function tcpWith(flags: string): Probe {
  return { protocol: TCP, destination: "8.8.8.8", selector: 80, flags };
}

const ODDITIES: readonly Oddity[] = [
  odd('to "this network"', udpTo("0.1.2.3"), ["accept", "silence"], ["refuse", "silence"]),
  odd("to a link-local address", udpTo("169.254.1.2"), ["accept", "silence"], ["refuse", "silence"]),
  odd("to a reserved address", udpTo("240.1.2.3"), ["accept", "silence"], ["refuse", "silence"]),
  odd("to a loopback address", udpTo("127.0.0.1"), ["silence", "silence"], ["silence", "silence"]),
  odd("to a multicast group", udpTo("224.0.0.251"), ["silence", "silence"], ["silence", "silence"]),
  odd("to everyone", udpTo("255.255.255.255"), ["silence", "silence"], ["silence", "silence"]),
  odd("to another client", udpTo(OTHER_CLIENT), ["silence", "silence"], ["refuse", "silence"]),
  odd("ICMP echo reply to nobody", icmpOf(0), ["silence", "silence"], ["refuse", "silence"]),
  odd("ICMP timestamp reply to nobody", icmpOf(14), ["silence", "silence"], ["refuse", "silence"]),
  odd("ICMP router advertisement", icmpOf(9), ["silence", "silence"], ["silence", "silence"]),
  odd("ICMP type 1, which is not assigned", icmpOf(1), ["silence", "silence"], ["silence", "silence"]),
  odd("ICMP error about no flow", icmpOf(3), ["silence", "silence"], ["silence", "silence"]),
  odd("ICMP information request", icmpOf(15), ["accept", "silence"], ["refuse", "silence"]),
  odd("ICMP address mask request", icmpOf(17), ["accept", "silence"], ["refuse", "silence"]),
  odd("TCP data without a connection", tcpWith("P."), ["accept", "reset"], ["refuse", "reset"]),
  odd("TCP ACK without a connection", tcpWith("."), ["accept", "reset"], ["refuse", "reset"]),
  odd("TCP SYN and ACK without a SYN", tcpWith("S."), ["silence", "reset"], ["refuse", "reset"]),
  odd("TCP FIN and ACK without a connection", tcpWith("F."), ["silence", "reset"], ["refuse", "reset"]),
  odd("TCP FIN alone", tcpWith("F"), ["silence", "silence"], ["refuse", "silence"]),
  odd("TCP RST without a connection", tcpWith("R"), ["silence", "silence"], ["refuse", "silence"]),
];

for (const [name, texts, policy = "drop"] of SAME) addCase(name, texts, policy);
for (const [, name, texts] of ONE_SIDED) addCase(name, texts, "drop", WELCOME);
const oddProbes = ODDITIES.map(({ probe }) => probe);
addCase(ACCEPTED, ["action=accept"], "drop", oddProbes);
addCase(REFUSED, [], "drop", oddProbes);
const handwritten = cases.length;
for (let i = 0; i < RANDOM_SETS; i++) {
  const { texts, policy } = randomRuleSet(random);
  addCase(`random ${i + 1}`, texts, policy);
}

const folder = mkdtempSync(join(tmpdir(), "firebreak-rules-"));
const lab = new Lab("rules");
/** By case, then by probe. */
let kernelOutcomes: Outcome[][] = [];
let ourOutcomes: Outcome[][] = [];

beforeAll(async () => {
  const { kernel, world } = await buildKernel();
  writeFileSync(join(folder, "rules"), agentTables(await chainsFor(kernel), DNS, IPV4));
  await kernel.run(["nft", "-f", join(folder, "rules")]);
  kernelOutcomes = await askKernel(world);
  const ours = new Ours();
  ourOutcomes = cases.map((each) => ours.ask(each));
}, 120_000);

afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** A netvm: clients behind vif1, the Internet behind eth0, and both ends of those cables in one other namespace. */
async function buildKernel(): Promise<{ kernel: Namespace; world: Namespace }> {
  const kernel = lab.namespace("kernel");
  const world = lab.namespace("world");
  lab.cable(kernel, "vif1", world, "in");
  lab.cable(kernel, "eth0", world, "out");
  for (const name of ["in", "out"]) world.ip("link", "set", name, "arp", "off");
  kernel.ip("link", "set", "vif1", "address", FIREWALL_MAC, "group", "2");
  kernel.ip("address", "add", "10.128.0.1/32", "dev", "vif1");
  kernel.ip("route", "add", "10.137.0.0/16", "via", NEXT_CLIENT, "dev", "vif1", "onlink");
  kernel.ip("neighbour", "add", NEXT_CLIENT, "lladdr", CLIENT_MAC, "dev", "vif1", "nud", "permanent");
  kernel.ip("address", "add", `${UPLINK}/31`, "dev", "eth0");
  kernel.ip("route", "add", "default", "via", ROUTER);
  kernel.ip("neighbour", "add", ROUTER, "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent");
  await kernel.run([
    "busybox",
    "sysctl",
    "-q",
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.vif1.rp_filter=0",
    "net.ipv4.icmp_ratemask=0", // every refusal is answered
  ]);
  return { kernel, world };
}

/** @returns each client's chain as the agent makes it; one that it, or nft, finds an error in refuses everything */
async function chainsFor(kernel: Namespace): Promise<Map<string, readonly string[]>> {
  const chains = new Map<string, readonly string[]>([[LAST_CLIENT, ["accept"]]]);
  for (const [i, each] of cases.entries()) {
    const chain = chainOf(each);
    const isFine = i >= handwritten || (await isTaken(kernel, chain));
    chains.set(each.client, isFine ? chain : refuseAll(IPV4));
  }
  return chains;
}

function chainOf({ client, texts, policy }: Case): readonly string[] {
  try {
    return agentChain({ address: client, texts, policy }, NAMES, IPV4);
  } catch (error) {
    if (error instanceof RuleError) return refuseAll(IPV4);
    throw error;
  }
}

async function isTaken(kernel: Namespace, chain: readonly string[]): Promise<boolean> {
  const file = join(folder, "chain");
  writeFileSync(file, agentTables(new Map([["10.137.1.1", chain]]), DNS, IPV4));
  return (await kernel.attempt(["nft", "--check", "-f", file])).status === 0;
}

async function askKernel(world: Namespace): Promise<Outcome[][]> {
  const frames = cases.flatMap((each) => each.frames.map(hex));
  const lines: string[] = [];
  for (let at = 0, batch = 0; at < frames.length; at += BATCH - 1, batch++) {
    lines.push(...frames.slice(at, at + BATCH - 1), hex(probeFrame(LAST_CLIENT, batch, LAST_PROBE)));
  }
  const [framesFile, answersFile] = [join(folder, "frames"), join(folder, "answers")];
  writeFileSync(framesFile, lines.join("\n"));
  await world.run(peer("probe-rules", "in", "out", framesFile, answersFile), 100_000);
  const answered = new Map<string, Outcome>();
  for (const line of readFileSync(answersFile, "utf8").split("\n")) {
    const [side, frame = ""] = line.split(" ");
    const answer = answerOf(Buffer.from(frame, "hex"), side === "in" ? "in" : "out");
    if (answer === undefined) continue;
    const key = `${answer.client} ${answer.number}`;
    if (answered.has(key)) throw new Error(`${key} was answered twice`);
    answered.set(key, answer.outcome);
  }
  return cases.map(({ client, probes }) => probes.map((_, i) => answered.get(`${client} ${i}`) ?? "silence"));
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString("hex");
}

function ourSettings(): Settings {
  const text = `[uplink]
interface = "eth0"
address = "${UPLINK}/31"
gateway = "${ROUTER}"
gateway_mac = "${ROUTER_MAC}"
dns = ${JSON.stringify(DNS)}
[[client]]
name = "asking"
interface = "vif1"
own_mac = "${FIREWALL_MAC}"
address = "10.137.0.3"
gateway = "10.137.0.1"
[[client]]
name = "other"
interface = "vif1"
address = "${OTHER_CLIENT}"
gateway = "10.137.0.1"
[nat]
max_flows = 1024
`;
  const config = parseConfig(text, "rules.toml");
  if ("errors" in config) throw new Error(config.errors.join("\n"));
  const result = makeSettings(config.config, configuredDevices(config.config));
  if ("errors" in result) throw new Error(result.errors.join("\n"));
  return result.settings;
}

const CIRCUMSTANCES: Circumstances = {
  dns: DNS.map(numberOf),
  now: NOW,
  addressesOf: (name) => (name === "unknown.example" ? undefined : (NAMES.get(name) ?? []).map(numberOf)),
};

function numberOf(address: string): number {
  return parseAddress(address) ?? 0;
}

/** QubesDB with the rules of one client, as dom0 writes them. */
function databaseOf({ texts, policy }: RuleSet): Database {
  const rules = texts.map((text, i) => [String(i).padStart(4, "0"), text] as [string, string]);
  return { get: () => policy, below: () => [["policy", policy], ...rules] };
}

/** Our dataplane, whose settings change from one client's to the next one's. */
class Ours {
  private readonly settings = ourSettings();
  private readonly ring = new MemoryRing();
  private readonly random = new Random(11);
  private now = 0;
  private readonly router = new Router(this.ring, this.settings, (words) => {
    for (let i = 0; i < words.length; i++) words[i] = this.random.next();
  });

  ask({ client, frames, ...rulesOf }: Case): Outcome[] {
    const { rules, policy } = readClientRules(databaseOf(rulesOf), client);
    const ruleset = compileRules(rules, policy, CIRCUMSTANCES);
    const [asking, ...others] = this.settings.clients;
    this.router.apply({ ...this.settings, clients: [{ ...asking, network: numberOf(client), ruleset }, ...others] });
    return frames.map((frame) => this.askOne(frame));
  }

  private askOne(frame: Uint8Array): Outcome {
    this.now += 1000; // long enough for the next error to be allowed
    this.router.advance(this.now);
    const { uplink, clients } = this.settings;
    this.router.receive(clients[0].iface, this.ring.put(frame), frame.length);
    const answers = this.ring.takeSent().flatMap(({ iface, bytes }) => {
      return answerOf(bytes, iface === uplink.iface ? "out" : "in") ?? [];
    });
    if (answers.length > 1) throw new Error(`${answers.length} frames for ${hex(frame)}`);
    return answers[0]?.outcome ?? "silence";
  }
}

/** @returns a line for each probe that met different fates */
function differences(name: string): string[] {
  const { texts, policy, probes, kernel, ours } = outcomesOf(name);
  return probes.flatMap((probe, i) => {
    if (kernel[i] === ours[i]) return [];
    return [`${JSON.stringify([...texts, policy])} ${JSON.stringify(probe)}: ${kernel[i]}, ours ${ours[i]}`];
  });
}

function outcomesOf(name: string) {
  const number = cases.findIndex((each) => each.name === name);
  return { ...cases[number], kernel: kernelOutcomes[number], ours: ourOutcomes[number] };
}

describe("rules mean what Linux makes of them:", () => {
  test.each(SAME)("%s", (name) => {
    expect(differences(name)).toEqual([]);
  });

  test(`${RANDOM_SETS} random rule sets`, () => {
    const all = cases.slice(handwritten);
    expect(all.flatMap(({ name }) => differences(name))).toEqual([]);
    const counts = { accept: 0, refuse: 0, reset: 0, silence: 0 };
    for (const outcome of kernelOutcomes.slice(handwritten).flat()) counts[outcome]++;
    expect(counts.accept).toBeGreaterThan(10_000);
    expect(counts.refuse).toBeGreaterThan(10_000);
    expect(counts.reset).toBe(0);
  });
});

describe("the only differences between rules are", () => {
  test.each(ONE_SIDED)("enforced by %s alone: %s", (who, name) => {
    const { kernel, ours } = outcomesOf(name);
    const [enforcing, refusing] = who === "agent" ? [kernel, ours] : [ours, kernel];
    expect(refusing).toEqual(WELCOME.map(() => "refuse"));
    expect(enforcing).toContain("accept");
  });
});

describe("the only packets that are handled differently whatever the rules are, and those that nobody forwards:", () => {
  test.each(ODDITIES)("$what", ({ probe, accepted, refused }) => {
    const place = oddProbes.indexOf(probe);
    const fates = [ACCEPTED, REFUSED].map((name) => {
      const { kernel, ours } = outcomesOf(name);
      return [kernel[place], ours[place]];
    });
    expect(fates).toEqual([[...accepted], [...refused]]);
  });
});
