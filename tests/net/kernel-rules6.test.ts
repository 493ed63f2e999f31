// Rules mean of IPv6 what the Linux kernel makes of the rules that Qubes' Linux agent installs for them, as kernel-rules.test.ts
// shows of IPv4. The differences there are, each with its reason, stand in docs/RULES.md, and are shown here to be those. Where the
// agent's rules look at the first header alone, a second client has the same rules about the upper layer, as they are meant.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "../../lab/firewall-lab.ts";
import { mac } from "../../lab/frames.ts";
import { ip6, text6 } from "../../lab/frames6.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { Router } from "../../src/dataplane/frame/router.ts";
import { MemoryRing } from "../../src/dataplane/memory-ring.ts";
import type { Client6Settings, Settings, Uplink6Settings } from "../../src/dataplane/settings.ts";
import { type Database, readClientRules } from "../../src/qubes/client-rules.ts";
import { type Circumstances, compileRules } from "../../src/rules/compile.ts";
import { agentChain, agentTables, type Dialect, IPV6, RuleError, refuseAll } from "./linux-agent.ts";
import { BATCH, CLIENT_MAC, FIREWALL_MAC } from "./probes.ts";
import { type Answer6, answerOf6, type Probe6, probeFrames } from "./probes6.ts";
import { BY_PORT, BY_PROTOCOL, ODDITIES, ONE_SIDED, OTHER_CLIENT, SAME, UPPER, WELCOME } from "./rule-cases6.ts";
import type { RuleSet } from "./rule-sets.ts";
import { DNS6, NAMES6, randomProbe6, randomRuleSet6 } from "./rule-sets6.ts";

type Outcome = Answer6["outcome"];

const RANDOM_SETS = 2000;
const PROBES_A_SET = 20;
/** Unix time at which the rules are compiled. */
const NOW = 1_700_000_000;

const UPLINK = "2001:db8:1::2";
const ROUTER = "fe80::1";
const ROUTER_MAC = "02:00:00:00:00:03";
const NEXT_CLIENT = "fe80::2"; // the kernel's way to all clients
/** Its probes come through: they show that all before them have been handled. */
const LAST_CLIENT = clientAddress(0xffff);
const LAST_PROBE: Probe6 = { protocol: UDP, destination: "2600::9", selector: 9 };
/** Rules that say what the agent's are meant to: they look for the upper layer behind all extension headers. */
const MEANT: Dialect = { ...IPV6, protocol: "meta l4proto" };

interface Case extends RuleSet {
  readonly name: string;
  readonly client: string;
  readonly dialect: Dialect;
  readonly probes: readonly Probe6[];
  /** Of each probe. */
  readonly frames: readonly (readonly Uint8Array[])[];
}

const random = new Random(17);
const cases: Case[] = [];

function clientAddress(number: number): string {
  return text6(ip6(`fd09:24ef:4179::a89:${number.toString(16)}`));
}

function addCase(name: string, { texts, policy }: RuleSet, dialect: Dialect, probes: readonly Probe6[]): void {
  const client = clientAddress(cases.length + 256);
  const frames = probes.map((probe, i) => probeFrames(client, i, probe));
  cases.push({ name, texts, policy, dialect, client, probes, frames });
}

const oddProbes = ODDITIES.map(({ probe }) => probe);

const ACCEPTED = "odd packets where everything is accepted";
const REFUSED = "odd packets where everything is refused";

for (const [name, texts, policy = "drop"] of SAME) {
  const probes = Array.from({ length: PROBES_A_SET }, () => randomProbe6(random, texts));
  addCase(
    name,
    { texts, policy },
    IPV6,
    probes.map(({ extensions: _, ...plain }) => plain),
  );
}
for (const [, name, texts] of ONE_SIDED) addCase(name, { texts, policy: "drop" }, IPV6, WELCOME);
addCase(ACCEPTED, { texts: ["action=accept"], policy: "drop" }, IPV6, oddProbes);
addCase(REFUSED, { texts: [], policy: "drop" }, IPV6, oddProbes);
addCase("by protocol", BY_PROTOCOL, IPV6, UPPER);
addCase("by protocol, as meant", BY_PROTOCOL, MEANT, UPPER);
addCase("by port", BY_PORT, IPV6, UPPER);
const handwritten = cases.length;
for (let i = 0; i < RANDOM_SETS; i++) {
  const set = randomRuleSet6(random);
  const probes = Array.from({ length: PROBES_A_SET }, () => randomProbe6(random, set.texts));
  addCase(`random ${i + 1}`, set, IPV6, probes);
  addCase(
    `random ${i + 1}, as meant`,
    set,
    MEANT,
    probes.filter(({ extensions }) => extensions !== undefined),
  );
}

const folder = mkdtempSync(join(tmpdir(), "firebreak-rules-"));
const lab = new Lab("rules6");
/** By case, then by probe. */
let kernelOutcomes: Outcome[][] = [];
let ourOutcomes: Outcome[][] = [];

beforeAll(async () => {
  const { kernel, world } = await buildKernel();
  writeFileSync(join(folder, "rules"), agentTables(await chainsFor(kernel), DNS6, IPV6));
  await kernel.run(["nft", "-f", join(folder, "rules")], 60_000);
  kernelOutcomes = await askKernel(world);
  const ours = new Ours();
  ourOutcomes = cases.map((each) => ours.ask(each));
}, 240_000);

afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** A netvm: clients behind vif1, the Internet behind eth0, and both ends of those cables in one other namespace. */
async function buildKernel(): Promise<{ kernel: Namespace; world: Namespace }> {
  const kernel = lab.namespace("kernel");
  const world = lab.namespace("world");
  const every = (setting: string) => ["all", "default"].map((group) => `net.ipv6.conf.${group}.${setting}`);
  await kernel.run([
    ...["busybox", "sysctl", "-q"],
    ...["disable_ipv6=0", "forwarding=1", "accept_dad=0", "dad_transmits=0"].flatMap(every),
    "net.ipv6.icmp.ratelimit=0", // every refusal is answered
  ]);
  await kernel.run(["sh", "-c", "echo >/proc/sys/net/ipv6/icmp/ratemask"]);
  lab.cable(kernel, "vif1", world, "in");
  lab.cable(kernel, "eth0", world, "out");
  for (const name of ["in", "out"]) world.ip("link", "set", name, "arp", "off");
  kernel.ip("link", "set", "vif1", "address", FIREWALL_MAC, "group", "2");
  kernel.ip("address", "add", "fd09:24ef:4179::1/128", "dev", "vif1", "nodad");
  kernel.ip("neighbour", "add", NEXT_CLIENT, "lladdr", CLIENT_MAC, "dev", "vif1", "nud", "permanent");
  kernel.ip("-6", "route", "add", "fd09:24ef:4179::/96", "via", NEXT_CLIENT, "dev", "vif1", "onlink");
  kernel.ip("address", "add", `${UPLINK}/128`, "dev", "eth0", "nodad");
  kernel.ip("neighbour", "add", ROUTER, "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent");
  kernel.ip("-6", "route", "add", "default", "via", ROUTER, "dev", "eth0", "onlink");
  return { kernel, world };
}

/** @returns each client's chain as the agent makes it; one that it, or nft, finds an error in refuses everything */
async function chainsFor(kernel: Namespace): Promise<Map<string, readonly string[]>> {
  const chains = new Map<string, readonly string[]>([[LAST_CLIENT, ["accept"]]]);
  for (const [i, each] of cases.entries()) {
    const chain = chainOf(each);
    const isFine = i >= handwritten || (await isTaken(kernel, chain));
    chains.set(each.client, isFine ? chain : refuseAll(IPV6));
  }
  return chains;
}

function chainOf({ client, texts, policy, dialect }: Case): readonly string[] {
  try {
    return agentChain({ address: client, texts, policy }, NAMES6, dialect);
  } catch (error) {
    if (error instanceof RuleError) return refuseAll(IPV6);
    throw error;
  }
}

async function isTaken(kernel: Namespace, chain: readonly string[]): Promise<boolean> {
  const file = join(folder, "chain");
  writeFileSync(file, agentTables(new Map([[clientAddress(2), chain]]), DNS6, IPV6));
  return (await kernel.attempt(["nft", "--check", "-f", file])).status === 0;
}

async function askKernel(world: Namespace): Promise<Outcome[][]> {
  const frames = cases.flatMap((each) => each.frames.flat().map(hex));
  const lines: string[] = [];
  for (let at = 0, batch = 0; at < frames.length; at += BATCH - 1, batch++) {
    lines.push(...frames.slice(at, at + BATCH - 1), ...probeFrames(LAST_CLIENT, batch, LAST_PROBE).map(hex));
  }
  const [framesFile, answersFile] = [join(folder, "frames"), join(folder, "answers")];
  writeFileSync(framesFile, lines.join("\n"));
  await world.run(peer("probe-rules", "in", "out", framesFile, answersFile), 200_000);
  const answered = new Map<string, Outcome>();
  for (const line of readFileSync(answersFile, "utf8").split("\n")) {
    const [side, frame = ""] = line.split(" ");
    const answer = answerOf6(Buffer.from(frame, "hex"), side === "in" ? "in" : "out");
    if (answer === undefined) continue;
    const key = `${answer.client} ${answer.number}`;
    const before = answered.get(key);
    if (before !== undefined && (before !== "accept" || answer.outcome !== "accept"))
      throw new Error(`${key} was answered twice: ${before}, ${answer.outcome}`); // but fragments come out as such
    answered.set(key, answer.outcome);
  }
  return cases.map(({ client, probes }) => probes.map((_, i) => answered.get(`${client} ${i}`) ?? "silence"));
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString("hex");
}

interface Asked6 {
  readonly settings: Settings;
  readonly uplink6: Uplink6Settings;
  readonly client6: Client6Settings;
}

function ourSettings(): Asked6 {
  const text = `[uplink]
interface = "eth0"
address = "192.0.2.254/31"
gateway = "192.0.2.255"
gateway_mac = "${ROUTER_MAC}"
address6 = "${UPLINK}/128"
gateway6 = "${ROUTER}"
dns = ${JSON.stringify(DNS6)}
[[client]]
name = "asking"
interface = "vif1"
own_mac = "${FIREWALL_MAC}"
address = "10.137.0.3"
gateway = "10.137.0.1"
address6 = "${clientAddress(3)}"
gateway6 = "fd09:24ef:4179::1"
[[client]]
name = "other"
interface = "vif1"
address = "10.137.0.2"
gateway = "10.137.0.1"
address6 = "${OTHER_CLIENT}"
gateway6 = "fd09:24ef:4179::1"
[nat]
max_flows = 1024
`;
  const config = parseConfig(text, "rules.toml");
  if ("errors" in config) throw new Error(config.errors.join("\n"));
  const result = makeSettings(config.config, configuredDevices(config.config));
  if ("errors" in result) throw new Error(result.errors.join("\n"));
  const { settings } = result;
  const [uplink6, client6] = [settings.uplink.ipv6, settings.clients[0].ipv6];
  if (uplink6 === undefined || client6 === undefined) throw new Error("no IPv6");
  return { settings, uplink6: { ...uplink6, gatewayMac: mac(ROUTER_MAC) }, client6 };
}

const CIRCUMSTANCES: Circumstances = {
  dns: [],
  now: NOW,
  addressesOf: () => [],
  ipv6: { dns: DNS6.map(ip6), addressesOf: (name) => (NAMES6.get(name) ?? []).map(ip6) },
};

/** QubesDB with the rules of one client, as dom0 writes them. */
function databaseOf({ texts, policy }: RuleSet): Database {
  const rules = texts.map((text, i) => [String(i).padStart(4, "0"), text] as [string, string]);
  return { get: () => policy, below: () => [["policy", policy], ...rules] };
}

/** Our dataplane, whose settings change from one client's to the next one's. */
class Ours {
  private readonly asked = ourSettings();
  private readonly ring = new MemoryRing();
  private readonly random = new Random(11);
  private now = 0;
  private readonly router = new Router(this.ring, this.asked.settings, (words) => {
    for (let i = 0; i < words.length; i++) words[i] = this.random.next();
  });

  ask({ client, frames, ...rulesOf }: Case): Outcome[] {
    const { settings, uplink6, client6 } = this.asked;
    const { rules, policy } = readClientRules(databaseOf(rulesOf), client);
    const ruleset = compileRules(rules, policy, CIRCUMSTANCES);
    const [asking, ...others] = settings.clients;
    const now = { ...asking, ipv6: { ...client6, network: ip6(client) }, ruleset };
    this.router.apply({ ...settings, uplink: { ...settings.uplink, ipv6: uplink6 }, clients: [now, ...others] });
    return frames.map((parts) => this.askOne(parts));
  }

  private askOne(frames: readonly Uint8Array[]): Outcome {
    this.now += 1000; // long enough for the next error to be allowed
    this.router.advance(this.now);
    const { uplink, clients } = this.asked.settings;
    const outcomes = new Set<Outcome>();
    for (const frame of frames) {
      this.router.receive(clients[0].iface, this.ring.put(frame), frame.length);
      for (const { iface, bytes } of this.ring.takeSent()) {
        if (iface === uplink.iface) outcomes.add(this.isProbe(bytes) ? "accept" : "silence");
        else outcomes.add(answerOf6(bytes, "in")?.outcome ?? "silence");
      }
    }
    outcomes.delete("silence");
    if (outcomes.size > 1) throw new Error(`${[...outcomes]} for ${frames.map(hex)}`);
    return [...outcomes][0] ?? "silence";
  }

  /** Ours leave with the uplink's address; what the firewall itself asks there goes to groups. */
  private isProbe(frame: Uint8Array): boolean {
    return text6(frame.subarray(14 + 8, 14 + 24)) === UPLINK && frame[14 + 24] !== 0xff;
  }
}

function outcomesOf(name: string) {
  const number = cases.findIndex((each) => each.name === name);
  return { ...cases[number], kernel: kernelOutcomes[number], ours: ourOutcomes[number] };
}

/** @returns a line for each probe that met different fates @param isMeant which ones count */
function differences(name: string, isMeant: (probe: Probe6) => boolean = () => true): string[] {
  const { texts, policy, probes, kernel, ours } = outcomesOf(name);
  return probes.flatMap((probe, i) => {
    if (kernel[i] === ours[i] || !isMeant(probe)) return [];
    return [`${JSON.stringify([...texts, policy])} ${JSON.stringify(probe)}: ${kernel[i]}, ours ${ours[i]}`];
  });
}

const hasExtensions = ({ extensions }: Probe6) => extensions !== undefined;
const hasAh = ({ extensions }: Probe6) => extensions?.includes("ah") === true;

describe("rules mean of IPv6 what Linux makes of them:", () => {
  test.each(SAME)("%s", (name) => {
    expect(differences(name)).toEqual([]);
  });

  test(`${RANDOM_SETS} random rule sets, of packets whole, in fragments, and behind extension headers`, () => {
    const numbers = Array.from({ length: RANDOM_SETS }, (_, i) => `random ${i + 1}`);
    expect(numbers.flatMap((name) => differences(name, (probe) => !hasExtensions(probe)))).toEqual([]);
    expect(numbers.flatMap((name) => differences(`${name}, as meant`, (probe) => !hasAh(probe)))).toEqual([]);
    const counts = { accept: 0, refuse: 0, reset: 0, silence: 0, problem: 0 };
    for (const outcome of kernelOutcomes.slice(handwritten).flat()) counts[outcome]++;
    expect(counts.accept).toBeGreaterThan(10_000);
    expect(counts.refuse).toBeGreaterThan(10_000);
    expect([counts.reset, counts.problem]).toEqual([0, 0]);
  });
});

describe("the only differences between rules are, of IPv6,", () => {
  test.each(ONE_SIDED)("enforced by %s alone: %s", (who, name) => {
    const { kernel, ours } = outcomesOf(name);
    const [enforcing, refusing] = who === "agent" ? [kernel, ours] : [ours, kernel];
    expect(refusing).toEqual(WELCOME.map(() => "refuse"));
    expect(enforcing).toContain("accept");
  });

  /** @returns the extension headers in front of a protocol with which both differ, each with what the kernel made of it, and ours */
  function differing(name: string, protocol: number): string[] {
    const { probes, kernel, ours } = outcomesOf(name);
    return probes.flatMap((probe, i) => {
      if (probe.protocol !== protocol || kernel[i] === ours[i]) return [];
      return [`${probe.extensions}: ${kernel[i]}, ours ${ours[i]}`];
    });
  }

  test("a protocol behind an extension header, which the agent's rules take for another one", () => {
    expect(differing("by protocol", TCP)).toEqual(
      ["hop-by-hop", "destination", "routing", "ah"].map((kind) => `${kind}: accept, ours refuse`),
    );
    expect([UDP, ICMPV6, 47].flatMap((protocol) => differing("by protocol", protocol))).toEqual([]);
    for (let i = 0; i < RANDOM_SETS; i++) {
      const { texts } = outcomesOf(`random ${i + 1}`);
      if (!texts.some((text) => text.includes("proto=")))
        expect(differences(`random ${i + 1}`, (probe) => !hasAh(probe))).toEqual([]);
    }
  });

  test("what stands behind an authentication header, to which Linux does not look", () => {
    expect(differing("by protocol, as meant", TCP)).toEqual(["ah: accept, ours refuse"]);
    expect([TCP, UDP].map((protocol) => differing("by port", protocol))).toEqual([
      ["ah: refuse, ours accept"],
      ["ah: refuse, ours accept"],
    ]);
  });
});

describe("the only packets of IPv6 that are handled differently whatever the rules are, and those that nobody forwards:", () => {
  test.each(ODDITIES)("$what", ({ probe, fates }) => {
    const place = oddProbes.indexOf(probe);
    const met = [ACCEPTED, REFUSED].map((name) => {
      const { kernel, ours } = outcomesOf(name);
      return [kernel[place], ours[place]];
    });
    expect(met).toEqual(fates.map((each) => [...each]));
  });
});
