// The sections [[forward]] of the configuration: ports of the uplink address that lead to a client.

import {
  familyOf,
  formatIp,
  formatIpPrefix,
  hostPrefix,
  type IpAddress,
  type IpPrefix,
  isHost,
  overlapIp,
  parseIp,
  sameIp,
} from "../base/ip.ts";
import { formatPorts, type PortRange } from "../rules/parse.ts";
import { edgeOf } from "./checks.ts";
import { noClient } from "./client-names.ts";
import { type ClientDraft, sitesOf } from "./clients.ts";
import { bad, good, type Reading, show, type Table, type TomlValue } from "./toml-table.ts";
import { integerReader, readPorts, readSource, readTransport, type Transport } from "./values.ts";

/** Addresses are unsigned 32-bit numbers in host order. */
export interface ForwardConfig {
  readonly proto: Transport;
  readonly ports: PortRange;
  readonly to: Target;
  /** Where they lead: as many ports. */
  readonly toPorts: PortRange;
  /** Who may use it, of both families; empty: anyone. */
  readonly from: readonly IpPrefix[];
}

/** A client's host. By a name it is meant in each family that the client has, by an address in one. */
export interface Target {
  /** The client's index in the configuration. */
  readonly client: number;
  readonly address: number | undefined;
  readonly address6?: Uint8Array | undefined;
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
  checkFrom(table, to, from);
  const toPorts = ports === undefined || toPort === undefined ? undefined : toPortsOf(table, ports, toPort);
  return { table, proto, ports, to, toPorts, from };
}

/** Who is let in has to be of a family that the host has. */
function checkFrom(table: Table, to: Target | undefined, from: readonly IpPrefix[]): void {
  const isWhole = Array.isArray(table.values.from) && table.values.from.length === from.length;
  if (to === undefined || !isWhole || openedHosts(to, from).length > 0) return;
  const family = to.address === undefined ? 6 : 4;
  table.problem("from", `from lets nobody in: to is an address of IPv${family} (write prefixes of that)`);
}

/** @returns the host's addresses that a forward opens ports of, one of a family: those that somebody is let in to */
export function openedHosts({ address, address6 }: Target, from: readonly IpPrefix[]): IpAddress[] {
  const hosts = [address, address6].filter((host) => host !== undefined);
  return hosts.filter(
    (host) => from.length === 0 || from.some((prefix) => familyOf(prefix.address) === familyOf(host)),
  );
}

/** Reports each forward whose ports are, in part, those of one before it. */
export function checkForwards(forwards: readonly ForwardDraft[], clients: readonly ClientDraft[]): void {
  for (const [i, forward] of forwards.entries()) {
    for (const other of forwards.slice(0, i)) {
      const [ours, theirs] = [placesOf(forward, clients), placesOf(other, clients)];
      const place = ours.find((one) => theirs.some((two) => one.where === two.where && meet(one.ports, two.ports)));
      if (place === undefined || other.ports === undefined || forward.proto !== other.proto) continue;
      const line = forward.table.report.line([...other.table.path, "port"]);
      const shown = `${other.proto} port ${formatPorts(other.ports)}, line ${line}`;
      forward.table.problem(
        "port",
        `port ${formatPorts(place.ports)} overlaps ${other.table.where}, ${shown} (write others)`,
      );
    }
  }
}

/** Ports of one address that a forward takes. */
interface Place {
  readonly where: string;
  readonly ports: PortRange;
}

/** Of a client whose network is routed here, a host's own; else one of the uplink's. */
function placesOf({ ports, to, toPorts, from }: ForwardDraft, clients: readonly ClientDraft[]): Place[] {
  if (ports === undefined || toPorts === undefined || to === undefined) return [];
  const isRouted = clients[to.client].nat6 === "route";
  return openedHosts(to, from).map((host) => {
    if (typeof host === "number" || !isRouted) return { where: `uplink ${familyOf(host)}`, ports };
    return { where: `host ${formatIp(host)}`, ports: toPorts };
  });
}

function meet(one: PortRange, other: PortRange): boolean {
  return one.low <= other.high && other.low <= one.high;
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
    const address = parseIp(value);
    return address === undefined ? readTargetName(value, clients) : readTargetAddress(address, clients);
  };
}

function readTargetName(name: string, clients: readonly ClientDraft[]): Reading<Target | undefined> {
  const client = clients.findIndex((other) => other.name === name);
  if (client < 0) {
    const names = clients.flatMap((other) => other.name ?? []);
    return names.length === clients.length ? noClient("to", name, names, show) : good(undefined);
  }
  const { hosts, hosts6 } = clients[client];
  if (hosts === undefined) return good(undefined);
  if (isHost(hosts)) return good({ client, address: hosts.address, address6: hosts6?.address });
  return bad(`names a network, ${formatIpPrefix(hosts)}, and not the host in it`);
}

function readTargetAddress(address: IpAddress, clients: readonly ClientDraft[]): Reading<Target | undefined> {
  for (const [client, draft] of clients.entries()) {
    for (const { hosts, gateway } of sitesOf(draft)) {
      if (hosts === undefined || !overlapIp(hostPrefix(address), hosts)) continue;
      const edge = edgeOf(address, hosts);
      if (edge !== undefined) return bad(`is ${edge}`);
      if (gateway !== undefined && sameIp(address, gateway))
        return bad(`is our own address as ${draft.table.where} sees it`);
      return good(
        typeof address === "number" ? { client, address } : { client, address: undefined, address6: address },
      );
    }
  }
  const isKnown = (draft: ClientDraft) =>
    sitesOf(draft).every(({ hosts, keys }) => hosts !== undefined || !draft.table.has(keys.hosts));
  return clients.every(isKnown) ? bad("belongs to no client") : good(undefined);
}

function isEmpty(value: TomlValue | undefined): boolean {
  return Array.isArray(value) && value.length === 0;
}
