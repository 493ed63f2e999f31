// `firebreak metrics` beside a running firewall: what Prometheus and its promtool make of it, over HTTP and as node_exporter's file, and
// what becomes of it when the firewall stops answering, goes away and comes back.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";
import { METRIC_LABELS } from "../../src/watch/metrics.ts";
import { dashboardQueries } from "../support/dashboard.ts";

const PROMETHEUS = join(import.meta.dir, "../../dist/prometheus/usr/bin");
const PORT = 9474;
const PROMETHEUS_PORT = 9090;
/** The end of all there is while the firewall does not answer. */
const DOWN = 'firebreak_up{firewall="firewall"} 0\n';

const lab = new FirewallLab("metrics");
const folder = join(lab.folder, "run");
let program: Program;
let exporter: Program;

const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${folder}`, ...command];
const once = () => lab.firewall.attempt(inFolder(firebreak("metrics", "--at", "firewall")));

async function start(): Promise<void> {
  program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
}

/** A page on the firewall's own machine. */
async function page(port: number, path: string): Promise<string> {
  return await lab.firewall.run(["curl", "-sSf", "--noproxy", "*", "-G", `http://127.0.0.1:${port}${path}`]);
}

/** @returns the value of a query, if it has one */
async function query(expression: string): Promise<{ values: string[] }> {
  const { status, stdout, stderr } = await lab.firewall.attempt([
    ...["curl", "-sS", "--noproxy", "*", "-G", `http://127.0.0.1:${PROMETHEUS_PORT}/api/v1/query`],
    ...["--data-urlencode", `query=${expression}`],
  ]);
  const reply = status === 0 ? JSON.parse(stdout) : { error: stderr };
  if (reply.status !== "success") throw new Error(`${expression}: ${reply.error}`);
  return { values: reply.data.result.map(({ value }: { value: [number, string] }) => value[1]) };
}

/** Waits until a query has this value, and no other. */
async function until(expression: string, wanted: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  let values: string[] = [];
  do {
    ({ values } = await query(expression));
    if (values.length === 1 && values[0] === wanted) return;
    await Bun.sleep(100);
  } while (performance.now() < deadline);
  throw new Error(`${expression} is ${values.join(", ")}, and not ${wanted}`);
}

beforeAll(async () => {
  lab.configure(["accept dsthost=www.example"], "accept");
  await start();
  exporter = lab.firewall.start(inFolder(firebreak("metrics", "--at", "firewall", "--listen", `${PORT}`)));
  await exporter.says(`metrics at http://127.0.0.1:${PORT}/metrics`);
}, 60_000);
afterAll(() => lab.close());

test("promtool finds nothing wrong with what is printed, and every metric is there", async () => {
  expect((await lab.client.attempt(["ping", "-c", "3", "-i", "0.1", "-W", "5", SERVER])).status).toBe(0);
  const { status, stdout, stderr } = await once();
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const types = Array.from(stdout.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name, type]) => [name, type]);
  expect(types).toEqual(Array.from(METRIC_LABELS, ([name, { type }]) => [name, type]));
  const file = join(lab.folder, "metrics.txt");
  writeFileSync(file, stdout);
  const { status: checked, stdout: said } = await lab.firewall.attempt([
    ...["sh", "-c", `"$0" check metrics <"$1" 2>&1`, `${PROMETHEUS}/promtool`, file],
  ]);
  expect({ checked, said }).toEqual({ checked: 0, said: "" });
  expect(
    Number(/^firebreak_frames_total\{firewall="firewall",verdict="forwarded"\} (\d+)$/m.exec(stdout)?.[1]),
  ).toBeGreaterThanOrEqual(6);
  expect(stdout).toContain('firebreak_client_flows{firewall="firewall",client="work"} 1\n');
});

test("Prometheus scrapes it, every query of the dashboard is one that it understands, and it sees the firewall go and come", async () => {
  const config = join(lab.folder, "prometheus.yml");
  const job = { job_name: "firebreak", scrape_interval: "1s", static_configs: [{ targets: [`127.0.0.1:${PORT}`] }] };
  writeFileSync(config, JSON.stringify({ scrape_configs: [job] })); // YAML has JSON in it
  const prometheus = lab.firewall.start([
    ...[`${PROMETHEUS}/prometheus`, `--config.file=${config}`, `--storage.tsdb.path=${join(lab.folder, "tsdb")}`],
    `--web.listen-address=127.0.0.1:${PROMETHEUS_PORT}`,
  ]);
  await prometheus.says("Server is ready to receive web requests");
  await until('up{job="firebreak"}', "1");
  await until("firebreak_up", "1");
  for (const expression of dashboardQueries()) {
    await query(expression.replaceAll("$firewall", ".+").replaceAll("$__rate_interval", "1m"));
  }
  const { values } = await query(`count(count by (__name__) ({__name__=~"firebreak_.+"}))`);
  expect(values).toEqual([String(METRIC_LABELS.size)]);
  program.signal("SIGSTOP"); // the kernel takes connections for it, and it says nothing
  try {
    const deadline = performance.now() + 60_000;
    while (!(await page(PORT, "/metrics")).endsWith(DOWN)) expect(performance.now()).toBeLessThan(deadline);
  } finally {
    program.signal("SIGCONT");
  }
  await until("firebreak_up", "1");
  program.signal("SIGTERM");
  await program.end();
  await until("firebreak_up", "0");
  expect(await page(PORT, "/metrics")).toEndWith(DOWN);
  const { status, stdout, stderr } = await once();
  expect({ status, stdout }).toEqual({ status: 1, stdout: await page(PORT, "/metrics") });
  expect(stderr).toBe(`firebreak: ${folder}/firewall.sock: no firewall listens there\n`);
  await start();
  await until("firebreak_up", "1");
  prometheus.signal("SIGTERM");
  await prometheus.end();
}, 240_000);

test("who names it by a name is refused, and asking often asks the firewall once a second", async () => {
  const named = ["curl", "-sS", "--noproxy", "*", "-H", "Host: evil.example", `http://127.0.0.1:${PORT}/metrics`];
  expect(await lab.firewall.run(named)).toBe("Misdirected Request\n");
  const times = await Promise.all(Array.from({ length: 10 }, () => page(PORT, "/metrics")));
  expect(new Set(times.map((text) => /^firebreak_uptime_seconds.*$/m.exec(text)?.[0])).size).toBeLessThan(10);
});

test("SIGTERM ends it, with status 0", async () => {
  exporter.signal("SIGTERM");
  expect(await exporter.end()).toBe(0);
});

test("a file for node_exporter is there at once, written anew, says that the firewall is gone, and goes with its writer", async () => {
  const directory = join(lab.folder, "textfiles");
  mkdirSync(directory);
  const file = join(directory, "firebreak-firewall.prom");
  const writer = lab.firewall.start(
    inFolder(firebreak("metrics", "--at", "firewall", "--textfile", directory, "--every", "1s")),
  );
  const untilIt = async (pattern: RegExp) => {
    const deadline = performance.now() + 60_000;
    while (!(existsSync(file) && pattern.test(readFileSync(file, "utf8")))) {
      expect(performance.now()).toBeLessThan(deadline);
      await Bun.sleep(20);
    }
  };
  await untilIt(/^firebreak_up\{firewall="firewall"\} 1$/m);
  expect(readdirSync(directory)).toEqual(["firebreak-firewall.prom"]);
  program.signal("SIGTERM");
  await program.end();
  await untilIt(/^firebreak_up\{firewall="firewall"\} 0$/m);
  await start();
  await untilIt(/^firebreak_up\{firewall="firewall"\} 1$/m);
  writer.signal("SIGINT");
  expect(await writer.end()).toBe(0);
  expect(readdirSync(directory)).toEqual([]);
}, 120_000);

test("what can't be served or written is said, and what is asked wrongly too", async () => {
  const attempt = (...args: readonly string[]) =>
    lab.firewall.attempt(inFolder(firebreak("metrics", "--at", "firewall", ...args)));
  const taken = await attempt("--listen", "192.0.2.99:80");
  expect(taken.status).toBe(1);
  expect(taken.stderr).toStartWith("firebreak: --listen: ");
  const nowhere = await attempt("--textfile", join(lab.folder, "nowhere"));
  expect({ status: nowhere.status, stdout: nowhere.stdout }).toEqual({ status: 1, stdout: "" });
  expect(nowhere.stderr).toBe(
    `firebreak: ${lab.folder}/nowhere/firebreak-firewall.prom: can't be written: ENOENT: no such file or directory\n`,
  );
  for (const [args, problem] of [
    [["--listen", "evil.example:80"], '--listen "evil.example:80" is no [ADDRESS:]PORT'],
    [["--listen", "1", "--textfile", "/tmp"], "--listen and --textfile exclude each other"],
    [["--textfile", "/tmp", "--every", "often"], '--every "often" is no time'],
    [["--every", "5s"], "--every is for --textfile"],
  ] as const) {
    const { status, stderr } = await attempt(...args);
    expect({ status, isSaid: stderr.includes(problem) }).toEqual({ status: 2, isSaid: true });
  }
}, 60_000);
