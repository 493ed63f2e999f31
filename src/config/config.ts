// The configuration file: TOML, checked strictly, to one plain immutable value. Whatever is wrong with it is said all at
// once, each with its line and how to write it. Only the file is looked at here: whether its interfaces exist is
// settings.ts's business.
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import type { ClientLimits, NatSettings, Redirect } from "../dataplane/settings.ts";
import { forFamily, makeRule, parseRule, type Rule, type RuleResult } from "../rules/parse.ts";
import { checkTogether } from "./checks.ts";
import { readDns } from "./dns.ts";
import { checkForwards, type ForwardConfig, type ForwardDraft, finishForward, readForward } from "./forwards.ts";
import { readNat } from "./nat.ts";
import { type QubeOptions, readQubes } from "./qubes.ts";
import { bad, good, isTable, type Reading, Report, show, Table, type TomlTable, type TomlValue } from "./toml-table.ts";
import {
  type Filtering,
  type InterfaceName,
  integerReader,
  type Policy,
  type Refusal,
  readBoolean,
  readClientName,
  readFiltering,
  readHost,
  readHostInNetwork,
  readInterface,
  readMac,
  readNetwork,
  readPolicy,
  readRefusal,
} from "./values.ts";

/** Addresses are unsigned 32-bit numbers in host order, MAC addresses six bytes in wire order. */
export interface Config {
  readonly uplink: UplinkConfig;
  readonly clients: readonly ClientConfig[];
  readonly forwards: readonly ForwardConfig[];
  readonly redirects: readonly Redirect[];
  readonly nat: NatSettings;
}

export interface UplinkConfig {
  /** Undefined while there is none, which a configuration file can't say, but Qubes OS can. */
  readonly interface: InterfaceReference | undefined;
  readonly address: number;
  /** Length of the on-link prefix. */
  readonly prefix: number;
  readonly gateway: number;
  /** What specialtarget=dns means. */
  readonly dns: readonly number[];
  readonly ownMac: Uint8Array | undefined;
  readonly gatewayMac: Uint8Array | undefined;
  /** Whether to lower the MSS on its interface; one of the interface's users who says so is enough. */
  readonly clampMss: boolean | undefined;
  /** Addresses of clients that may come, which only Qubes OS tells. */
  readonly inside?: readonly number[];
}

export interface ClientConfig {
  readonly name: string;
  readonly interface: InterfaceReference;
  /** One host's address with prefix 32, or the network of many hosts. */
  readonly network: number;
  readonly prefix: number;
  readonly gateway: number;
  readonly ownMac: Uint8Array | undefined;
  readonly mac: Uint8Array | undefined;
  readonly policy: Policy;
  readonly rules: readonly Rule[];
  /** The places of the clients that it may open flows to. */
  readonly reach: readonly number[];
  readonly filtering: Filtering;
  readonly limits: ClientLimits;
  readonly refuse: Refusal;
  /** Whether refused packets are logged. */
  readonly log: boolean;
  /** As the uplink's. */
  readonly clampMss: boolean | undefined;
}

export interface InterfaceReference extends InterfaceName {
  /** Where it stands, for errors: `firewall.toml:14: client "work"`. */
  readonly place: string;
}

export type ConfigResult = { readonly config: Config } | { readonly errors: readonly string[] };

/** What a configuration file may be: that of a firewall, or of a qube, which has the rest from dom0. */
export type DocumentResult = ConfigResult | { readonly qube: QubeOptions };

/** What could be read of a table; the rest is reported. */
export type UplinkDraft = ReturnType<typeof readUplink>;
export type ClientDraft = ReturnType<typeof readClient>;

/** Mappings and flows per second of one client. The first are no more than there are ports; with others, half of them. */
const MAPPINGS = { most: 196608, alone: 49152, shared: 32768 };
const FLOWS_PER_SECOND = { most: 1000000, usual: 20000 };
const RULES_EXAMPLE = '["action=accept proto=tcp dstports=443"]';

/** As `readDocument`, where a qube's configuration is no good. */
export async function readConfig(file: string): Promise<ConfigResult> {
  return unlessQube(await readDocument(file));
}

/**
 * @param file its path, also for the errors
 * @returns the configuration, or all its errors; a file that can't be read is one too
 */
export async function readDocument(file: string): Promise<DocumentResult> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const [what] = String(error)
      .replace(/^Error: /, "")
      .split(", "); // ENOENT: no such file or directory, open '…'
    return { errors: [`${file}: can't be read: ${what}`] };
  }
  return parseDocumentBytes(bytes, file);
}

/**
 * @param bytes TOML as it came from somewhere
 * @param file their name in the errors
 */
export function parseDocumentBytes(bytes: Uint8Array, file: string): DocumentResult {
  if (!isUtf8(bytes)) return { errors: [`${file}: is not UTF-8 text (save it as UTF-8)`] };
  return parseDocument(new TextDecoder().decode(bytes), file);
}

/** As `parseDocument`, where a qube's configuration is no good. */
export function parseConfig(text: string, file: string): ConfigResult {
  return unlessQube(parseDocument(text, file));
}

/** @param file the text's name in the errors */
export function parseDocument(text: string, file: string): DocumentResult {
  const report = new Report(file);
  const sections = report.parse(text);
  if (sections === undefined) return { errors: report.errors() };
  if (sections.qubes === undefined) return parseSections(report, sections);
  const qube = readQubes(report, sections);
  const errors = report.errors();
  return qube === undefined || errors.length > 0 ? { errors } : { qube };
}

/** @returns the configuration of a firewall; that of a qube is an error */
export function unlessQube(document: DocumentResult): ConfigResult {
  if (!("qube" in document)) return document;
  const problem = "is for the appliance as a qube of Qubes OS only (write [uplink] and [[client]] anywhere else)";
  return { errors: [`${document.qube.place}: ${problem}`] };
}

function parseSections(report: Report, sections: TomlTable): ConfigResult {
  const uplinkTable = uplinkOf(report, sections);
  const uplink = uplinkTable && readUplink(uplinkTable);
  const nat = readNat(report, sections);
  const clientTables = clientsOf(report, sections);
  const names = clientTables.map((table) => table.values.name);
  const clients = clientTables.map((table, i) => readClient(table, i, names, nat.maxFlows));
  const forwards = forwardsOf(report, sections).map((table) => readForward(table, clients));
  const redirects = readDns(report, sections, uplink, clients);
  for (const key of Object.keys(sections)) {
    if (!["uplink", "client", "forward", "dns", "nat"].includes(key)) {
      report.add(
        [key],
        show(key),
        "is not a section (write [uplink], [[client]], [[forward]], [dns] or [nat], or [qubes] alone)",
      );
    }
  }
  checkTogether(uplink, clients);
  checkForwards(forwards);

  const errors = report.errors();
  const config = uplink && finishConfig(uplink, clients, forwards, redirects, nat);
  return config === undefined || errors.length > 0 ? { errors } : { config };
}

function uplinkOf(report: Report, sections: TomlTable): Table | undefined {
  const { uplink } = sections;
  if (isTable(uplink)) return new Table(report, uplink, ["uplink"], "uplink");
  const problem = uplink === undefined ? "is missing" : "is not one table";
  report.add(["uplink"], "uplink", `${problem} (write [uplink], then interface, address and gateway)`);
  return undefined;
}

function clientsOf(report: Report, sections: TomlTable): Table[] {
  const { client } = sections;
  const write = "(write [[client]] for each, then name, interface, address and gateway)";
  if (client !== undefined) return tablesOf(report, "client", client, write);
  report.add(["client"], "client", `is missing ${write}`);
  return [];
}

function forwardsOf(report: Report, { forward }: TomlTable): Table[] {
  if (forward === undefined) return [];
  return tablesOf(report, "forward", forward, "(write [[forward]] for each, then proto, port and to)");
}

/** @returns the tables of the section [[key]] */
function tablesOf(report: Report, key: string, section: TomlValue, write: string): Table[] {
  if (!Array.isArray(section) || section.length === 0) {
    report.add([key], key, `is not an array of tables ${write}`);
    return [];
  }
  return section.flatMap((value, i) => {
    if (isTable(value)) return [new Table(report, value, [key, i], `${key} ${i + 1}`)];
    report.add([key, i], `${key} ${i + 1}`, `is not a table ${write}`);
    return [];
  });
}

function readUplink(table: Table) {
  const draft = {
    table,
    interface: readReference(table),
    address: table.required("address", readHostInNetwork, '"192.0.2.254/24"'),
    gateway: table.required("gateway", readHost, '"192.0.2.1"'),
    dns: table.each("dns", readHost, '["192.0.2.1"]'),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    gatewayMac: table.optional("gateway_mac", readMac, '"02:00:00:00:00:02"'),
    clampMss: table.optional("clamp_mss", readBoolean, "true"),
  };
  table.finish();
  return draft;
}

/**
 * @param number its place among the clients
 * @param names what each client has as its name
 * @param maxFlows of all clients together
 */
function readClient(table: Table, number: number, names: readonly (TomlValue | undefined)[], maxFlows: number) {
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
    hosts: address === undefined ? network : { address, prefix: 32 },
    gateway: table.required("gateway", readHost, '"10.137.0.1"'),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    mac: table.optional("mac", readMac, '"02:00:00:00:00:02"'),
    policy: table.optional("policy", readPolicy, '"drop"') ?? "drop",
    rules: table.elements("rules", RULES_EXAMPLE).flatMap((value, i) => readRule(table, value, i)),
    reach: table.each("reach", otherClientReader(number, names), `[${show(anotherThan(number, names))}]`),
    filtering: table.optional("filtering", readFiltering, '"endpoint-independent"') ?? "address-and-port-dependent",
    limits: readLimits(table, names.length === 1, maxFlows),
    refuse: table.optional("refuse", readRefusal, '"reset"') ?? "icmp",
    log: table.optional("log", readBoolean, "true") ?? false,
    clampMss: table.optional("clamp_mss", readBoolean, "true"),
  };
  table.finish();
  return draft;
}

function otherClientReader(
  own: number,
  names: readonly (TomlValue | undefined)[],
): (value: TomlValue) => Reading<number> {
  return (value) => {
    const number = names.indexOf(value);
    if (number < 0) return bad("names no client");
    return number === own ? bad("is this client itself") : good(number);
  };
}

function anotherThan(own: number, names: readonly (TomlValue | undefined)[]): TomlValue {
  return names.find((name, i) => i !== own && typeof name === "string") ?? "other";
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

function readReference(table: Table): InterfaceReference | undefined {
  const name = table.required("interface", readInterface, '"eth1" or its MAC address');
  if (name === undefined) return undefined;
  return { ...name, place: `${table.report.file}:${table.report.line([...table.path, "interface"])}: ${table.where}` };
}

function readRule(table: Table, value: TomlValue, index: number): Rule[] {
  const result = forFamily(typeof value === "string" ? parseRule(value) : makeTableRule(value), 4);
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

function finishConfig(
  uplink: UplinkDraft,
  clients: readonly ClientDraft[],
  forwards: readonly ForwardDraft[],
  redirects: readonly Redirect[],
  nat: NatSettings,
): Config | undefined {
  if (uplink.interface === undefined || uplink.address === undefined || uplink.gateway === undefined) return undefined;
  return {
    uplink: {
      interface: uplink.interface,
      ...uplink.address,
      gateway: uplink.gateway,
      dns: uplink.dns,
      ownMac: uplink.ownMac,
      gatewayMac: uplink.gatewayMac,
      clampMss: uplink.clampMss,
    },
    clients: clients.flatMap((client) => finishClient(client)),
    forwards: forwards.flatMap((forward) => finishForward(forward)),
    redirects,
    nat,
  };
}

function finishClient(client: ClientDraft): ClientConfig[] {
  const { table: _, name, interface: reference, hosts, gateway, ...rest } = client;
  if (name === undefined || reference === undefined || hosts === undefined || gateway === undefined) return [];
  return [{ name, interface: reference, network: hosts.address, prefix: hosts.prefix, gateway, ...rest }];
}
