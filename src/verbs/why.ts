// `firebreak why`: why something does not get through a running firewall.
import { parseArgs } from "node:util";
import { type Reason, reasonLines } from "../why/why.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import { DROP_FILTERS } from "./drops.ts";
import { UsageError, type Verb } from "./verb.ts";

export const why: Verb = {
  summary: "why something does not get through a running firewall",
  help: `Usage: firebreak why SOURCE DESTINATION[:PORT] [FILTER…] [--at WHERE] [--json]

Prints what a running firewall has dropped from SOURCE to DESTINATION, a line for each cause, the last
seen first: how often, the verdict, and the rule that decided with its place in the configuration. If
there is nothing, it prints what would become of such a packet now, as "firebreak explain" does: of a
SYN to PORT, or without a port of an echo request, unless proto= says something else.

SOURCE is a client's name or an address, as the packets come in; DESTINATION an address, or a host name
that is in the rules; of IPv6 with a port [2001:db8::1]:443. Of frames from outside to a client that is
the uplink's address. A FILTER narrows it:

${DROP_FILTERS}

${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options: ASKING_OPTIONS });
    const [source, destination, ...match] = positionals;
    if (source === undefined || destination === undefined) throw new UsageError("needs SOURCE and DESTINATION");
    return await askAndShow(whereIs(values.at), "why", { source, destination, match }, (answer) => {
      if (values.json) return printJson(answer);
      const lines = reasonLines(answer.data as unknown as Reason, Date.now() / 1000);
      return print(lines.map((line) => `${line}\n`).join(""));
    });
  },
};
