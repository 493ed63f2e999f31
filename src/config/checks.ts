// What must hold between the configuration's values: addresses that don't contradict each other, names and interfaces
// that mean one thing. Values that could not be read are undefined here, and what they belong to isn't checked.
import {
  broadcastOf,
  formatAddress,
  formatMac,
  formatPrefix,
  networkOf,
  overlap,
  type Prefix,
} from "../base/address.ts";
import { quote } from "../base/quote.ts";
import type { ClientDraft } from "./clients.ts";
import type { Table } from "./toml-table.ts";
import type { UplinkDraft } from "./uplink.ts";

/** How one part of the configuration uses an interface. */
export interface InterfaceUse {
  readonly interface: string;
  readonly isUplink: boolean;
  readonly ownMac: Uint8Array | undefined;
  readonly clampMss: boolean | undefined;
}

/** Reports every contradiction. */
export function checkTogether(uplink: UplinkDraft | undefined, clients: readonly ClientDraft[]): void {
  if (uplink !== undefined) checkUplink(uplink, clients);
  for (const [i, client] of clients.entries()) {
    const earlier = clients.slice(0, i);
    const others = clients.filter((other) => other !== client);
    checkName(client, earlier);
    checkMacs(client.table, "mac", client.mac, client.ownMac);
    checkHosts(client, earlier, uplink);
    checkGateway(client, others, uplink);
  }
  checkInterfaces(uplink === undefined ? clients : [uplink, ...clients]);
}

/** @returns what keeps `use` from standing beside the uses before it, or undefined. */
export function interfaceConflict(use: InterfaceUse, earlier: readonly InterfaceUse[]): string | undefined {
  const shared = earlier.filter((other) => other.interface === use.interface);
  if (shared.some((other) => other.isUplink !== use.isUplink)) {
    return `interface ${quote(use.interface)} is the uplink's (write the one that leads to this client)`;
  }
  return (
    difference(use, shared, "own_mac", ({ ownMac }) => ownMac && quoteMac(ownMac)) ??
    difference(use, shared, "clamp_mss", ({ clampMss }) => clampMss?.toString())
  );
}

/** What an interface has once, all who use it must say alike or not at all. */
function difference(
  use: InterfaceUse,
  shared: readonly InterfaceUse[],
  key: string,
  textOf: (use: InterfaceUse) => string | undefined,
): string | undefined {
  const ours = textOf(use);
  const theirs = shared.map(textOf).find((text) => text !== undefined);
  if (ours === undefined || theirs === undefined || ours === theirs) return undefined;
  return `${key} ${ours} is not that of the clients before it on the same interface (write ${key} = ${theirs})`;
}

function checkUplink(
  { table, address, gateway, ownMac, gatewayMac }: UplinkDraft,
  clients: readonly ClientDraft[],
): void {
  checkMacs(table, "gateway_mac", gatewayMac, ownMac);
  if (address === undefined) return;
  const edge = edgeOf(address.address, address);
  if (edge !== undefined) {
    table.problem("address", `address ${quote(formatPrefix(address))} is ${edge} (write a host's)`);
  }
  if (gateway === undefined) return;
  const problem = uplinkGatewayProblem(gateway, address, clients);
  if (problem !== undefined)
    table.problem("gateway", `gateway ${quoteAddress(gateway)} ${problem} (write the next router's)`);
}

/** The next router may be outside the uplink's network: hosters who give a /32 have it so. It is asked for on the uplink all the same. */
function uplinkGatewayProblem(gateway: number, uplink: Prefix, clients: readonly ClientDraft[]): string | undefined {
  if (gateway === uplink.address) return "is our own address";
  if (overlap({ address: gateway, prefix: 32 }, uplink)) return inNetworkProblem(gateway, uplink);
  const owner = clientWith(gateway, clients);
  if (owner !== undefined) return `belongs to ${owner.table.where}`;
  const seen = clients.find((client) => client.gateway === gateway);
  return seen && `is our own address as ${seen.table.where} sees it`;
}

function clientWith(address: number, clients: readonly ClientDraft[]): ClientDraft | undefined {
  return clients.find(({ hosts }) => hosts !== undefined && overlap({ address, prefix: 32 }, hosts));
}

function checkName({ table, name }: ClientDraft, earlier: readonly ClientDraft[]): void {
  const same = earlier.find((other) => name !== undefined && other.name === name);
  if (same === undefined) return;
  const line = table.report.line([...same.table.path, "name"]);
  table.problem("name", `the client in line ${line} has the same name (give each its own)`);
}

/** Our MAC address and the other side's, on one link. */
function checkMacs(table: Table, key: string, theirs: Uint8Array | undefined, ours: Uint8Array | undefined): void {
  if (theirs === undefined || ours === undefined || !sameMac(theirs, ours)) return;
  table.problem(key, `${key} ${quoteMac(theirs)} is own_mac too (write two different ones)`);
}

function checkHosts(
  { table, hosts }: ClientDraft,
  earlier: readonly ClientDraft[],
  uplink: UplinkDraft | undefined,
): void {
  if (hosts === undefined) return;
  const key = table.has("address") ? "address" : "network";
  const shown = `${key} ${quote(formatHosts(hosts))}`;
  for (const other of earlier) {
    if (other.hosts === undefined || !overlap(hosts, other.hosts)) continue;
    const theirs = `${other.table.where}, ${formatHosts(other.hosts)}`;
    table.problem(key, `${shown} overlaps ${theirs} (give each client addresses of its own)`);
  }
  if (uplink?.address !== undefined && overlap(hosts, uplink.address)) {
    const network = formatNetwork(uplink.address);
    table.problem(key, `${shown} overlaps the uplink's network, ${network}, and would hide its hosts (write others)`);
  }
}

function checkGateway(client: ClientDraft, others: readonly ClientDraft[], uplink: UplinkDraft | undefined): void {
  const { table, hosts, gateway } = client;
  if (gateway === undefined) return;
  const problem =
    ownGatewayProblem(gateway, hosts) ?? otherClientProblem(gateway, others) ?? uplinkProblem(gateway, uplink?.address);
  if (problem !== undefined) table.problem("gateway", `gateway ${quoteAddress(gateway)} ${problem}`);
}

/** Our address as a client sees it must be one that the client can have as a neighbour. */
function ownGatewayProblem(gateway: number, hosts: Prefix | undefined): string | undefined {
  if (hosts === undefined) return undefined;
  if (hosts.prefix === 32) {
    return gateway === hosts.address ? "is the client's own address (write ours as the client sees it)" : undefined;
  }
  const problem = inNetworkProblem(gateway, hosts);
  return problem && `${problem} (write our address in the client's network)`;
}

/** A client could not reach us at an address that is somebody else's, or somebody else at one of ours. */
function otherClientProblem(gateway: number, others: readonly ClientDraft[]): string | undefined {
  const owner = clientWith(gateway, others);
  return owner && `belongs to ${owner.table.where} (write an address that no other client has)`;
}

/** As Qubes OS has it, our address may be the same on both sides; another address of the uplink's network is a host's. */
function uplinkProblem(gateway: number, uplink: Prefix | undefined): string | undefined {
  if (uplink === undefined || gateway === uplink.address || !overlap({ address: gateway, prefix: 32 }, uplink)) {
    return undefined;
  }
  const ours = formatAddress(uplink.address);
  return `lies in the uplink's network, ${formatNetwork(uplink)}, and would hide a host (write ${ours} or one outside)`;
}

function checkInterfaces(drafts: readonly (UplinkDraft | ClientDraft)[]): void {
  const uses: InterfaceUse[] = [];
  for (const { table, interface: reference, ownMac, clampMss } of drafts) {
    if (reference === undefined) continue;
    const use = { interface: reference.text, isUplink: table.path[0] === "uplink", ownMac, clampMss };
    const conflict = interfaceConflict(use, uses);
    if (conflict !== undefined) table.problem("interface", conflict);
    uses.push(use);
  }
}

function inNetworkProblem(host: number, network: Prefix): string | undefined {
  if (!overlap({ address: host, prefix: 32 }, network)) return `is not in ${formatNetwork(network)}`;
  const edge = edgeOf(host, network);
  return edge && `is ${edge}`;
}

/** @returns what a host's address can't be, or undefined. A prefix of 31 has two hosts and neither edge (RFC 3021). */
export function edgeOf(host: number, network: Prefix): string | undefined {
  if (network.prefix >= 31) return undefined;
  if (host === networkOf(network)) return `the network's own address in ${formatNetwork(network)}`;
  if (host === broadcastOf(network)) return `the broadcast address of ${formatNetwork(network)}`;
  return undefined;
}

function formatNetwork(prefix: Prefix): string {
  return formatPrefix({ address: networkOf(prefix), prefix: prefix.prefix });
}

function formatHosts(hosts: Prefix): string {
  return hosts.prefix === 32 ? formatAddress(hosts.address) : formatPrefix(hosts);
}

function quoteAddress(address: number): string {
  return quote(formatAddress(address));
}

function quoteMac(mac: Uint8Array): string {
  return quote(formatMac(mac));
}

function sameMac(one: Uint8Array, other: Uint8Array): boolean {
  return one.every((byte, i) => byte === other[i]);
}
