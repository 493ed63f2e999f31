// A firewall that, once it runs, tries in each of its threads what it must not do, and says what came of it. The sources are changed as
// it is built; the product has nothing of this. FIREBREAK_TRIES says what: "errors", or "THREAD NAME" for a call that ends the process.
import { dlopen, ptr, read } from "bun:ffi";
import { closeSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { BunPlugin } from "bun";
import { buildWith } from "./kernel-mutants.ts";

export const THREADS = ["control", "dataplane", "devices"] as const;
type Thread = (typeof THREADS)[number];

const AF_INET6 = 10;
const AF_VSOCK = 40;
const SOCK_DGRAM = 2;
const TIOCSTI = 0x5412;
const CLONE_NEWNET = 0x40000000;
const BPF_PROG_GET_NEXT_ID = 11;
const PR_SET_DUMPABLE = 4;
const SIGCHLD = 17;
const AT_FDCWD = -100;

/** With arguments that do no harm where a call is let through. By number and arguments; "path" is a path where nothing is. */
type Call = readonly [number: number, ...args: (number | "path")[]];

/** They fail with EPERM. */
export const REFUSED: Readonly<Record<string, Call>> = {
  unshare: [272, CLONE_NEWNET],
  setns: [308, -1, CLONE_NEWNET],
  "socket AF_INET6": [41, AF_INET6, SOCK_DGRAM, 0],
  "socket AF_VSOCK": [41, AF_VSOCK, SOCK_DGRAM, 0],
  "ioctl TIOCSTI": [16, -1, TIOCSTI, 0],
  "bpf PROG_GET_NEXT_ID": [321, BPF_PROG_GET_NEXT_ID, 0, 0],
  "prctl PR_SET_DUMPABLE": [157, PR_SET_DUMPABLE, 1, 0],
  "kill init": [62, 1, 0, 0],
  "tkill init": [200, 1, 0, 0],
  "tgkill init": [234, 1, 1, 0],
  "clone of a process": [56, SIGCHLD | 0x800, 0, 0], // CLONE_SIGHAND without CLONE_VM: no kernel does that
  mknodat: [259, AT_FDCWD, "path", 0],
  mkdirat: [258, AT_FDCWD, "path", 0],
  unlinkat: [263, AT_FDCWD, "path", 0],
  fchmodat: [268, AT_FDCWD, "path", 0],
  settimeofday: [164, 0, 0, 0],
  sethostname: [170, 0, 1 << 20, 0],
  "prlimit64 of init": [302, 1, 0, 0],
  personality: [135, 0xffffffff, 0, 0],
  inotify_init1: [294, -1, 0, 0],
  pidfd_open: [434, 1, 0, 0],
  syslog: [103, 3, 0, 0],
  seccomp: [317, 2, 0, 0],
  landlock_create_ruleset: [444, 0, 0, 1],
};

/** As on a kernel that does not have them. */
export const UNKNOWN: Readonly<Record<string, Call>> = { clone3: [435, 0, 0, 0], "one of next year": [600, 0, 0, 0] };

/** They end the process. */
export const KILLING: Readonly<Record<string, Call>> = {
  execve: [59, "path", 0, 0],
  ptrace: [101, -1, 0, 0],
  process_vm_writev: [311, -1, 0, 0],
  init_module: [175, 0, 0, 0],
  mount: [165, 0, 0, 0],
  setuid: [105, -1, 0, 0],
  "a call of x32": [0x40000000 + 39, 0, 0, 0],
};

/** Files that the user may read or write, and the program may not. */
export const CLOSED_FILES = ["/", "/etc/passwd", "/tmp", "/proc/sys/kernel/hostname for writing"];

export interface Tried {
  /** By call, or file: the error's number; 0 where it went well. */
  readonly [what: string]: number;
}

/** Called by the changed sources. */
export function tryForbidden(thread: Thread): void {
  const asked = process.env.FIREBREAK_TRIES ?? "";
  const [, name] = asked.split(`${thread} `);
  if (name !== undefined) call(KILLING[name] ?? [-1]);
  if (asked !== "errors") return;
  const tried: Record<string, number> = {};
  for (const [what, numbers] of Object.entries({ ...REFUSED, ...UNKNOWN })) tried[what] = call(numbers);
  for (const file of CLOSED_FILES) tried[file] = openFile(file);
  writeSync(1, `tried in ${thread}: ${JSON.stringify(tried)}.\n`);
}

const path = new TextEncoder().encode("/nowhere/at/all\0");

function call([number, ...args]: Call): number {
  const { symbols, close } = dlopen("libc.so.6", {
    syscall: { args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], returns: "i64" },
    __errno_location: { args: [], returns: "ptr" },
  });
  const [a = 0, b = 0, c = 0, d = 0] = args.map((arg) => (arg === "path" ? ptr(path) : arg));
  const result = symbols.syscall(number, a, b, c, d, 0, 0);
  const at = symbols.__errno_location();
  const errno = at === null ? -1 : read.i32(at);
  close();
  return Number(result) === -1 ? errno : 0;
}

function openFile(file: string): number {
  const [name = "", mode] = file.split(" for ");
  try {
    closeSync(openSync(name, mode === undefined ? "r" : "r+"));
    readdirSync(name);
    return 0;
  } catch (error) {
    return -(error as NodeJS.ErrnoException & { errno: number }).errno;
  }
}

const SOURCES = join(import.meta.dir, "../../src");
const IMPORT = `import { tryForbidden } from ${JSON.stringify(import.meta.path)};\n`;

/** By file: what is done before which of its statements. */
const PLACES = {
  "verbs/run.ts": [
    "await stopped;",
    `tryForbidden("control");
     if (process.env.FIREBREAK_TRIES !== undefined) new Poller([{ fd: openEvent(), ready() {} }], (error) => { throw error; });`,
  ],
  "dataplane/io/worker.ts": ['report({ type: "ready",', 'tryForbidden("dataplane");'],
  "linux/poll-thread.ts": ["const asked = new Set", 'tryForbidden("devices");'],
} as const;

const MORE_IMPORTS = `import { openEvent } from "../linux/eventfd.ts";\nimport { Poller } from "../linux/poller.ts";\n`;

const tries: BunPlugin = {
  name: "forbidden calls",
  setup(build) {
    for (const [file, [statement, added]] of Object.entries(PLACES)) {
      build.onLoad({ filter: new RegExp(`^${join(SOURCES, file)}$`) }, async ({ path: source }) => {
        const text = await Bun.file(source).text();
        if (text.split(statement).length !== 2) throw new Error(`${file}: there is not one ${statement}`);
        const imports = file.startsWith("verbs/") ? IMPORT + MORE_IMPORTS : IMPORT;
        return { contents: imports + text.replace(statement, () => `${added} ${statement}`), loader: "ts" };
      });
    }
  },
};

/** Builds such a firewall. */
export async function buildTrying(outfile: string): Promise<void> {
  await buildWith(tries, outfile);
}
