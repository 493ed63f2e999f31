// The running firewall: the interfaces it holds and the dataplane over them, kept in step with a configuration. Who reads
// the configuration, and when, is the business of the verbs (run, appliance).

import { formatAddress, formatMac, formatPrefix } from "../base/address.ts";
import { MACHINE_CLOCK } from "../base/clock.ts";
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { NatSettings, Settings } from "../dataplane/settings.ts";
import { requireNetworkCapabilities } from "../linux/capabilities.ts";
import { type InterfaceBefore, listDevices, type TakenInterface, takeInterface } from "../linux/net/interfaces.ts";
import { Dataplane } from "./dataplane-thread.ts";
import { LiveRules, type ResolvedNames } from "./live-rules.ts";
import { RefusalLog } from "./refusal-log.ts";
import { needsRestart } from "./restart.ts";
import { makeSettings, type SettingsOptions } from "./settings.ts";
import { type DataplaneState, describeState } from "./status.ts";

/** The configuration does not fit this machine. */
export class ConfigurationError extends Error {
  constructor(readonly errors: readonly string[]) {
    super(errors.join("\n"));
  }
}

/** Interfaces that are ours, by name and number. */
type Held = Map<string, TakenInterface>;

export class Firewall {
  private readonly rules: LiveRules;
  private readonly refusals: RefusalLog;
  private readonly started: NatSettings;

  private constructor(
    private readonly dataplane: Dataplane,
    private readonly state: DataplaneState,
    config: Config,
    private settings: Settings,
    private held: Held,
    rulesUpdated: () => void,
  ) {
    this.started = settings.nat;
    this.rules = new LiveRules(dataplane, MACHINE_CLOCK, { say: log, updated: rulesUpdated });
    this.rules.follow(config, settings);
    this.refusals = new RefusalLog(state.refusals, MACHINE_CLOCK, log);
    this.refusals.watch(settings.clients);
  }

  /**
   * Starts forwarding.
   * @param rulesUpdated hears that `resolvedNames` may be others, other than by `apply`
   * @throws ConfigurationError where the configuration doesn't fit the machine; Error where the kernel refuses
   */
  static async start(config: Config, rulesUpdated: () => void = () => {}): Promise<Firewall> {
    requireNetworkCapabilities();
    const settings = settingsFor(config);
    const held = take(settings, new Map());
    try {
      const { dataplane, state } = await Dataplane.start(settings, beforeOf(held));
      return new Firewall(dataplane, state, config, settings, held, rulesUpdated);
    } catch (error) {
      release(held, new Map());
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
   * @throws as `start` does; then the old configuration stays in force
   */
  async apply(config: Config): Promise<void> {
    const errors = needsRestart(config, this.started);
    if (errors.length > 0) throw new ConfigurationError(errors);
    await this.rules.replace(config, () => this.putInForce(config));
  }

  private async putInForce(config: Config): Promise<Settings> {
    const settings = settingsFor(config, { addressesOf: this.rules.addressesOf });
    const held = take(settings, this.held);
    try {
      await this.dataplane.apply(settings, beforeOf(held));
    } catch (error) {
      release(held, this.held);
      throw error;
    }
    release(this.held, held);
    this.held = held;
    this.settings = settings;
    this.refusals.watch(settings.clients);
    return settings;
  }

  /** Stops forwarding and leaves the interfaces as they were. @throws when the dataplane died, or hangs: then too they are */
  async stop(): Promise<void> {
    this.rules.stop();
    this.refusals.stop();
    try {
      await this.dataplane.stop();
    } finally {
      release(this.held, new Map());
    }
  }

  /** @returns one line for each interface: what it is, and whose */
  describeInterfaces(): string[] {
    const { interfaces, uplink, clients } = this.settings;
    return interfaces.map(({ name, mac, mtu }, iface) => {
      const uses = clients.filter((client) => client.iface === iface).map((client) => `client ${client.name}`);
      if (uplink.iface === iface)
        uses.unshift(`uplink ${formatPrefix(uplink)} gateway ${formatAddress(uplink.gateway)}`);
      return `${name} ${formatMac(mac)} mtu ${mtu}: ${uses.join(", ")}`;
    });
  }

  /** @returns lines about interfaces, frames and flows, each as it is when it is asked for: of many flows, all may be too much at once */
  *describe(): Generator<string> {
    yield* this.describeInterfaces();
    yield* this.describeState();
  }

  /** @returns lines about frames and flows, likewise */
  describeState(): Generator<string> {
    return describeState(this.state, this.settings);
  }
}

function settingsFor(config: Config, options: SettingsOptions = {}): Settings {
  const result = makeSettings(config, listDevices(), options);
  if ("errors" in result) throw new ConfigurationError(result.errors);
  return result.settings;
}

/** Makes the settings' interfaces ours, those that are not yet. @throws Error, with none newly taken */
function take(settings: Settings, before: Held): Held {
  const held: Held = new Map();
  try {
    for (const { name, index } of settings.interfaces) {
      const key = `${name} ${index}`; // an interface that went and came again has the same name
      held.set(key, before.get(key) ?? takeInterface(name));
    }
  } catch (error) {
    release(held, before);
    throw error;
  }
  return held;
}

/** Leaves those interfaces of `held` as they were that are not in `kept`. @throws the first error, after all have had their turn */
function release(held: Held, kept: Held): void {
  const errors: unknown[] = [];
  for (const [name, taken] of held) {
    if (kept.has(name)) continue;
    try {
      taken.release();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

function beforeOf(held: Held): InterfaceBefore[] {
  return Array.from(held.values(), ({ before }) => before);
}
