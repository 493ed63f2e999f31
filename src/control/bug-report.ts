// What goes into a report of a fault, so that somebody else can find it: versions, configuration, numbers, drops, the log. Of
// packets there is what the drop ring has of them, and no payload; a configuration has no secrets.
import { readFileSync } from "node:fs";
import { arch, release } from "node:os";
import type { KeptLog } from "../base/log.ts";
import { formatJson, printable } from "../base/quote.ts";
import type { Config } from "../config/config.ts";
import type { Settings } from "../dataplane/settings.ts";
import type { Flow } from "../dataplane/types.ts";
import type { Provenance } from "./provenance.ts";
import { type RuleEntry, ruleLines } from "./rule-list.ts";
import { type DropBook, dropLine } from "./views/drops.ts";
import type { FlowTableView } from "./views/flow-list.ts";
import { flowEntry } from "./views/flow-list.ts";
import { Masking } from "./views/masking.ts";
import { counterLines, interfaceLines, type Status } from "./views/status.ts";

/** What is known of the running firewall. */
export interface Diagnosis {
  readonly config: Config;
  readonly settings: Settings;
  readonly drops: DropBook;
  readonly status: Status;
  readonly ruleList: readonly RuleEntry[];
  readonly provenance: Pick<Provenance, "configured" | "bytes">;
  readonly flowTable: FlowTableView;
  /** Why the kernel path is not in use. */
  readonly kernelPathOff: string | undefined;
}

/** What the program says of itself. */
export interface Program {
  readonly name: string;
  readonly version: string;
  readonly log: Pick<KeptLog, "first" | "end" | "entry">;
}

/** A part of it, in lines. */
export interface ReportSection {
  readonly section: string;
  readonly lines: Iterable<string>;
}

/** Drops that are told: the last seen. */
const MOST_DROPS = 200;
/** Flows that are looked at to count them by kind. */
const MOST_FLOWS = 65_536;

/** Of /proc, files and the lines of them: nothing in these is about anybody. */
const PROC: readonly (readonly [file: string, lines: RegExp])[] = [
  [
    "/proc/self/status",
    /^(?:VmHWM|VmRSS|RssAnon|RssFile|Threads|CapPrm|CapEff|NoNewPrivs|Seccomp|Cpus_allowed_list):.*$/gm,
  ],
  ["/proc/meminfo", /^(?:MemTotal|MemAvailable|SwapTotal):.*$/gm],
  ["/proc/loadavg", /^.*$/gm],
  ["/proc/sys/net/core/bpf_jit_enable", /^.*$/gm],
];

/** @param isMasked whether addresses and host names are made unrecognisable, the same ones in the same way, and comments left out */
export function* bugReport(diagnosis: Diagnosis, program: Program, isMasked: boolean): Generator<ReportSection> {
  const masking = isMasked ? new Masking(hostNames(diagnosis.config)) : undefined;
  for (const { section, lines } of sections(diagnosis, program, isMasked)) {
    yield { section, lines: shown(lines, masking) };
  }
}

function* shown(lines: Iterable<string>, masking: Masking | undefined): Generator<string> {
  for (const line of lines) yield printable(masking === undefined ? line : masking.mask(line));
}

function* sections(diagnosis: Diagnosis, program: Program, isMasked: boolean): Generator<ReportSection> {
  const { config, settings, drops, status, ruleList, provenance } = diagnosis;
  const now = Date.now() / 1000;
  yield { section: "program", lines: programLines(program, isMasked) };
  yield { section: "configuration", lines: [formatJson(provenance.configured)] };
  yield { section: "text", lines: textLines(provenance.bytes, isMasked) };
  yield { section: "settings", lines: settingsLines(config, settings) };
  yield {
    section: "status",
    lines: [...interfaceLines(status.interfaces), ...counterLines(status), formatJson(status.resolver)],
  };
  yield { section: "clients", lines: status.clients.map((client) => formatJson(client)) };
  yield { section: "kernel path", lines: kernelPathLines(diagnosis) };
  yield { section: "flows", lines: flowLines(diagnosis.flowTable) };
  yield { section: "rules", lines: ruleList.flatMap((entry) => ruleLines(entry, now)) };
  yield {
    section: "drops",
    lines: drops
      .list()
      .slice(0, MOST_DROPS)
      .map((entry) => dropLine(entry, now)),
  };
  yield { section: "log", lines: logLines(program.log) };
}

function programLines({ name, version }: Program, isMasked: boolean): string[] {
  return [
    `firebreak ${version}, ${name}, up ${Math.round(process.uptime())} s, at ${new Date().toISOString()}`,
    `bun ${Bun.version} (${Bun.revision}), linux ${release()} ${arch()}`,
    isMasked
      ? "addresses and host names are masked, the same ones in the same way; comments are left out"
      : "nothing is masked",
    ...PROC.flatMap(([file, lines]) => procLines(file, lines)),
  ];
}

function procLines(file: string, lines: RegExp): string[] {
  try {
    return [...readFileSync(file, "utf8").matchAll(lines)].map(([line]) => `${file}: ${line.replaceAll("\t", " ")}`);
  } catch {
    return [`${file}: can't be read`];
  }
}

function textLines(bytes: Uint8Array | undefined, isMasked: boolean): string[] {
  if (bytes === undefined) return ["there is none: it is not of a file"];
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/);
  return isMasked ? lines.map(withoutComment) : lines;
}

/** @returns a line of TOML without its comment, which may be about anything. What is in a text of several lines may go with it */
function withoutComment(line: string): string {
  let quote = "";
  for (let i = 0; i < line.length; i++) {
    const character = line[i];
    if (quote === "" && character === "#") return line.slice(0, i).trimEnd();
    if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (quote === '"' && character === "\\") i++;
    else if (character === quote) quote = "";
  }
  return line;
}

function settingsLines({ nat }: Config, { interfaces, clients }: Settings): string[] {
  return [
    `nat ${formatJson(nat)}`,
    ...interfaces.map(
      ({ name, index, mtu, isDown = false, clampMss }) =>
        `interface ${formatJson({ name, index, mtu, isDown, clampMss })}`,
    ),
    ...clients.map(
      ({ name, iface, limits, refuse, log, openFilter, reach, scrub, watchNames }) =>
        `client ${formatJson({ name, iface, limits, refuse, log, openFilter, reach, scrub, watchNames })}`,
    ),
  ];
}

function kernelPathLines({ kernelPathOff, status }: Diagnosis): string[] {
  const state = kernelPathOff === undefined ? "kernel path: in use" : `kernel path: off, because ${kernelPathOff}`;
  return [state, formatJson(status.kernel_path)];
}

/** How many there are of each kind: who talks to whom is nobody's business. */
function flowLines(view: FlowTableView): string[] {
  const counts = new Map<string, number>();
  let looked = 0;
  for (let flow = 0 as Flow; flow < view.capacity && looked < MOST_FLOWS; flow++) {
    if (!view.records.isUsed(flow)) continue;
    looked++;
    const { proto, state, client, forward, open_mapping } = flowEntry(view, flow);
    const way = forward === undefined && open_mapping === undefined ? "out" : "in";
    const kind = `${client} ${way} ${proto}${state === undefined ? "" : ` ${state}`}`;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return Array.from(counts, ([kind, count]) => `${count} ${kind}`).sort();
}

function* logLines(log: Program["log"]): Generator<string> {
  for (let number = log.first; number < log.end; number++) {
    const { time, text } = log.entry(number);
    yield `${new Date(time * 1000).toISOString()} ${text}`;
  }
}

function hostNames({ clients }: Config): string[] {
  return clients.flatMap(({ rules }) => rules.flatMap(({ dsthost }) => dsthost ?? []));
}
