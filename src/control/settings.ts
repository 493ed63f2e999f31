// From the configuration and the devices of the machine to what the dataplane works with: interfaces by number, and rules
// compiled.

import { formatMac, type Prefix, type Prefix6 } from "../base/address.ts";
import type { IpPrefix } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { type InterfaceUse, interfaceConflict } from "../config/checks.ts";
import type { ClientConfig } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { type ForwardConfig, openedHosts } from "../config/forwards.ts";
import { nameServers } from "../config/name-servers.ts";
import type { InterfaceReference, UplinkConfig } from "../config/uplink.ts";
import type { ClientSettings, ForwardSettings, InterfaceSettings, Settings } from "../dataplane/settings.ts";
import { type Circumstances, compileRules, IANA } from "../rules/compile.ts";

/** A network interface that the machine has. */
export interface Device {
  readonly name: string;
  /** The kernel's number for it. */
  readonly index: number;
  readonly mac: Uint8Array;
  /** Largest IPv4 packet, in bytes. */
  readonly mtu: number;
  /** Whether frames get out there. */
  readonly isUp: boolean;
}

export type SettingsResult = { readonly settings: Settings } | { readonly errors: readonly string[] };

/** For devices that only captures know: Ethernet's usual MTU, and a locally administered MAC address of nobody's. */
const CAPTURED = { index: 0, mtu: 1500, mac: Uint8Array.of(2, 0, 0, 0, 0, 0), isUp: true };

/** In place of a device that is not there: what comes for it is refused. */
const ABSENT = { index: 0, mtu: 1500, mac: new Uint8Array(6), isUp: false };

export interface SettingsOptions extends Partial<KnownNames> {
  /** Replay only: where own_mac isn't configured, any unicast destination MAC address is ours. */
  readonly anyMac?: boolean;
  /** Unix time in seconds, which rules expire by; the system's clock if it isn't given. */
  readonly now?: number;
  /** What an interface was called last that is not there and configured by its MAC address (as text), so that its flows live on. */
  readonly lastNames?: ReadonlyMap<string, string>;
}

/** What rules' host names mean; of names that it isn't given for, nobody knows. */
export interface KnownNames {
  /** The IPv4 addresses that a name has now, undefined as long as they are unknown. */
  readonly addressesOf: (name: string) => readonly number[] | undefined;
  /** Its IPv6 addresses, likewise. */
  readonly addresses6Of: (name: string) => readonly Uint8Array[] | undefined;
}

/** @param now Unix time in seconds @returns what a client's rules are compiled by */
export function circumstancesOf(
  config: Config,
  client: ClientConfig,
  now: number,
  { addressesOf, addresses6Of }: KnownNames,
): Circumstances {
  const { ipv6: uplink6 } = config.uplink;
  const ipv6 = client.ipv6 && uplink6 && { dns: uplink6.dns, addressesOf: addresses6Of };
  return { dns: nameServers(config), now, addressesOf, ipv6 };
}

/**
 * @param devices what the machine has; an interface that is not among them is one that is down, with the number 0
 * @returns the settings, or where the configuration doesn't fit the devices, all errors
 */
export function makeSettings(
  config: Config,
  devices: readonly Device[],
  options: SettingsOptions = {},
): SettingsResult {
  const { anyMac = false, now = Date.now() / 1000, addressesOf = () => undefined, lastNames } = options;
  const { addresses6Of = () => undefined } = options;
  const interfaces = new Interfaces(devices, anyMac, lastNames);
  const uplinkReference = config.uplink.interface;
  const uplink = uplinkReference && interfaces.number(uplinkReference, config.uplink, true);
  const clients = config.clients.map((client) => {
    const iface = interfaces.number(client.interface, client, false);
    return compileClient(client, iface, circumstancesOf(config, client, now, { addressesOf, addresses6Of }));
  });
  if (interfaces.errors.length > 0) return { errors: interfaces.errors };
  const { address, prefix, gateway, gatewayMac, gatewayFallbackMac, rate, inside, ipv6 } = config.uplink;
  return {
    settings: {
      interfaces: interfaces.list,
      uplink: {
        iface: uplink ?? interfaces.list.length,
        address,
        prefix,
        gateway,
        dns: nameServers(config),
        ...(gatewayMac && { gatewayMac }),
        ...(gatewayFallbackMac && { gatewayFallbackMac }),
        ...(rate !== undefined && { rate }),
        ...(inside && { inside }),
        ...(ipv6 && { ipv6 }),
      },
      clients,
      forwards: config.forwards.map(compileForward),
      redirects: config.redirects,
      nat: config.nat,
    },
  };
}

/** @returns a device for each interface of the configuration, named as it is written there: what replay works with. */
export function configuredDevices(config: Config): Device[] {
  const names = new Map<string, Uint8Array | undefined>();
  for (const { interface: reference } of [config.uplink, ...config.clients]) {
    if (reference !== undefined) names.set(reference.text, reference.mac);
  }
  return Array.from(names, ([name, mac]) => ({ ...CAPTURED, name, mac: mac ?? CAPTURED.mac }));
}

function compileClient(client: ClientConfig, iface: number, circumstances: Circumstances): ClientSettings {
  const { name, network, prefix, gateway, mac, reach, limits, refuse, log, scrub, ipv6 } = client;
  const ruleset = compileRules(client.rules, client.policy, circumstances);
  const openFilter = client.filtering === "endpoint-independent";
  const watchNames = client.rules.some((rule) => rule.dsthost !== undefined);
  return {
    ...{ name, iface, network, prefix, gateway, ...(mac && { mac }) },
    ...{ ruleset, reach, openFilter, limits, refuse, log, scrub, watchNames, ...(ipv6 && { ipv6 }) },
  };
}

function compileForward({ proto, ports, to, toPorts, from }: ForwardConfig): ForwardSettings {
  const hosts = openedHosts(to, from);
  const to6 = hosts.find((host) => typeof host !== "number");
  return {
    protocol: IANA[proto],
    portLow: ports.low,
    portHigh: ports.high,
    client: to.client,
    to: hosts.find((host) => typeof host === "number"),
    toPort: toPorts.low,
    from: from.filter(isIpv4),
    ...(to6 && { to6, from6: from.filter(isIpv6) }),
  };
}

function isIpv4(prefix: IpPrefix): prefix is Prefix {
  return typeof prefix.address === "number";
}

function isIpv6(prefix: IpPrefix): prefix is Prefix6 {
  return typeof prefix.address !== "number";
}

/** Numbers the devices that the configuration refers to, in the order of their first mention. */
class Interfaces {
  readonly list: InterfaceSettings[] = [];
  readonly errors: string[] = [];
  private readonly uses: InterfaceUse[] = [];

  constructor(
    readonly devices: readonly Device[],
    readonly anyMac: boolean,
    readonly lastNames: ReadonlyMap<string, string> = new Map(),
  ) {}

  /** @returns the number of its interface, or after reporting an error any. */
  number(reference: InterfaceReference, { ownMac, clampMss }: UplinkConfig | ClientConfig, isUplink: boolean): number {
    const device = this.find(reference);
    if (device === undefined) return 0;
    const use = { interface: device.name, isUplink, ownMac, clampMss };
    const conflict = interfaceConflict(use, this.uses);
    if (conflict !== undefined) this.errors.push(`${reference.place}: ${conflict}`);
    this.uses.push(use);
    return this.add(device, use);
  }

  /** @returns the number of a device's interface, which is in the list from now on */
  private add({ name, index, mac, mtu, isUp }: Device, { ownMac, clampMss = false }: InterfaceUse): number {
    const known = this.list.findIndex((other) => other.name === name);
    const before = this.list[known];
    if (before === undefined) {
      const anyMac = this.anyMac && ownMac === undefined;
      const state = { mac: ownMac ?? mac, anyMac, mtu, ...(!isUp && { isDown: true }) };
      return this.list.push({ name, index, ...state, clampMss }) - 1;
    }
    const ours = ownMac && { mac: ownMac, anyMac: false };
    this.list[known] = { ...before, ...ours, clampMss: before.clampMss || clampMss };
    return known;
  }

  private find({ text, mac, place }: InterfaceReference): Device | undefined {
    const found = this.devices.filter(({ name, mac: own }) =>
      mac === undefined ? name === text : formatMac(own) === text,
    );
    if (found.length === 1) return found[0];
    if (found.length === 0) return { ...ABSENT, name: this.lastNames.get(text) ?? text };
    const names = found.map(({ name }) => name).join(", ");
    this.errors.push(
      `${place}: interface ${quote(text)} is there ${found.length} times (write one of these: ${names})`,
    );
    return undefined;
  }
}
