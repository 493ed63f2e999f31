// landlock(7): a thread, and all that it starts, may use no other files than those that it names, may not open or take TCP
// connections, and may send signals to nobody else. Structures and constants are those of linux/landlock.h.
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { withAddresses } from "../addresses.ts";
import { must, systemCall } from "../libc.ts";

// asm-generic/unistd.h
const SYS_LANDLOCK_CREATE_RULESET = 444;
const SYS_LANDLOCK_ADD_RULE = 445;
const SYS_LANDLOCK_RESTRICT_SELF = 446;

const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_RULE_PATH_BENEATH = 1;

const EXECUTE = 1n << 0n;
const WRITE_FILE = 1n << 1n;
const READ_FILE = 1n << 2n;
const READ_DIR = 1n << 3n;
const REMOVE_FILE = 1n << 5n;
const TRUNCATE = 1n << 14n;
const IOCTL_DEV = 1n << 15n;
/** What a rule about a file, not a folder, may allow. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/** By the version that the kernel has: the highest access right of files that it knows, as bits of all up to that one. */
const FILE_RIGHTS = [0n, (1n << 13n) - 1n, (1n << 14n) - 1n, (1n << 15n) - 1n, (1n << 15n) - 1n, (1n << 16n) - 1n];
const FIRST_WITH_NETWORK = 4;
const NETWORK_RIGHTS = 3n; // bind and connect, of TCP
const FIRST_WITH_SCOPES = 6;
const SCOPE_SIGNAL = 2n;

const RIGHTS = {
  read: READ_FILE | READ_DIR,
  execute: READ_FILE | READ_DIR | EXECUTE,
  write: READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE,
  use: READ_FILE | WRITE_FILE | IOCTL_DEV,
  remove: REMOVE_FILE,
} as const;

/** Files, and folders with all that is below them, by what may be done: devices are used. Some may not be there. */
export type AllowedFiles = { readonly [right in keyof typeof RIGHTS]: readonly string[] };

/** @returns the version of Landlock that the kernel has, from 1 on; 0 where it has none, or it is switched off */
export function landlockVersion(): number {
  return Math.max(0, systemCall(SYS_LANDLOCK_CREATE_RULESET, 0, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

/** Allows this thread these files and no others. It must have no new privileges. @throws SystemError */
export function allowOnly(files: AllowedFiles): void {
  const version = landlockVersion();
  const handled = FILE_RIGHTS[Math.min(version, FILE_RIGHTS.length - 1)];
  // struct landlock_ruleset_attr, as far as the kernel knows it: rights of files, of the network, scopes
  const attributes = [handled];
  if (version >= FIRST_WITH_NETWORK) attributes.push(NETWORK_RIGHTS);
  if (version >= FIRST_WITH_SCOPES) attributes.push(SCOPE_SIGNAL);
  const words = BigUint64Array.from(attributes);
  const made = withAddresses((addressOf) =>
    systemCall(SYS_LANDLOCK_CREATE_RULESET, addressOf(words), words.byteLength, 0),
  );
  const ruleset = must(made, "landlock_create_ruleset");
  try {
    for (const [right, paths] of Object.entries(files) as [keyof AllowedFiles, readonly string[]][]) {
      for (const path of paths) allow(ruleset, path, RIGHTS[right] & handled);
    }
    must(systemCall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self");
  } finally {
    closeSync(ruleset);
  }
}

const O_PATH = 0x200000; // asm-generic/fcntl.h

function allow(ruleset: number, path: string, rights: bigint): void {
  const fd = openIfThere(path);
  if (fd === undefined) return;
  try {
    const rule = new DataView(new ArrayBuffer(12)); // struct landlock_path_beneath_attr, packed
    rule.setBigUint64(0, fstatSync(fd).isDirectory() ? rights : rights & OF_FILES, true);
    rule.setInt32(8, fd, true);
    const added = withAddresses((addressOf) =>
      systemCall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, addressOf(rule), 0),
    );
    must(added, `landlock_add_rule ${path}`);
  } finally {
    closeSync(fd);
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, O_PATH | constants.O_RDONLY);
  } catch {
    return undefined;
  }
}
