// The sections [[client]] of the configuration: one host, or a network of many, behind an interface, with its rules and limits.
import { hostPrefix, type IpAddress, type IpPrefix } from "../base/ip.ts";
import type { Client6Settings, ClientLimits, ScrubSettings } from "../dataplane/settings.ts";
import {
  forFamily,
  type ListedRule,
  makeRule,
  type Policy,
  parseRule,
  type Rule,
  type RuleResult,
} from "../rules/parse.ts";
import { noClient } from "./client-names.ts";
import { bad, good, isTable, type Reading, show, type Table, type TomlValue } from "./toml-table.ts";
import { type InterfaceReference, readReference } from "./uplink.ts";
import {
  type Filtering,
  integerReader,
  type Refusal,
  readBoolean,
  readClientName,
  readFiltering,
  readHost,
  readHost6,
  readMac,
  readNat6,
  readNetwork,
  readNetwork6,
  readPolicy,
  readRefusal,
} from "./values.ts";

export interface ClientConfig {
  readonly name: string;
  readonly interface: InterfaceReference;
  /** One host's address with prefix 32, or the network of many hosts. */
  readonly network: number;
  readonly prefix: number;
  readonly gateway: number;
  /** Undefined: it has none. */
  readonly ipv6?: Client6Settings | undefined;
  readonly ownMac: Uint8Array | undefined;
  readonly mac: Uint8Array | undefined;
  readonly policy: Policy;
  readonly rules: readonly ListedRule[];
  /** Indexes of the clients that it may open flows to. */
  readonly reach: readonly number[];
  readonly filtering: Filtering;
  readonly limits: ClientLimits;
  readonly refuse: Refusal;
  /** Whether refused packets are logged. */
  readonly log: boolean;
  readonly scrub: ScrubSettings;
  /** As the uplink's. */
  readonly clampMss: boolean | undefined;
}

/** What could be read of a table; the rest is reported. */
export type ClientDraft = ReturnType<typeof readClient>;

/** Mappings and flows per second of one client. The first are no more than there are ports; with others, half of them. */
const MAPPINGS = { most: 196608, alone: 49152, shared: 32768 };
const FLOWS_PER_SECOND = { most: 1000000, usual: 20000 };
const MOST_TTL = 255;
const RULES_EXAMPLE = '["action=accept proto=tcp dstports=443"]';

/**
 * @param number its index among the clients
 * @param names what each client has as its name
 * @param maxFlows of all clients together
 */
export function readClient(table: Table, number: number, names: readonly (TomlValue | undefined)[], maxFlows: number) {
  const name = table.required("name", readClientName, '"work"');
  if (name !== undefined) table.where = `client ${show(name)}`;
  const address = table.optional("address", readHost, '"10.137.0.10"');
  const network = table.optional("network", readNetwork, '"192.168.1.0/24"');
  if (table.has("address") === table.has("network")) {
    const problem = table.has("network") ? "there are both address and network" : "address is missing";
    table.problem(
      "network",
      `${problem} (write address = "10.137.0.10" for one host or network = "192.168.1.0/24" for many)`,
    );
  }
  const draft = {
    table,
    name,
    interface: readReference(table),
    hosts: address === undefined ? network : hostPrefix(address),
    gateway: table.required("gateway", readHost, '"10.137.0.1"'),
    ...readIpv6(table),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    mac: table.optional("mac", readMac, '"02:00:00:00:00:02"'),
    policy: table.optional("policy", readPolicy, '"drop"') ?? "drop",
    rules: table.elements("rules", RULES_EXAMPLE).flatMap((value, i) => readRule(table, value, i)),
    reach: table.each("reach", otherClientReader(number, names), `[${show(anotherThan(number, names))}]`),
    filtering: table.optional("filtering", readFiltering, '"endpoint-independent"') ?? "address-and-port-dependent",
    limits: readLimits(table, names.length === 1, maxFlows),
    refuse: table.optional("refuse", readRefusal, '"reset"') ?? "icmp",
    log: table.optional("log", readBoolean, "true") ?? false,
    scrub: readScrub(table),
    clampMss: table.optional("clamp_mss", readBoolean, "true"),
  };
  table.finish();
  return draft;
}

/** The keys of IPv6: all of what a client needs, or none. */
function readIpv6(table: Table) {
  const address6 = table.optional("address6", readHost6, '"fd00::10"');
  const network6 = table.optional("network6", readNetwork6, '"2001:db8:1::/64"');
  const gateway6 = table.optional("gateway6", readHost6, '"fd00::1"');
  const nat6 = table.optional("nat6", readNat6, '"masquerade" or "route"');
  const [hosts, other] = table.has("network") ? ["network6", "address6"] : ["address6", "network6"];
  if (table.has(other)) {
    const what = hosts === "network6" ? "a network" : "one host";
    table.problem(other, `${other} is for nothing: this client is ${what} (write ${hosts} in its place)`);
  }
  const hasHosts = table.has("address6") || table.has("network6");
  if (hasHosts && !table.has("gateway6")) {
    table.problem(hosts, 'gateway6 is missing (write gateway6 = "fd00::1", our address as the client sees it)');
  }
  for (const key of ["gateway6", "nat6"]) {
    if (hasHosts || !table.has(key)) continue;
    table.problem(key, `${key} is for nothing without ${hosts} (write ${hosts} too, or leave it out)`);
  }
  return { hosts6: network6 ?? (address6 && hostPrefix(address6)), gateway6, nat6 };
}

/** A client by one family, with the keys that say it. */
export interface ClientSite {
  readonly hosts: IpPrefix | undefined;
  readonly gateway: IpAddress | undefined;
  readonly keys: { readonly hosts: string; readonly gateway: string };
}

export function sitesOf({ table, hosts, gateway, hosts6, gateway6 }: ClientDraft): ClientSite[] {
  return [
    { hosts, gateway, keys: { hosts: table.has("address") ? "address" : "network", gateway: "gateway" } },
    {
      hosts: hosts6,
      gateway: gateway6,
      keys: { hosts: table.has("address6") ? "address6" : "network6", gateway: "gateway6" },
    },
  ];
}

/** @returns a client's hosts, of each family that it has */
export function hostsOf({ network, prefix, ipv6 }: Pick<ClientConfig, "network" | "prefix" | "ipv6">): IpPrefix[] {
  return [{ address: network, prefix }, ...(ipv6 ? [{ address: ipv6.network, prefix: ipv6.prefix }] : [])];
}

/** @returns our addresses as it sees them */
export function gatewaysOf({ gateway, ipv6 }: Pick<ClientConfig, "gateway" | "ipv6">): IpAddress[] {
  return [gateway, ...(ipv6 ? [ipv6.gateway] : [])];
}

function otherClientReader(
  own: number,
  names: readonly (TomlValue | undefined)[],
): (value: TomlValue) => Reading<number> {
  return (value) => {
    const number = names.indexOf(value);
    if (number < 0) return noClient("reach", value, others(own, names), (name) => `[${show(name)}]`);
    return number === own ? bad("is this client itself") : good(number);
  };
}

function anotherThan(own: number, names: readonly (TomlValue | undefined)[]): TomlValue {
  return others(own, names)[0] ?? "other";
}

function others(own: number, names: readonly (TomlValue | undefined)[]): string[] {
  return names.filter((name, i): name is string => i !== own && typeof name === "string");
}

function readLimits(table: Table, alone: boolean, maxFlows: number): ClientLimits {
  const usual = usualLimits(alone, maxFlows);
  const read = (key: string, most: number, standard: number) =>
    table.optional(key, integerReader(1, most), String(standard)) ?? standard;
  return {
    flows: read("max_flows", maxFlows, usual.flows),
    mappings: read("max_mappings", MAPPINGS.most, usual.mappings),
    flowsPerSecond: read("flows_per_second", FLOWS_PER_SECOND.most, usual.flowsPerSecond),
  };
}

function readScrub(table: Table): ScrubSettings {
  const read = (key: string) => table.optional(key, readBoolean, "true") ?? false;
  return {
    dropOptions: read("drop_ip_options"),
    randomId: read("random_ip_id"),
    minTtl: table.optional("min_ttl", integerReader(0, MOST_TTL), "64") ?? 0,
    clearDscp: read("clear_dscp"),
  };
}

/**
 * One client alone may have everything, one among others half of it.
 * @param alone whether there is no other client
 * @param maxFlows of all clients together
 */
export function usualLimits(alone: boolean, maxFlows: number): ClientLimits {
  return {
    flows: alone ? maxFlows : maxFlows >>> 1,
    mappings: alone ? MAPPINGS.alone : MAPPINGS.shared,
    flowsPerSecond: FLOWS_PER_SECOND.usual,
  };
}

function readRule(table: Table, value: TomlValue, index: number): Rule[] {
  const parsed = typeof value === "string" ? parseRule(value) : makeTableRule(value);
  const hasIpv6 = table.has("address6") || table.has("network6");
  const result = hasIpv6 ? parsed : forFamily(parsed, 4);
  if (result.ok) return [result.rule];
  table.problem(["rules", index], `rule ${index + 1}: ${result.error}`);
  return [];
}

/** @param value a rule's keys and values as a table: the values are text, or integers where the text is a number. */
function makeTableRule(value: TomlValue): RuleResult {
  if (!isTable(value)) {
    const error = `${show(value)} is no rule (write "action=accept proto=tcp" or { action = "accept", proto = "tcp" })`;
    return { ok: false, error };
  }
  const pairs: [string, string][] = [];
  for (const [key, part] of Object.entries(value)) {
    if (typeof part !== "string" && typeof part !== "bigint") {
      return { ok: false, error: `${show(key)} is ${show(part)}, which is not text (write it in quotes)` };
    }
    pairs.push([key, String(part)]);
  }
  return makeRule(pairs);
}

/** @returns where each of its rules stands */
export function placesOfRules({ table: { report, path }, rules }: ClientDraft): string[] {
  return rules.map((_, i) => `${report.file}:${report.line([...path, "rules", i])}`);
}

export function finishClient(client: ClientDraft): ClientConfig[] {
  const {
    table: _,
    name,
    interface: reference,
    hosts,
    gateway,
    hosts6,
    gateway6,
    nat6 = "masquerade",
    ...rest
  } = client;
  if (name === undefined || reference === undefined || hosts === undefined || gateway === undefined) return [];
  const ipv6 = hosts6 && gateway6 && { network: hosts6.address, prefix: hosts6.prefix, gateway: gateway6, nat: nat6 };
  return [{ name, interface: reference, network: hosts.address, prefix: hosts.prefix, gateway, ipv6, ...rest }];
}
