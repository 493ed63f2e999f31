// A laboratory in which the same probes meet the same rules twice: in a kernel with the nftables rules that Qubes' Linux agent makes
// of them, and in our dataplane. What differs between IPv4 and IPv6 is told to it (`Family`); cases are added first, then all are asked.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { Router } from "../../src/dataplane/frame/router.ts";
import { MemoryRing } from "../../src/dataplane/memory-ring.ts";
import type { Ruleset } from "../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { type Database, readClientRules } from "../../src/qubes/client-rules.ts";
import { type Circumstances, compileRules } from "../../src/rules/compile.ts";
import { sound } from "../support/sound.ts";
import { agentChain, agentTables, type Dialect, type Names, RuleError, refuseAll } from "./linux-agent.ts";
import { type Answer, BATCH, FIREWALL_MAC, type Outcome, type Probe } from "./probes.ts";
import type { RuleSet } from "./rule-sets.ts";

/** Unix time at which the rules are compiled. */
export const NOW = 1_700_000_000;
export const ROUTER_MAC = "02:00:00:00:00:03";

/** Numbers of the client whose rules are compared first, and of the one whose probes come through: they show that all before them
 * have been handled. */
const FIRST = 256;
const LAST = 0xfffe;
/** ms between two probes: long enough for the next error to be allowed. */
const PAUSE = 1000;

/** What is another thing in IPv4 and in IPv6. */
export interface Family<P extends Probe> {
  readonly dialect: Dialect;
  readonly dns: readonly string[];
  readonly names: Names;
  /** A place that the last client's probes go to. */
  readonly somewhere: string;
  readonly circumstances: Circumstances;
  /** Our configuration: the client that asks stands first. */
  readonly configuration: string;
  /** @returns the address of client `number`, of 16 bits */
  clientAddress(number: number): string;
  /** @returns the frames of a client's probe, in order */
  framesOf(client: string, number: number, probe: P | Probe): readonly Uint8Array[];
  /** @returns what a frame says that came out where clients are, or on the uplink; undefined if it is no answer */
  answerOf(frame: Uint8Array, side: "in" | "out"): Answer | undefined;
  /** The same of one that our dataplane sent, which translates addresses. */
  outcomeOf(frame: Uint8Array, side: "in" | "out"): Outcome | undefined;
  /** Sets the kernel up to forward, before it has interfaces. */
  prepare(kernel: Namespace): Promise<void>;
  /** Gives the kernel's interfaces their addresses, and routes to all clients and to everywhere else. */
  address(kernel: Namespace): void;
  /** @returns the settings in which the client that asks has this address and these rules */
  asking(settings: Settings, client: string, ruleset: Ruleset): Settings;
}

interface Case<P> extends RuleSet {
  readonly client: string;
  /** How the agent puts its rules. */
  readonly dialect: Dialect;
  /** Whether nft may find an error in them. */
  readonly isDoubtful: boolean;
  readonly probes: readonly P[];
  /** Of each probe. */
  readonly frames: readonly (readonly Uint8Array[])[];
}

/** A case, and by probe what became of it. */
interface Fates<P> extends Case<P> {
  readonly kernel: readonly Outcome[];
  readonly ours: readonly Outcome[];
}

export class RuleLab<P extends Probe> {
  private readonly lab: Lab;
  private readonly folder = mkdtempSync(join(tmpdir(), "firebreak-rules-"));
  private readonly cases = new Map<string, Case<P>>();
  private readonly fates = new Map<string, Fates<P>>();

  constructor(
    name: string,
    private readonly family: Family<P>,
  ) {
    this.lab = new Lab(name);
  }

  /** A case whose rules may be such that nft finds an error in them. */
  add(name: string, rules: RuleSet, probes: readonly P[]): void {
    this.addCase(name, rules, probes, this.family.dialect, true);
  }

  /** One whose rules nft takes: asking it of each would take long. */
  addSound(name: string, rules: RuleSet, probes: readonly P[], dialect = this.family.dialect): void {
    this.addCase(name, rules, probes, dialect, false);
  }

  /** Has all probes of all cases meet their fates. @param patience with the kernel, in ms */
  async ask(patience: number): Promise<void> {
    const { family, folder } = this;
    const { kernel, world } = await this.buildKernel();
    const file = join(folder, "rules");
    writeFileSync(file, agentTables(await this.chains(kernel), family.dns, family.dialect));
    await kernel.run(["nft", "-f", file], patience);
    const answers = await this.askKernel(world, patience);
    const ours = new Ours(family);
    for (const [name, each] of this.cases) {
      const { client, frames } = each;
      const kernelOutcomes = frames.map((parts, i) => single(answers.get(`${client} ${i}`) ?? [], parts));
      this.fates.set(name, { ...each, kernel: kernelOutcomes, ours: ours.ask(each) });
    }
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.folder, { recursive: true });
  }

  fatesOf(name: string): Fates<P> {
    const fates = this.fates.get(name);
    if (fates === undefined) throw new Error(`there is no case called ${name}`);
    return fates;
  }

  /** @returns a line for each probe that met different fates @param isMeant which probes count */
  differences(name: string, isMeant: (probe: P) => boolean = () => true): string[] {
    const { texts, policy, probes, kernel, ours } = this.fatesOf(name);
    return probes.flatMap((probe, i) => {
      if (kernel[i] === ours[i] || !isMeant(probe)) return [];
      return [`${JSON.stringify([...texts, policy])} ${JSON.stringify(probe)}: ${kernel[i]}, ours ${ours[i]}`];
    });
  }

  /** @returns how often the kernel did what, in these cases */
  counts(names: readonly string[]): Record<Outcome, number> {
    const counts = { accept: 0, refuse: 0, reset: 0, silence: 0, problem: 0 };
    for (const outcome of names.flatMap((name) => this.fatesOf(name).kernel)) counts[outcome]++;
    return counts;
  }

  private addCase(
    name: string,
    { texts, policy }: RuleSet,
    probes: readonly P[],
    dialect: Dialect,
    isDoubtful: boolean,
  ): void {
    if (this.cases.has(name)) throw new Error(`there are two cases called ${name}`);
    const client = this.family.clientAddress(this.cases.size + FIRST);
    const frames = probes.map((probe, i) => this.family.framesOf(client, i, probe));
    this.cases.set(name, { texts, policy, dialect, isDoubtful, client, probes, frames });
  }

  /** A netvm: clients behind vif1, the Internet behind eth0, and both ends of those cables in one other namespace. */
  private async buildKernel(): Promise<{ kernel: Namespace; world: Namespace }> {
    const kernel = this.lab.namespace("kernel");
    const world = this.lab.namespace("world");
    await this.family.prepare(kernel);
    this.lab.cable(kernel, "vif1", world, "in");
    this.lab.cable(kernel, "eth0", world, "out");
    for (const name of ["in", "out"]) world.ip("link", "set", name, "arp", "off");
    kernel.ip("link", "set", "vif1", "address", FIREWALL_MAC, "group", "2");
    this.family.address(kernel);
    return { kernel, world };
  }

  /** @returns each client's chain as the agent makes it; one that it, or nft, finds an error in refuses everything */
  private async chains(kernel: Namespace): Promise<Map<string, readonly string[]>> {
    const { clientAddress, dialect } = this.family;
    const chains = new Map<string, readonly string[]>([[clientAddress(LAST), ["accept"]]]);
    for (const each of this.cases.values()) {
      const chain = this.chainOf(each);
      const isFine = !each.isDoubtful || (await this.isTaken(kernel, each.client, chain));
      chains.set(each.client, isFine ? chain : refuseAll(dialect));
    }
    return chains;
  }

  private chainOf({ client, texts, policy, dialect }: Case<P>): readonly string[] {
    try {
      return agentChain({ address: client, texts, policy }, this.family.names, dialect);
    } catch (error) {
      if (error instanceof RuleError) return refuseAll(dialect);
      throw error;
    }
  }

  private async isTaken(kernel: Namespace, client: string, chain: readonly string[]): Promise<boolean> {
    const file = join(this.folder, "chain");
    writeFileSync(file, agentTables(new Map([[client, chain]]), this.family.dns, this.family.dialect));
    return (await kernel.attempt(["nft", "--check", "-f", file])).status === 0;
  }

  /** @returns what came of each probe, by client and number */
  private async askKernel(world: Namespace, patience: number): Promise<Map<string, Outcome[]>> {
    const { family, folder } = this;
    const frames = [...this.cases.values()].flatMap((each) => each.frames.flat().map(hex));
    const lastProbe: Probe = { protocol: UDP, destination: family.somewhere, selector: 9 };
    const lines: string[] = [];
    for (let at = 0, batch = 0; at < frames.length; at += BATCH - 1, batch++) {
      const last = family.framesOf(family.clientAddress(LAST), batch, lastProbe).map(hex);
      lines.push(...frames.slice(at, at + BATCH - 1), ...last);
    }
    const [framesFile, answersFile] = [join(folder, "frames"), join(folder, "answers")];
    writeFileSync(framesFile, lines.join("\n"));
    await world.run(peer("probe-rules", "in", "out", framesFile, answersFile), patience);
    const answers = new Map<string, Outcome[]>();
    for (const line of readFileSync(answersFile, "utf8").split("\n")) {
      const [side, frame = ""] = line.split(" ");
      const answer = family.answerOf(Buffer.from(frame, "hex"), side === "in" ? "in" : "out");
      if (answer === undefined) continue;
      const key = `${answer.client} ${answer.number}`;
      answers.set(key, [...(answers.get(key) ?? []), answer.outcome]);
    }
    return answers;
  }
}

/** Our dataplane, whose settings change from one client's to the next one's. */
class Ours<P extends Probe> {
  private readonly settings: Settings;
  private readonly ring = new MemoryRing();
  private readonly random = new Random(11);
  private readonly router: Router;
  private now = 0;

  constructor(private readonly family: Family<P>) {
    this.settings = settingsOf(family.configuration);
    this.router = new Router(this.ring, this.settings, (words) => {
      for (let i = 0; i < words.length; i++) words[i] = this.random.next();
    });
  }

  ask({ client, frames, ...rulesOf }: Case<P>): Outcome[] {
    const { rules, policy } = readClientRules(databaseOf(rulesOf), client);
    const ruleset = compileRules(rules, policy, this.family.circumstances);
    this.router.apply(this.family.asking(this.settings, client, ruleset));
    return frames.map((parts) => this.askOne(parts));
  }

  private askOne(frames: readonly Uint8Array[]): Outcome {
    this.now += PAUSE;
    this.router.advance(this.now);
    const { uplink, clients } = this.settings;
    const outcomes: Outcome[] = [];
    for (const frame of frames) {
      this.router.receive(clients[0].iface, this.ring.put(frame), frame.length);
      for (const { iface, bytes } of this.ring.takeSent()) {
        const outcome = this.family.outcomeOf(bytes, iface === uplink.iface ? "out" : "in");
        if (outcome !== undefined) outcomes.push(outcome);
      }
    }
    return single(outcomes, frames);
  }
}

/** @returns the one thing that came of a probe @throws if it is more than one; but fragments come out as such */
function single(outcomes: readonly Outcome[], frames: readonly Uint8Array[]): Outcome {
  const [first = "silence", ...more] = outcomes;
  if (more.length > 0 && (outcomes.length > frames.length || outcomes.some((each) => each !== "accept"))) {
    throw new Error(`${outcomes.join(", ")} came of ${frames.map(hex).join(" ")}`);
  }
  return first;
}

function settingsOf(configuration: string): Settings {
  const config = sound(parseConfig(configuration, "rules.toml"));
  return sound(makeSettings(config.config, configuredDevices(config.config))).settings;
}

/** QubesDB with the rules of one client, as dom0 writes them. */
function databaseOf({ texts, policy }: RuleSet): Database {
  const rules = texts.map((text, i) => [String(i).padStart(4, "0"), text] as [string, string]);
  return { get: () => policy, below: () => [["policy", policy], ...rules] };
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString("hex");
}
