// From the configuration and the devices of the machine to what the dataplane works with: interfaces by number, and rules
// as matches.
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "../dataplane/match.ts";
import { compileRuleset } from "../dataplane/ruleset.ts";
import type { ClientSettings, ForwardSettings, InterfaceSettings, Settings } from "../dataplane/settings.ts";
import type { PortRange, Rule } from "../qubes/rules.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { formatMac, overlap, type Prefix } from "./address.ts";
import type { ClientConfig, Config, InterfaceReference, UplinkConfig } from "./config.ts";
import { type InterfaceUse, interfaceConflict } from "./config-checks.ts";
import type { ForwardConfig } from "./config-forwards.ts";
import { quote } from "./quote.ts";

/** A network interface that the machine has. */
export interface Device {
  readonly name: string;
  readonly mac: Uint8Array;
  /** Largest IPv4 packet, in bytes. */
  readonly mtu: number;
}

export type SettingsResult = { readonly settings: Settings } | { readonly errors: readonly string[] };

const DNS_PORT = 53;
const ALL_PORTS: PortRange = { low: 0, high: 65535 };
const ANYWHERE: Prefix = { address: 0, prefix: 0 };
const IANA = { tcp: PROTOCOL.TCP, udp: PROTOCOL.UDP, icmp: PROTOCOL.ICMP } as const;

/** For devices that only captures know: Ethernet's usual MTU, and a locally administered MAC address of nobody's. */
const CAPTURED = { mtu: 1500, mac: Uint8Array.of(2, 0, 0, 0, 0, 0) };

/**
 * @param devices what the machine has
 * @param anyMac replay only: where own_mac isn't configured, any unicast destination MAC address is ours
 * @returns the settings, or where the configuration doesn't fit the devices, all errors
 */
export function makeSettings(config: Config, devices: readonly Device[], anyMac = false): SettingsResult {
  const places = new Interfaces(devices, anyMac);
  const uplink = places.number(config.uplink, true);
  const clients = config.clients.map((client) =>
    compileClient(client, places.number(client, false), config.uplink.dns),
  );
  if (places.errors.length > 0) return { errors: places.errors };
  const { address, prefix, gateway, gatewayMac } = config.uplink;
  return {
    settings: {
      interfaces: places.interfaces,
      uplink: { iface: uplink, address, prefix, gateway, ...(gatewayMac && { gatewayMac }) },
      clients,
      forwards: config.forwards.map(compileForward),
      nat: config.nat,
    },
  };
}

/** @returns a device for each interface of the configuration, named as it is written there: what replay works with. */
export function configuredDevices(config: Config): Device[] {
  const names = new Map<string, Uint8Array | undefined>();
  for (const { interface: reference } of [config.uplink, ...config.clients]) names.set(reference.text, reference.mac);
  return Array.from(names, ([name, mac]) => ({ name, mtu: CAPTURED.mtu, mac: mac ?? CAPTURED.mac }));
}

/**
 * @param number the rule's, from 1
 * @param dns what specialtarget=dns means
 * @returns what the rule matches, which may be nothing
 */
export function matchesOf(rule: Rule, number: number, dns: readonly number[]): Match[] {
  const { dst4 = ANYWHERE, dstports = ALL_PORTS } = rule;
  if (rule.specialtarget === "dns") {
    const isDns = rule.dstports === undefined || (dstports.low === DNS_PORT && dstports.high === DNS_PORT);
    if (!isDns || rule.proto === "icmp") return [];
    const servers = dns.map((address) => ({ address, prefix: 32 })).filter((server) => overlap(server, dst4));
    return cross(rule, number, servers, { low: DNS_PORT, high: DNS_PORT });
  }
  return cross(rule, number, [dst4], dstports);
}

/** One match for each destination and protocol. */
function cross(rule: Rule, number: number, destinations: readonly Prefix[], ports: PortRange): Match[] {
  return destinations.flatMap((destination) =>
    protocolsOf(rule).map((protocol) => ({
      rule: number,
      accept: rule.action === "accept",
      ...destination,
      protocol,
      portLow: ports.low,
      portHigh: ports.high,
      icmpType: rule.icmptype ?? ANY_ICMP_TYPE,
    })),
  );
}

/** Ports without a protocol mean both TCP and UDP, as the Linux agent of Qubes OS has it. */
function protocolsOf(rule: Rule): readonly number[] {
  if (rule.proto !== undefined) return [IANA[rule.proto]];
  const hasPorts = rule.dstports !== undefined || rule.specialtarget === "dns";
  return hasPorts ? [IANA.tcp, IANA.udp] : [ANY_PROTOCOL];
}

function compileClient(client: ClientConfig, iface: number, dns: readonly number[]): ClientSettings {
  const { name, network, prefix, gateway, mac, reach, limits } = client;
  const matches = client.rules.flatMap((rule, i) => matchesOf(rule, i + 1, dns));
  const ruleset = compileRuleset(matches, client.policy === "accept");
  const openFilter = client.filtering === "endpoint-independent";
  return { name, iface, network, prefix, gateway, ...(mac && { mac }), ruleset, reach, openFilter, limits };
}

function compileForward({ proto, ports, to, toPorts, from }: ForwardConfig): ForwardSettings {
  return {
    protocol: IANA[proto],
    portLow: ports.low,
    portHigh: ports.high,
    client: to.client,
    to: to.address,
    toPort: toPorts.low,
    from,
  };
}

/** Numbers the devices that the configuration refers to, in the order of their first mention. */
class Interfaces {
  readonly interfaces: InterfaceSettings[] = [];
  readonly errors: string[] = [];
  private readonly uses: InterfaceUse[] = [];

  constructor(
    readonly devices: readonly Device[],
    readonly anyMac: boolean,
  ) {}

  /** @returns the number of its interface, or after reporting an error any. */
  number({ interface: reference, ownMac, clampMss }: UplinkConfig | ClientConfig, isUplink: boolean): number {
    const device = this.find(reference);
    if (device === undefined) return 0;
    const use = { interface: device.name, isUplink, ownMac, clampMss };
    const conflict = interfaceConflict(use, this.uses);
    if (conflict !== undefined) this.errors.push(`${reference.place}: ${conflict}`);
    this.uses.push(use);
    return this.place(device, use);
  }

  private place({ name, mac, mtu }: Device, { ownMac, clampMss = false }: InterfaceUse): number {
    const known = this.interfaces.findIndex((other) => other.name === name);
    const before = this.interfaces[known];
    if (before === undefined) {
      const anyMac = this.anyMac && ownMac === undefined;
      return this.interfaces.push({ name, mac: ownMac ?? mac, anyMac, mtu, clampMss }) - 1;
    }
    const ours = ownMac && { mac: ownMac, anyMac: false };
    this.interfaces[known] = { ...before, ...ours, clampMss: before.clampMss || clampMss };
    return known;
  }

  private find({ text, mac, place }: InterfaceReference): Device | undefined {
    const found = this.devices.filter(({ name, mac: own }) =>
      mac === undefined ? name === text : formatMac(own) === text,
    );
    if (found.length === 1) return found[0];
    const problem = found.length === 0 ? "is not there" : `is there ${found.length} times`;
    const there = this.devices.map((device) => `${device.name} ${formatMac(device.mac)}`).join(", ") || "none";
    this.errors.push(`${place}: interface ${quote(text)} ${problem} (write one of these: ${there})`);
    return undefined;
  }
}
