// The only entry of the program: finds the verb and lets it run.
import { version } from "../package.json" with { type: "json" };
import { reasonOf } from "./base/reason.ts";
import { appliance } from "./verbs/appliance.ts";
import { attach } from "./verbs/attach.ts";
import { check } from "./verbs/check.ts";
import { configure } from "./verbs/configure.ts";
import { drops } from "./verbs/drops.ts";
import { explain } from "./verbs/explain.ts";
import { flows } from "./verbs/flows.ts";
import { log } from "./verbs/log.ts";
import { readInputs } from "./verbs/manifest.ts";
import { metrics } from "./verbs/metrics.ts";
import { replay } from "./verbs/replay.ts";
import { restore } from "./verbs/restore.ts";
import { rules } from "./verbs/rules.ts";
import { run } from "./verbs/run.ts";
import { status } from "./verbs/status.ts";
import { top } from "./verbs/top.ts";
import { UsageError, type Verb } from "./verbs/verb.ts";
import { why } from "./verbs/why.ts";

const VERBS: ReadonlyMap<string, Verb> = new Map(
  Object.entries({
    run,
    status,
    flows,
    rules,
    drops,
    why,
    log,
    top,
    metrics,
    configure,
    attach,
    check,
    explain,
    replay,
    restore,
    appliance,
  }),
);

const HELP = `Usage: firebreak VERB [ARGUMENTS…]

Firebreak, a firewall appliance: the NAT router and firewall of other machines.

Verbs:
${Array.from(VERBS, ([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`).join("\n")}

firebreak help VERB, or firebreak VERB --help, says more of a verb; firebreak --version, or -V, prints
the version, with --verbose also versions and SHA-256 sums of what it was made of.

Exit status: 0 fine, 1 failed, 2 bad usage or configuration.
`;

/** @returns the exit status. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--help" || name === "-h") return print(HELP);
  if (name === "help") return help(rest);
  if (name === "--version" || name === "-V") {
    return print(`firebreak ${version}\n${rest.includes("--verbose") ? await readInputs() : ""}`);
  }
  const verb = VERBS.get(name ?? "");
  if (name === undefined || verb === undefined) {
    return refuse(name === undefined ? "no verb" : `unknown verb ${JSON.stringify(name)}`, "firebreak --help");
  }
  if (rest.includes("--help") || rest.includes("-h")) return print(verb.help);
  try {
    return await verb.run(rest);
  } catch (error) {
    if (!isUsageError(error)) throw error;
    return refuse(`${name}: ${usageText(error.message)}`, `firebreak ${name} --help`);
  }
}

/** @param words what stands behind `help`: nothing, or a verb */
function help([name, ...more]: readonly string[]): number {
  if (name === undefined) return print(HELP);
  const verb = VERBS.get(name);
  if (verb === undefined || more.length > 0) {
    return refuse(
      verb === undefined ? `unknown verb ${JSON.stringify(name)}` : "help: takes one VERB",
      "firebreak help",
    );
  }
  return print(verb.help);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function refuse(problem: string, help: string): number {
  process.stderr.write(`firebreak: ${problem} (see ${help})\n`);
  return 2;
}

/** @returns the first sentence: parseArgs goes on about positional arguments, and of values that begin with a "-" says little in it */
function usageText(message: string): string {
  const [, option] = /^Option '(?:-\w, )?(--[\w-]+)[^']*' argument is ambiguous/.exec(message) ?? [];
  if (option !== undefined) return `${option} has no value, or one that begins with "-" (write ${option}=VALUE)`;
  return message.split(/\.\s/)[0];
}

/** What parseArgs throws has a code of this kind. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS_");
}

/** Whether our output could not be written, as on a full disk. */
let isOutputLost = false;

// Whoever reads our output may have seen enough: `firebreak explain … | head -1`.
process.stdout.on("error", (error: Error & { readonly code?: string }) => {
  if (error.code === "EPIPE" || isOutputLost) return;
  isOutputLost = true;
  process.stderr.write(`firebreak: standard output can't be written: ${reasonOf(error)}\n`);
  process.exitCode = 1;
});

// There is nobody to tell, and a firewall goes on.
process.stderr.on("error", () => {});

// No top-level await: bytecode can't have it.
main(process.argv.slice(2)).then((status) => {
  process.exitCode = isOutputLost ? 1 : status;
});
