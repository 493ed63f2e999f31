// What dist/firebreak needs of the Linux that it runs on, beside its kernel.
import { expect, test } from "bun:test";
import { join } from "node:path";

const EXECUTABLE = join(import.meta.dir, "../../dist/firebreak");

function readelf(option: string): string {
  const { stdout, exitCode } = Bun.spawnSync(["readelf", "--wide", option, EXECUTABLE]);
  expect(exitCode).toBe(0);
  return stdout.toString();
}

test("it needs glibc's own libraries and no other file", () => {
  const needed = [...readelf("--dynamic").matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  const glibc = ["ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"];
  expect(needed.sort()).toEqual(glibc);
});

test("every glibc since 2.17 has what it needs", () => {
  const versions = [...readelf("--version-info").matchAll(/Name: GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
  expect(versions.length).toBeGreaterThan(0);
  expect(Math.max(...versions)).toBe(17);
});
