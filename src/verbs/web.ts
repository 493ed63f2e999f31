// `firebreak web`: a running firewall, watched in a browser on this machine.
import { parseArgs } from "node:util";
import { quote } from "../base/quote.ts";
import { nameAt } from "../watch/asked.ts";
import { Connection } from "../watch/connection.ts";
import { AT_HELP, isPrinted, whereIs } from "./asking.ts";
import { endProgram } from "./end.ts";
import { stopSignal } from "./stopping.ts";
import { UsageError, type Verb } from "./verb.ts";

export const web: Verb = {
  summary: "a running firewall, watched in a browser",
  help: `Usage: firebreak web [--port PORT] [--at WHERE]

Serves a page about a running firewall to browsers on this machine, until SIGTERM or SIGINT, and
prints the address to open: how much goes through, clients, flows, what was dropped and why, and
what each rule does. The page only shows: it changes nothing. docs/WEB.md has more.

  --port PORT  where it listens, at 127.0.0.1 alone; one that is free if it isn't given
${AT_HELP}

The address has a key in it that is new each time. Who has it can see what you see: keep it.

Exit status: 0 ended by a signal, 1 it can't be served, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({ args: [...args], options: { at: { type: "string" }, port: { type: "string" } } });
    const { port = "0" } = values;
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
      throw new UsageError(`--port ${quote(port)} is no port (write 8080)`);
    }
    const path = whereIs(values.at);
    const connection = new Connection(path);
    const stopped = stopSignal();
    // Only here: run from its sources, the program makes the page as that file is loaded.
    const { serveSite } = await import("../web/site.ts");
    try {
      const { url, stop } = await serveSite(nameAt(path), connection, Number(port));
      const isKnown = await isPrinted(`open ${url}\n`); // else nobody has the key
      if (isKnown) await stopped;
      stop();
      connection.close();
      return await endProgram(isKnown ? 0 : 1);
    } catch (error) {
      process.stderr.write(`firebreak: --port: ${error instanceof Error ? error.message : String(error)}\n`);
      return 1;
    }
  },
};
