// What monitoring gets to know of a running firewall: metrics, made of what the control channel answers. docs/METRICS.md has all of them.
import type { NamedStatus } from "../channel/operations/services.ts";
import type { RuleEntry } from "../control/rule-list.ts";
import type { Counts } from "../control/views/status.ts";
import { RING_SLUGS } from "../control/views/status.ts";
import { VERDICT, VERDICT_SLUGS } from "../dataplane/verdict.ts";
import type { Traffic } from "../linux/net/links.ts";
import { type Family, formatExposition, type Sample } from "./exposition.ts";

/** What was asked of a firewall. */
export interface Answers {
  readonly status: NamedStatus;
  readonly rules: readonly RuleEntry[];
}

interface Metric extends Pick<Family, "name" | "type" | "help"> {
  /** Names of its labels, beside `firewall`. */
  readonly labels: readonly string[];
  read(answers: Answers): readonly Sample[];
}

const UP = { name: "firebreak_up", type: "gauge", help: "Whether the firewall answers: 1 if so, else 0." } as const;

/** The kernel path has these verdicts and no others. */
const KERNEL_SLUGS = [VERDICT_SLUGS[VERDICT.FORWARDED], VERDICT_SLUGS[VERDICT.KERNEL]];

const METRICS: readonly Metric[] = [
  gauge("build_info", "Always 1; which version of the program runs.", ["version"], ({ status: { version } }) => [
    { labels: { version }, value: 1 },
  ]),
  gauge("uptime_seconds", "Seconds since the program began.", [], ({ status }) => one(status.uptime)),
  gauge(
    "configuration_time_seconds",
    "Unix time since when the configuration is in force, and where it came from.",
    ["by"],
    ({ status: { configuration } }) => [{ labels: { by: configuration.by }, value: configuration.time }],
  ),
  counter("frames_total", "Frames by what became of them.", ["verdict"], ({ status }) =>
    counts(status.frames, "verdict", VERDICT_SLUGS),
  ),
  counter("kernel_path_frames_total", "Those of the frames that took the kernel path.", ["verdict"], ({ status }) =>
    counts(status.kernel_path, "verdict", KERNEL_SLUGS),
  ),
  counter("ring_frames_total", "Frames at all interfaces, by what happened there.", ["event"], ({ status }) =>
    counts(status.ring, "event", RING_SLUGS),
  ),
  gauge("flows", "Flows that there are.", [], ({ status }) => one(status.flows.used)),
  gauge("flows_limit", "Flows that the table has room for.", [], ({ status }) => one(status.flows.most)),
  gauge("client_flows", "Flows that count for a client.", ["client"], ({ status: { clients } }) =>
    clients.map(({ name, flows }) => ({ labels: { client: name }, value: flows })),
  ),
  gauge("client_flows_limit", "Flows that a client may have.", ["client"], ({ status: { clients } }) =>
    clients.map(({ name, most_flows }) => ({ labels: { client: name }, value: most_flows })),
  ),
  gauge("rule_flows", "Flows there are that a rule let through.", ["client", "rule"], ({ rules }) =>
    rules.map(({ client, rule, flows }) => ({
      labels: { client, rule: rule === 0 ? "policy" : String(rule) },
      value: flows,
    })),
  ),
  counter(
    "rule_hits_total",
    "Packets that would open a flow, about which a rule decided; from 0 again where a reload changed the rule.",
    ["client", "rule"],
    ({ rules }) =>
      rules.map(({ client, rule, hits }) => ({
        labels: { client, rule: rule === 0 ? "policy" : String(rule) },
        value: hits,
      })),
  ),
  gauge(
    "interface_up",
    "Whether an interface is there and has a link: 1 if so, else 0.",
    ["interface"],
    ({ status: { interfaces } }) =>
      interfaces.map(({ name, state }) => ({ labels: { interface: name }, value: Number(state === "up") })),
  ),
  counter(
    "interface_frames_total",
    "Frames at an interface, as the kernel counts them since the interface was made.",
    ["interface", "direction"],
    ({ status }) => trafficOf(status, "frames"),
  ),
  counter(
    "interface_bytes_total",
    "Bytes of these frames, with Ethernet headers.",
    ["interface", "direction"],
    ({ status }) => trafficOf(status, "bytes"),
  ),
  gauge("names", "Host names in rules.", [], ({ status: { resolver } }) => one(resolver.names)),
  gauge("names_unknown", "Host names in rules whose addresses nobody knows.", [], ({ status: { resolver } }) =>
    one(resolver.unknown),
  ),
  gauge(
    "names_failing",
    "Host names in rules whose last look-up brought no addresses.",
    [],
    ({ status: { resolver } }) => one(resolver.failing),
  ),
  gauge("name_addresses", "Addresses that host names in rules have together.", [], ({ status: { resolver } }) =>
    one(resolver.addresses),
  ),
  counter("name_lookups_total", "Look-ups of host names in rules.", [], ({ status: { resolver } }) =>
    one(resolver.lookups),
  ),
  counter("name_lookup_failures_total", "Look-ups that brought no addresses.", [], ({ status: { resolver } }) =>
    one(resolver.failures),
  ),
  gauge("memory_resident_bytes", "Memory of the program, that of files included.", [], ({ status: { memory } }) =>
    one(memory.resident),
  ),
  gauge("memory_anonymous_bytes", "Memory of the program that is no file's.", [], ({ status: { memory } }) =>
    one(memory.anonymous),
  ),
  counter("cpu_seconds_total", "Processor time that the program has used.", [], ({ status }) => one(status.cpu)),
];

/** Names of all metrics, each with its type and its labels. */
export const METRIC_LABELS: ReadonlyMap<string, Pick<Metric, "type" | "labels">> = new Map([
  [UP.name, { type: UP.type, labels: [] }],
  ...METRICS.map(({ name, type, labels }) => [name, { type, labels }] as const),
]);

/**
 * @param firewall its name
 * @param answers undefined where it does not answer
 * @returns Prometheus' text
 */
export function metricsText(firewall: string, answers: Answers | undefined): string {
  const up: Family = { ...UP, samples: one(Number(answers !== undefined)) };
  const families = answers === undefined ? [] : METRICS.map((metric) => ({ ...metric, samples: metric.read(answers) }));
  return formatExposition([up, ...families], { firewall });
}

function gauge(name: string, help: string, labels: readonly string[], read: Metric["read"]): Metric {
  return { name: `firebreak_${name}`, type: "gauge", help, labels, read };
}

function counter(name: string, help: string, labels: readonly string[], read: Metric["read"]): Metric {
  return { name: `firebreak_${name}`, type: "counter", help, labels, read };
}

function one(value: number): Sample[] {
  return [{ value }];
}

/** Of an interface that is absent there is none. */
function trafficOf({ interfaces }: NamedStatus, what: keyof Traffic): Sample[] {
  return interfaces.flatMap((device) =>
    (["received", "transmitted"] as const).flatMap((direction) => {
      const value = device[direction]?.[what];
      return value === undefined ? [] : [{ labels: { interface: device.name, direction }, value }];
    }),
  );
}

/** With those that are 0: of a series that begins later its first count is lost to rate(). Slugs of another version's too. */
function counts(counted: Counts, label: string, slugs: readonly string[]): Sample[] {
  const all = new Set([...slugs, ...Object.keys(counted)]);
  return Array.from(all, (slug) => ({ labels: { [label]: slug }, value: counted[slug] ?? 0 }));
}
