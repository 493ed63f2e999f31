// What the running firewall gives up for good before it sees a configuration or a frame: capabilities, files, system calls. Whoever
// took the program over would have what is left: its network interfaces, and little else. SECURITY.md says what each is good for.
//
// The first process gives up what belongs to a thread and begins anew; then all threads have given it up. The second one looks
// whether that is so, and puts the filter of system calls in force, which reaches all threads at once.
import { closeSync, fstatSync, openSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { log } from "../base/log.ts";
import { callFilter } from "../linux/limits/calls.ts";
import { type AllowedFiles, allowOnly, landlockVersion } from "../linux/limits/landlock.ts";
import {
  beginAnew,
  capabilityMask,
  keepCapabilities,
  mayRead,
  nameProcess,
  readPrivileges,
  renounceNewPrivileges,
} from "../linux/limits/process.ts";
import { filterCalls } from "../linux/limits/seccomp.ts";
import { networkToTakeAlong } from "../linux/net/network-namespace.ts";
import { duplicate } from "../linux/net/socket.ts";
import { sourceFolder } from "../linux/thread-file.ts";

/** Environment variable of the second process. It is believed nothing: it only says that there is no third. */
const MARK = "FIREBREAK_RESTRICTED";

// linux/capability.h
const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const CAP_SYS_TIME = 25;
const CAP_PERFMON = 38;
const CAP_BPF = 39;
/** New interfaces, and reloads, need these as the start does: raw sockets, traffic control, BPF programs that read a frame's checksum. */
const KEPT = [CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF];

/** What this firewall needs beyond what every one does. */
export interface Needs {
  /** Files, and folders, that it reads. */
  readonly read: readonly string[];
  /** Devices. */
  readonly use: readonly string[];
  /** Whether it sets the machine's clock. */
  readonly clock: boolean;
  /** Folders in which it deletes files. */
  readonly remove?: readonly string[];
  /** What its environment tells the second process. */
  readonly takeAlong?: Readonly<Record<string, string>>;
}

/** What the C library, the engine and the firewall read. */
const READ = [
  "/proc",
  "/sys/devices/system", // processors
  "/sys/fs/cgroup", // limits of memory and of processors
  "/sys/kernel/mm/transparent_hugepage",
  "/sys/kernel/btf",
  "/sys/kernel/security/lockdown",
  "/etc/ld.so.cache",
  "/etc/localtime",
  "/etc/skb-layout",
  "/dev/urandom",
];

/** Where the kernel's own IP stack is silenced. */
const WRITTEN = ["/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"];

/** Whether this is the second process: what the first one opens, this one has. */
export function isBegunAnew(): boolean {
  return process.env[MARK] !== undefined;
}

/**
 * Gives up what the firewall does not need. In the first process it does not return: the program begins anew, and calls it again.
 * @throws Error where that can't be done. What the kernel does not have is said, and done without.
 */
export function restrict(needs: Needs): void {
  const kept = capabilityMask(needs.clock ? [...KEPT, CAP_SYS_TIME] : KEPT);
  if (!isBegunAnew()) beginAnewRestricted(kept, needs);
  requireRestricted(kept);
  nameProcess();
  const filter = callFilter(process.pid);
  if (filter === undefined || !filterCalls(filter))
    log("system calls: not filtered, because this kernel has no seccomp");
}

function beginAnewRestricted(kept: bigint, needs: Needs): never {
  const network = networkToTakeAlong();
  renounceNewPrivileges();
  keepCapabilities(kept);
  if (landlockVersion() > 0) {
    WRITTEN.forEach(pin);
    allowOnly(filesFor(needs));
  }
  beginAnew({ ...network, ...needs.takeAlong, [MARK]: "yes" });
}

/** @throws Error where this process may more than it should */
function requireRestricted(kept: bigint): void {
  const { permitted, effective, noNewPrivileges } = readPrivileges();
  const landlock = landlockVersion() > 0;
  const isRestricted = noNewPrivileges && ((permitted | effective) & ~kept) === 0n && !(landlock && mayRead("/"));
  if (!isRestricted) {
    throw new Error(`the restrictions are not in force, though ${MARK} is set (unset it: nobody else is to set it)`);
  }
  if (!landlock) log("files: not restricted, because this kernel has no Landlock");
}

function filesFor({ read, use, remove = [] }: Needs): AllowedFiles {
  const sources = sourceFolder();
  return {
    read: [...READ, ...(sources === undefined ? [] : [sources]), ...read],
    execute: mappedFiles(),
    write: WRITTEN,
    use: ["/dev/null", ...terminals(), ...use],
    remove,
  };
}

/** @returns the folder that a file is in, and the one that it is really in: who writes it anew may put another file in its place */
export function foldersOf(file: string): string[] {
  try {
    return [dirname(file), dirname(realpathSync(file))];
  } catch {
    return [dirname(file)]; // there is none: to say so takes no right
  }
}

/** The executable and its libraries: what this process has, the next one needs. */
function mappedFiles(): string[] {
  const maps = readFileSync("/proc/self/maps", "utf8");
  return [...new Set(Array.from(maps.matchAll(/ (\/.*)$/gm), ([, path = ""]) => path))];
}

/** Standard input, output and error, where they are devices: the engine opens them a second time. */
function terminals(): string[] {
  return [0, 1, 2].filter(isDevice).map((fd) => `/proc/self/fd/${fd}`);
}

function isDevice(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return false; // closed
  }
}

/** Landlock's rules are about inodes, and /proc makes others when it has forgotten some. It forgets none that are open. */
function pin(folder: string): void {
  try {
    const fd = openSync(folder, "r");
    duplicate(fd);
    closeSync(fd);
  } catch {
    // A kernel without IPv6.
  }
}
