// The running firewall: the interfaces it holds and the dataplane over them, kept in step with a configuration, and with what
// becomes of the interfaces. Who reads the configuration, and when, is the business of the verbs (run, appliance).

import { formatMac } from "../base/address.ts";
import { MACHINE_CLOCK } from "../base/clock.ts";
import { log } from "../base/log.ts";
import { Pace } from "../base/pace.ts";
import type { Config } from "../config/config.ts";
import { Addresses } from "../dataplane/address-book.ts";
import { queueBytes } from "../dataplane/io/packet-sockets.ts";
import { HOST_SHIFT, LINE_HOSTS, networksOf, sharesOf } from "../dataplane/line-shares.ts";
import type { InterfaceSettings, NatSettings, Settings } from "../dataplane/settings.ts";
import { DROPS } from "../dataplane/tables/drop-records.ts";
import type { FlowRecords } from "../dataplane/tables/flow-records.ts";
import type { Flow } from "../dataplane/types.ts";
import { requireNetworkCapabilities } from "../linux/capabilities.ts";
import { type Device, listDevices, listTraffic, watchLinks } from "../linux/net/links.ts";
import { SeenNames } from "../names/seen-names.ts";
import type { Diagnosis } from "./bug-report.ts";
import { Captures } from "./captures/captures.ts";
import { Dataplane } from "./dataplane-thread.ts";
import { HeldInterfaces, type Queue } from "./held-interfaces.ts";
import { interfaceNews } from "./interface-news.ts";
import { LiveRules, type ResolvedNames } from "./live-rules.ts";
import { type Origin, Provenance } from "./provenance.ts";
import { RefusalLog } from "./refusal-log.ts";
import { needsRestart } from "./restart.ts";
import { listRules, type RuleEntry } from "./rule-list.ts";
import { makeSettings, type SettingsOptions } from "./settings.ts";
import { DropBook } from "./views/drops.ts";
import { FlowCounting } from "./views/flow-counting.ts";
import { type FlowTableView, flowLine, listFlows, viewFlows } from "./views/flow-list.ts";
import { foresee } from "./views/forecast.ts";
import { HitBook } from "./views/hit-book.ts";
import {
  counterLines,
  type DataplaneState,
  interfaceLines,
  type Status,
  takeInterfaces,
  takeStatus,
} from "./views/status.ts";

/** The configuration does not fit this machine. */
export class ConfigurationError extends Error {
  constructor(readonly errors: readonly string[]) {
    super(errors.join("\n"));
  }
}

/** How soon, and how often, it is looked what interfaces have become: one that comes and goes is not to keep us busy. */
const LOOKS = { settle: 5, burst: 8, interval: 500 };
/** Until what could not be taken over is tried again, in ms: another firewall may have the interface, or the kernel use it. */
const RETRY = 1000;

const BITS = 8;

export interface FirewallEvents {
  /** `resolvedNames` may be others than before, other than by `apply`. */
  rulesUpdated?(): void;
  /** An interface has come, gone or changed; it may be none of ours. */
  linksChanged?(): void;
}

export class Firewall {
  /** Where what is in force came from, and whether it stays. */
  readonly provenance: Provenance;
  private readonly rules: LiveRules;
  private readonly refusals: RefusalLog;
  private readonly drops: DropBook;
  private readonly hits: HitBook;
  readonly captures: Captures;
  private readonly counting: FlowCounting;
  private readonly seenNames = new SeenNames();
  private readonly started: NatSettings;
  private readonly looks = new Pace(MACHINE_CLOCK, LOOKS, () => this.inTurn(() => this.look()));
  private readonly endWatch: () => void;
  /** Of interfaces that are configured by their MAC address. */
  private readonly lastNames = new Map<string, string>();
  /** Settles when nothing is being changed. */
  private turn: Promise<unknown> = Promise.resolve();
  /** What was said last of what could not be taken over. */
  private trouble = "";
  private cancelRetry = () => {};

  private constructor(
    private readonly dataplane: Dataplane,
    private readonly state: DataplaneState,
    private config: Config,
    private settings: Settings,
    judgedAt: number,
    private readonly held: HeldInterfaces,
    events: FirewallEvents,
  ) {
    this.started = settings.nat;
    this.provenance = new Provenance(MACHINE_CLOCK, config, log, {
      inTurn: (change) => this.inTurn(change),
      replace: (before) => this.replace(before),
    });
    this.rules = new LiveRules(dataplane, MACHINE_CLOCK, { say: log, updated: () => events.rulesUpdated?.() });
    this.rules.follow(config, settings, judgedAt);
    this.drops = new DropBook(state.drops, MACHINE_CLOCK, config, settings);
    this.hits = new HitBook(state.ruleHits, state.drops, MACHINE_CLOCK, config);
    this.captures = new Captures(
      (orders) => dataplane.setCaptures(orders),
      () => this.meaning,
    );
    this.captures.follow(0, settings);
    this.counting = new FlowCounting(dataplane, MACHINE_CLOCK);
    dataplane.onSeen = (client, answer) => this.noteNames(client, answer);
    this.refusals = new RefusalLog(state.drops, MACHINE_CLOCK, log);
    this.refusals.watch(settings.clients);
    const changed = () => {
      this.looks.ask();
      events.linksChanged?.();
    };
    this.endWatch = watchLinks(changed, (error) => log(`interfaces are not followed any more: ${error.message}`));
    this.looks.ask(); // what has changed since the settings were made
  }

  /**
   * Starts forwarding. An interface that is not there is waited for.
   * @throws ConfigurationError where the configuration doesn't fit the machine; Error where the kernel refuses
   */
  static async start(config: Config, events: FirewallEvents = {}): Promise<Firewall> {
    requireNetworkCapabilities();
    const held = new HeldInterfaces();
    try {
      return await whileTheyGo(async () => {
        const devices = listDevices();
        held.forgetGone(devices);
        held.take(settingsFor(config, devices).interfaces);
        const judgedAt = MACHINE_CLOCK.unixTime();
        const settings = settingsFor(config, held.among(listDevices())); // they are up now
        held.shape(queueFor(settings));
        const { dataplane, state } = await Dataplane.start(settings, held.before);
        return new Firewall(dataplane, state, config, settings, judgedAt, held, events);
      });
    } catch (error) {
      held.keep([]);
      throw error;
    }
  }

  /** Rejects when the dataplane died: nothing is forwarded any more. */
  get failed(): Promise<never> {
    return this.dataplane.failed;
  }

  /** What host names in the rules in force mean. */
  get resolvedNames(): ResolvedNames {
    return this.rules.resolvedNames;
  }

  /**
   * Puts a new configuration in force between two frames; flows that it allows live on.
   * @param trial seconds after which the one before is in force again, unless somebody confirms this one
   * @throws as `start` does; then the old configuration stays in force
   */
  async apply(config: Config, origin: Origin = "file", trial?: number): Promise<void> {
    const errors = needsRestart(config, this.started);
    if (errors.length > 0) throw new ConfigurationError(errors);
    await this.inTurn(async () => {
      await this.replace(config);
      this.provenance.follow(config, origin, trial);
    });
  }

  /** What a client is told of host names is remembered under its name: numbers change. */
  private noteNames(client: number, answer: Uint8Array): void {
    const { clients } = this.settings;
    if (client < clients.length) this.seenNames.note(clients[client].name, answer);
  }

  private async replace(config: Config): Promise<void> {
    await this.dropLost();
    await this.rules.replace(config, () => whileTheyGo(() => this.takeAndEnforce(config)));
  }

  /**
   * What a configuration would do to the flows there are, if it were put in force now.
   * @throws ConfigurationError, as `apply`
   */
  async foresee(config: Config): Promise<{ readonly table: FlowTableView; readonly ends: (flow: Flow) => boolean }> {
    const errors = needsRestart(config, this.started);
    if (errors.length > 0) throw new ConfigurationError(errors);
    return await this.inTurn(() =>
      this.rules.withNamesOf(config, () => {
        const { flowTable: table } = this;
        return { table, ends: foresee(table.records, this.settings, this.settingsFor(config, listDevices())) };
      }),
    );
  }

  /** Stops forwarding and leaves the interfaces as they were. @throws when the dataplane died, or hangs: then too they are */
  async stop(): Promise<void> {
    this.endWatch();
    this.looks.stop();
    this.cancelRetry();
    this.provenance.stop();
    await this.inTurn(async () => {
      this.rules.stop();
      this.refusals.stop();
      try {
        await this.dataplane.stop();
      } finally {
        this.held.keep([]);
      }
    });
  }

  private async takeAndEnforce(config: Config): Promise<Settings> {
    const devices = listDevices();
    this.held.forgetGone(devices);
    const taken = this.held.take(this.settingsFor(config, devices).interfaces);
    try {
      return await this.enforce(config, this.settingsFor(config, this.held.among(listDevices())));
    } catch (error) {
      this.held.giveBack(taken);
      throw error;
    }
  }

  /** What it is doing now. */
  get status(): Status {
    return takeStatus(this.state, this.settings, this.rules.resolverStatus, listTraffic());
  }

  /** Its flows, as they are while they are looked at. */
  get flowTable(): FlowTableView {
    return viewFlows(this.state, this.settings, this.counting.words);
  }

  /** Has bytes and packets of flows counted, from now on if they are not, and for a while: `flowTable` has them. */
  async countFlows(): Promise<void> {
    await this.counting.ask();
  }

  /** The rules in force, each with what it does now. */
  get ruleList(): RuleEntry[] {
    const { config, flowTable: flows, hits } = this;
    return listRules({ config, flows, hits, ...this.rules.knownNames, now: MACHINE_CLOCK.unixTime() });
  }

  /** What it has not forwarded, and what is to be known to say why. */
  get asking() {
    const { config, settings, drops, addressesOf, addresses6Of, seenNames } = this;
    return { config, settings, drops, addressesOf, addresses6Of, seenNames };
  }

  /** What somebody else has to know to find a fault. */
  get diagnosis(): Diagnosis {
    const { config, settings, drops, status, ruleList, provenance, flowTable, dataplane } = this;
    return { config, settings, drops, status, ruleList, provenance, flowTable, kernelPathOff: dataplane.kernelPathOff };
  }

  /** What filters are understood by. */
  private get meaning() {
    const { settings, addressesOf, addresses6Of } = this;
    return { settings, addressesOf, addresses6Of, addresses: new Addresses(this.state.addresses) };
  }

  /** The addresses that a host name of the rules has now. */
  readonly addressesOf = (name: string): readonly number[] | undefined => this.rules.addressesOf(name);

  /** Its IPv6 addresses. */
  readonly addresses6Of = (name: string): readonly Uint8Array[] | undefined => this.rules.addresses6Of(name);

  /** Ends a flow, if its record is still that flow's. @returns whether there was room to ask for it: if not, there is soon */
  endFlow(records: FlowRecords, flow: Flow): boolean {
    const key = Int32Array.of(records.source(flow, 0), records.destination(flow, 0), records.ports(flow, 0));
    return this.dataplane.endFlow(records.protocol(flow), key);
  }

  /** @returns one line for each interface: what it is, and whose */
  describeInterfaces(): string[] {
    return interfaceLines(takeInterfaces(this.settings));
  }

  /** @returns lines about interfaces, frames and flows, each as it is when it is asked for: of many flows, all may be too much at once */
  *describe(): Generator<string> {
    yield* this.describeInterfaces();
    yield* this.describeState();
  }

  /** @returns lines about frames and flows, likewise */
  *describeState(): Generator<string> {
    yield* counterLines(this.status);
    for (const entry of listFlows(this.flowTable)) yield flowLine(entry);
  }

  /** Takes over what has become of the interfaces. */
  private async look(): Promise<void> {
    this.cancelRetry();
    const troubles: string[] = [];
    try {
      await this.dropLost();
      const devices = listDevices();
      this.held.forgetGone(devices);
      this.takeEach(this.settingsFor(this.config, devices).interfaces, troubles);
      const ours = this.held.among(listDevices());
      const { config } = this;
      if (!Bun.deepEquals(this.settingsFor(config, ours).interfaces, this.settings.interfaces)) {
        await this.rules.replace(config, () => this.enforce(config, this.settingsFor(config, ours)));
      }
    } catch (error) {
      troubles.push(messageOf(error));
    }
    this.held.addressNews().forEach(log);
    const trouble = troubles.join("\n");
    if (trouble !== this.trouble) troubles.forEach(log);
    this.trouble = trouble;
    if (trouble !== "") this.cancelRetry = MACHINE_CLOCK.after(RETRY, () => this.looks.ask());
  }

  /**
   * Of interfaces that went and came again between two looks, with their names and their numbers: one that was moved to another network
   * namespace and back. Nothing of ours is on them any more. For a moment they are away, so that all of it is made anew.
   */
  private async dropLost(): Promise<void> {
    const lost = this.dataplane.lostInterfaces();
    if (lost.size === 0) return;
    const { config } = this;
    const { interfaces } = this.settings;
    const devices = listDevices().filter(({ index }) => interfaces.some((iface) => iface.index === index));
    const back = devices.filter(({ index }) => lost.has(index));
    if (back.length === 0) return;
    this.held.forget(interfaces.filter(({ index }) => back.some((device) => device.index === index)));
    const others = devices.filter((device) => !back.includes(device));
    await this.rules.replace(config, () => this.enforce(config, this.settingsFor(config, others)));
  }

  /** @param troubles gets the reason of each that can't be taken */
  private takeEach(interfaces: readonly InterfaceSettings[], troubles: string[]): void {
    for (const iface of interfaces) {
      try {
        this.held.take([iface]);
      } catch (error) {
        troubles.push(messageOf(error));
      }
    }
  }

  /** Puts settings in force whose interfaces are ours, and says what is new about these. @throws Error; then the old ones stay */
  private async enforce(config: Config, settings: Settings): Promise<Settings> {
    this.held.shape(queueFor(settings));
    try {
      await this.dataplane.apply(settings, this.held.before);
    } catch (error) {
      this.held.shape(queueFor(this.settings));
      throw error;
    }
    this.held.keep(settings.interfaces);
    interfaceNews(this.settings.interfaces, settings.interfaces).forEach(log);
    this.config = config;
    this.settings = settings;
    this.drops.follow(config, settings);
    this.hits.follow(config);
    this.captures.follow(Atomics.load(this.state.drops, DROPS.SETTINGS), settings);
    this.refusals.watch(settings.clients);
    return settings;
  }

  private settingsFor(config: Config, devices: readonly Device[]): Settings {
    for (const reference of [config.uplink.interface, ...config.clients.map((client) => client.interface)]) {
      const device = devices.find(({ mac }) => reference?.mac !== undefined && formatMac(mac) === reference.text);
      if (reference !== undefined && device !== undefined) this.lastNames.set(reference.text, device.name);
    }
    return settingsFor(config, devices, { ...this.rules.knownNames, lastNames: this.lastNames });
  }

  /** One change at a time. */
  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.turn.then(change);
    this.turn = done.catch(() => {});
    return done;
  }
}

/** Times that interfaces may go while they are taken. */
const ATTEMPTS = 5;

/**
 * Takes interfaces, and again where that failed and one has come or gone meanwhile: between two looks at it, anything may happen to an
 * interface. One that went is waited for like any that is not there.
 * @param take looks for itself what there is; where it fails nothing new is ours
 */
async function whileTheyGo<T>(take: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const before = listDevices();
    try {
      return await take();
    } catch (error) {
      if (attempt === ATTEMPTS || isSame(before, listDevices())) throw error;
    }
  }
}

function isSame(some: readonly Device[], others: readonly Device[]): boolean {
  const places = (devices: readonly Device[]) => devices.map(({ name, index }) => `${name} ${index}`);
  return Bun.deepEquals(places(some), places(others));
}

/** @throws ConfigurationError */
function settingsFor(config: Config, devices: readonly Device[], options: SettingsOptions = {}): Settings {
  const result = makeSettings(config, devices, options);
  if ("errors" in result) throw new ConfigurationError(result.errors);
  return result.settings;
}

/** @returns the queue that shares the uplink's line, where that has a rate */
function queueFor(settings: Settings): Queue | undefined {
  const { uplink, interfaces } = settings;
  const place = interfaces[uplink.iface];
  if (uplink.rate === undefined || place === undefined) return undefined;
  const shape = {
    rate: Math.floor(uplink.rate / BITS),
    mtu: place.mtu,
    shares: sharesOf(settings),
    networks: { shares: networksOf(settings), hosts: LINE_HOSTS, shift: HOST_SHIFT },
    memory: queueBytes(),
  };
  return { place, shape };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
