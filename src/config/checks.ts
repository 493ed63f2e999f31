// What must hold between the configuration's values: addresses that don't contradict each other, names and interfaces
// that mean one thing. Values that could not be read are undefined here, and what they belong to isn't checked. Addresses are
// checked alike in both families; those of one never meet those of the other.
import { broadcastOf, formatMac } from "../base/address.ts";
import {
  bitsOf,
  firstOf,
  formatHosts,
  formatIp,
  formatIpPrefix,
  hostPrefix,
  type IpAddress,
  type IpPrefix,
  isHost,
  overlapIp,
  sameIp,
} from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { type ClientDraft, type ClientSite, sitesOf } from "./clients.ts";
import type { Table } from "./toml-table.ts";
import { sitesOfUplink, type UplinkDraft, type UplinkSite } from "./uplink.ts";

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
    for (const site of sitesOf(client)) {
      checkHosts(client.table, site, earlier, uplink);
      checkGateway(client.table, site, others, uplink);
    }
    if (uplink !== undefined) checkIpv6(client, uplink);
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

function checkUplink(uplink: UplinkDraft, clients: readonly ClientDraft[]): void {
  checkMacs(uplink.table, "gateway_mac", uplink.gatewayMac, uplink.ownMac);
  for (const site of sitesOfUplink(uplink)) checkUplinkSite(uplink.table, site, clients);
}

function checkUplinkSite(table: Table, { address, gateway, keys }: UplinkSite, clients: readonly ClientDraft[]): void {
  if (address === undefined) return;
  const edge = edgeOf(address.address, address);
  if (edge !== undefined) {
    table.problem(keys.address, `${keys.address} ${quote(formatIpPrefix(address))} is ${edge} (write a host's)`);
  }
  if (gateway === undefined) return;
  const problem = uplinkGatewayProblem(gateway, address, clients);
  if (problem !== undefined) {
    table.problem(keys.gateway, `${keys.gateway} ${quoteAddress(gateway)} ${problem} (write the next router's)`);
  }
}

/**
 * The next router may be outside the uplink's network: hosters who give a /32 have it so, and of IPv6 a link-local address. It is asked
 * for on the uplink all the same. It may have its network's first IPv6 address, which is any router's there (RFC 4291 section 2.6.1).
 */
function uplinkGatewayProblem(
  gateway: IpAddress,
  uplink: IpPrefix,
  clients: readonly ClientDraft[],
): string | undefined {
  if (sameIp(gateway, uplink.address)) return "is our own address";
  if (overlapIp(hostPrefix(gateway), uplink)) {
    return bitsOf(gateway) === 32 ? inNetworkProblem(gateway, uplink) : undefined;
  }
  const owner = clientWith(gateway, clients);
  if (owner !== undefined) return `belongs to ${owner.table.where}`;
  const seen = clients.find((client) => sitesOf(client).some((site) => site.gateway && sameIp(site.gateway, gateway)));
  return seen && `is our own address as ${seen.table.where} sees it`;
}

function clientWith(address: IpAddress, clients: readonly ClientDraft[]): ClientDraft | undefined {
  return clients.find((client) =>
    sitesOf(client).some(({ hosts }) => hosts !== undefined && overlapIp(hostPrefix(address), hosts)),
  );
}

/** What goes nowhere is no client's address. */
function checkIpv6({ table }: ClientDraft, uplink: UplinkDraft): void {
  if (uplink.table.has("address6")) return;
  const key = ["address6", "network6"].find((one) => table.has(one));
  if (key === undefined) return;
  table.problem(
    key,
    `${key} leads nowhere: the uplink has no IPv6 (write address6 and gateway6 in [uplink], or leave it out)`,
  );
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
  table: Table,
  { hosts, keys }: ClientSite,
  earlier: readonly ClientDraft[],
  uplink: UplinkDraft | undefined,
): void {
  if (hosts === undefined) return;
  const shown = `${keys.hosts} ${quote(formatHosts(hosts))}`;
  for (const other of earlier) {
    for (const { hosts: theirs } of sitesOf(other)) {
      if (theirs === undefined || !overlapIp(hosts, theirs)) continue;
      const whose = `${other.table.where}, ${formatHosts(theirs)}`;
      table.problem(keys.hosts, `${shown} overlaps ${whose} (give each client addresses of its own)`);
    }
  }
  const outside = uplinkNetworkWith(hosts, uplink);
  if (outside !== undefined) {
    const network = formatNetwork(outside);
    table.problem(
      keys.hosts,
      `${shown} overlaps the uplink's network, ${network}, and would hide its hosts (write others${orNarrower(outside)})`,
    );
  }
}

/** Who has one /64 for all gives the uplink one address of it, and a client a part. */
function orNarrower(outside: IpPrefix): string {
  if (bitsOf(outside.address) === 32) return "";
  return `, or address6 = "${formatIp(outside.address)}/128" in [uplink] if only the gateway is there`;
}

function checkGateway(
  table: Table,
  { hosts, gateway, keys }: ClientSite,
  others: readonly ClientDraft[],
  uplink: UplinkDraft | undefined,
): void {
  if (gateway === undefined) return;
  const problem =
    ownGatewayProblem(gateway, hosts) ?? otherClientProblem(gateway, others) ?? uplinkProblem(gateway, uplink);
  if (problem !== undefined) table.problem(keys.gateway, `${keys.gateway} ${quoteAddress(gateway)} ${problem}`);
}

/** Our address as a client sees it must be one that the client can have as a neighbour. */
function ownGatewayProblem(gateway: IpAddress, hosts: IpPrefix | undefined): string | undefined {
  if (hosts === undefined) return undefined;
  if (isHost(hosts)) {
    const isTheirs = sameIp(gateway, hosts.address);
    return isTheirs ? "is the client's own address (write ours as the client sees it)" : undefined;
  }
  const problem = inNetworkProblem(gateway, hosts);
  return problem && `${problem} (write our address in the client's network)`;
}

/** A client could not reach us at an address that is somebody else's, or somebody else at one of ours. */
function otherClientProblem(gateway: IpAddress, others: readonly ClientDraft[]): string | undefined {
  const owner = clientWith(gateway, others);
  return owner && `belongs to ${owner.table.where} (write an address that no other client has)`;
}

/** As Qubes OS has it, our address may be the same on both sides; another address of the uplink's network is a host's. */
function uplinkProblem(gateway: IpAddress, draft: UplinkDraft | undefined): string | undefined {
  const uplink = uplinkNetworkWith(hostPrefix(gateway), draft);
  if (uplink === undefined || sameIp(gateway, uplink.address)) return undefined;
  const ours = formatIp(uplink.address);
  return `lies in the uplink's network, ${formatNetwork(uplink)}, and would hide a host (write ${ours} or one outside)`;
}

function uplinkNetworkWith(hosts: IpPrefix, uplink: UplinkDraft | undefined): IpPrefix | undefined {
  const sites = uplink === undefined ? [] : sitesOfUplink(uplink);
  return sites.map(({ address }) => address).find((address) => address !== undefined && overlapIp(hosts, address));
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

function inNetworkProblem(host: IpAddress, network: IpPrefix): string | undefined {
  if (!overlapIp(hostPrefix(host), network)) return `is not in ${formatNetwork(network)}`;
  const edge = edgeOf(host, network);
  return edge && `is ${edge}`;
}

/**
 * @returns what a host's address can't be, or undefined. The first of an IPv6 network is any router's (RFC 4291 section 2.6.1). A network
 * of two addresses has two hosts and no edge (RFC 3021, RFC 6164).
 */
export function edgeOf(host: IpAddress, network: IpPrefix): string | undefined {
  if (network.prefix >= bitsOf(host) - 1) return undefined;
  const name = formatNetwork(network);
  if (sameIp(host, firstOf(network))) {
    return bitsOf(host) === 32 ? `the network's own address in ${name}` : `the routers' anycast address of ${name}`;
  }
  if (typeof host === "number" && typeof network.address === "number") {
    if (host === broadcastOf({ address: network.address, prefix: network.prefix }))
      return `the broadcast address of ${name}`;
  }
  return undefined;
}

function formatNetwork(network: IpPrefix): string {
  return formatIpPrefix({ address: firstOf(network), prefix: network.prefix });
}

function quoteAddress(address: IpAddress): string {
  return quote(formatIp(address));
}

function quoteMac(mac: Uint8Array): string {
  return quote(formatMac(mac));
}

function sameMac(one: Uint8Array, other: Uint8Array): boolean {
  return one.every((byte, i) => byte === other[i]);
}
