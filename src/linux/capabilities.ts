// capabilities(7): whether the program may do what it is about to do.
import { readFileSync } from "node:fs";

// linux/capability.h
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13 } as const;

/** @throws Error that names what is missing, unless the program may open raw sockets and configure interfaces */
export function requireNetworkCapabilities(): void {
  const [, mask = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  const effective = Number.parseInt(mask.slice(-8), 16);
  const missing = Object.entries(CAPABILITIES).filter(([, bit]) => (effective & (1 << bit)) === 0);
  if (missing.length > 0) throw new Error(`needs root: this process lacks ${missing.map(([name]) => name).join(", ")}`);
}
