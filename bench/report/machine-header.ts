// What a run ran on: without it a figure says nothing.
import { readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { version } from "../../package.json" with { type: "json" };

export interface Header {
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** What says its version, each as it wants to be asked. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  nft: ["nft", "--version"],
  iperf3: ["iperf3", "--version"],
  wrk: ["wrk", "-v"],
  nginx: ["dist/nginx/usr/sbin/nginx", "-v"],
  sockperf: ["sockperf", "--version"],
  gcc: ["gcc", "--version"],
  qemu: ["qemu-system-x86_64", "--version"],
};

export function makeHeader(): Header {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const programs = Object.entries(PROGRAMS).map(([name, command]) => [name, versionOf(command)]);
  return {
    date: new Date().toISOString(),
    machine: `${cpus().length} × ${cpu?.model ?? "?"}, ${memory}`,
    versions: {
      firebreak: `${version} (${commit()})`,
      bun: Bun.version,
      kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
      debian: readFileSync("/etc/debian_version", "utf8").trim(),
      ...Object.fromEntries(programs),
    },
  };
}

export function printHeader({ date, machine, versions }: Header): string {
  const list = Object.entries(versions).map(([name, text]) => `${name} ${text}`);
  return `${date}, ${machine}\n${list.join(", ")}`;
}

/** @returns the first thing in a program's answer that looks like a version; "none" where there is no such program: some don't need it */
function versionOf(command: readonly string[]): string {
  if (Bun.which(command[0]) === null) return "none";
  const { stdout, stderr } = Bun.spawnSync([...command], { stderr: "pipe" });
  return /\d+\.\d+[\w.-]*/.exec(stdout.toString() + stderr.toString())?.[0] ?? "?";
}

function commit(): string {
  const { exitCode, stdout } = Bun.spawnSync(["git", "describe", "--always", "--dirty", "--exclude=*"], {
    stderr: "ignore",
  });
  return exitCode === 0 ? stdout.toString().trim() : "no commit";
}
