// `firebreak run --config FILE`: the firewall on any Linux host, in the network namespace that it is started in.
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { version } from "../../package.json" with { type: "json" };
import { log } from "../base/log.ts";
import { serveSocket } from "../channel/listener.ts";
import { makeServices } from "../channel/operations/services.ts";
import {
  firewallName,
  NameTaken,
  type OpenSocket,
  openSocketFile,
  removeSocketFile,
  socketToTakeAlong,
  takenSocket,
} from "../channel/socket-file.ts";
import { type Config, readConfig } from "../config/config.ts";
import { ConfigurationError, Firewall } from "../control/firewall.ts";
import { foldersOf, isBegunAnew, restrict } from "../control/restrictions.ts";
import { complain, Signals, untilStopped } from "../control/signals.ts";
import { endProgram } from "./end.ts";
import { UsageError, type Verb } from "./verb.ts";

export const run: Verb = {
  summary: "forward between this machine's interfaces as a configuration says",
  help: `Usage: firebreak run --config FILE [--name NAME]

Forwards between the interfaces that the configuration FILE names, in the network namespace
that it is started in, until SIGTERM or SIGINT. The kernel must have no IPv4 address on them.
One that is not there is waited for.
SIGHUP reads FILE again: flows that the new rules allow live on; when FILE has errors it says so
and the old configuration stays in force. SIGUSR1 prints counters and flows.
Needs root, or the capabilities CAP_NET_RAW and CAP_NET_ADMIN; open flows are faster with CAP_BPF,
CAP_PERFMON and, for the start, CAP_SYS_ADMIN too, where Linux is 6.1 or newer.

Verbs like "status" ask it by its socket, /run/firebreak/NAME.sock, which is open to its own user
alone; RUNTIME_DIRECTORY, as systemd sets it, is another folder. NAME is that of FILE, without its
ending, if it isn't given.

Exit status: 0 stopped by a signal, 1 failed, 2 the configuration is not good.
`,
  async run(args) {
    const started = performance.now();
    const { values } = parseArgs({
      args: [...args],
      options: { config: { type: "string" }, name: { type: "string" } },
    });
    if (values.config === undefined) throw new UsageError("needs --config FILE");
    const file = values.config;
    const name = firewallName(values.name, file);
    let socket: OpenSocket | undefined;
    try {
      requireRegular(file);
      requireFiles();
      socket = isBegunAnew() ? takenSocket() : openSocket(name);
      const remove = socket === undefined ? [] : [dirname(socket.path)];
      restrict({ read: foldersOf(file), use: [], clock: false, remove, takeAlong: socketToTakeAlong(socket) });
      const signals = new Signals();
      const firewall = await Firewall.start(await read(file));
      log(`firebreak ${version}`);
      for (const line of firewall.describeInterfaces()) log(line);
      const stopped = untilStopped(firewall, () => read(file), signals);
      firewall.provenance.path = resolve(file);
      if (socket !== undefined) serveSocket(socket, makeServices(name, firewall, { read: () => read(file) }));
      log(`ready in ${Math.round(performance.now() - started)} ms`);
      await stopped;
      return await end(0, socket); // a configuration that is being read, and never ends, would keep it running
    } catch (error) {
      complain(error);
      return await end(error instanceof ConfigurationError ? 2 : 1, socket);
    }
  },
};

function end(status: number, socket: OpenSocket | undefined): Promise<never> {
  if (socket !== undefined) removeSocketFile(socket.path);
  return endProgram(status);
}

/** @returns undefined, after saying why, where nobody will be able to ask it: it forwards all the same. @throws NameTaken */
function openSocket(name: string): OpenSocket | undefined {
  try {
    return openSocketFile(name);
  } catch (error) {
    if (error instanceof NameTaken) throw error;
    log(`control channel: off, because ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Files that the program has open while it runs, with some dozens of interfaces, and what the engine needs to start threads. */
const OPEN_FILES = 256;

/** @throws Error where so many may not be open: what comes later would fail one by one */
function requireFiles(): void {
  const [, most] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  if (most === undefined || Number(most) >= OPEN_FILES) return;
  throw new Error(
    `only ${most} files may be open here, and the firewall may need ${OPEN_FILES} ` +
      `(ulimit -n ${OPEN_FILES}, or LimitNOFILE= in a unit of systemd)`,
  );
}

/** @throws ConfigurationError where FILE can't be read a second time: the program begins anew, and a reload reads it again */
function requireRegular(file: string): void {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined || stat.isFile() || stat.isDirectory()) return;
  throw new ConfigurationError([`${file}: is no file that a reload can read again (write the configuration to one)`]);
}

async function read(file: string): Promise<Config> {
  const result = await readConfig(file);
  if ("errors" in result) throw new ConfigurationError(result.errors);
  result.warnings.forEach(log);
  return result.config;
}
