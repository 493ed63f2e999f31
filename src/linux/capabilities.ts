// capabilities(7): whether the program may do what it is about to do.
import { existsSync, readFileSync } from "node:fs";

// linux/capability.h
const NETWORK = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13 } as const;
const CAP_SYS_ADMIN = 21;
const PROGRAMS = { CAP_PERFMON: 38, CAP_BPF: 39 } as const;

/** @throws Error that names what is missing, unless the program may open raw sockets and configure interfaces */
export function requireNetworkCapabilities(): void {
  const missing = missingOf(NETWORK);
  if (missing.length === 0) return;
  throw new Error(`this process lacks ${missing.join(", ")} (run it as root, or give it these capabilities)`);
}

const LOCKDOWN = "/sys/kernel/security/lockdown";

/** @throws Error that says why, unless BPF programs of ours may read the kernel's memory */
export function requireKernelReads(lockdown = LOCKDOWN): void {
  const missing = hasCapability(CAP_SYS_ADMIN) ? [] : missingOf(PROGRAMS);
  if (missing.length > 0) throw new Error(`this process lacks ${missing.join(", ")}`);
  // kernel_lockdown(7): in this mode nobody may.
  if (existsSync(lockdown) && readFileSync(lockdown, "utf8").includes("[confidentiality]")) {
    throw new Error(
      "the kernel is locked down, and lets no program look at how it keeps frames (boot with lockdown=integrity)",
    );
  }
}

function missingOf(wanted: Readonly<Record<string, number>>): string[] {
  return Object.entries(wanted).flatMap(([name, bit]) => (hasCapability(bit) ? [] : [name]));
}

function hasCapability(bit: number): boolean {
  const [, mask = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
}
