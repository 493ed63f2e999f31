// `firebreak restore`: what a firewall that was killed could not do at its end.
import { InterfaceTaken } from "../linux/net/hold.ts";
import { listDevices } from "../linux/net/links.ts";
import { restoreLeftBehind } from "../linux/net/take.ts";
import { UsageError, type Verb } from "./verb.ts";

export const restore: Verb = {
  summary: "leave interfaces as they were before a firewall that was killed",
  help: `Usage: firebreak restore

Leaves the interfaces of this network namespace as they were before a firewall had them that
was killed (SIGKILL, out of memory): it could not do so itself. Nothing passes them meanwhile.
Interfaces of a firewall that runs stay as they are. firebreak run does the same for those
that it takes, when it stops.
Needs root, or the capability CAP_NET_ADMIN.

Exit status: 0 fine, whether there was something to do or not, 1 failed.
`,
  async run(args) {
    if (args.length > 0) throw new UsageError("takes no arguments");
    let status = 0;
    for (const { name } of listDevices()) {
      try {
        if (restoreLeftBehind(name)) process.stdout.write(`${name} is as it was\n`);
      } catch (error) {
        if (error instanceof InterfaceTaken) continue;
        process.stderr.write(`firebreak: ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
        status = 1;
      }
    }
    return status;
  },
};
