// The section [dns] of the configuration: name servers that clients are configured with, and those that they reach instead.

import { overlap, type Prefix } from "../base/address.ts";
import { quote } from "../base/quote.ts";
import type { Redirect } from "../dataplane/settings.ts";
import { edgeOf } from "./checks.ts";
import type { ClientDraft } from "./clients.ts";
import { bad, isTable, type Reading, type Report, show, Table, type TomlTable, type TomlValue } from "./toml-table.ts";
import type { UplinkDraft } from "./uplink.ts";
import { readHost, readTable } from "./values.ts";

/** Packets to link-local addresses are not routed (RFC 3927 section 2.7). */
export const LINK_LOCAL: Prefix = { address: 0xa9fe0000, prefix: 16 };
const EXAMPLE = '{ "10.139.1.1" = "192.0.2.53" }';

/** @returns the redirects; none where there is no section */
export function readDns(
  report: Report,
  sections: TomlTable,
  uplink: UplinkDraft | undefined,
  clients: readonly ClientDraft[],
): Redirect[] {
  const { dns } = sections;
  if (dns === undefined) return [];
  if (!isTable(dns)) {
    report.add(["dns"], "dns", "is not one table (write [dns])");
    return [];
  }
  const table = new Table(report, dns, ["dns"], "dns");
  const pairs = Object.entries(table.optional("redirect", readTable, EXAMPLE) ?? {});
  table.finish();
  return pairs.flatMap(([key, value]) =>
    readRedirect(table, key, value, (address) => notBehindUplink(address, uplink, clients)),
  );
}

/** @param problemOf says why an address can't be that of a server behind the uplink, or undefined */
function readRedirect(
  table: Table,
  key: string,
  value: TomlValue,
  problemOf: (address: number) => string | undefined,
): Redirect[] {
  const from = readServer(key, problemOf);
  const to = readServer(value, problemOf);
  const problem = (what: string) => table.problem(["redirect", key], `redirect ${what} (write redirect = ${EXAMPLE})`);
  if (!from.ok) problem(`from ${quote(key)} ${from.problem}`);
  if (!to.ok) problem(`to ${show(value)} ${to.problem}`);
  return from.ok && to.ok ? [{ from: from.value, to: to.value }] : [];
}

/** Both ends of a redirect are addresses that packets from clients are routed to the uplink for. */
function readServer(value: TomlValue, problemOf: (address: number) => string | undefined): Reading<number> {
  const host = readHost(value);
  if (!host.ok) return host;
  const problem = problemOf(host.value);
  return problem === undefined ? host : bad(problem);
}

/** @returns why an address can't be that of a server behind the uplink, or undefined */
function notBehindUplink(
  address: number,
  uplink: UplinkDraft | undefined,
  clients: readonly ClientDraft[],
): string | undefined {
  const host = { address, prefix: 32 };
  if (overlap(host, LINK_LOCAL)) return "lies in the link-local network, 169.254.0.0/16";
  const network = uplink?.address;
  if (network?.address === address) return "is our own address on the uplink";
  const edge = network && overlap(host, network) ? edgeOf(address, network) : undefined;
  if (edge !== undefined) return `is ${edge}`;
  for (const { table, hosts, gateway } of clients) {
    if (gateway === address) return `is our own address as ${table.where} sees it`;
    if (hosts !== undefined && overlap(host, hosts)) return `belongs to ${table.where}`;
  }
  return undefined;
}
