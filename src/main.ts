// The only entry of the program: finds the verb and lets it run.
import { version } from "../package.json" with { type: "json" };
import { reasonOf } from "./base/reason.ts";
import { appliance } from "./verbs/appliance.ts";
import { readInputs } from "./verbs/manifest.ts";
import { restore } from "./verbs/restore.ts";
import { run } from "./verbs/run.ts";
import { UsageError, type Verb } from "./verbs/verb.ts";

/** Defined as true by build/image.sh for the executable that the image has: there nobody types a command. */
declare const FIREBREAK_IN_IMAGE: boolean | undefined;

type Verbs = Readonly<Record<string, Verb>>;

/** What forwards. */
const OWN_VERBS: Verbs = { run, restore, appliance };

/** All others, which a program that forwards does not even load. */
async function userVerbs(): Promise<Verbs> {
  // One expression: the bundler leaves out what only the other arm imports, but not what stands behind a return.
  return typeof FIREBREAK_IN_IMAGE !== "undefined" && FIREBREAK_IN_IMAGE
    ? {}
    : (await import("./verbs/for-users.ts")).USER_VERBS;
}

async function findVerb(name: string): Promise<Verb | undefined> {
  if (Object.hasOwn(OWN_VERBS, name)) return OWN_VERBS[name];
  const verbs = await userVerbs();
  return Object.hasOwn(verbs, name) ? verbs[name] : undefined;
}

async function helpText(): Promise<string> {
  const { run, ...rest } = OWN_VERBS;
  const verbs = Object.entries({ run, ...(await userVerbs()), ...rest });
  return `Usage: firebreak VERB [ARGUMENTS…]

Firebreak, a firewall appliance: the NAT router and firewall of other machines.

Verbs:
${verbs.map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`).join("\n")}

firebreak help VERB, or firebreak VERB --help, says more of a verb; firebreak --version, or -V, prints
the version, with --verbose also versions and SHA-256 sums of what it was made of.

Exit status: 0 fine, 1 failed, 2 bad usage or configuration.
`;
}

/** @returns the exit status. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--help" || name === "-h") return print(await helpText());
  if (name === "help") return help(rest);
  if (name === "--version" || name === "-V") {
    return print(`firebreak ${version}\n${rest.includes("--verbose") ? await readInputs() : ""}`);
  }
  const verb = await findVerb(name ?? "");
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
async function help([name, ...more]: readonly string[]): Promise<number> {
  if (name === undefined) return print(await helpText());
  const verb = await findVerb(name);
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
