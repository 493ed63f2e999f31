// older-kernel.ts COMMAND…: runs a command as on a kernel that has neither seccomp nor Landlock.
import { filterOf } from "../../../src/linux/limits/filter.ts";
import { renounceNewPrivileges } from "../../../src/linux/limits/process.ts";
import { filterCalls } from "../../../src/linux/limits/seccomp.ts";

const SECCOMP = 317; // asm/unistd_64.h
const LANDLOCK_CREATE_RULESET = 444;
const NEWEST = 450;

const all = Array.from({ length: NEWEST + 1 }, (_, number) => number);
const unknown = [SECCOMP, LANDLOCK_CREATE_RULESET];
const allowed = all.filter((number) => !unknown.includes(number));
renounceNewPrivileges();
filterCalls(filterOf({ allowed, conditional: new Map(), killed: [], unknown, newest: NEWEST }));
const [, , ...command] = process.argv;
process.exit(Bun.spawnSync(command, { stdio: ["ignore", "inherit", "inherit"] }).exitCode);
