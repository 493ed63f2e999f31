// Finds out which system calls the firewall makes once its filter of them is in force, and writes them to
// src/linux/limits/traced-calls.ts: to be run when code changes, or Bun, and to be read before it is committed. Tests run with a
// firewall whose filter lets everything through, under strace.
// Usage, as root: bun build/trace-calls.ts [TEST…]
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildWith } from "../tests/support/kernel-mutants.ts";

const LIST = "src/linux/limits/traced-calls.ts";
const NUMBERS = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
const TESTS = [
  "lifecycle",
  "reload",
  "names",
  "kernel-path",
  "kernel-trial",
  "programs",
  "refusal-log",
  "nat-punch",
  "control",
];

/** The filter's verdicts become one: so the call that puts it in force is made, and marks from where on calls count. */
const lenient = {
  name: "lenient filter",
  setup(build: Bun.PluginBuilder) {
    build.onLoad({ filter: /\/src\/linux\/limits\/filter\.ts$/ }, async ({ path }) => {
      const source = await Bun.file(path).text();
      const contents = source.replaceAll(/VERDICT\.(?:ERRNO \| \w+|KILL_PROCESS)/g, "VERDICT.ALLOW");
      return { contents, loader: "ts" as const };
    });
  },
};

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
try {
  const executable = join(folder, "firebreak");
  await buildWith(lenient, executable);
  const traces = join(folder, "trace");
  // -D: the firewall, not strace, is the child that tests send signals to.
  const launcher = `strace -D --follow-forks --output-separately --output=${traces} ${executable}`;
  const files = process.argv.length > 2 ? process.argv.slice(2) : TESTS.map((name) => `./tests/net/${name}.test.ts`);
  const tests = Bun.spawn([process.execPath, "test", "--timeout", "600000", ...files], {
    env: { ...process.env, FIREBREAK_LAUNCHER: launcher },
    stdout: "inherit",
    stderr: "inherit",
  });
  if ((await tests.exited) !== 0)
    console.error("some tests failed: under strace all is slow; the list may be short of calls");
  writeFileSync(LIST, listOf(callsIn(folder)));
} finally {
  rmSync(folder, { recursive: true });
}

/** @returns names of the calls that threads made after the filter was in force, or since they began if that was later */
function callsIn(traces: string): Set<string> {
  const calls = new Set<string>();
  for (const file of readdirSync(traces).filter((name) => name.startsWith("trace."))) {
    const lines = readFileSync(join(traces, file), "latin1").split("\n");
    // A process's first thread has execve(2) in its trace. Others are there, or not, before the filter is: all of theirs counts.
    const isFirst = lines.some((line) => line.startsWith("execve("));
    const filtered = lines.findIndex((line) => line.startsWith("seccomp("));
    if (isFirst && filtered < 0) continue;
    for (const line of lines.slice(filtered + 1)) {
      const [, name] = /^(\w+)\(/.exec(line) ?? [];
      if (name !== undefined) calls.add(name);
    }
  }
  return calls;
}

function listOf(calls: ReadonlySet<string>): string {
  const numbers = new Map(
    Array.from(readFileSync(NUMBERS, "utf8").matchAll(/^#define __NR_(\w+) (\d+)$/gm), ([, name, number]) => [
      name,
      number,
    ]),
  );
  const [head] = readFileSync(LIST, "utf8").split("{\n");
  const lines = [...calls].sort().map((name) => `  ${name}: ${numbers.get(name)},\n`);
  return `${head}{\n${lines.join("")}};\n`;
}
