// The firewall's configuration as a qube: what QubesDB, the clients' interfaces and the uplink's come to at one moment. A
// pure function of these; who watches them is qube.ts's business. The keys: https://www.qubes-os.org/doc/vm-interface/

import { formatAddress, parseAddress } from "../base/address.ts";
import { quote } from "../base/quote.ts";
import { type ClientConfig, usualLimits } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { readNat } from "../config/nat.ts";
import { Report } from "../config/toml-table.ts";
import type { InterfaceReference, UplinkConfig } from "../config/uplink.ts";
import { NO_SCRUB } from "../dataplane/settings.ts";
import { DROP_EVERYTHING } from "./client-rules.ts";
import { forwardsTo, readFeatures, withFeatures } from "./features.ts";
import { mergeRules } from "./merged-rules.ts";
import { makeQubeIpv6, type QubeClient6 } from "./qube-ipv6.ts";
import { CLIENT_SIDE_MAC, type ClientVif, type QubeState } from "./qube-state.ts";

export interface QubeConfig {
  readonly config: Config;
  /** What is wrong, for dom0's user to read. */
  readonly problems: readonly string[];
}

/** Our name servers, and in front of each what clients were told of it: usually the same address. */
const DNS_KEYS = [
  ["/qubes-netvm-primary-dns", "/qubes-primary-dns"],
  ["/qubes-netvm-secondary-dns", "/qubes-secondary-dns"],
] as const;

/** Without an uplink nothing may leave: nothing is at this address. */
const NOWHERE = { address: 0, gateway: 0 };

export function makeQubeConfig(state: QubeState): QubeConfig {
  const problems: string[] = [];
  const nat = readNat(new Report("QubesDB"), {});
  const servers = readServers(state, problems);
  const uplink = makeUplink(state, servers, problems);
  const clientGateway = readAddress(state.database, "/qubes-netvm-gateway", problems);
  if (clientGateway === undefined && state.vifs.length > 0) {
    problems.push(
      "/qubes-netvm-gateway is missing: this qube does not provide network (qvm-prefs NAME provides_network True)",
    );
  }
  const vifs = clientGateway === undefined ? [] : state.vifs;
  const hasUplink = uplink.interface !== undefined;
  const ipv6 = makeQubeIpv6(state, vifs, hasUplink, problems);
  const made = vifs.map((vif) => {
    const client6 = ipv6.clients.get(vif);
    return makeClient(vif, clientGateway ?? 0, { ...state, hasUplink, maxFlows: nat.maxFlows }, client6, problems);
  });
  const features = readFeatures(state.database, problems);
  const clients = withFeatures(distinct(made, problems), features);
  return {
    config: {
      uplink: { ...uplink, rate: features.rate, ipv6: ipv6.uplink },
      clients,
      forwards: forwardsTo(clients, features),
      redirects: servers.flatMap(({ from, to }) =>
        from === undefined || to === undefined || from === to ? [] : { from, to },
      ),
      nat,
    },
    problems,
  };
}

/** A name server of ours, and what clients were told of it. */
interface Server {
  readonly from: number | undefined;
  readonly to: number | undefined;
}

function readServers({ database, options }: QubeState, problems: string[]): Server[] {
  return DNS_KEYS.map(([told, ours], i) => ({
    from: readAddress(database, told, problems),
    to: options === undefined ? readAddress(database, ours, problems) : (options.dns[i] ?? options.dns[0]),
  }));
}

function makeUplink(state: QubeState, servers: readonly Server[], problems: string[]): Omit<UplinkConfig, "rate"> {
  const { options, database } = state;
  const address = options?.address ?? readAddress(database, "/qubes-ip", problems);
  const gateway = options?.uplinkClient ?? readAddress(database, "/qubes-gateway", problems);
  const isThere = address !== undefined && gateway !== undefined && state.uplink !== undefined;
  const dns = [...(options?.dns ?? []), ...servers.flatMap(({ from, to }) => [to ?? [], from ?? []].flat())];
  const connected = readAddresses(database, "/connected-ips", problems);
  return {
    ...(isThere ? { address, gateway } : NOWHERE),
    interface: isThere ? reference(state.uplink) : undefined,
    prefix: 32, // everything goes through the gateway, as with the host route of the Linux agent
    dns: [...new Set(dns)],
    ownMac: options === undefined ? undefined : CLIENT_SIDE_MAC,
    gatewayMac: isThere ? undefined : CLIENT_SIDE_MAC, // there is nobody to ask
    gatewayFallbackMac: options === undefined ? CLIENT_SIDE_MAC : undefined, // to the netvm we are what clients are to us
    clampMss: undefined,
    inside: connected.filter((client) => client !== options?.uplinkClient), // to dom0 it is a client too
  };
}

function makeClient(
  vif: ClientVif,
  usualGateway: number,
  { database, rulesOf, hasUplink, maxFlows }: QubeState & { readonly hasUplink: boolean; readonly maxFlows: number },
  ipv6: QubeClient6 | undefined,
  problems: string[],
): ClientConfig {
  const name = formatAddress(vif.address);
  // Told another address than its own, the client uses that. Nobody but us sees either of them.
  const visible = (key: string) => readAddress(database, `/mapped-ip/${name}/visible-${key}`, problems);
  const rules4 = (hasUplink ? rulesOf(name) : undefined) ?? DROP_EVERYTHING;
  const { policy, rules } = ipv6 === undefined ? rules4 : mergeRules(rules4, ipv6.rules);
  return {
    name,
    interface: reference(vif.name),
    network: visible("ip") ?? vif.address,
    prefix: 32,
    gateway: visible("gateway") ?? usualGateway,
    ipv6: ipv6?.settings,
    ownMac: CLIENT_SIDE_MAC,
    mac: vif.mac,
    policy,
    rules,
    refuse: "icmp",
    log: false,
    scrub: NO_SCRUB,
    reach: [],
    filtering: "address-and-port-dependent",
    limits: usualLimits(false, maxFlows),
    clampMss: undefined,
  };
}

/** Of clients with one address, all but the first are left out. */
function distinct(clients: readonly ClientConfig[], problems: string[]): ClientConfig[] {
  return clients.filter((client, i) => {
    const other = clients.slice(0, i).find(({ network }) => network === client.network);
    if (other === undefined) return true;
    problems.push(`client ${client.name}: its visible address is that of client ${other.name} too: it gets no network`);
    return false;
  });
}

function readAddress(database: QubeState["database"], key: string, problems: string[]): number | undefined {
  const text = database.get(key);
  return text === undefined || text === "" ? undefined : readAddressText(text, key, problems);
}

/** A key with any number of addresses, spaces between. */
function readAddresses(database: QubeState["database"], key: string, problems: string[]): number[] {
  const words = (database.get(key) ?? "").split(" ").filter((word) => word !== "");
  return words.flatMap((word) => readAddressText(word, key, problems) ?? []);
}

function readAddressText(text: string, key: string, problems: string[]): number | undefined {
  const address = parseAddress(text);
  if (address === undefined) problems.push(`${key}: ${quote(text)} is not an IPv4 address`);
  return address;
}

function reference(name: string): InterfaceReference {
  return { text: name, mac: undefined, place: "QubesDB" };
}
