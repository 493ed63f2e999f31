// IPv6 as dom0 gives it to qubes whose feature `ipv6` is on: part of what qube-config.ts makes. What can't be understood of it leaves IPv6
// out, for the one whom it is about, and IPv4 as it is. The keys are of qubes-core-admin, qubes/vm/mix/net.py; what is made of them is
// what its Linux agent does (vif-route-qubes, setup-ip).
import { formatAddress, formatAddress6, parseAddress } from "../base/address.ts";
import { formatIp } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import type { Reading } from "../config/toml-table.ts";
import { readHost6, readRouter6 } from "../config/values.ts";
import type { Client6Settings, Uplink6Settings } from "../dataplane/settings.ts";
import { type ClientRules, DROP_EVERYTHING } from "./client-rules.ts";
import { CLIENT_SIDE_MAC, type ClientVif, type QubeState } from "./qube-state.ts";

export interface QubeClient6 {
  readonly settings: Client6Settings;
  /** Its rules for IPv6. */
  readonly rules: ClientRules;
}

export interface QubeIpv6 {
  readonly uplink: Uplink6Settings | undefined;
  /** Of those clients that have IPv6. */
  readonly clients: ReadonlyMap<ClientVif, QubeClient6>;
}

/** Dom0 writes it for every qube that provides network; empty, where no client has IPv6. */
const CONNECTED = "/connected-ips6";
/** Our address as clients see it, where dom0 has the feature on for us. */
const GATEWAY = "/qubes-netvm-gateway6";

/**
 * @param vifs of clients that have network
 * @param hasUplink whether there is a netvm, by IPv4
 * @param problems gets a line for each value that is no good
 */
export function makeQubeIpv6(
  state: QubeState,
  vifs: readonly ClientVif[],
  hasUplink: boolean,
  problems: string[],
): QubeIpv6 {
  const { database } = state;
  const inside = readConnected(database, problems);
  const gateway = readKey(database, GATEWAY, readHost6, problems);
  const addresses = readClients(state, vifs, problems);
  if (gateway === undefined || inside === undefined) {
    sayWithout(state, addresses, problems);
    return { uplink: undefined, clients: new Map() };
  }
  const own = hasUplink && state.options === undefined ? readOwn(database, problems) : undefined;
  const clients = Array.from(addresses, ([vif, network]): [ClientVif, QubeClient6] => {
    const rules = (own && state.rulesOf(formatAddress6(network))) ?? DROP_EVERYTHING;
    return [vif, { settings: { network, prefix: 128, gateway, nat: "masquerade" }, rules }];
  });
  // Without a way out the clients' packets are refused, as those of IPv4 are: we have an address, and nobody is behind it.
  const way = own ?? { address: gateway, gateway };
  // Everything goes through the gateway, whose MAC address a qube does not ask for.
  const uplink = { ...way, prefix: 128, gatewayMac: CLIENT_SIDE_MAC, dns: [], inside };
  return { uplink, clients: new Map(clients) };
}

/** Our own address and the netvm's, where it has given us IPv6. */
function readOwn(database: QubeState["database"], problems: string[]) {
  const address = readKey(database, "/qubes-ip6", readHost6, problems);
  const gateway = readKey(database, "/qubes-gateway6", readRouter6, problems);
  return address === undefined || gateway === undefined ? undefined : { address, gateway };
}

/** @returns addresses that are clients' only, also of those that don't run; undefined where it is not known which */
function readConnected(database: QubeState["database"], problems: string[]): Uint8Array[] | undefined {
  const text = database.get(CONNECTED);
  const words = text?.split(" ").filter((word) => word !== "");
  const addresses = words?.map((word) => readText(word, CONNECTED, readHost6, problems));
  return addresses?.every((address) => address !== undefined) ? addresses : undefined;
}

/** @returns the addresses of those who have one, each one's own */
function readClients({ database }: QubeState, vifs: readonly ClientVif[], problems: string[]) {
  const clients = new Map<ClientVif, Uint8Array>();
  const owners = new Map<string, string>();
  for (const vif of vifs) {
    const name = formatAddress(vif.address);
    for (const word of vif.unread ?? []) {
      problems.push(`client ${name}: ${quote(word)} beside its addresses is none, or one too many: it is not used`);
    }
    if (vif.address6 === undefined || isTranslated(vif, database)) continue;
    const text = formatIp(vif.address6);
    const address = readText(text, `client ${name}`, readHost6, problems);
    const owner = owners.get(text);
    if (owner !== undefined) {
      problems.push(`client ${name}: its address ${text} is that of client ${owner} too: it gets no IPv6`);
    } else if (address !== undefined) {
      owners.set(text, name);
      clients.set(vif, address);
    }
  }
  return clients;
}

/** Who was told another address than its own has that of IPv4 alone, and the agent drops its IPv6. */
function isTranslated({ address }: ClientVif, database: QubeState["database"]): boolean {
  const text = database.get(`/mapped-ip/${formatAddress(address)}/visible-ip`) ?? "";
  return text !== "" && parseAddress(text) !== address;
}

/** Clients that dom0 gave IPv6, of which we have none. A key that is there and no good was complained of already. */
function sayWithout({ database }: QubeState, clients: ReadonlyMap<ClientVif, Uint8Array>, problems: string[]): void {
  const isConnectedThere = database.get(CONNECTED) !== undefined;
  const missing = !database.get(GATEWAY) ? GATEWAY : isConnectedThere ? undefined : CONNECTED;
  if (missing === undefined || clients.size === 0) return;
  const names = Array.from(clients.keys(), ({ address }) => formatAddress(address)).join(", ");
  problems.push(
    `${missing} is missing: no IPv6 for ${names} (qvm-features NAME ipv6 1, of this qube, and start it again)`,
  );
}

function readKey<T>(
  database: QubeState["database"],
  key: string,
  read: (text: string) => Reading<T>,
  problems: string[],
): T | undefined {
  const text = database.get(key);
  return text === undefined || text === "" ? undefined : readText(text, key, read, problems);
}

function readText<T>(
  text: string,
  where: string,
  read: (text: string) => Reading<T>,
  problems: string[],
): T | undefined {
  const reading = read(text);
  if (reading.ok) return reading.value;
  problems.push(`${where}: ${quote(text)} ${reading.problem}: no IPv6 of it`);
  return undefined;
}
