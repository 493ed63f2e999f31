// The section [qubes] of the configuration, for a qube of Qubes OS whose netvm can't be a Xen backend, as a BSD can't: it is a
// client of ours then, and its interface the uplink. The section stands alone: all else a qube has from dom0.
import { parseAddress } from "../base/address.ts";
import { bad, isTable, type Reading, type Report, Table, type TomlTable, type TomlValue } from "./toml-table.ts";
import { readHost } from "./values.ts";

/** Addresses are unsigned 32-bit numbers in host order. */
export interface QubeOptions {
  /** The client whose interface is the uplink, by its address, which is our gateway. */
  readonly uplinkClient: number;
  /** Our own address there. */
  readonly address: number;
  /** Our name servers; there may be none. */
  readonly dns: readonly number[];
  /** Where it stands, for errors: `firewall.toml:1: qubes`. */
  readonly place: string;
}

/** What Qubes OS has every qube ask, and a netvm answer or send on. */
const USUAL_DNS = ["10.139.1.1", "10.139.1.2"];

/** @returns what the section says, as far as it could be read; undefined, with the problems reported, where it could not */
export function readQubes(report: Report, { qubes, ...others }: TomlTable): QubeOptions | undefined {
  for (const key of Object.keys(others)) {
    const problem =
      "stands beside [qubes], but a qube has its uplink, clients and rules from dom0 (leave one of them out)";
    report.add([key], key, problem);
  }
  if (isTable(qubes)) return readTable(new Table(report, qubes, ["qubes"], "qubes"));
  report.add(["qubes"], "qubes", "is not one table (write [qubes], then uplink_client and address)");
  return undefined;
}

function readTable(table: Table): QubeOptions | undefined {
  const uplinkClient = table.required("uplink_client", readHost, '"10.137.0.7"');
  const address = table.required("address", readHost, '"10.137.0.5"');
  if (address !== undefined && address === uplinkClient) {
    table.problem("address", "address is uplink_client too (write our own address, as that client knows it)");
  }
  const readServer = (value: TomlValue) => notOurs(readHost(value), address);
  const dns = table.each("dns", readServer, `["${USUAL_DNS.join('", "')}"]`);
  table.finish();
  if (uplinkClient === undefined || address === undefined) return undefined;
  const place = `${table.report.file}:${table.report.line(table.path)}: ${table.where}`;
  return { uplinkClient, address, dns: table.has("dns") ? dns : usualDns(), place };
}

function notOurs(host: Reading<number>, address: number | undefined): Reading<number> {
  return host.ok && host.value === address ? bad("is our own address") : host;
}

function usualDns(): number[] {
  return USUAL_DNS.flatMap((text) => parseAddress(text) ?? []);
}
