// The section [uplink] of the configuration; and interfaces as every section names them.
import type { Table } from "./toml-table.ts";
import {
  type InterfaceName,
  readBoolean,
  readHost,
  readHostInNetwork,
  readInterface,
  readMac,
  readRate,
} from "./values.ts";

export interface UplinkConfig {
  /** Undefined while there is none, which a configuration file can't say, but Qubes OS can. */
  readonly interface: InterfaceReference | undefined;
  readonly address: number;
  /** Length of the on-link prefix. */
  readonly prefix: number;
  readonly gateway: number;
  /** Name servers; for who else is one, see name-servers.ts. */
  readonly dns: readonly number[];
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
    dns: table.each("dns", readHost, '["192.0.2.1"]'),
    ownMac: table.optional("own_mac", readMac, '"02:00:00:00:00:01"'),
    gatewayMac: table.optional("gateway_mac", readMac, '"02:00:00:00:00:02"'),
    rate: table.optional("rate", readRate, '"100 Mbit"'),
    clampMss: table.optional("clamp_mss", readBoolean, "true"),
  };
  table.finish();
  return draft;
}

/** The key "interface" of a table. */
export function readReference(table: Table): InterfaceReference | undefined {
  const name = table.required("interface", readInterface, '"eth1" or its MAC address');
  if (name === undefined) return undefined;
  return { ...name, place: `${table.report.file}:${table.report.line([...table.path, "interface"])}: ${table.where}` };
}
