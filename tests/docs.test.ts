// The README and the documents are held against the program and against each other: configurations are good, every verdict and every
// key stands in its table, links lead somewhere, and every command is run by a test or named as not runnable here.
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Glob } from "bun";
import { ip } from "../lab/frames.ts";
import { parseConfig, parseDocument } from "../src/config/config.ts";
import { VERDICT_NAMES } from "../src/dataplane/verdict.ts";

const ROOT = join(import.meta.dir, "..");
const DOCUMENTS = ["*.md", "docs/*.md"].flatMap((pattern) => [...new Glob(pattern).scanSync({ cwd: ROOT })]).sort();

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

function tomlOf(file: string): string {
  const [, toml = ""] = /```toml\n(.*?)```/s.exec(read(file)) ?? [];
  return toml;
}

test("the README is a front door: at most 1 500 words", () => {
  expect(read("README.md").trim().split(/\s+/).length).toBeLessThanOrEqual(1500);
});

test.each(["README.md", "docs/CONFIGURATION.md"])("%s shows a configuration that is good", (file) => {
  const result = parseConfig(tomlOf(file), file);
  expect("errors" in result ? result.errors : []).toEqual([]);
  expect("config" in result ? result.config.clients.map(({ name }) => name) : []).toEqual(["work", "lan"]);
});

test("docs/QUBES.md shows a configuration of a qube that is good", () => {
  const qube = { uplinkClient: ip("10.137.0.7"), address: ip("10.137.0.5"), dns: [ip("10.139.1.1"), ip("10.139.1.2")] };
  expect(parseDocument(tomlOf("docs/QUBES.md"), "QUBES.md")).toEqual({ qube: { ...qube, place: "QUBES.md:1: qubes" } });
});

test("docs/CONFIGURATION.md has every key in the table of its section", () => {
  const text = read("docs/CONFIGURATION.md");
  const everything = read("tests/config/everything.toml");
  const keys = Array.from(everything.matchAll(/^([a-z_]+) = /gm), ([, key = ""]) => key);
  expect(keys.length).toBeGreaterThan(30);
  const timeouts = Array.from(tomlOf("docs/CONFIGURATION.md").matchAll(/^([a-z_]+) = /gm), ([, key]) => key);
  const missing = keys.filter((key) => !text.includes(`\`${key}\``) && !timeouts.includes(key));
  expect(missing).toEqual([]);
});

test("docs/VERDICTS.md names every verdict in its table, in order", () => {
  const rows = Array.from(read("docs/VERDICTS.md").matchAll(/^\| ([^|]+?) \| [^|]+ \|$/gm), ([, name]) => name);
  const named = VERDICT_NAMES.filter((name) => !name.startsWith("dropped: malformed "));
  expect(rows.slice(rows.indexOf("forwarded"))).toEqual([...named, "dropped: malformed *protocol*: *fault*"]);
});

test("links lead to files that are there, and tables of contributing to paths that are", () => {
  const broken = DOCUMENTS.flatMap((file) =>
    Array.from(read(file).matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g), ([, link = ""]) => link)
      .filter((link) => !existsSync(join(ROOT, dirname(file), link)))
      .map((link) => `${file}: ${link}`),
  );
  expect(broken).toEqual([]);
  const paths = Array.from(
    read("CONTRIBUTING.md").matchAll(/`((?:src|lab|tests|build|bench)\/[^`*]*)`/g),
    ([, p = ""]) => p,
  );
  expect(paths.length).toBeGreaterThan(15);
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

/** Lines of code blocks that are commands, without what follows a comment sign. */
function commandsOf(file: string): string[] {
  const blocks = read(file).matchAll(/^```(?:sh)?\n(.*?)^```$|((?:^ {4}\S.*\n?)+)/gms);
  return Array.from(blocks, ([, fenced, indented]) => fenced ?? indented ?? "")
    .join("\n")
    .replaceAll(/ *\\\n */g, " ")
    .split("\n")
    .map((line) => line.replace(/ {2,}#.*| # .*/, "").trim())
    .filter((line) =>
      /^(?:sudo |bun |ip |FIREBREAK=|qvm-|qubes|systemd-run|build\/appliance|dist\/|node_modules\/|sha256sum|\(cd)/.test(
        line,
      ),
    );
}

/** Commands that documents show, and the file that runs each: CI, the script that CI runs, or a test. */
const RUN_BY: readonly (readonly [command: RegExp, file: string, text: string])[] = [
  [/^build\/appliance\.sh test$/, ".ci/run", "build/appliance.sh test"],
  [/^build\/appliance\.sh setup$/, "build/appliance.sh", '  setup "$manifest"\n'],
  [/^build\/appliance\.sh build$/, "build/test.sh", "  build\n"],
  [/^build\/appliance\.sh demo$/, "tests/vm/verbs.test.ts", '"demo"'],
  [/^build\/appliance\.sh run firebreak\.toml -nic tap,… -nic tap,…$/, "tests/vm/verbs.test.ts", '"run"'],
  [/^build\/appliance\.sh qubes$/, "tests/vm/verbs.test.ts", '"qubes"'],
  [/^dist\/firebreak run --config firebreak\.toml$/, "lab/firewall-lab.ts", '"run", "--config"'],
  [/^FIREBREAK=dist\/firebreak docs\/namespace\.sh /, "tests/net/lifecycle.test.ts", "../../docs/namespace.sh"],
  [/^ip (?:link|address) /, "tests/net/lifecycle.test.ts", "../../docs/NAMESPACE.md"],
  [/^node_modules\/\.bin\/tsc -p \.$/, "build/test.sh", "node_modules/.bin/tsc -p ."],
  [/^node_modules\/\.bin\/biome check \.$/, "build/test.sh", "node_modules/.bin/biome check ."],
  [/^node_modules\/\.bin\/bun test \.\/tests\/dataplane$/, "build/test.sh", "node_modules/.bin/bun test"],
];

/** Documents that say of themselves which of their commands nobody can run here, and those commands. */
const NOT_HERE = {
  file: "docs/QUBES.md",
  says: "no test runs them",
  commands: /^(?:sudo |qvm-|qubes-prefs|sha256sum|systemd-run|\(cd \/var)/,
};

/** These are run below. */
const RUN_HERE = /^dist\/firebreak (?:check|explain|replay) /;

describe("every command in the documents", () => {
  const all = DOCUMENTS.flatMap((file) => commandsOf(file).map((command) => ({ file, command })));

  test("is run by a test, or its document says that none can run it here", () => {
    expect(all.length).toBeGreaterThan(25);
    const unknown = all.filter(({ file, command }) => {
      if (RUN_HERE.test(command) || RUN_BY.some(([pattern]) => pattern.test(command))) return false;
      return file !== NOT_HERE.file || !NOT_HERE.commands.test(command);
    });
    expect(unknown).toEqual([]);
    expect(read(NOT_HERE.file).includes(NOT_HERE.says)).toBeTrue();
  });

  test.each(RUN_BY)("%p is run by %s", (pattern, file, text) => {
    expect(all.some(({ command }) => pattern.test(command))).toBeTrue();
    expect(read(file).includes(text)).toBeTrue();
  });

  const here = all.filter(({ command }) => RUN_HERE.test(command));
  test.each(here)("$command works as $file shows it", ({ command }) => {
    const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
    try {
      writeFileSync(join(folder, "firebreak.toml"), tomlOf("docs/CONFIGURATION.md"));
      writeFileSync(join(folder, "client.pcap"), readFileSync(join(ROOT, "tests/captures/http-client.pcap")));
      const [, ...args] = command.split(" ");
      const run = Bun.spawnSync([process.execPath, join(ROOT, "src/main.ts"), ...args], { cwd: folder });
      expect([run.exitCode, run.stderr.toString()]).toEqual([0, ""]);
      expect(run.stdout.toString()).not.toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
