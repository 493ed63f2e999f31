// The configuration file: TOML, checked strictly, to one plain immutable value. Whatever is wrong with it is said all at
// once, each with its line and how to write it. Only the file is looked at here: whether its interfaces exist is
// settings.ts's business.
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { makeRule, parseRule, type Rule, type RuleResult } from "../qubes/rules.ts";
import { checkTogether } from "./config-checks.ts";
import {
  type InterfaceName,
  integerReader,
  type Policy,
  readClientName,
  readHost,
  readHostInNetwork,
  readInterface,
  readMac,
  readNetwork,
  readPolicy,
} from "./config-values.ts";
import { isTable, Report, show, Table, type TomlTable, type TomlValue } from "./toml-table.ts";

/** Addresses are unsigned 32-bit numbers in host order, MAC addresses six bytes in wire order. */
export interface Config {
  readonly uplink: UplinkConfig;
  readonly clients: readonly ClientConfig[];
  readonly nat: NatConfig;
}

export interface UplinkConfig {
  readonly interface: InterfaceReference;
  readonly address: number;
  /** Length of the on-link prefix. */
  readonly prefix: number;
  readonly gateway: number;
  /** What specialtarget=dns means. */
  readonly dns: readonly number[];
  readonly ownMac: Uint8Array | undefined;
  readonly gatewayMac: Uint8Array | undefined;
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
}

export interface NatConfig {
  readonly maxFlows: number;
}

export interface InterfaceReference extends InterfaceName {
  /** Where it stands, for errors: `firewall.toml:14: client "work"`. */
  readonly place: string;
}

export type ConfigResult = { readonly config: Config } | { readonly errors: readonly string[] };

/** What could be read of a table; the rest is reported. */
export type UplinkDraft = ReturnType<typeof readUplink>;
export type ClientDraft = ReturnType<typeof readClient>;

const FLOWS = { least: 1024, most: 1048576, usual: 65536 };
const RULES_EXAMPLE = '["action=accept proto=tcp dstports=443"]';

/**
 * @param file its path, also for the errors
 * @returns the configuration, or all its errors; a file that can't be read is one too
 */
export async function readConfig(file: string): Promise<ConfigResult> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const [what] = String(error)
      .replace(/^Error: /, "")
      .split(", "); // ENOENT: no such file or directory, open '…'
    return { errors: [`${file}: can't be read: ${what}`] };
  }
  return parseConfigBytes(bytes, file);
}

/**
 * @param bytes TOML as it came from somewhere
 * @param file their name in the errors
 */
export function parseConfigBytes(bytes: Uint8Array, file: string): ConfigResult {
  if (!isUtf8(bytes)) return { errors: [`${file}: is not UTF-8 text (save it as UTF-8)`] };
  return parseConfig(new TextDecoder().decode(bytes), file);
}

/** @param file the text's name in the errors */
export function parseConfig(text: string, file: string): ConfigResult {
  const report = new Report(file);
  const sections = report.parse(text);
  if (sections === undefined) return { errors: report.errors() };
  const uplinkTable = uplinkOf(report, sections);
  const uplink = uplinkTable && readUplink(uplinkTable);
  const clients = clientsOf(report, sections).map(readClient);
  const maxFlows = readMaxFlows(report, sections);
  for (const key of Object.keys(sections)) {
    if (!["uplink", "client", "nat"].includes(key)) {
      report.add([key], show(key), "is not a section (write [uplink], [[client]] or [nat])");
    }
  }
  checkTogether(uplink, clients);

  const errors = report.errors();
  const config = uplink && finishConfig(uplink, clients, maxFlows);
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
  if (!Array.isArray(client) || client.length === 0) {
    const problem = client === undefined ? "is missing" : "is not an array of tables";
    report.add(["client"], "client", `${problem} ${write}`);
    return [];
  }
  return client.flatMap((value, i) => {
    if (isTable(value)) return [new Table(report, value, ["client", i], `client ${i + 1}`)];
    report.add(["client", i], `client ${i + 1}`, `is not a table ${write}`);
    return [];
  });
}

function readUplink(table: Table) {
  const draft = {
    table,
    interface: readReference(table),
    address: table.required("address", readHostInNetwork, '"192.0.2.254/24"'),
    gateway: table.required("gateway", readHost, '"192.0.2.1"'),
    dns: table.elements("dns", '["192.0.2.1"]').flatMap((value, i) => readServer(table, value, i)),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    gatewayMac: table.optional("gateway_mac", readMac, '"02:00:00:00:00:02"'),
  };
  table.finish();
  return draft;
}

function readClient(table: Table) {
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
  };
  table.finish();
  return draft;
}

function readMaxFlows(report: Report, sections: TomlTable): number {
  const { nat } = sections;
  if (nat === undefined) return FLOWS.usual;
  if (!isTable(nat)) {
    report.add(["nat"], "nat", "is not one table (write [nat])");
    return FLOWS.usual;
  }
  const table = new Table(report, nat, ["nat"], "nat");
  const maxFlows = table.optional("max_flows", integerReader(FLOWS.least, FLOWS.most), String(FLOWS.usual));
  table.finish();
  return maxFlows ?? FLOWS.usual;
}

function readReference(table: Table): InterfaceReference | undefined {
  const name = table.required("interface", readInterface, '"eth1" or its MAC address');
  if (name === undefined) return undefined;
  return { ...name, place: `${table.report.file}:${table.report.line([...table.path, "interface"])}: ${table.where}` };
}

function readServer(table: Table, value: TomlValue, index: number): number[] {
  const server = readHost(value);
  if (server.ok) return [server.value];
  table.problem(["dns", index], `dns ${show(value)} ${server.problem} (write dns = ["192.0.2.1"])`);
  return [];
}

function readRule(table: Table, value: TomlValue, index: number): Rule[] {
  const result = typeof value === "string" ? parseRule(value) : makeTableRule(value);
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

function finishConfig(uplink: UplinkDraft, clients: readonly ClientDraft[], maxFlows: number): Config | undefined {
  if (uplink.interface === undefined || uplink.address === undefined || uplink.gateway === undefined) return undefined;
  return {
    uplink: {
      interface: uplink.interface,
      ...uplink.address,
      gateway: uplink.gateway,
      dns: uplink.dns,
      ownMac: uplink.ownMac,
      gatewayMac: uplink.gatewayMac,
    },
    clients: clients.flatMap((client) => finishClient(client)),
    nat: { maxFlows },
  };
}

function finishClient(client: ClientDraft): ClientConfig[] {
  const { table: _, name, interface: reference, hosts, gateway, ...rest } = client;
  if (name === undefined || reference === undefined || hosts === undefined || gateway === undefined) return [];
  return [{ name, interface: reference, network: hosts.address, prefix: hosts.prefix, gateway, ...rest }];
}
