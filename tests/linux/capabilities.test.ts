// What keeps BPF programs from reading the kernel's memory. Needs root.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireKernelReads } from "../../src/linux/capabilities.ts";

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file as the kernel's: the mode in force stands in brackets. */
function lockdown(text: string): string {
  const path = join(folder, "lockdown");
  writeFileSync(path, text);
  return path;
}

test("a kernel locked down for confidentiality lets none; one locked down for integrity, or not at all, does", () => {
  expect(() => requireKernelReads(lockdown("none integrity [confidentiality]\n"))).toThrow(
    "the kernel is locked down, and lets no program look at how it keeps frames (boot with lockdown=integrity)",
  );
  for (const text of ["none [integrity] confidentiality\n", "[none] integrity confidentiality\n"]) {
    requireKernelReads(lockdown(text));
  }
  requireKernelReads(join(folder, "none"));
});

test("without the capability it says which is missing", () => {
  const script = `import { requireKernelReads } from "${join(import.meta.dir, "../../src/linux/capabilities.ts")}"; requireKernelReads();`;
  const lesser = ["setpriv", "--bounding-set=-all,+net_admin,+bpf", "--inh-caps=-all"];
  const { stderr, exitCode } = Bun.spawnSync([...lesser, process.execPath, "-e", script]);
  expect([exitCode, stderr.toString()]).toEqual([1, expect.stringContaining("this process lacks CAP_PERFMON\n")]);
});
