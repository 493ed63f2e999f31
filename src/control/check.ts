// `firebreak check FILE`: shows the configuration as it was understood, or all of its errors.
import { parseArgs } from "node:util";
import { formatRule, type Rule } from "../qubes/rules.ts";
import { formatAddress, formatMac, formatPrefix } from "./address.ts";
import { type ClientConfig, type Config, readConfig, type UplinkConfig } from "./config.ts";
import { matchesOf } from "./settings.ts";
import { UsageError, type Verb } from "./verb.ts";

export const check: Verb = {
  summary: "print a configuration as understood, or all of its errors",
  help: `Usage: firebreak check FILE

Reads the configuration FILE and prints it as understood. If anything is wrong with it,
prints each error on standard error as FILE:LINE: where: what is wrong (how to write it).
No root, and none of the interfaces, is needed.

Exit status: 0 the configuration is good, 2 it is not.
`,
  async run(args) {
    const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options: {} });
    const [file, ...more] = positionals;
    if (file === undefined || more.length > 0) throw new UsageError("takes one FILE");
    const result = await readConfig(file);
    if ("errors" in result) {
      process.stderr.write(`${result.errors.join("\n")}\n`);
      return 2;
    }
    process.stdout.write(formatConfig(result.config));
    return 0;
  },
};

/** @returns the configuration for people to read: defaults filled in, rules in Qubes' own form. */
export function formatConfig(config: Config): string {
  const clients = config.clients.map((client) => formatClient(client, config.uplink.dns));
  const nat = formatSection("nat", [["max_flows", String(config.nat.maxFlows)]]);
  return [formatUplink(config.uplink), ...clients, nat].join("\n");
}

function formatUplink(uplink: UplinkConfig): string {
  return formatSection("uplink", [
    ["interface", uplink.interface.text],
    ["own_mac", formatOwnMac(uplink.ownMac)],
    ["address", formatPrefix(uplink)],
    ["gateway", formatAddress(uplink.gateway)],
    ["gateway_mac", uplink.gatewayMac ? formatMac(uplink.gatewayMac) : "asked for by ARP"],
    ["dns", uplink.dns.map(formatAddress).join(", ") || "none"],
  ]);
}

function formatClient(client: ClientConfig, dns: readonly number[]): string {
  return formatSection(`client "${client.name}"`, [
    ["interface", client.interface.text],
    ["own_mac", formatOwnMac(client.ownMac)],
    client.prefix === 32
      ? ["address", formatAddress(client.network)]
      : ["network", formatPrefix({ address: client.network, prefix: client.prefix })],
    ["mac", client.mac ? formatMac(client.mac) : "any"],
    ["gateway", formatAddress(client.gateway)],
    ...client.rules.map((rule, i): [string, string] => [`rule ${i + 1}`, formatNumberedRule(rule, i + 1, dns)]),
    ["policy", client.policy],
  ]);
}

function formatNumberedRule(rule: Rule, number: number, dns: readonly number[]): string {
  return formatRule(rule) + (matchesOf(rule, number, dns).length === 0 ? "  (matches nothing)" : "");
}

function formatOwnMac(mac: Uint8Array | undefined): string {
  return mac ? formatMac(mac) : "the interface's";
}

function formatSection(title: string, lines: readonly (readonly [string, string])[]): string {
  return [title, ...lines.map(([key, value]) => `  ${key.padEnd(11)}  ${value}`), ""].join("\n");
}
