// `firebreak check FILE`: shows the configuration as it was understood, or all of its errors.

import { parseArgs } from "node:util";
import { formatAddress, formatMac, formatPrefix } from "../base/address.ts";
import { formatDuration } from "../base/duration.ts";
import { formatHosts, formatIp, formatIpPrefix, type IpAddress } from "../base/ip.ts";
import { formatRate } from "../base/rate.ts";
import type { ClientConfig } from "../config/clients.ts";
import { type Config, type DocumentResult, readDocument } from "../config/config.ts";
import { type ForwardConfig, openedHosts } from "../config/forwards.ts";
import { nameServers } from "../config/name-servers.ts";
import { TIMEOUTS } from "../config/nat.ts";
import type { QubeOptions } from "../config/qubes.ts";
import type { UplinkConfig } from "../config/uplink.ts";
import type { NatSettings, Redirect, Timeouts } from "../dataplane/settings.ts";
import { dropsBlindly, isExpired, matches6Of, matchesOf } from "../rules/compile.ts";
import { formatPorts, formatRule, type Rule } from "../rules/parse.ts";
import { UsageError, type Verb } from "./verb.ts";

export const check: Verb = {
  summary: "print a configuration as understood, or all of its errors",
  help: `Usage: firebreak check [--strict] [--config] FILE

Reads the configuration FILE and prints it as understood. If anything is wrong with it,
prints each error on standard error as FILE:LINE: where: what is wrong (how to write it).
What is allowed but hardly meant, such as a rule that is never reached, is told there too,
as FILE:LINE: warning: where: … No root, and none of the interfaces, is needed.

  --strict   warnings are errors

Exit status: 0 the configuration is good, 2 it is not.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { config: { type: "string", multiple: true, default: [] }, strict: { type: "boolean", default: false } },
    });
    const [file, ...more] = [...values.config, ...positionals];
    if (file === undefined || more.length > 0) throw new UsageError("takes one FILE");
    const { status, output, complaints } = checkDocument(await readDocument(file), values.strict);
    process.stderr.write(complaints.map((line) => `${line}\n`).join(""));
    process.stdout.write(output);
    return status;
  },
};

/** What `check` says of a configuration, and its exit status. */
interface Checked {
  readonly status: number;
  readonly output: string;
  readonly complaints: readonly string[];
}

/** @param strict whether warnings are errors */
export function checkDocument(result: DocumentResult, strict: boolean): Checked {
  if ("errors" in result) return { status: 2, output: "", complaints: result.errors };
  if ("qube" in result) return { status: 0, output: formatQube(result.qube), complaints: [] };
  const { config, warnings } = result;
  if (strict && warnings.length > 0) return { status: 2, output: "", complaints: warnings };
  return { status: 0, output: formatConfig(config), complaints: warnings };
}

/** @returns the configuration for people to read: defaults filled in, rules in Qubes' own form. */
function formatConfig(config: Config): string {
  return [
    formatUplink(config),
    ...config.clients.map((client) => formatClient(client, config)),
    ...config.forwards.map((forward, i) => formatForward(forward, i + 1, config)),
    formatDns(config.redirects),
    formatNat(config.nat),
    formatTimeouts(config.nat.timeouts),
  ].join("\n");
}

function formatQube({ uplinkClient, address, dns }: QubeOptions): string {
  return formatSection("qubes", [
    ["uplink_client", formatAddress(uplinkClient)],
    ["address", formatAddress(address)],
    ["dns", formatServers(dns)],
  ]);
}

function formatUplink(config: Config): string {
  const { uplink } = config;
  return formatSection("uplink", [
    ["interface", uplink.interface?.text ?? "none"],
    ["own_mac", formatOwnMac(uplink.ownMac)],
    ["address", formatPrefix(uplink)],
    ["gateway", formatAddress(uplink.gateway)],
    ...formatUplink6(uplink),
    ["gateway_mac", uplink.gatewayMac ? formatMac(uplink.gatewayMac) : "asked for by ARP"],
    ["dns", formatServers([...uplink.dns, ...(uplink.ipv6?.dns ?? [])])],
    ["rate", uplink.rate === undefined ? "as fast as the interface takes it" : formatRate(uplink.rate)],
    ["clamp_mss", formatClampMss(uplink, config)],
  ]);
}

function formatUplink6({ ipv6 }: UplinkConfig): [string, string][] {
  if (ipv6 === undefined) return [["address6", "none: IPv6 is dropped"]];
  return [
    ["address6", formatIpPrefix(ipv6)],
    ["gateway6", formatIp(ipv6.gateway)],
  ];
}

function formatClient6({ prefix, ipv6 }: ClientConfig): [string, string][] {
  const key = prefix === 32 ? "address6" : "network6";
  if (ipv6 === undefined) return [[key, "none"]];
  return [
    [key, formatHosts({ address: ipv6.network, prefix: ipv6.prefix })],
    ["gateway6", formatIp(ipv6.gateway)],
    ["nat6", ipv6.nat],
  ];
}

function formatClient(client: ClientConfig, config: Config): string {
  return formatSection(`client "${client.name}"`, [
    ["interface", client.interface.text],
    ["own_mac", formatOwnMac(client.ownMac)],
    client.prefix === 32
      ? ["address", formatAddress(client.network)]
      : ["network", formatPrefix({ address: client.network, prefix: client.prefix })],
    ["mac", client.mac ? formatMac(client.mac) : "any"],
    ["gateway", formatAddress(client.gateway)],
    ...formatClient6(client),
    ["clamp_mss", formatClampMss(client, config)],
    ["max_flows", String(client.limits.flows)],
    ["max_mappings", String(client.limits.mappings)],
    ["flows_per_second", String(client.limits.flowsPerSecond)],
    ["filtering", client.filtering],
    ["reach", client.reach.map((number) => config.clients[number]?.name).join(", ") || "none"],
    ...client.rules.map((rule, i): [string, string] => [
      `rule ${i + 1}`,
      formatNumberedRule(rule, i + 1, nameServers(config), client.ipv6 && config.uplink.ipv6?.dns),
    ]),
    ["policy", client.policy],
    ["refuse", client.refuse],
    ["log", String(client.log)],
    ["drop_ip_options", String(client.scrub.dropOptions)],
    ["random_ip_id", String(client.scrub.randomId)],
    ["min_ttl", String(client.scrub.minTtl)],
    ["clear_dscp", String(client.scrub.clearDscp)],
  ]);
}

function formatForward(
  { proto, ports, to, toPorts, from }: ForwardConfig,
  number: number,
  { clients }: Config,
): string {
  return formatSection(`forward ${number}`, [
    ["proto", proto],
    ["port", formatPorts(ports)],
    ["to", `${openedHosts(to, from).map(formatIp).join(", ")}  (client "${clients[to.client]?.name}")`],
    ["to_port", formatPorts(toPorts)],
    ["from", from.map(formatIpPrefix).join(", ") || "anyone"],
  ]);
}

function formatDns(redirects: readonly Redirect[]): string {
  const lines = redirects.map(({ from, to }) => `${formatAddress(from)} to ${formatAddress(to)}`);
  return formatSection(
    "dns",
    (lines.length > 0 ? lines : ["none"]).map((line) => ["redirect", line]),
  );
}

function formatNat({ maxFlows, resetUnknown, minPathMtu, kernelPath }: NatSettings): string {
  return formatSection("nat", [
    ["max_flows", String(maxFlows)],
    ["reset", String(resetUnknown)],
    ["min_path_mtu", String(minPathMtu)],
    ["kernel_path", String(kernelPath)],
  ]);
}

function formatTimeouts(timeouts: Timeouts): string {
  const fields = Object.keys(TIMEOUTS) as (keyof Timeouts)[];
  return formatSection(
    "nat.timeouts",
    fields.map((field) => [TIMEOUTS[field].key, formatDuration(timeouts[field])]),
  );
}

/** `check` asks no name server. So a name counts as one with an address wherever a name server is configured: its rule can match then. */
function formatNumberedRule(rule: Rule, number: number, dns: readonly number[], dns6?: readonly Uint8Array[]): string {
  const now = Date.now() / 1000;
  if (isExpired(rule, now)) return `${formatRule(rule)}  (expired)`;
  const canAsk = dns.length > 0 || (dns6 !== undefined && dns6.length > 0);
  const ipv6 = dns6 && { dns: dns6, addressesOf: () => (canAsk ? [new Uint8Array(16)] : undefined) };
  const circumstances = { dns, now, addressesOf: () => (canAsk ? [0] : undefined), ipv6 };
  const isBlind = ([4, 6] as const).some((family) => dropsBlindly(rule, family, circumstances));
  if (isBlind) return `${formatRule(rule)}  (drops packets to any address)`;
  const matches = [...matchesOf(rule, number, circumstances), ...matches6Of(rule, number, circumstances)];
  return formatRule(rule) + (matches.length === 0 ? "  (matches nothing)" : "");
}

function formatServers(dns: readonly IpAddress[]): string {
  return dns.map(formatIp).join(", ") || "none";
}

function formatOwnMac(mac: Uint8Array | undefined): string {
  return mac ? formatMac(mac) : "the interface's";
}

/** All who use an interface have what one of them asks for. */
function formatClampMss({ interface: own }: UplinkConfig | ClientConfig, { uplink, clients }: Config): string {
  return String([uplink, ...clients].some((use) => use.clampMss === true && use.interface?.text === own?.text));
}

function formatSection(title: string, lines: readonly (readonly [string, string])[]): string {
  return [title, ...lines.map(([key, value]) => `  ${key.padEnd(16)}  ${value}`), ""].join("\n");
}
