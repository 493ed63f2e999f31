// The metrics as a whole: what is in the text, and that the document and the dashboard are about these and no others.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NamedStatus } from "../../src/channel/operations/services.ts";
import { RING_SLUGS } from "../../src/control/views/status.ts";
import { VERDICT_SLUGS } from "../../src/dataplane/verdict.ts";
import { METRIC_LABELS, metricsText } from "../../src/watch/metrics.ts";
import { dashboardQueries } from "../support/dashboard.ts";

const DOCS = join(import.meta.dir, "../../docs");

const STATUS: NamedStatus = {
  ...{ name: "home", version: "1.2.3", uptime: 12.5, time: 1.8e9, cpu: 3.25 },
  configuration: { by: "file", time: 1.7e9, differs: false },
  memory: { resident: 72_000_000, anonymous: 30_000_000 },
  interfaces: [
    {
      ...{ name: "eth0", state: "up", clients: ["work"] },
      ...{ received: { frames: 3, bytes: 180 }, transmitted: { frames: 2, bytes: 3000 } },
    },
    { name: "eth1", state: "no-link", clients: [] },
  ],
  ring: { received: 10, "receive-ring-full": 2 },
  frames: { forwarded: 7, refused: 3, "of-another-version": 1 },
  kernel_path: { forwarded: 5 },
  flows: { used: 4, most: 65_536 },
  clients: [{ name: "work", flows: 4, most_flows: 1000 }],
  resolver: { names: 2, unknown: 1, failing: 1, addresses: 3, lookups: 9, failures: 4 },
};
const RULES = [
  { client: "work", rule: 1, text: "action=accept", hits: 12, last: 5, flows: 3 },
  { client: "work", rule: 0, text: "action=drop", hits: 0, flows: 1 },
];
const lines = metricsText("home", { status: STATUS, rules: RULES }).split("\n");

test("what the firewall answers stands in the text, each number under its name", () => {
  expect(lines.filter((line) => !line.startsWith("#") && !line.includes("verdict="))).toEqual([
    'firebreak_up{firewall="home"} 1',
    'firebreak_build_info{firewall="home",version="1.2.3"} 1',
    'firebreak_uptime_seconds{firewall="home"} 12.5',
    'firebreak_configuration_time_seconds{firewall="home",by="file"} 1700000000',
    'firebreak_ring_frames_total{firewall="home",event="received"} 10',
    'firebreak_ring_frames_total{firewall="home",event="transmitted"} 0',
    'firebreak_ring_frames_total{firewall="home",event="receive-ring-full"} 2',
    'firebreak_ring_frames_total{firewall="home",event="truncated"} 0',
    'firebreak_ring_frames_total{firewall="home",event="transmit-queue-full"} 0',
    'firebreak_ring_frames_total{firewall="home",event="interface-down"} 0',
    'firebreak_ring_frames_total{firewall="home",event="transmit-refused"} 0',
    'firebreak_flows{firewall="home"} 4',
    'firebreak_flows_limit{firewall="home"} 65536',
    'firebreak_client_flows{firewall="home",client="work"} 4',
    'firebreak_client_flows_limit{firewall="home",client="work"} 1000',
    'firebreak_rule_flows{firewall="home",client="work",rule="1"} 3',
    'firebreak_rule_flows{firewall="home",client="work",rule="policy"} 1',
    'firebreak_rule_hits_total{firewall="home",client="work",rule="1"} 12',
    'firebreak_rule_hits_total{firewall="home",client="work",rule="policy"} 0',
    'firebreak_interface_up{firewall="home",interface="eth0"} 1',
    'firebreak_interface_up{firewall="home",interface="eth1"} 0',
    'firebreak_interface_frames_total{firewall="home",interface="eth0",direction="received"} 3',
    'firebreak_interface_frames_total{firewall="home",interface="eth0",direction="transmitted"} 2',
    'firebreak_interface_bytes_total{firewall="home",interface="eth0",direction="received"} 180',
    'firebreak_interface_bytes_total{firewall="home",interface="eth0",direction="transmitted"} 3000',
    'firebreak_names{firewall="home"} 2',
    'firebreak_names_unknown{firewall="home"} 1',
    'firebreak_names_failing{firewall="home"} 1',
    'firebreak_name_addresses{firewall="home"} 3',
    'firebreak_name_lookups_total{firewall="home"} 9',
    'firebreak_name_lookup_failures_total{firewall="home"} 4',
    'firebreak_memory_resident_bytes{firewall="home"} 72000000',
    'firebreak_memory_anonymous_bytes{firewall="home"} 30000000',
    'firebreak_cpu_seconds_total{firewall="home"} 3.25',
    "",
  ]);
});

test("every verdict has a series from the beginning, and one that this version does not know has it too", () => {
  const frames = lines.filter((line) => line.startsWith("firebreak_frames_total"));
  expect(frames.length).toBe(VERDICT_SLUGS.length + 1);
  expect(frames).toContain('firebreak_frames_total{firewall="home",verdict="forwarded"} 7');
  expect(frames).toContain('firebreak_frames_total{firewall="home",verdict="ttl"} 0');
  expect(frames).toContain('firebreak_frames_total{firewall="home",verdict="of-another-version"} 1');
  expect(lines.filter((line) => line.startsWith("firebreak_kernel_path"))).toEqual([
    'firebreak_kernel_path_frames_total{firewall="home",verdict="forwarded"} 5',
    'firebreak_kernel_path_frames_total{firewall="home",verdict="kernel"} 0',
  ]);
});

test("of a firewall that does not answer there is only that", () => {
  expect(metricsText("home", undefined)).toBe(
    '# HELP firebreak_up Whether the firewall answers: 1 if so, else 0.\n# TYPE firebreak_up gauge\nfirebreak_up{firewall="home"} 0\n',
  );
});

test("docs/METRICS.md has each metric, with its type and its labels, in order", () => {
  const rows = readFileSync(join(DOCS, "METRICS.md"), "utf8").matchAll(/^\| `(\w+)` \| (\w+) \| ([^|]*)\|/gm);
  const told = Array.from(rows, ([, name, type, labels = ""]) => [
    name,
    type,
    [...labels.matchAll(/\w+/g)].map(String),
  ]);
  expect(told).toEqual(Array.from(METRIC_LABELS, ([name, { type, labels }]) => [name, type, [...labels]]));
});

test("docs/METRICS.md has each event of the ring", () => {
  const text = readFileSync(join(DOCS, "METRICS.md"), "utf8");
  const [, events = ""] = /^\| `firebreak_ring_frames_total` .*?: (.*) \|$/m.exec(text) ?? [];
  expect(Array.from(events.matchAll(/`([a-z-]+)`/g), ([, event]) => event)).toEqual([...RING_SLUGS]);
});

test("the dashboard asks for metrics and labels that there are, and for each metric", () => {
  const queries = dashboardQueries();
  const asked = new Set(queries.flatMap((query) => query.match(/firebreak_\w+/g) ?? []));
  expect([...asked].sort()).toEqual([...METRIC_LABELS.keys()].sort());
  for (const query of queries) {
    for (const [, name = "", matchers = ""] of query.matchAll(/(firebreak_\w+)\{([^}]*)\}/g)) {
      const labels = Array.from(matchers.matchAll(/(\w+)[!=]~?=?"/g), ([, label]) => label);
      const known = ["firewall", ...(METRIC_LABELS.get(name)?.labels ?? [])];
      expect(labels.filter((label) => !known.includes(label ?? ""))).toEqual([]);
    }
  }
});

test("what the dashboard takes for no drop is just what is none", () => {
  const [, passed = ""] = /verdict!~"([^"]+)"/.exec(dashboardQueries().join("\n")) ?? [];
  const table = readFileSync(join(DOCS, "VERDICTS.md"), "utf8").matchAll(/^\| ([^|]+) \| `([a-z-]+)` \|/gm);
  const kept = Array.from(table, ([, words = "", slug]) => (words.startsWith("dropped: ") ? [] : [slug])).flat();
  expect(passed.split("|")).toEqual(kept.flatMap((slug) => slug ?? []));
});
