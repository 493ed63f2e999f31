// Who is a name server: those of [uplink], and what [dns] redirects name. Clients ask the addresses that they were given; we ask
// those that are behind the uplink.

import type { IpAddress } from "../base/ip.ts";
import type { Redirect } from "../dataplane/settings.ts";
import type { UplinkConfig } from "./uplink.ts";

interface Servers {
  readonly uplink: Pick<UplinkConfig, "dns" | "ipv6">;
  readonly redirects: readonly Redirect[];
}

/** @returns what specialtarget=dns means in IPv4: uint32 in host order, each once; both ends of a redirect are */
export function nameServers({ uplink, redirects }: Servers): number[] {
  return [...new Set([...uplink.dns, ...redirects.flatMap(({ from, to }) => [to, from])])];
}

/**
 * @returns whom names in rules are asked of, the first one first: the servers that DNS to the others is redirected to, and behind those
 * of IPv4 those of IPv6. Each knows addresses of both families.
 */
export function serversToAsk({ uplink, redirects }: Servers): IpAddress[] {
  const reached = new Map(redirects.map(({ from, to }) => [from, to]));
  const ipv4 = new Set(nameServers({ uplink, redirects }).map((server) => reached.get(server) ?? server));
  return [...ipv4, ...(uplink.ipv6?.dns ?? [])];
}
