// The sections [[forward]] of the configuration: ports of the uplink address that lead to a client.

import { formatPrefix, isIpv6Text, notIpv4, overlap, type Prefix, parseAddress } from "../base/address.ts";
import { formatPorts, type PortRange } from "../rules/parse.ts";
import { edgeOf } from "./checks.ts";
import { noClient } from "./client-names.ts";
import type { ClientDraft } from "./clients.ts";
import { bad, good, type Reading, show, type Table, type TomlValue } from "./toml-table.ts";
import { integerReader, readPorts, readSource, readTransport, type Transport } from "./values.ts";

/** Addresses are unsigned 32-bit numbers in host order. */
export interface ForwardConfig {
  readonly proto: Transport;
  readonly ports: PortRange;
  readonly to: Target;
  /** Where they lead: as many ports. */
  readonly toPorts: PortRange;
  /** Who may use it; empty: anyone. */
  readonly from: readonly Prefix[];
}

/** A client's host. */
export interface Target {
  /** The client's index in the configuration. */
  readonly client: number;
  readonly address: number;
}

/** What could be read of a table; the rest is reported. */
export type ForwardDraft = ReturnType<typeof readForward>;

export function readForward(table: Table, clients: readonly ClientDraft[]) {
  const proto = table.required("proto", readTransport, '"tcp"');
  const ports = table.required("port", readPorts, '8443 or "8000-8010"');
  const to = table.required("to", targetReader(clients), '"work" or "192.168.1.10"');
  const toPort = table.optional("to_port", integerReader(1, 65535), "443") ?? ports?.low;
  const from = table.each("from", readSource, '["203.0.113.0/24"]');
  table.finish();
  if (isEmpty(table.values.from)) table.problem("from", "from is empty (leave it out for anyone)");
  const toPorts = ports === undefined || toPort === undefined ? undefined : toPortsOf(table, ports, toPort);
  return { table, proto, ports, to, toPorts, from };
}

/** Reports each forward whose ports are, in part, those of one before it. */
export function checkForwards(forwards: readonly ForwardDraft[]): void {
  for (const [i, { table, proto, ports }] of forwards.entries()) {
    for (const other of forwards.slice(0, i)) {
      if (ports === undefined || other.ports === undefined || proto !== other.proto) continue;
      if (ports.low > other.ports.high || ports.high < other.ports.low) continue;
      const line = table.report.line([...other.table.path, "port"]);
      const theirs = `${proto} port ${formatPorts(other.ports)}, line ${line}`;
      table.problem("port", `port ${formatPorts(ports)} overlaps ${other.table.where}, ${theirs} (write others)`);
    }
  }
}

export function finishForward({ proto, ports, to, toPorts, from }: ForwardDraft): ForwardConfig[] {
  if (proto === undefined || ports === undefined || to === undefined || toPorts === undefined) return [];
  return [{ proto, ports, to, toPorts, from }];
}

function toPortsOf(table: Table, { low, high }: PortRange, toPort: number): PortRange | undefined {
  const last = toPort + high - low;
  if (last <= 65535) return { low: toPort, high: last };
  const highest = 65535 - (high - low);
  table.problem(
    "to_port",
    `to_port ${toPort} leaves no room for the ${high - low + 1} ports ${low}-${high} (write ${highest} or less)`,
  );
  return undefined;
}

/** @returns a reader of a client's name or a host's address; it reads undefined where that depends on what is wrong elsewhere. */
function targetReader(clients: readonly ClientDraft[]): (value: TomlValue) => Reading<Target | undefined> {
  return (value) => {
    if (typeof value !== "string") return bad("is neither a client's name nor an address");
    if (isIpv6Text(value)) return bad(notIpv4(value, "an IPv4 address"));
    const address = parseAddress(value);
    return address === undefined ? readTargetName(value, clients) : readTargetAddress(address, clients);
  };
}

function readTargetName(name: string, clients: readonly ClientDraft[]): Reading<Target | undefined> {
  const client = clients.findIndex((other) => other.name === name);
  if (client < 0) {
    const names = clients.flatMap((other) => other.name ?? []);
    return names.length === clients.length ? noClient("to", name, names, show) : good(undefined);
  }
  const hosts = clients[client]?.hosts;
  if (hosts === undefined) return good(undefined);
  if (hosts.prefix === 32) return good({ client, address: hosts.address });
  return bad(`names a network, ${formatPrefix(hosts)}, and not the host in it`);
}

function readTargetAddress(address: number, clients: readonly ClientDraft[]): Reading<Target | undefined> {
  const client = clients.findIndex(({ hosts }) => hosts !== undefined && overlap({ address, prefix: 32 }, hosts));
  const draft = clients[client];
  if (draft?.hosts === undefined) {
    return clients.every(({ hosts }) => hosts !== undefined) ? bad("belongs to no client") : good(undefined);
  }
  const edge = edgeOf(address, draft.hosts);
  if (edge !== undefined) return bad(`is ${edge}`);
  if (address === draft.gateway) return bad(`is our own address as ${draft.table.where} sees it`);
  return good({ client, address });
}

function isEmpty(value: TomlValue | undefined): boolean {
  return Array.isArray(value) && value.length === 0;
}
