// How a network interface becomes ours: up, with the kernel's own IP stack kept silent on it by /proc, and how it is left as it was, also
// by another process than the one that took it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { SystemError } from "../libc.ts";
import { holdInterface } from "./hold.ts";
import {
  flagsOf,
  IFF_UP,
  interfaceIndex,
  isThere,
  kernelAddresses,
  kernelAddresses6,
  raise,
  setFlags,
} from "./interfaces.ts";
import { findMark, type Mark, removeMark, writeMark } from "./mark.ts";
import { dropIngress } from "./nftables.ts";
import { unshapeInterface } from "./shaping.ts";
import { detachLeftBehind, hasClsact } from "./tc.ts";

const SYSCTL = "/proc/sys/net";

/** Of rp_filter (Documentation/networking/ip-sysctl.rst); the larger of an interface's and all's is in force. */
const LOOSE = "2";

/**
 * What keeps the kernel from sending anything of its own on an interface, and from taking what comes in there as its own or
 * forwarding it past us: no IPv6; no IPv4 packet has a source that strict reverse path filtering accepts, because
 * no route leads out there.
 */
const SILENT: readonly (readonly [file: string, value: string])[] = [
  ["ipv6/conf/NAME/disable_ipv6", "1"],
  ["ipv4/conf/NAME/forwarding", "0"],
  ["ipv4/conf/NAME/rp_filter", "1"],
  ["ipv4/conf/NAME/arp_ignore", "8"],
];

/** Keeps frames from the kernel's own IP stack, where the kernel has nftables; otherwise what SILENT does has to be enough. */
function keepFromKernel(name: string): () => void {
  try {
    return dropIngress(name);
  } catch (error) {
    if (error instanceof SystemError) return () => {};
    throw error;
  }
}

/** What an interface was before it was ours. */
export interface InterfaceBefore {
  readonly name: string;
  readonly index: number;
  /** Undefined where it was up. */
  readonly flags: number | undefined;
  /** Files of /proc/sys, and what was in them. */
  readonly files: readonly (readonly [file: string, value: string])[];
}

export interface TakenInterface {
  readonly before: InterfaceBefore;
  /** Leaves it as it was. */
  release(): void;
  /** Lets go of it and leaves it as it is: for one that went, and took its state with it. */
  forget(): void;
}

/** Leaves an interface as it was: all of it that does not end with the process; in whichever thread. */
export function restoreInterface({ name, index, flags, files }: InterfaceBefore): void {
  if (!isThere(name, index)) return; // it took its state with it
  unshapeInterface(index);
  if (flags !== undefined) setFlags(name, flags);
  for (const [file, value] of files) writeFileSync(file, value);
  removeMark(index);
}

/**
 * Leaves an interface as it was before it was that of a firewall which was killed.
 * @returns whether there was something to undo
 * @throws Error that names the process, where a firewall has it
 */
export function restoreLeftBehind(name: string): boolean {
  const index = interfaceIndex(name);
  const letGo = holdInterface(name, index);
  try {
    const left = findMark(index);
    if (left === undefined) return false;
    detachLeftBehind({ index, isOurs: !left.hadClsact });
    restoreInterface(stateBefore(name, index, left));
    return true;
  } finally {
    letGo();
  }
}

/**
 * Makes an interface ours: up, the kernel's own IP stack silent on it.
 * @throws Error with the remedy, when another firewall has it, when the kernel has an address there by which it may be in use, or when it
 * can't be silenced
 */
export function takeInterface(name: string): TakenInterface {
  const addresses = kernelAddresses(name);
  if (addresses.length > 0) {
    throw new Error(
      `${name}: the kernel has the address ${addresses.join(", ")} there and would answer beside the firewall ` +
        "(configure interfaces that this machine itself does not use, or run it in a network namespace: docs/NAMESPACE.md)",
    );
  }
  // A link-local address the kernel has made itself; with it goes all else that it says by IPv6 once that is switched off.
  const addresses6 = kernelAddresses6(name).filter(({ isLinkLocal }) => !isLinkLocal);
  if (addresses6.length > 0) {
    throw new Error(
      `${name}: the kernel has the address ${addresses6.map(({ ip }) => ip).join(", ")} there, and who reaches this machine by it ` +
        "would be cut off (configure interfaces that it does not use, or run it in a network namespace: docs/NAMESPACE.md; if " +
        `nobody uses it: sysctl net.ipv6.conf.${name}.disable_ipv6=1)`,
    );
  }
  if (readFileSync(`${SYSCTL}/ipv4/conf/all/rp_filter`, "utf8").trim() === LOOSE) {
    throw new Error(
      `${name}: net.ipv4.conf.all.rp_filter is ${LOOSE}, so the kernel would take packets from there for itself ` +
        "(make it strict: sysctl net.ipv4.conf.all.rp_filter=1)",
    );
  }
  const index = interfaceIndex(name);
  const letGo = holdInterface(name, index);
  try {
    const { before, release, forget } = silence(name, index);
    return {
      before,
      release() {
        release();
        letGo();
      },
      forget() {
        forget();
        letGo();
      },
    };
  } catch (error) {
    letGo();
    throw error;
  }
}

function silence(name: string, index: number): TakenInterface {
  const left = findMark(index);
  if (left !== undefined) {
    detachLeftBehind({ index, isOurs: !left.hadClsact });
    unshapeInterface(index);
  }
  const before = stateBefore(name, index, left);
  if (left === undefined) writeMark(index, markOf(before));
  let passToKernel = () => {};
  const release = () => {
    passToKernel();
    restoreInterface(before);
  };
  try {
    for (const { file, silent } of silentFiles(name)) writeFileSync(file, silent);
    passToKernel = keepFromKernel(name);
    raise(name);
  } catch (error) {
    tryTo(release); // it may be gone
    throw error;
  }
  return {
    before,
    release,
    forget() {
      passToKernel();
      if (isThere(name, index)) removeMark(index);
    },
  };
}

function tryTo(undo: () => void): void {
  try {
    undo();
  } catch {
    // What went wrong before says more.
  }
}

/** Those of SILENT that there are: a kernel may be without IPv6. */
function silentFiles(name: string): { file: string; silent: string }[] {
  return SILENT.map(([pattern, silent]) => ({ file: `${SYSCTL}/${pattern.replace("NAME", name)}`, silent })).filter(
    ({ file }) => existsSync(file),
  );
}

/** @param left what a firewall that was killed found: it holds for what is still as that left it */
function stateBefore(name: string, index: number, left: Mark | undefined): InterfaceBefore {
  const files = silentFiles(name).map(({ file, silent }) => {
    const value = readFileSync(file, "utf8").trim();
    return [file, (value === silent && left?.values.get(basename(file))) || value] as const;
  });
  const flags = flagsOf(name);
  const isUp = (flags & IFF_UP) !== 0 && left?.wasUp !== false;
  return { name, index, flags: isUp ? undefined : flags & ~IFF_UP, files };
}

function markOf({ index, flags, files }: InterfaceBefore): Mark {
  const values = new Map(files.map(([file, value]) => [basename(file), value]));
  return { wasUp: flags === undefined, hadClsact: hasClsact(index), values };
}
