// `firebreak metrics`: a running firewall's numbers for Prometheus, once, over HTTP, or in a file of node_exporter's.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { plain, quote } from "../base/quote.ts";
import { reasonOf } from "../base/reason.ts";
import { askAnswers, nameAt } from "../watch/asked.ts";
import { EXPOSITION_TYPE } from "../watch/exposition.ts";
import type { Endpoint } from "../watch/http.ts";
import { metricsText } from "../watch/metrics.ts";
import { pageUrl, readEndpoint, servePage } from "../watch/page-server.ts";
import { replaceFile } from "../watch/text-file.ts";
import { print, whereIs } from "./asking.ts";
import { endProgram } from "./end.ts";
import { stopSignal } from "./stopping.ts";
import { UsageError, type Verb } from "./verb.ts";

/** Prometheus asks each 15 s, if nobody says otherwise. */
const INTERVAL = "15s";
/** ms for which an answer is good: however many ask, the firewall is asked once in that time. */
const FRESH = 1000;

export const metrics: Verb = {
  summary: "a running firewall's numbers, for Prometheus",
  help: `Usage: firebreak metrics [--listen [ADDRESS:]PORT | --textfile DIR [--every TIME]] [--at WHERE]

Prints a running firewall's numbers in Prometheus' text format; docs/METRICS.md has all of them.
firebreak_up is 0, and nothing else is there, while the firewall does not answer.

  --listen [ADDRESS:]PORT   serve them at http://ADDRESS:PORT/metrics until SIGTERM or SIGINT, to
                            who names that address, not a name, in the Host header. ADDRESS is
                            127.0.0.1, which this machine alone reaches, if it isn't given
  --textfile DIR            keep them in DIR/firebreak-NAME.prom, for node_exporter's textfile
                            collector, until SIGTERM, SIGINT or SIGHUP, which removes the file
  --every TIME              how often that file is written anew: ${INTERVAL} if it isn't given
  --at WHERE                the firewall: its name, or its socket's path; FIREBREAK_AT is meant if it
                            isn't given, and without either the only one that runs here

Exit status: 0 printed, or ended by a signal; 1 it can't be asked, served or written; 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        at: { type: "string" },
        listen: { type: "string" },
        textfile: { type: "string" },
        every: { type: "string" },
      },
    });
    const { listen, textfile, every } = values;
    if (listen !== undefined && textfile !== undefined) {
      throw new UsageError("--listen and --textfile exclude each other (run one program for each)");
    }
    if (every !== undefined && textfile === undefined) throw new UsageError("--every is for --textfile");
    const endpoint = listen === undefined ? undefined : readEndpoint(listen);
    if (listen !== undefined && endpoint === undefined) {
      throw new UsageError(`--listen ${quote(listen)} is no [ADDRESS:]PORT (write 127.0.0.1:9474)`);
    }
    const interval = parseDuration(every ?? INTERVAL);
    if (interval === undefined) throw new UsageError(`--every ${quote(every ?? "")} is no time (write ${INTERVAL})`);
    const path = whereIs(values.at);
    if (endpoint !== undefined) return await serve(path, endpoint);
    if (textfile !== undefined) return await keep(path, textfile, interval);
    const { text, problem } = await take(path);
    await print(text);
    return complain(problem) ? 1 : 0;
  },
};

/** Metrics, and why they are about nothing, if so. */
interface Taken {
  readonly text: string;
  readonly problem?: string;
}

async function take(path: string): Promise<Taken> {
  try {
    return { text: metricsText(nameAt(path), await askAnswers(path)) };
  } catch (error) {
    return { text: metricsText(nameAt(path), undefined), problem: messageOf(error) };
  }
}

async function serve(path: string, wanted: Endpoint): Promise<number> {
  const stopped = stopSignal();
  let last: { readonly taken: Promise<Taken>; readonly since: number } | undefined;
  const page = {
    path: "/metrics",
    type: EXPOSITION_TYPE,
    make: async () => {
      const now = performance.now();
      if (last === undefined || now - last.since > FRESH) last = { taken: take(path), since: now };
      return (await last.taken).text;
    },
  };
  try {
    const { server, endpoint } = await servePage(page, wanted);
    await print(`metrics at ${pageUrl(page, endpoint)}\n`);
    await stopped;
    server.close();
    return await endProgram(0);
  } catch (error) {
    complain(`--listen: ${messageOf(error)}`);
    return 1;
  }
}

/** @param interval seconds */
async function keep(path: string, folder: string, interval: number): Promise<number> {
  const stopped = stopSignal();
  const name = nameAt(path).replace(/[^A-Za-z0-9_.-]/g, "_"); // where the socket is not called as ours are
  const file = join(folder, `firebreak-${name}.prom`);
  let trouble: string | undefined;
  for (let isFirst = true, isOver = false; !isOver; isFirst = false) {
    const { text } = await take(path);
    const problem = write(file, text);
    if (problem !== trouble) complain(problem);
    trouble = problem;
    if (isFirst && problem !== undefined) return 1;
    isOver = await Promise.race([stopped.then(() => true), Bun.sleep(interval * 1000).then(() => false)]);
  }
  rmSync(file, { force: true });
  return await endProgram(0);
}

/** @returns why it could not be written */
function write(file: string, text: string): string | undefined {
  try {
    replaceFile(file, text);
    return undefined;
  } catch (error) {
    return `${plain(file)}: can't be written: ${reasonOf(error)}`;
  }
}

/** @returns whether there was something to say */
function complain(problem: string | undefined): boolean {
  if (problem !== undefined) process.stderr.write(`firebreak: ${problem}\n`);
  return problem !== undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
