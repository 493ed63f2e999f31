// What a process gives up for good, and how it begins anew: prctl(2), capset(2), execve(2). Capabilities, and what Landlock allows,
// belong to a thread, and threads of Bun's run before a line of ours does; after execve(2) all have what the thread had that made it.
import { closeSync, openSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { type Bytes, withAddresses } from "../addresses.ts";
import { cString, errno, libc, must, SystemError } from "../libc.ts";

// linux/prctl.h
const PR_SET_NAME = 15;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;

// linux/capability.h
const CAPABILITY_VERSION_3 = 0x20080522;
const CAPABILITIES = 64;

/** What a thread may do, as /proc has it: capabilities as bit masks. */
export interface Privileges {
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly noNewPrivileges: boolean;
}

/** @param status of a thread: the text of /proc/…/status (proc(5)) */
export function readPrivileges(status = readFileSync("/proc/thread-self/status", "utf8")): Privileges {
  const field = (name: string) => new RegExp(`^${name}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0";
  const mask = (name: string) => BigInt(`0x${field(name)}`);
  return {
    permitted: mask("CapPrm"),
    effective: mask("CapEff"),
    bounding: mask("CapBnd"),
    noNewPrivileges: field("NoNewPrivs") === "1",
  };
}

/** @returns a mask of capabilities. @param numbers as in linux/capability.h */
export function capabilityMask(numbers: Iterable<number>): bigint {
  let mask = 0n;
  for (const number of numbers) mask |= 1n << BigInt(number);
  return mask;
}

/** No program that this thread starts gets more than it has itself. @throws SystemError before Linux 3.5 */
export function renounceNewPrivileges(): void {
  must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS");
}

/**
 * Takes all capabilities from this thread, and from what it starts, but those that are in a mask. Whoever is not root keeps them
 * over execve(2) as ambient ones.
 * @throws SystemError
 */
export function keepCapabilities(mask: bigint): void {
  dropFromBoundingSet(mask);
  const kept = mask & readPrivileges().permitted;
  libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const header = Uint32Array.of(CAPABILITY_VERSION_3, 0); // of this thread
  const [low, high] = [Number(kept & 0xffffffffn), Number(kept >> 32n)];
  // struct __user_cap_data_struct, twice: effective, permitted, inheritable
  must(libc.capset(header, Uint32Array.of(low, low, low, high, high, high)), "capset");
  for (let number = 0; number < CAPABILITIES; number++) {
    if (((kept >> BigInt(number)) & 1n) === 1n) libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
  }
}

/** Where it may: it needs CAP_SETPCAP. Without that the set still gives nothing to whoever has no new privileges. */
function dropFromBoundingSet(mask: bigint): void {
  for (let number = 0; number < CAPABILITIES; number++) {
    if (((mask >> BigInt(number)) & 1n) === 0n) libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
  }
}

/** Whether this thread may read a folder. */
export function mayRead(folder: string): boolean {
  try {
    closeSync(openSync(folder, "r"));
    return true;
  } catch {
    return false;
  }
}

/** Begins this program anew, as the same process with the same arguments. @param environment what is added to its environment */
export function beginAnew(environment: Readonly<Record<string, string>>): never {
  const added = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const given = stringsOf("/proc/self/environ").filter((line) => !(line.split("=")[0] in environment));
  const path = cString("/proc/self/exe");
  withAddresses((addressOf) => {
    const args = pointersTo(stringsOf("/proc/self/cmdline"), addressOf);
    const variables = pointersTo([...given, ...added], addressOf);
    libc.execve(path, args, variables);
  });
  throw new SystemError("execve /proc/self/exe", errno());
}

/** What ps(1) shows of a program that began anew would be "exe". */
export function nameProcess(): void {
  const name = cString(basename(process.execPath));
  withAddresses((addressOf) => libc.prctl(PR_SET_NAME, addressOf(name), 0, 0, 0));
}

/** Strings that each end with a NUL, as the kernel has a process's arguments and environment. */
function stringsOf(file: string): string[] {
  return readFileSync(file, "latin1").split("\0").slice(0, -1);
}

/** @returns char *[] as execve(2) takes it */
function pointersTo(strings: readonly string[], addressOf: (buffer: Bytes) => number): BigUint64Array {
  const pointers = new BigUint64Array(strings.length + 1);
  for (const [i, text] of strings.entries()) pointers[i] = BigInt(addressOf(Buffer.from(`${text}\0`, "latin1")));
  return pointers;
}
