// `cps`: new TCP connections a second, each with one short HTTP exchange: wrk, told to close each, against nginx.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import type { Report } from "./report/report.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects/subjects.ts";

const SECONDS = 2;
const CONNECTIONS = 32;
const METRIC = "connections";
const WHAT = `${CONNECTIONS} at a time`;
/** As many rounds' servers as there are addresses from here on, so that no two rounds meet in the same ports. */
const FIRST_SERVER = [198, 51, 100, 100] as const;

const NGINX = "dist/nginx/usr/sbin/nginx";
const CONFIGURATION = `daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server { listen 80 backlog=4096; location / { return 200 "hello\\n"; } }
}
`;

export const cps: Benchmark = {
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const { rounds, builds, folder } = options;
  const subjects = await stage.all(builds);
  for (const subject of subjects) await serve(subject, folder, rounds);
  for (const round of timedRounds(report, options)) {
    for (const subject of subjects) report.add(WHAT, METRIC, "/s", subject.name, await connect(subject, round));
  }
  const [firebreak = ""] = builds.map(({ name }) => name);
  report.claim(WHAT, METRIC, firebreak, LINUX, { atLeast: 0.8 });
  report.claim(WHAT, METRIC, firebreak, NULL);
}

async function serve({ client, internet }: Subject, folder: string, rounds: number): Promise<void> {
  const home = join(folder, internet.name);
  mkdirSync(join(home, "logs"), { recursive: true });
  writeFileSync(join(home, "nginx.conf"), CONFIGURATION);
  for (let round = 0; round < rounds; round++) internet.ip("address", "add", server(round), "dev", "lo");
  await client.run(["sh", "-c", "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range"]);
  internet.start([NGINX, "-p", home, "-c", join(home, "nginx.conf"), "-e", "stderr"]);
  await client.run([
    "curl",
    "-sS",
    "--retry",
    "20",
    "--retry-connrefused",
    "--retry-delay",
    "1",
    `http://${server(0)}/`,
  ]);
}

function server(round: number): string {
  const [a, b, c, d] = FIRST_SERVER;
  return [a, b, c, d + round].join(".");
}

/** @returns connections a second */
async function connect({ client }: Subject, round: number): Promise<number> {
  const load = ["--threads", "1", "--connections", String(CONNECTIONS), "--duration", `${SECONDS}s`];
  const output = await client.run(["wrk", ...load, "--header", "Connection: close", `http://${server(round)}/`]);
  const rate = /Requests\/sec: +([\d.]+)/.exec(output)?.[1];
  if (rate === undefined || /Socket errors|Non-2xx/.test(output)) throw new Error(`wrk met errors:\n${output}`);
  return Number(rate);
}
