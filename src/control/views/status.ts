// What the running firewall is doing, as one value: interfaces, frames by what became of them, how many flows. Whoever asks gets this
// one: signals and the console, qrexec, the control channel; and its lines are made here, for all of them.

import { formatAddress, formatMac, formatPrefix } from "../../base/address.ts";
import { formatIp, formatIpPrefix } from "../../base/ip.ts";
import { printable } from "../../base/quote.ts";
import { formatRate } from "../../base/rate.ts";
import { Addresses } from "../../dataplane/address-book.ts";
import { RING_COUNTERS } from "../../dataplane/io/packet-ring.ts";
import type { SharedState } from "../../dataplane/io/protocol.ts";
import type { KernelCounters } from "../../dataplane/kernel/loader.ts";
import type { InterfaceSettings, Settings } from "../../dataplane/settings.ts";
import { FLOW_WORDS, FlowRecords } from "../../dataplane/tables/flow-records.ts";
import type { Flow } from "../../dataplane/types.ts";
import { VERDICT, VERDICT_NAMES, VERDICT_SLUGS } from "../../dataplane/verdict.ts";
import type { listTraffic, Traffic } from "../../linux/net/links.ts";
import type { ResolverStatus } from "../../names/resolver.ts";
import { toAddress } from "../../wire/ipv4.ts";

/** What control may read while the dataplane runs. */
export interface DataplaneState extends SharedState {
  /** The flow table's records. */
  readonly flows: Int32Array;
  /** Frames that took the kernel path. */
  readonly kernel: Pick<KernelCounters, "forwarded" | "failed">;
  /** The MAC address of another machine that has our IPv6 address on the uplink, if one has. */
  readonly conflict6: { readonly mac: Uint8Array | undefined };
}

/** What flows are read from. */
export type FlowMemory = Pick<DataplaneState, "flows" | "addresses">;

/** Counts by slug, without those that are 0. */
export type Counts = Readonly<Record<string, number>>;

export interface InterfaceStatus {
  readonly name: string;
  readonly state: "up" | "no-link" | "absent";
  /** Of one that is there. */
  readonly mac?: string;
  /** Largest IPv4 packet, in bytes. */
  readonly mtu?: number;
  /** Of the uplink's. */
  readonly uplink?: UplinkStatus;
  /** What came in there and went out, by the kernel's count; in `status`, of one that is there. */
  readonly received?: Traffic;
  readonly transmitted?: Traffic;
  /** Names of the clients behind it. */
  readonly clients: readonly string[];
}

/** Our address with its prefix and the router, of each family that it has, and the line's rate, if it has one. */
export interface UplinkStatus {
  readonly address: string;
  readonly gateway: string;
  readonly address6?: string;
  readonly gateway6?: string;
  /** The MAC address of another machine that has address6: then no IPv6 leaves. */
  readonly conflict6?: string;
  readonly rate?: string;
}

export interface ClientStatus {
  readonly name: string;
  /** Flows that count for it, and how many may. */
  readonly flows: number;
  readonly most_flows: number;
}

/** The keys are those of `firebreak status --json`: docs/CONTROL.md has them. */
export interface Status {
  readonly interfaces: readonly InterfaceStatus[];
  /** Frames at the interfaces. */
  readonly ring: Counts;
  /** Frames by verdict, and those of them that took the kernel path. */
  readonly frames: Counts;
  readonly kernel_path: Counts;
  readonly flows: { readonly used: number; readonly most: number };
  readonly clients: readonly ClientStatus[];
  readonly resolver: ResolverStatus;
}

/** @param traffic by the kernel's numbers of interfaces */
export function takeStatus(
  state: DataplaneState,
  settings: Settings,
  resolver: ResolverStatus,
  traffic: ReturnType<typeof listTraffic>,
): Status {
  const byKernel = new Float64Array(VERDICT_NAMES.length);
  byKernel[VERDICT.FORWARDED] = state.kernel.forwarded;
  byKernel[VERDICT.KERNEL] = state.kernel.failed;
  const { used, byClient } = countFlows(state, settings);
  return {
    interfaces: settings.interfaces.map((device, iface) => ({
      ...interfaceStatus(device, iface, settings, state.conflict6.mac),
      ...traffic.get(device.index),
    })),
    ring: countsOf(state.ring, RING_SLUGS),
    frames: countsOf(
      state.verdicts.map((count, verdict) => count + byKernel[verdict]),
      VERDICT_SLUGS,
    ),
    kernel_path: countsOf(byKernel, VERDICT_SLUGS),
    flows: { used, most: state.flows.length / FLOW_WORDS },
    clients: settings.clients.map(({ name, limits }, i) => ({ name, flows: byClient[i], most_flows: limits.flows })),
    resolver,
  };
}

export function takeInterfaces(settings: Settings): InterfaceStatus[] {
  return settings.interfaces.map((device, iface) => interfaceStatus(device, iface, settings));
}

/** @returns a line for each interface: what it is, and whose */
export function interfaceLines(interfaces: readonly InterfaceStatus[]): string[] {
  return interfaces.map((device) => {
    const { name, uplink, clients } = device;
    const uses = clients.map((client) => `client ${printable(client)}`);
    if (uplink !== undefined) {
      const rate = uplink.rate === undefined ? "" : ` rate ${uplink.rate}`;
      const { address6, gateway6, conflict6 } = uplink;
      const conflict = conflict6 === undefined ? "" : ` (${conflict6} has that address too: no IPv6 leaves)`;
      const ipv6 = address6 === undefined ? "" : ` and ${address6}${conflict} gateway ${gateway6}`;
      uses.unshift(`uplink ${uplink.address} gateway ${uplink.gateway}${ipv6}${rate}`);
    }
    return `${printable(name)} ${interfaceText(device)}: ${uses.join(", ")}`;
  });
}

/**
 * @returns a line for each counter that is not zero, then how many flows there are. Frames that took the kernel path are counted among
 * all frames, and once more by themselves.
 */
export function counterLines({ ring, frames, kernel_path, flows }: Status): string[] {
  return [
    ...linesOf("ring", ring, RING_SLUGS, RING_COUNTERS),
    ...linesOf("frames", frames, VERDICT_SLUGS, VERDICT_NAMES),
    ...linesOf("kernel path", kernel_path, VERDICT_SLUGS, VERDICT_NAMES),
    `flows: ${flows.used}`,
  ];
}

/** The flow table, as it is read while the dataplane writes to it. */
export function recordsOf({ flows, addresses }: FlowMemory, { uplink }: Settings): FlowRecords {
  const external = toAddress(uplink.address);
  return new FlowRecords(flows, external, undefined, new Addresses(addresses), uplink.ipv6?.address);
}

/** What a client has as its name; it may have gone since the flow was looked at. */
export function clientName({ clients }: Settings, client: number): string {
  return clients[client]?.name ?? "?";
}

/** What an interface is at the moment: `02:00:00:00:00:01 mtu 1500`. */
export function interfaceText({ state, mac, mtu }: Pick<InterfaceStatus, "state" | "mac" | "mtu">): string {
  if (state === "absent") return "is not there: waiting for it";
  return `${mac} mtu ${mtu}${state === "no-link" ? ", without a link" : ""}`;
}

export function interfaceState({ index, isDown, mac, mtu }: InterfaceSettings) {
  if (index === 0) return { state: "absent" } as const;
  return { state: isDown ? "no-link" : "up", mac: formatMac(mac), mtu } as const;
}

/** @param other as DataplaneState.conflict6 */
function interfaceStatus(
  device: InterfaceSettings,
  iface: number,
  { uplink, clients }: Settings,
  other?: Uint8Array,
): InterfaceStatus {
  const names = clients.filter((client) => client.iface === iface).map(({ name }) => name);
  const rate = uplink.rate === undefined ? {} : { rate: formatRate(uplink.rate) };
  const { ipv6 } = uplink;
  const conflict = other && { conflict6: formatMac(other) };
  const six = ipv6 && { address6: formatIpPrefix(ipv6), gateway6: formatIp(ipv6.gateway), ...conflict };
  const use = { address: formatPrefix(uplink), gateway: formatAddress(uplink.gateway), ...six, ...rate };
  return {
    name: device.name,
    ...interfaceState(device),
    ...(uplink.iface === iface && { uplink: use }),
    clients: names,
  };
}

/** In the order of RING_COUNTERS. */
export const RING_SLUGS: readonly string[] = RING_COUNTERS.map((name) => name.replaceAll(" ", "-"));

function countsOf(counters: Float64Array, slugs: readonly string[]): Counts {
  return Object.fromEntries(slugs.flatMap((slug, i) => (counters[i] === 0 ? [] : [[slug, counters[i]]])));
}

/** In the order of the table. A slug that is not in it is another version's: it stands for itself, at the end. */
function linesOf(title: string, counts: Counts, slugs: readonly string[], names: readonly string[]): string[] {
  const places = Object.keys(counts).map((slug) => ({ slug, at: slugs.indexOf(slug) }));
  places.sort((one, other) => (one.at >>> 0) - (other.at >>> 0));
  return places.map(({ slug, at }) => `${title}: ${counts[slug]} ${at < 0 ? printable(slug) : names[at]}`);
}

/** They may change while they are counted. */
function countFlows(state: DataplaneState, settings: Settings) {
  const records = recordsOf(state, settings);
  const byClient = new Float64Array(settings.clients.length);
  let used = 0;
  for (let flow = 0 as Flow; flow < state.flows.length / FLOW_WORDS; flow++) {
    if (!records.isUsed(flow)) continue;
    used++;
    byClient[records.client(flow)]++;
  }
  return { used, byClient };
}
