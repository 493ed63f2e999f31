// `firebreak run --config FILE`: the firewall on any Linux host, in the network namespace that it is started in.
import { parseArgs } from "node:util";
import { version } from "../../package.json" with { type: "json" };
import { log } from "../base/log.ts";
import { type Config, readConfig } from "../config/config.ts";
import { ConfigurationError, Firewall } from "../control/firewall.ts";
import { foldersOf, restrict } from "../control/restrictions.ts";
import { complain, Signals, untilStopped } from "../control/signals.ts";
import { endProgram } from "./end.ts";
import { UsageError, type Verb } from "./verb.ts";

export const run: Verb = {
  summary: "forward between this machine's interfaces as a configuration says",
  help: `Usage: firebreak run --config FILE

Forwards between the interfaces that the configuration FILE names, in the network namespace
that it is started in, until SIGTERM or SIGINT. The kernel must have no IPv4 address on them.
One that is not there is waited for.
SIGHUP reads FILE again: flows that the new rules allow live on; when FILE has errors it says so
and the old configuration stays in force. SIGUSR1 prints counters and flows.
Needs root, or the capabilities CAP_NET_RAW and CAP_NET_ADMIN; open flows are faster
with CAP_BPF too, where Linux is 6.1 or newer.

Exit status: 0 stopped by a signal, 1 failed, 2 the configuration is not good.
`,
  async run(args) {
    const started = performance.now();
    const { values } = parseArgs({ args: [...args], options: { config: { type: "string" } } });
    if (values.config === undefined) throw new UsageError("needs --config FILE");
    const file = values.config;
    try {
      restrict({ read: foldersOf(file), use: [], clock: false });
      const signals = new Signals();
      const firewall = await Firewall.start(await read(file));
      log(`firebreak ${version}`);
      for (const line of firewall.describeInterfaces()) log(line);
      const stopped = untilStopped(firewall, () => read(file), signals);
      log(`ready in ${Math.round(performance.now() - started)} ms`);
      await stopped;
      return await endProgram(0); // a configuration that is being read, and never ends, would keep it running
    } catch (error) {
      complain(error);
      return await endProgram(error instanceof ConfigurationError ? 2 : 1);
    }
  },
};

async function read(file: string): Promise<Config> {
  const result = await readConfig(file);
  if ("errors" in result) throw new ConfigurationError(result.errors);
  result.warnings.forEach(log);
  return result.config;
}
