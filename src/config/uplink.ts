// The section [uplink] of the configuration; and interfaces as every section names them.
import { familyOf, type IpAddress, type IpPrefix } from "../base/ip.ts";
import type { Uplink6Settings } from "../dataplane/settings.ts";
import { bad, type Reading, type Table, type TomlValue } from "./toml-table.ts";
import {
  type InterfaceName,
  readBoolean,
  readEitherHost,
  readHost,
  readHostInNetwork,
  readHostInNetwork6,
  readInterface,
  readMac,
  readRate,
  readRouter6,
} from "./values.ts";

export interface UplinkConfig {
  /** Undefined while there is none, which a configuration file can't say, but Qubes OS can. */
  readonly interface: InterfaceReference | undefined;
  readonly address: number;
  /** Length of the on-link prefix. */
  readonly prefix: number;
  readonly gateway: number;
  /** Name servers of IPv4; for who else is one, see name-servers.ts. */
  readonly dns: readonly number[];
  /** Undefined: none is forwarded. */
  readonly ipv6?: Uplink6Settings | undefined;
  readonly ownMac: Uint8Array | undefined;
  readonly gatewayMac: Uint8Array | undefined;
  /** Of its line, in bits a second: frames leave no faster, and clients have equal parts of it. Undefined: as fast as they come. */
  readonly rate: number | undefined;
  /** Whether to lower the MSS on its interface; one of the interface's users who says so is enough. */
  readonly clampMss: boolean | undefined;
  /** Addresses of clients that may come later; only Qubes OS knows them. */
  readonly inside?: readonly number[];
  /** The gateway's MAC address while it does not answer ARP; only Qubes OS knows one. */
  readonly gatewayFallbackMac?: Uint8Array | undefined;
}

export interface InterfaceReference extends InterfaceName {
  /** Where it stands, for errors: `firewall.toml:14: client "work"`. */
  readonly place: string;
}

/** What could be read of the table; the rest is reported. */
export type UplinkDraft = ReturnType<typeof readUplink>;

export function readUplink(table: Table) {
  const draft = {
    table,
    interface: readReference(table),
    address: table.required("address", readHostInNetwork, '"192.0.2.254/24"'),
    gateway: table.required("gateway", readHost, '"192.0.2.1"'),
    address6: table.optional("address6", readHostInNetwork6, '"2001:db8::2/64"'),
    gateway6: table.optional("gateway6", readRouter6, '"2001:db8::1" or "fe80::1"'),
    dns: table.each("dns", serverReader(table), '["192.0.2.1"]'),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    gatewayMac: table.optional("gateway_mac", readMac, '"02:00:00:00:00:02"'),
    rate: table.optional("rate", readRate, '"100 Mbit"'),
    clampMss: table.optional("clamp_mss", readBoolean, "true"),
  };
  if (table.has("address6") && !table.has("gateway6")) {
    table.problem("address6", 'gateway6 is missing (write gateway6 = "2001:db8::1" or "fe80::1", the next router\'s)');
  }
  if (table.has("gateway6") && !table.has("address6")) {
    table.problem("gateway6", 'address6 is missing (write address6 = "2001:db8::2/64", our address)');
  }
  table.finish();
  return draft;
}

/** @returns a reader of name servers: of IPv6 too, where the uplink has it */
function serverReader(table: Table): (value: TomlValue) => Reading<IpAddress> {
  return (value) => {
    const server = readEitherHost(value);
    if (!server.ok || familyOf(server.value) === 4 || table.has("address6")) return server;
    return bad("is IPv6, of which the uplink has none", "write address6 and gateway6 too, or leave it out");
  };
}

/** The uplink by one family, with the keys that say it. */
export interface UplinkSite {
  readonly address: IpPrefix | undefined;
  readonly gateway: IpAddress | undefined;
  readonly keys: { readonly address: string; readonly gateway: string };
}

export function sitesOfUplink({ address, gateway, address6, gateway6 }: UplinkDraft): UplinkSite[] {
  return [
    { address, gateway, keys: { address: "address", gateway: "gateway" } },
    { address: address6, gateway: gateway6, keys: { address: "address6", gateway: "gateway6" } },
  ];
}

export function finishUplink(draft: UplinkDraft): UplinkConfig | undefined {
  const { interface: reference, address, gateway, address6, gateway6, dns, ownMac, gatewayMac, rate, clampMss } = draft;
  if (reference === undefined || address === undefined || gateway === undefined) return undefined;
  const dns4 = dns.filter((server) => typeof server === "number");
  const dns6 = dns.filter((server) => typeof server !== "number");
  const ipv6 = address6 && gateway6 && { ...address6, gateway: gateway6, dns: dns6 };
  return { interface: reference, ...address, gateway, dns: dns4, ipv6, ownMac, gatewayMac, rate, clampMss };
}

/** The key "interface" of a table. */
export function readReference(table: Table): InterfaceReference | undefined {
  const name = table.required("interface", readInterface, '"eth1" or its MAC address');
  if (name === undefined) return undefined;
  return { ...name, place: `${table.report.file}:${table.report.line([...table.path, "interface"])}: ${table.where}` };
}
