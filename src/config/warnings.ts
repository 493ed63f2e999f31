// What a configuration says that is allowed but hardly meant: traps for its author. Each is a warning with its line and
// remedy; what can't be is an error, and checks.ts's business. Looked at only where there are no errors.

import { formatAddress } from "../base/address.ts";
import { formatDuration } from "../base/duration.ts";
import {
  type Family,
  familyOf,
  formatHosts,
  formatIp,
  formatIpPrefix,
  hostPrefix,
  type IpAddress,
  type IpPrefix,
  isHost,
  isInside,
  overlapIp,
  parseIp,
  sameIp,
} from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import type { NatSettings, Redirect, Timeouts } from "../dataplane/settings.ts";
import { isAbout } from "../rules/compile.ts";
import type { ListedRule } from "../rules/parse.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import { edgeOf } from "./checks.ts";
import { type ClientConfig, gatewaysOf, hostsOf } from "./clients.ts";
import { LINK_LOCAL } from "./dns.ts";
import { type ForwardConfig, openedHosts } from "./forwards.ts";
import { nameServers } from "./name-servers.ts";
import { TIMEOUTS } from "./nat.ts";
import { type RuleWarning, ruleWarnings } from "./rule-warnings.ts";
import type { Report, Table } from "./toml-table.ts";
import type { UplinkConfig } from "./uplink.ts";
import { LINK_LOCAL_6, type NamedRange, NO_HOSTS, UNIQUE_LOCAL } from "./values.ts";

/** A configuration without errors. */
interface Sections {
  readonly uplink: UplinkConfig;
  readonly clients: readonly ClientConfig[];
  readonly forwards: readonly ForwardConfig[];
  readonly redirects: readonly Redirect[];
  readonly nat: NatSettings;
}

/** Where its sections stand, in the same order. */
interface Tables {
  readonly uplink: Table;
  readonly clients: readonly Table[];
  readonly forwards: readonly Table[];
}

const PORTS = 65535;

const NOT_ROUTED: readonly NamedRange[] = [
  ...NO_HOSTS,
  { ...LINK_LOCAL, name: "the link-local network, 169.254.0.0/16" },
  LINK_LOCAL_6,
];

/** Reports every trap. @param now Unix time in seconds, which rules expire by */
export function warnOf(report: Report, sections: Sections, tables: Tables, now = Date.now() / 1000): void {
  warnOfServers(sections, tables.uplink);
  warnOfUplink6(sections, tables.uplink);
  for (const [i, table] of tables.clients.entries()) {
    const client = sections.clients[i];
    warnOfRules(sections, client, table, now);
    warnOfPings(client, table, now);
    warnOfPolicy(sections, client, table);
    warnOfReach(sections, client, table);
    warnOfHosts(client, table);
    warnOfNat6(sections, client, table);
    warnOfRefusals(client, table);
  }
  for (const [i, table] of tables.forwards.entries()) warnOfForward(sections, sections.forwards[i], table);
  warnOfRedirects(report, sections);
  warnOfTimeouts(report, sections.nat.timeouts);
}

function warnOfServers({ uplink, clients }: Sections, table: Table): void {
  const servers: IpAddress[] = [];
  for (const [i, value] of table.elements("dns", "").entries()) {
    const server = parseIp(String(value));
    if (server === undefined) continue;
    const text = `dns ${quote(formatIp(server))}`;
    const problem = notOutside(server, uplink, clients);
    if (problem !== undefined) {
      table.warning(["dns", i], `${text} ${problem}, and is asked out of the uplink (write a server that is there)`);
    }
    if (servers.some((other) => sameIp(other, server)))
      table.warning(["dns", i], `${text} is there twice (write it once)`);
    servers.push(server);
  }
}

function warnOfUplink6({ uplink, clients }: Sections, table: Table): void {
  if (uplink.ipv6 === undefined || clients.some(({ ipv6 }) => ipv6 !== undefined)) return;
  table.warning(
    "address6",
    "address6 is nobody's way: no client has IPv6 (write address6 or network6 for one, or leave it out)",
  );
}

/** Answers come back only to addresses that the internet knows the way to. */
function warnOfNat6({ uplink }: Sections, { ipv6 }: ClientConfig, table: Table): void {
  if (ipv6 === undefined || uplink.ipv6 === undefined) return;
  const { network: address, prefix, nat } = ipv6;
  const shown = formatHosts({ address, prefix });
  const isLocal = overlapIp({ address, prefix }, UNIQUE_LOCAL);
  if (nat === "route" && isLocal && !overlapIp(hostPrefix(uplink.ipv6.address), UNIQUE_LOCAL)) {
    const why = `${shown} lies in ${UNIQUE_LOCAL.name}, which the internet has no way back to`;
    table.warning("nat6", `nat6 "route" lets nothing come back: ${why} (write "masquerade")`);
  }
  if (!table.has("nat6") && !isLocal) {
    const key = table.has("address6") ? "address6" : "network6";
    const remedy = 'write nat6 = "route" if they are routed here, else nat6 = "masquerade"';
    table.warning(
      key,
      `${key} ${shown}: global addresses that nobody outside sees, for all come from ours (${remedy})`,
    );
  }
}

function warnOfRules(sections: Sections, client: ClientConfig, table: Table, now: number): void {
  for (const { rule, problem } of doubtfulRules(sections, client, now)) {
    table.warning(["rules", rule], `rule ${rule + 1} ${problem}`);
  }
}

/** @param client one of the configuration's @param now Unix time in seconds @returns its rules that decide nothing, each with the reason */
export function doubtfulRules(sections: Sections, client: ClientConfig, now: number): RuleWarning[] {
  const unreached = (destination: IpPrefix) => whyUnreached(destination, client, sections);
  const dns6 = client.ipv6 && sections.uplink.ipv6?.dns;
  return ruleWarnings(client.rules, { dns: nameServers(sections), dns6, now, unreached });
}

/** @returns why a client's packets for a prefix never come to its rules, with the remedy */
function whyUnreached(destination: IpPrefix, client: ClientConfig, sections: Sections): string | undefined {
  const { uplink, clients } = sections;
  const shown = formatHosts(destination);
  const nowhere = NOT_ROUTED.find((range) => isInside(destination, range));
  if (nowhere !== undefined) return `${shown} lies in ${nowhere.name}, which is not routed (leave it out)`;
  const ours = (one: Parameters<typeof gatewaysOf>[0]) =>
    gatewaysOf(one).find((address) => isInside(destination, hostPrefix(address)));
  const viewer = clients.find((one) => ours(one) !== undefined);
  if (viewer !== undefined && !addressesOf(uplink).some((address) => isInside(destination, hostPrefix(address)))) {
    return `${shown} is our own address as client ${quote(viewer.name)} sees it, and rules are not asked about us (leave it out)`;
  }
  if (isEdgeOf(destination, uplink)) {
    return `${shown} is the uplink network's first or last address, which is no host's (leave it out)`;
  }
  const owner = clients.find((other) => hostsOf(other).some((hosts) => isInside(destination, hosts)));
  if (owner === client) {
    return client.prefix === 32
      ? `${shown} is the client itself (leave it out)`
      : `${shown} lies in the client's own network, whose hosts reach each other without the firewall (leave it out)`;
  }
  if (owner === undefined || client.reach.includes(clients.indexOf(owner))) return undefined;
  const name = quote(owner.name);
  return `${shown} belongs to client ${name}, which it may not reach (write reach = [${name}], or leave it out)`;
}

/** The echo request is another type in each family: a rule for one is easily taken for both. */
function warnOfPings({ rules, policy, ipv6 }: ClientConfig, table: Table, now: number): void {
  if (ipv6 === undefined) return;
  const isAlive = ({ expire = now + 1 }: (typeof rules)[number]) => expire > now;
  for (const [i, rule] of rules.entries()) {
    const { action, icmptype } = rule;
    const other = icmptype === ICMP_TYPE.ECHO ? ICMPV6_TYPE.ECHO : ICMP_TYPE.ECHO;
    if (action === policy || !isAlive(rule) || !isAbout(rule, 4) || !isAbout(rule, 6)) continue;
    if (icmptype !== ICMP_TYPE.ECHO && icmptype !== ICMPV6_TYPE.ECHO) continue;
    const [family, without]: readonly [Family, Family] = icmptype === ICMP_TYPE.ECHO ? [4, 6] : [6, 4];
    const isOthers = rules.some((one) => isAlive(one) && one.action === action && mayBePing(one, other, without));
    if (isOthers) continue;
    const what = `rule ${i + 1} ${action === "accept" ? "accepts" : "drops"} pings of IPv${family} alone`;
    const only = family === 4 ? "dst4=0.0.0.0/0" : "dst6=::/0";
    table.warning(
      ["rules", i],
      `${what}: of IPv${without} they have type ${other} (write a rule with icmptype=${other} too, or ${only} in this one)`,
    );
  }
}

/** @returns whether some echo request of a family can be what a rule is about */
function mayBePing(rule: ListedRule, type: number, family: Family): boolean {
  const { proto, icmptype, dstports, specialtarget } = rule;
  if (!isAbout(rule, family) || dstports !== undefined || specialtarget !== undefined) return false;
  return proto === undefined || (proto === "icmp" && (icmptype === undefined || icmptype === type));
}

/** A client that opens nothing may still be there for what others open to it. */
function warnOfPolicy({ forwards, clients }: Sections, client: ClientConfig, table: Table): void {
  const { rules, policy } = client;
  const number = clients.indexOf(client);
  const isReached =
    forwards.some(({ to }) => to.client === number) || clients.some(({ reach }) => reach.includes(number));
  if (rules.some(({ action }) => action !== policy)) return;
  if (rules.length === 0) {
    if (policy === "accept" || isReached) return;
    table.warning(
      "name",
      'has no rules, and its policy is to drop: all is refused (write rules, or policy = "accept")',
    );
  } else if (policy === "accept") {
    table.warning("rules", "rules change nothing: each accepts, and so does the policy (leave them out)");
  } else {
    const remedy = isReached ? "leave them out" : 'write policy = "accept", or a rule that accepts';
    table.warning("rules", `rules change nothing: each drops, and so does the policy (${remedy})`);
  }
}

function warnOfReach({ clients }: Sections, client: ClientConfig, table: Table): void {
  for (const [i, number] of client.reach.entries()) {
    const peer = clients[number];
    const text = `reach ${quote(peer.name)}`;
    if (client.reach.indexOf(number) < i) table.warning(["reach", i], `${text} is there twice (write it once)`);
    else if (!hostsOf(peer).some((hosts) => mayAccept(client, hosts))) {
      table.warning(
        ["reach", i],
        `${text} opens nothing: no rule accepts packets to it (write a rule with dst4=${formatHosts(hostsOf(peer)[0])})`,
      );
    }
  }
}

function warnOfHosts(client: ClientConfig, table: Table): void {
  if (client.mac !== undefined && client.prefix !== 32) {
    table.warning(
      "mac",
      `mac is that of one host, so that the others of ${formatHosts(hostsOf(client)[0])} are shut out (leave it out)`,
    );
  }
}

/** How refused packets are answered, and whether they are logged, matters where some are. */
function warnOfRefusals({ rules, policy, log, refuse }: ClientConfig, table: Table): void {
  if (policy === "drop" || rules.some(({ action }) => action === "drop")) return;
  if (log)
    table.warning("log", "log has nothing to print: nothing of this client's is refused by rules (leave it out)");
  if (table.has("refuse")) {
    table.warning(
      "refuse",
      `refuse ${quote(refuse)} is for nothing: nothing of this client's is refused by rules (leave it out)`,
    );
  }
}

function warnOfForward(sections: Sections, forward: ForwardConfig, table: Table): void {
  const { name, filtering } = sections.clients[forward.to.client];
  if (filtering === "endpoint-independent") {
    const where = `client ${quote(name)}`;
    if (forward.from.length > 0) {
      const why = `${where} has filtering = "endpoint-independent", and once it sends from that port, anyone may send to it`;
      table.warning("from", `from does not keep others out: ${why} (leave filtering out there)`);
    } else if (isLastOfAll(forward, sections.forwards)) {
      const why = `all ports lead to ${where}, so that its filtering has nothing left to say`;
      table.warning("port", `${why} (leave filtering out there)`);
    }
  }
  for (const [i, source] of forward.from.entries()) {
    const problem = whyNobody(source, i, forward, sections);
    if (problem !== undefined) table.warning(["from", i], `from ${quote(formatIpPrefix(source))} ${problem}`);
  }
}

/** Whether a forward is the second of two that together take all ports, of TCP and of UDP. */
function isLastOfAll(forward: ForwardConfig, forwards: readonly ForwardConfig[]): boolean {
  const whole = forwards.filter(({ ports, from }) => from.length === 0 && ports.low === 1 && ports.high === PORTS);
  return whole.length === 2 && whole[1] === forward && whole[0].to.client === forward.to.client;
}

/** @returns why one prefix of `from` lets nobody in whom the others don't, with the remedy */
function whyNobody(
  source: IpPrefix,
  index: number,
  { to, from }: ForwardConfig,
  sections: Sections,
): string | undefined {
  if (!openedHosts(to, from).some((host) => familyOf(host) === familyOf(source.address))) {
    return `lets nobody in: to is no host of IPv${familyOf(source.address)} (leave it out)`;
  }
  const owner = sections.clients.find((client) => hostsOf(client).some((hosts) => isInside(source, hosts)));
  const isTranslated = typeof source.address === "number" || owner?.ipv6?.nat === "masquerade";
  if (owner !== undefined && isTranslated) {
    const ours = addressesOf(sections.uplink).find((address) => familyOf(address) === familyOf(source.address));
    const remedy = ours === undefined ? "leave it out" : `write ${formatIp(ours)} for them`;
    return `lets nobody in: it belongs to client ${quote(owner.name)}, and clients come from our address (${remedy})`;
  }
  const range = NO_HOSTS.find((noHosts) => isInside(source, noHosts));
  if (range !== undefined) return `lets nobody in: it lies in ${range.name} (leave it out)`;
  const isPart = from.some(
    (other, i) => i !== index && isInside(source, other) && (i < index || !isInside(other, source)),
  );
  return isPart ? "is part of another of these prefixes (leave it out)" : undefined;
}

function warnOfRedirects(report: Report, { redirects, clients }: Sections): void {
  for (const { from, to } of redirects) {
    const path = ["dns", "redirect", formatAddress(from)];
    const text = `redirect from ${quote(formatAddress(from))}`;
    if (from === to) report.warn(path, "dns", `${text} leads to itself (leave it out)`);
    const server = { address: from, prefix: 32 };
    if (!clients.some((client) => mayAccept(client, server, true))) {
      report.warn(
        path,
        "dns",
        `${text} is used by nobody: no client's rules accept DNS to it (write a rule with dst4=${formatAddress(from)} dstports=53)`,
      );
    }
  }
}

/** A flow that nobody has answered is hardly meant to outlive one that somebody has. */
function warnOfTimeouts(report: Report, timeouts: Timeouts): void {
  const pairs = [
    ["udpNew", "udp"],
    ["tcpOpening", "tcpEstablished"],
  ] as const;
  for (const [unanswered, answered] of pairs) {
    if (timeouts[unanswered] <= timeouts[answered]) continue;
    const [key, other] = [TIMEOUTS[unanswered].key, TIMEOUTS[answered].key];
    const problem = `${key} is longer than ${other}, which holds once there is an answer (write ${other} = "${formatDuration(timeouts[unanswered])}" or more)`;
    report.warn(["nat", "timeouts", key], "nat.timeouts", problem);
  }
}

/** Whether some packet to some host of a prefix can be accepted, as far as rules show alone. @param onlyDns to port 53 */
function mayAccept({ rules, policy }: ClientConfig, hosts: IpPrefix, onlyDns = false): boolean {
  if (policy === "accept") return true;
  return rules.some(({ action, dst4, dst6, specialtarget, proto, dstports }) => {
    if (action === "drop") return false;
    if (onlyDns && (proto === "icmp" || (dstports && (dstports.low > 53 || dstports.high < 53)))) return false;
    const destination = dst4 ?? dst6;
    if (onlyDns && specialtarget === "dns" && dst6 === undefined) return true;
    return destination === undefined || overlapIp(destination, hosts);
  });
}

/** @returns whose a name server is that can't be behind the uplink */
function notOutside(address: IpAddress, uplink: UplinkConfig, clients: readonly ClientConfig[]): string | undefined {
  const host = hostPrefix(address);
  if (addressesOf(uplink).some((ours) => sameIp(ours, address))) return "is our own address";
  for (const client of clients) {
    if (gatewaysOf(client).some((gateway) => sameIp(gateway, address))) {
      return `is our own address as client ${quote(client.name)} sees it`;
    }
    if (hostsOf(client).some((hosts) => overlapIp(host, hosts))) return `belongs to client ${quote(client.name)}`;
  }
  return overlapIp(host, LINK_LOCAL) ? "lies in the link-local network, 169.254.0.0/16" : undefined;
}

/** Ours on the uplink. */
function addressesOf({ address, ipv6 }: UplinkConfig): IpAddress[] {
  return [address, ...(ipv6 ? [ipv6.address] : [])];
}

function isEdgeOf(destination: IpPrefix, { address, prefix }: UplinkConfig): boolean {
  const isThere = isHost(destination) && overlapIp(destination, { address, prefix });
  return isThere && edgeOf(destination.address, { address, prefix }) !== undefined;
}
