// The archive for dom0 of Qubes OS, packed from small files that stand in for the kernel and the initramfs.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SCRIPT = join(import.meta.dir, "../../build/qubes.sh");

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  writeFileSync(join(folder, "kernel"), "a kernel\n");
  writeFileSync(join(folder, "ramdisk"), "an initramfs\n");
  writeFileSync(join(folder, "manifest"), "a manifest\n");
});

afterEach(() => rmSync(folder, { recursive: true }));

function shell(script: string): { exitCode: number; stdout: string } {
  const { exitCode, stdout } = Bun.spawnSync(["bash", "-euo", "pipefail", "-c", script], { cwd: folder });
  return { exitCode, stdout: stdout.toString() };
}

function pack(archive: string, umask = "022"): Buffer {
  const { exitCode } = shell(`umask ${umask}; source ${SCRIPT}; pack_qubes kernel ramdisk manifest ${archive}`);
  expect(exitCode).toBe(0);
  return readFileSync(join(folder, archive));
}

test("has a folder with kernel, initramfs, manifest and their checksums, of nobody's but root's and without times", () => {
  pack("a.tar");
  expect(shell("TZ=UTC tar --list --verbose --numeric-owner --full-time --file a.tar").stdout).toBe(
    `drwxr-xr-x 0/0               0 1970-01-01 00:00:00 firebreak/
-rw-r--r-- 0/0              11 1970-01-01 00:00:00 firebreak/MANIFEST
-rw-r--r-- 0/0              13 1970-01-01 00:00:00 firebreak/initramfs
-rw-r--r-- 0/0             225 1970-01-01 00:00:00 firebreak/sha256sums
-rw-r--r-- 0/0               9 1970-01-01 00:00:00 firebreak/vmlinuz
`,
  );
  const checked = shell(
    "tar -xf a.tar; cmp kernel firebreak/vmlinuz; cd firebreak; sha256sum --check --strict sha256sums",
  );
  expect(checked).toEqual({ exitCode: 0, stdout: "MANIFEST: OK\ninitramfs: OK\nvmlinuz: OK\n" });
});

test("is the same bytes whenever and by whomever the same files are packed, and others for others", () => {
  const first = pack("a.tar");
  chmodSync(join(folder, "kernel"), 0o600);
  utimesSync(join(folder, "ramdisk"), 1000, 1000);
  expect(pack("b.tar", "077").equals(first)).toBeTrue();
  writeFileSync(join(folder, "ramdisk"), "an Initramfs\n");
  expect(pack("c.tar").equals(first)).toBeFalse();
});

test("is not made, and leaves nothing behind, where a file is missing", () => {
  const { exitCode, stdout } = shell(`
    mkdir tmp; export TMPDIR=$PWD/tmp; source ${SCRIPT}
    pack_qubes missing ramdisk manifest a.tar 2>/dev/null || echo "failed"; ls tmp; ls
  `);
  expect([exitCode, stdout]).toEqual([0, "failed\nkernel\nmanifest\nramdisk\ntmp\n"]);
});
