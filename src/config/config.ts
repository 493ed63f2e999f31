// The configuration file: TOML, checked strictly, to one plain immutable value. Whatever is wrong with it is said all at
// once, each with its line and how to write it. Only the file is looked at here: whether its interfaces exist is
// settings.ts's business.
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import type { NatSettings, Redirect } from "../dataplane/settings.ts";
import { checkTogether } from "./checks.ts";
import { type ClientConfig, type ClientDraft, finishClient, placesOfRules, readClient } from "./clients.ts";
import { readDns } from "./dns.ts";
import { checkForwards, type ForwardConfig, type ForwardDraft, finishForward, readForward } from "./forwards.ts";
import { type NatPlaces, placesOfNat, readNat } from "./nat.ts";
import { type QubeOptions, readQubes } from "./qubes.ts";
import { isTable, Report, show, Table, type TomlTable, type TomlValue } from "./toml-table.ts";
import { remedyFor } from "./unreadable.ts";
import { finishUplink, readUplink, type UplinkConfig, type UplinkDraft } from "./uplink.ts";
import { warnOf } from "./warnings.ts";

/** Addresses are unsigned 32-bit numbers in host order, of IPv6 16 bytes in wire order, MAC addresses six. */
export interface Config {
  readonly uplink: UplinkConfig;
  readonly clients: readonly ClientConfig[];
  readonly forwards: readonly ForwardConfig[];
  readonly redirects: readonly Redirect[];
  readonly nat: NatSettings;
  /** Where a file says of [nat] what can't change while the program runs; a qube has no file. */
  readonly natPlaces?: NatPlaces;
  /** Where a file has its rules, by client: `firewall.toml:14`. */
  readonly rulePlaces?: readonly (readonly string[])[];
  /** What it was made of; a qube's has none. */
  readonly source?: ConfigSource;
}

/** A configuration's bytes, and what they are called in errors. */
export interface ConfigSource {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Warnings are of what is allowed but hardly meant, in the form of errors. */
export type ConfigResult =
  | { readonly config: Config; readonly warnings: readonly string[] }
  | { readonly errors: readonly string[] };

/** What a configuration file may be: that of a firewall, or of a qube, which has the rest from dom0. */
export type DocumentResult = ConfigResult | { readonly qube: QubeOptions };

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
    return { errors: [`${file}: can't be read: ${what}${remedyFor(file, what)}`] };
  }
  return parseDocumentBytes(bytes, file);
}

/**
 * @param bytes TOML as it came from somewhere
 * @param file their name in the errors
 */
export function parseDocumentBytes(bytes: Uint8Array, file: string): DocumentResult {
  if (!isUtf8(bytes)) return { errors: [`${file}: is not UTF-8 text (save it as UTF-8)`] };
  const document = parseDocument(new TextDecoder().decode(bytes), file);
  if (!("config" in document)) return document;
  return { ...document, config: { ...document.config, source: { name: file, bytes } } };
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
  checkForwards(forwards, clients);

  const errors = report.errors();
  const places = { natPlaces: placesOfNat(report), rulePlaces: clients.map(placesOfRules) };
  const config = uplink && finishConfig(uplink, clients, forwards, redirects, nat, places);
  if (uplink === undefined || config === undefined || errors.length > 0) return { errors };
  const tables = { uplink: uplink.table, clients: clientTables, forwards: forwards.map(({ table }) => table) };
  warnOf(report, config, tables);
  return { config, warnings: report.warnings() };
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

function finishConfig(
  uplink: UplinkDraft,
  clients: readonly ClientDraft[],
  forwards: readonly ForwardDraft[],
  redirects: readonly Redirect[],
  nat: NatSettings,
  places: Pick<Config, "natPlaces" | "rulePlaces">,
): Config | undefined {
  const finished = finishUplink(uplink);
  if (finished === undefined) return undefined;
  return {
    uplink: finished,
    clients: clients.flatMap((client) => finishClient(client)),
    forwards: forwards.flatMap((forward) => finishForward(forward)),
    redirects,
    nat,
    ...places,
  };
}
