// Whom new settings are about: whose open flows may have to be treated otherwise than by those before. All others' go on as they do,
// on the kernel path too. What is not sure to be about some clients alone is about everybody.
import { maskOf } from "../wire/ipv4.ts";
import { isSameRuleset } from "./rules/ruleset.ts";
import type { ClientSettings, Settings } from "./settings.ts";
import type { Client } from "./types.ts";

export const EVERYBODY = "everybody";

/** Numbers of clients, in either settings. */
export type Concerned = readonly Client[] | typeof EVERYBODY;

export function concernedBy(before: Settings, after: Settings): Concerned {
  if (commonOf(before) !== commonOf(after) || !areClientsAddresses(before, after)) return EVERYBODY;
  const numbers = Array.from({ length: Math.max(before.clients.length, after.clients.length) }, (_, n) => n as Client);
  const moved = new Set<number>(numbers.filter((n) => siteOf(before, n) !== siteOf(after, n)));
  const leadsThere = (client: ClientSettings | undefined) => client?.reach.some((peer) => moved.has(peer)) === true;
  return numbers.filter((n) => {
    const [old, now] = [before.clients[n], after.clients[n]];
    if (moved.has(n) || old === undefined || now === undefined) return true;
    return leadsThere(old) || leadsThere(now) || !isSameRuleset(old.ruleset, now.ruleset);
  });
}

/** What is not one client's: the uplink, how long flows live, and what leads to whom from outside. */
function commonOf({ interfaces, uplink, forwards, redirects, nat }: Settings): string {
  const { iface, rate, inside: _, ipv6, gatewayMac, ...line } = uplink;
  const { inside: __, ...line6 } = ipv6 ?? {};
  const isMarked = rate !== undefined;
  return JSON.stringify([line, line6, gatewayMac?.join(":"), isMarked, interfaces[iface], forwards, redirects, nat]);
}

/** What is one client's, but for its rules: of whom the number is, where that is, and what is changed in its packets. */
function siteOf({ interfaces, clients }: Settings, n: number): string {
  const client = clients[n];
  if (client === undefined) return "";
  const { name, network, prefix, gateway, mac, reach, openFilter, scrub, ipv6 } = client;
  return JSON.stringify([
    name,
    network,
    prefix,
    gateway,
    mac,
    reach,
    openFilter,
    scrub,
    ipv6,
    interfaces[client.iface],
  ]);
}

/**
 * Whether no flow to the uplink leads to an address that is not there any more: all that is a client's now, or ours, or may be a
 * client's, was one of these before.
 */
function areClientsAddresses(before: Settings, after: Settings): boolean {
  const inside = new Set(before.uplink.inside);
  const gateways = new Set(before.clients.map(({ gateway }) => gateway));
  const networks = new Set(before.clients.map(({ network, prefix }) => `${network}/${prefix}`));
  const wasInside = (address: number) =>
    inside.has(address) || before.clients.some(({ network, prefix }) => ((address ^ network) & maskOf(prefix)) === 0);
  const known6 = new Set(addresses6(before));
  return (
    (after.uplink.inside ?? []).every(wasInside) &&
    after.clients.every(({ network, prefix, gateway }) => {
      if (!gateways.has(gateway) && !wasInside(gateway)) return false;
      return networks.has(`${network}/${prefix}`) || (prefix === 32 && wasInside(network));
    }) &&
    addresses6(after).every((address) => known6.has(address))
  );
}

/** The same addresses of IPv6, as text: of those, no one is looked for in another's network. */
function addresses6({ uplink, clients }: Settings): string[] {
  const inside = uplink.ipv6?.inside?.map((address) => `${address.join(".")}/128`) ?? [];
  const networks = clients.flatMap(({ ipv6 }) =>
    ipv6 === undefined ? [] : `${ipv6.network.join(".")}/${ipv6.prefix}`,
  );
  const gateways = clients.flatMap(({ ipv6 }) => (ipv6 === undefined ? [] : `${ipv6.gateway.join(".")}/128`));
  return [...inside, ...networks, ...gateways];
}
