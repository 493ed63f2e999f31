// The section [nat] of the configuration: how much is remembered, and for how long.

import { formatDuration, parseDuration } from "../base/duration.ts";
import type { NatSettings, Timeouts } from "../dataplane/settings.ts";
import { LEAST_MTU } from "../wire/icmp.ts";
import { bad, good, isTable, type Reading, type Report, Table, type TomlTable, type TomlValue } from "./toml-table.ts";
import { integerReader, readBoolean, readTable } from "./values.ts";

/** As Linux' min_pmtu; the least that IPv4 has, and the most that Ethernet has. */
const MTU = { least: LEAST_MTU, most: 1500, usual: 552 };
const FLOWS = { least: 1024, most: 1048576, usual: 65536 };

interface Timeout {
  readonly key: string;
  /** Whole seconds, as are all here. */
  readonly usual: number;
  /** Where an RFC says how long it is at least. */
  readonly least?: number;
  readonly requirement?: string;
}

/** The keys of [nat.timeouts]. */
export const TIMEOUTS: { readonly [field in keyof Timeouts]: Timeout } = {
  udp: { key: "udp", usual: 300, least: 120, requirement: "RFC 4787 REQ-5" },
  udpNew: { key: "udp_new", usual: 30 },
  dns: { key: "dns", usual: 10 },
  tcpEstablished: { key: "tcp_established", usual: 7440, least: 7440, requirement: "RFC 5382 REQ-5" },
  tcpOpening: { key: "tcp_opening", usual: 240 }, // RFC 7857 section 2.1 lets it be less
  tcpClosing: { key: "tcp_closing", usual: 240, least: 240, requirement: "RFC 5382 REQ-5" },
  icmp: { key: "icmp", usual: 60, least: 60, requirement: "RFC 5508 REQ-2" },
  other: { key: "other", usual: 600 },
};

/** Five days, as Linux has it for established TCP connections. */
const LONGEST = 5 * 24 * 3600;

/** Of keys whose values hold while the program runs, for errors: `firewall.toml:14: nat`. */
export interface NatPlaces {
  readonly maxFlows: string;
  readonly kernelPath: string;
}

export function placesOfNat(report: Report): NatPlaces {
  const place = (key: string) => `${report.file}:${report.line(["nat", key])}: nat`;
  return { maxFlows: place("max_flows"), kernelPath: place("kernel_path") };
}

/** @returns the section, with the usual value for whatever it doesn't say or, reported, says wrong. */
export function readNat(report: Report, sections: TomlTable): NatSettings {
  const { nat = noTable() } = sections;
  if (!isTable(nat)) report.add(["nat"], "nat", "is not one table (write [nat])");
  const table = new Table(report, isTable(nat) ? nat : noTable(), ["nat"], "nat");
  const settings = {
    maxFlows: table.optional("max_flows", integerReader(FLOWS.least, FLOWS.most), String(FLOWS.usual)) ?? FLOWS.usual,
    resetUnknown: table.optional("reset", readBoolean, "true") ?? true,
    minPathMtu: table.optional("min_path_mtu", integerReader(MTU.least, MTU.most), String(MTU.usual)) ?? MTU.usual,
    kernelPath: table.optional("kernel_path", readBoolean, "true") ?? true,
    timeouts: readTimeouts(table),
  };
  table.finish();
  return settings;
}

function readTimeouts(nat: Table): Timeouts {
  const values = nat.optional("timeouts", readTable, '{ udp = "5m" }') ?? noTable();
  const table = new Table(nat.report, values, [...nat.path, "timeouts"], "nat.timeouts");
  const read = (timeout: Timeout) =>
    table.optional(timeout.key, timeoutReader(timeout), `"${formatDuration(timeout.usual)}"`) ?? timeout.usual;
  const timeouts = {
    udp: read(TIMEOUTS.udp),
    udpNew: read(TIMEOUTS.udpNew),
    dns: read(TIMEOUTS.dns),
    tcpEstablished: read(TIMEOUTS.tcpEstablished),
    tcpOpening: read(TIMEOUTS.tcpOpening),
    tcpClosing: read(TIMEOUTS.tcpClosing),
    icmp: read(TIMEOUTS.icmp),
    other: read(TIMEOUTS.other),
  };
  table.finish();
  return timeouts;
}

function timeoutReader({ least = 1, requirement }: Timeout): (value: TomlValue) => Reading<number> {
  return (value) => {
    const seconds = readSeconds(value);
    if (seconds === undefined) return bad("is neither a whole number of seconds nor a duration");
    if (seconds > LONGEST) return bad(`is longer than ${formatDuration(LONGEST)}`);
    if (seconds >= least) return good(seconds);
    return bad(`is shorter than ${formatDuration(least)}${requirement ? `, the least by ${requirement}` : ""}`);
  };
}

function readSeconds(value: TomlValue): number | undefined {
  if (typeof value === "bigint") return Number(value);
  return typeof value === "string" ? parseDuration(value) : undefined;
}

function noTable(): TomlTable {
  return Object.create(null);
}
