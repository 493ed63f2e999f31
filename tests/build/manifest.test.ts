// What the image was made of: dist/MANIFEST, from which the same image can be built again, elsewhere, or is told why it can't.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const DIST = join(ROOT, "dist");
const MANIFEST = join(DIST, "MANIFEST");
const OUTPUTS = ["MANIFEST", "firebreak", "firebreak-image", "initramfs", "system.squashfs", "vmlinuz"];
/** All that building needs of the repository. */
const SOURCES = "build src rootfs package.json package-lock.json tsconfig.json bunfig.toml";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function shell(script: string, env: Record<string, string> = {}) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["bash", "-euo", "pipefail", "-c", script], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** Lines that are not for people, of kinds. */
function lines(manifest: string, kinds: RegExp): string[] {
  return manifest.split("\n").filter((line) => kinds.test(line));
}

/** A manifest like the real one, but for one line. @returns its path */
function manifestWith(pattern: RegExp, replacement: string): string {
  const changed = readFileSync(MANIFEST, "utf8").replace(pattern, replacement);
  expect(changed).not.toBe(readFileSync(MANIFEST, "utf8"));
  const path = join(folder, "MANIFEST");
  writeFileSync(path, changed);
  return path;
}

test("every line has a kind, a name, a version and a sum, and every output's sum is right", () => {
  const all = lines(readFileSync(MANIFEST, "utf8"), /^[^#]/).map((line) => line.split(/ +/));
  for (const words of all) {
    expect(words).toHaveLength(4);
    expect(words[0]).toMatch(/^(source|npm|installed|deb|config|output)$/);
    expect(words[2]).toMatch(words[0] === "source" || words[0] === "output" || words[0] === "config" ? /^-$/ : /^\d/);
    expect(words[3]).toMatch(/^[0-9a-f]{64}$/);
  }
  const outputs = all
    .filter(([kind]) => kind === "output")
    .map(([, name = "", , sum = ""]) => `${sum}  ${DIST}/${name}\n`);
  expect(outputs).toHaveLength(5);
  writeFileSync(join(folder, "sums"), outputs.join(""));
  expect(shell(`sha256sum --check --strict --quiet ${folder}/sums`)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
});

test("the executable tells what it was made of", () => {
  const { exitCode, stdout } = shell("dist/firebreak --version --verbose");
  const manifest = readFileSync(MANIFEST, "utf8");
  const [, inputs] = /^# The executable\n(.*?)# The kernel\n/ms.exec(manifest) ?? [];
  expect([exitCode, stdout]).toEqual([0, `firebreak 0.1.0\n${inputs}`]);
});

test("in the image it tells what the image was made of", () => {
  const { exitCode, stdout } = shell(`unshare --mount sh -ec '
    cd ${folder}
    zstd --decompress --stdout ${DIST}/initramfs 2>/dev/null | cpio --extract --quiet # what follows is not compressed
    mount -o ro ${DIST}/system.squashfs system
    mount -t proc proc proc
    chroot . /firebreak --version --verbose'`);
  const [inputs] = readFileSync(MANIFEST, "utf8").split("# What came of it\n");
  expect([exitCode, stdout]).toEqual([0, `firebreak 0.1.0\n${inputs}`]);
});

test("what is built from a manifest elsewhere, by somebody else's habits, is the same bytes", () => {
  const elsewhere = mkdtempSync(join(DIST, "elsewhere-"));
  try {
    const copy = shell(
      `
      cp --archive --link node_modules ${elsewhere}/
      umask 077
      find ${SOURCES} ! -type d | LC_ALL=C sort --reverse | tar --create --files-from=- |
        tar --extract --touch --no-same-permissions --no-same-owner --directory=${elsewhere}
      cd ${elsewhere}
      build/appliance.sh build --from ${MANIFEST}`,
      { TZ: "Asia/Kathmandu", LC_ALL: "C", MAKEFLAGS: "" },
    );
    expect(copy.stderr).toBe("");
    expect(copy.exitCode).toBe(0);
    expect(copy.stdout).toEndWith(`== build: the same as ${MANIFEST} says\n`);
    const differing = OUTPUTS.filter(
      (name) => !readFileSync(join(elsewhere, "dist", name)).equals(readFileSync(join(DIST, name))),
    );
    expect(differing).toEqual([]);
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
}, 1_200_000);

test("versions that Debian does not have any more, and sources that are others, are named, and nothing is built", () => {
  const path = manifestWith(/^(installed +zstd +)\S+/m, "$11.2.3-4");
  writeFileSync(
    path,
    readFileSync(path, "utf8")
      .replace(/^(deb +\S+ +)\S+/m, "$16.1.1-1")
      .replace(/^(source +rootfs +- +)./m, "$1x"),
  );
  const built = shell(`build/appliance.sh build --from ${path}`);
  expect(built.exitCode).toBe(1);
  expect(built.stdout).not.toContain("== build: dist/");
  const missing = built.stderr.split("\n").filter((line) => line.startsWith("  ") && !line.includes("without --from"));
  expect(missing).toEqual([
    "  linux-source-6.1 6.1.1-1 is not in Debian's archive any more",
    "  zstd 1.2.3-4 is not in Debian's archive any more",
    "  rootfs differs in this checkout: check out the commit that the manifest is of",
  ]);
}, 300_000);

test("a package of the right version and other contents is told before anything is built", () => {
  const path = manifestWith(/^(installed +cpio +\S+ +)\S+/m, `$1${"0".repeat(64)}`);
  const built = shell(`build/appliance.sh build --from ${path}`);
  expect(built.exitCode).toBe(1);
  expect(built.stdout).not.toContain("== build: dist/");
  expect(lines(built.stderr, /^[<>]/).map((line) => line.split(/ +/).slice(0, 3))).toEqual([
    ["<", "installed", "cpio"],
    [">", "installed", "cpio"],
  ]);
}, 300_000);

test.each(["build", "qubes"])(
  "%s says of a configuration that is not there that it can't be read, before it builds",
  (verb) => {
    const path = join(folder, "firebreak.toml");
    const { exitCode, stdout, stderr } = shell(`build/appliance.sh ${verb} ${path}`);
    const error = `appliance.sh: ${path} can't be read\n  give build the path of a configuration, or nothing\n`;
    expect([exitCode, stdout, stderr]).toEqual([1, "", error]);
  },
);

test("what is no manifest is refused", () => {
  writeFileSync(join(folder, "MANIFEST"), "[uplink]\n");
  const { exitCode, stderr } = shell(`build/appliance.sh build --from ${folder}/MANIFEST`);
  expect([exitCode, stderr]).toEqual([
    1,
    `appliance.sh: ${folder}/MANIFEST: "[uplink]" is no kind of line in a manifest\n  give --from the path of a MANIFEST\n`,
  ]);
}, 300_000);

test("without the network, package lists are told to be old, and setting up goes on with them", () => {
  const apt = join(folder, "apt.conf");
  const stamp = join(folder, "stamp");
  writeFileSync(apt, 'Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::https::Proxy "http://127.0.0.1:9";\n');
  const refresh = `source build/appliance.sh; LISTS_STAMP=${stamp}; refresh_lists; echo "went on"`;
  shell(`touch --date="3 days ago" ${stamp}`);
  const offline = shell(refresh, { APT_CONFIG: apt });
  expect(offline.stdout).toEndWith(
    "== setup: going on with package lists that are 3 days old, because they could not be refreshed (see above)\nwent on\n",
  );
  expect(offline.exitCode).toBe(0);
  shell(`touch ${stamp}`);
  expect(shell(refresh, { APT_CONFIG: apt }).stdout).toBe("went on\n");
}, 300_000);

test("help needs nothing to be set up", () => {
  mkdirSync(join(folder, "checkout"));
  shell(`cp -r build ${folder}/checkout/`);
  const help = (verb: string) => shell(`cd ${folder}/checkout; PATH=/usr/bin:/bin build/appliance.sh ${verb} --help`);
  for (const verb of ["", "setup", "test", "build"]) {
    expect(help(verb).stdout).toStartWith("Usage: build/appliance.sh VERB");
  }
  expect(help("bench").stdout).toStartWith("Usage: build/appliance.sh bench");
  expect(existsSync(join(folder, "checkout/node_modules"))).toBeFalse();
});

test("a skipped test is named and counts as failed", () => {
  const path = join(folder, "some.test.ts");
  writeFileSync(
    path,
    'import { test } from "bun:test";\ntest("runs", () => {});\ntest.skip("is left", () => {});\ntest.todo("is to come");\n',
  );
  const { stdout } = shell(`
    source build/appliance.sh
    passed=0 failed=0
    count_bun_tests "test: some" ${folder}/report.xml ${path} 2>/dev/null
    echo "$passed passed, $failed failed"`);
  expect(stdout).toMatch(
    /skipped, which counts as failed:\n.*some\.test\.ts: is left\n.*some\.test\.ts: is to come\n1 passed, 2 failed\n$/,
  );
});
