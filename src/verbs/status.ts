// `firebreak status`: what a running firewall is doing, in numbers.
import { parseArgs } from "node:util";
import { printable } from "../base/quote.ts";
import type { NamedStatus } from "../channel/operations/services.ts";
import type { Configured } from "../control/provenance.ts";
import { counterLines, interfaceLines } from "../control/views/status.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import type { Verb } from "./verb.ts";

export const status: Verb = {
  summary: "what a running firewall is doing, in numbers",
  help: `Usage: firebreak status [--at WHERE] [--json]

Prints what a running firewall has for interfaces, frames by what became of them, and how many
flows there are.

${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({ args: [...args], options: ASKING_OPTIONS });
    return await askAndShow(whereIs(values.at), "status", {}, (answer) => {
      if (values.json) return printJson(answer);
      return print(
        statusLines(answer.data as unknown as NamedStatus)
          .map((line) => `${line}\n`)
          .join(""),
      );
    });
  },
};

const ORIGINS: Readonly<Record<string, string>> = {
  file: "of its file",
  channel: 'by "firebreak configure", until it reads its file again',
};

function statusLines(status: NamedStatus): string[] {
  const { name, version, uptime, configuration, interfaces, clients } = status;
  return [
    `firebreak ${printable(version)}, ${printable(name)}, up ${Math.round(uptime)} s`,
    ...configurationLines(configuration),
    ...interfaceLines(interfaces),
    ...counterLines(status),
    ...clients.map((client) => `client ${printable(client.name)}: ${client.flows} of ${client.most_flows} flows`),
  ];
}

function configurationLines({ by, time, differs, read, trial_until }: Configured): string[] {
  const origin = ORIGINS[by] ?? "of another version's";
  const trial =
    trial_until === undefined
      ? []
      : [
          `on trial: the one before is in force again at ${timeText(trial_until)} (to keep it: firebreak configure --confirm)`,
        ];
  const what = read === undefined ? "" : `, which was ${printable(read.name)} as of ${timeText(read.time)}`;
  const difference = differs ? [`what is in force is not what was read${what}`] : [];
  return [`configuration ${origin}, since ${timeText(time)}`, ...difference, ...trial];
}

/** @param time Unix time in seconds */
function timeText(time: number): string {
  return new Date(time * 1000).toISOString().replace(/\.\d+Z$/, "Z");
}
