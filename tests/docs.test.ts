// The README and the documents are held against the program and against each other: configurations are good, every verdict and every
// key stands in its table, links and paths lead somewhere, and every command is run by a test or said to be run by none.
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Glob } from "bun";
import { ip } from "../lab/frames.ts";
import { parseConfig, parseDocument } from "../src/config/config.ts";
import { VERDICT_NAMES, VERDICT_SLUGS } from "../src/dataplane/verdict.ts";

const ROOT = join(import.meta.dir, "..");
const PCAP_HEADER_LENGTH = 24;
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
  const keys = Array.from(everything.matchAll(/^([a-z0-9_]+) = /gm), ([, key = ""]) => key);
  expect(keys.length).toBeGreaterThan(30);
  const timeouts = Array.from(tomlOf("docs/CONFIGURATION.md").matchAll(/^([a-z0-9_]+) = /gm), ([, key]) => key);
  const missing = keys.filter((key) => !text.includes(`\`${key}\``) && !timeouts.includes(key));
  expect(missing).toEqual([]);
});

test("docs/VERDICTS.md names every verdict in its table, in order", () => {
  const text = read("docs/VERDICTS.md");
  const rows = Array.from(text.matchAll(/^\| ([^|]+?) \| `[a-z0-9-]+`…? \| [^|]+ \|$/gm), ([, name]) => name);
  const named = VERDICT_NAMES.filter((name) => !name.startsWith("dropped: malformed "));
  expect(rows.slice(rows.indexOf("forwarded"))).toEqual([...named, "dropped: malformed *protocol*: *fault*"]);
});

test("docs/VERDICTS.md promises the slug of every verdict, each in its row", () => {
  const text = read("docs/VERDICTS.md");
  for (const [verdict, slug] of VERDICT_SLUGS.entries()) {
    const name = VERDICT_NAMES[verdict];
    const isFault = name.startsWith("dropped: malformed ");
    expect(text).toContain(isFault ? `\`${slug}\`` : `| ${name} | \`${slug}\` |`);
  }
});

test("links lead to files that are there, and so do paths", () => {
  const broken = DOCUMENTS.flatMap((file) =>
    Array.from(read(file).matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g), ([, link = ""]) => link)
      .filter((link) => !existsSync(join(ROOT, dirname(file), link)))
      .map((link) => `${file}: ${link}`),
  );
  expect(broken).toEqual([]);
  const paths = DOCUMENTS.flatMap((file) =>
    Array.from(
      read(file).matchAll(/`((?:src|lab|tests|build|bench|docs|rootfs)\/[^`*\s]*)`/g),
      ([, path = ""]) => path,
    ),
  );
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

/** How a command begins, where running text names one: `build/image.sh` alone is a file. */
const COMMAND =
  /^(?:\.ci\/run$|build\/[a-z-]+\.sh |build\/fresh-machine\.sh$|bun |npm |npx |(?:dist\/)?firebreak [a-zV-]|dist\/\w+ |node_modules\/|qubes-prefs|qvm-\S+ |sha256sum|sudo |systemd-run)/;

/**
 * The commands that a document shows: every line of its indented blocks, without what follows a comment sign, and what running
 * text has in code quotes. Blocks between fences are configurations and figures; a command there would not be looked at.
 */
function commandsOf(file: string): string[] {
  const text = read(file).replaceAll(/^```.*?^```$/gms, "");
  const blocks = text
    .replaceAll(/ *\\\n */g, " ")
    .split("\n")
    .filter((line, i, lines) => line.startsWith("    ") && isInBlock(lines, i))
    .map((line) => line.replace(/ +# .*/, "").trim());
  const quoted = text.replaceAll(/^ {4}.*$/gm, "").matchAll(/`([^`]+)`/g);
  return [...blocks, ...Array.from(quoted, ([, code = ""]) => code.replaceAll("\n", " ")).filter(isCommand)];
}

const isCommand = (code: string): boolean => COMMAND.test(code);

/** Whether an indented line is of a block: before the block there is an empty line. */
function isInBlock(lines: readonly string[], at: number): boolean {
  let first = at;
  while (lines[first - 1]?.startsWith("    ")) first--;
  return lines[first - 1]?.trim() === "";
}

/** Commands that documents show, and the file that runs each: CI, the script that CI runs, or a test. */
const RUN_BY: readonly (readonly [command: RegExp, file: string, text: string])[] = [
  [/^\.ci\/run$/, ".ci/run", "exec build/appliance.sh test"],
  [/^build\/appliance\.sh test$/, ".ci/run", "build/appliance.sh test"],
  [/^build\/appliance\.sh setup$/, "build/appliance.sh", '  setup "$manifest"\n'],
  [/^build\/appliance\.sh build$/, "build/test.sh", "  build\n"],
  [/^build\/appliance\.sh executable$/, "tests/build/executable-alone.test.ts", "build/appliance.sh executable"],
  [/^build\/appliance\.sh demo$/, "tests/vm/verbs.test.ts", 'start("demo")'],
  [
    /^build\/appliance\.sh run firebreak\.toml -nic tap,… -nic tap,…$/,
    "tests/vm/verbs.test.ts",
    'start("run", config, ',
  ],
  [/^build\/appliance\.sh qubes$/, "tests/vm/verbs.test.ts", 'start("qubes")'],
  [/^build\/appliance\.sh qubes firebreak\.toml$/, "tests/build/manifest.test.ts", 'test.each(["build", "qubes"])'],
  [
    /^build\/appliance\.sh (?:build|qubes) --from [A-Z-]+$/,
    "tests/build/manifest.test.ts",
    "appliance.sh build --from",
  ],
  [/^build\/appliance\.sh --help$/, "tests/build/manifest.test.ts", 'test("help needs nothing to be set up'],
  [/^build\/appliance\.sh test-xen$/, "build/test.sh", "count_xen_tests"],
  [/^dist\/firebreak run --config firebreak\.toml$/, "lab/firewall-lab.ts", '"run", "--config"'],
  [/^firebreak attach \/run\/firebreak\/vm1\.port --name vm1$/, "tests/channel/port.test.ts", 'firebreak("attach", '],
  [/^firebreak status --at vm1$/, "tests/vm/control.test.ts", 'ask("status")'],
  [/^firebreak status --json$/, "tests/net/control.test.ts", 'verb("status", "--json")'],
  [/^dist\/firebreak web$/, "tests/net/web.test.ts", 'firebreak("web", '],
  [/^dist\/firebreak status$/, "tests/net/control.test.ts", 'verb("status")'],
  [/^firebreak configure FILE --confirm 60s$/, "tests/net/configure.test.ts", 'verb("configure", other, "--confirm", '],
  [/^firebreak configure --save$/, "tests/net/configure.test.ts", 'verb("configure", "--save")'],
  [/^firebreak configure --confirm$/, "tests/net/configure.test.ts", 'verb("configure", "--confirm")'],
  [
    /^firebreak capture client=work proto=tcp dstports=443 \| wireshark -k -i -$/,
    "tests/net/capture.test.ts",
    'firebreak("capture", "proto=icmp", ',
  ],
  [
    /^firebreak suggest --client work --since 10m$/,
    "tests/net/suggest.test.ts",
    'verb("suggest", "--client", "work", "--since", ',
  ],
  [/^firebreak trace client=work proto=tcp$/, "tests/net/trace.test.ts", '"client=work", "proto=tcp", "--count"'],
  [
    /^(?:dist\/)?firebreak status --at qrexec:firebreak$/,
    "tests/net/qube-channel.test.ts",
    "FIREBREAK_AT=qrexec:firebreak",
  ],
  [/^firebreak flows --bytes (?:SECONDS|5)$/, "tests/net/flow-counts.test.ts", 'verb("flows", "--bytes", '],
  [/^firebreak capture --record$/, "tests/net/capture.test.ts", 'verb("capture", "--record", '],
  [
    /^firebreak capture --last 60s -w FILE$/,
    "tests/net/capture.test.ts",
    'verb("capture", "--last", "60s", "-w", file)',
  ],
  [/^firebreak --version$/, "tests/build/manifest.test.ts", "dist/firebreak --version"],
  [/^FIREBREAK=dist\/firebreak docs\/namespace\.sh /, "tests/net/lifecycle.test.ts", "../../docs/namespace.sh"],
  [/^ip (?:link|address) /, "tests/net/lifecycle.test.ts", "../../docs/NAMESPACE.md"],
  [
    /^node_modules\/\.bin\/tsc -p \. && node_modules\/\.bin\/tsc -p src\/web\/page$/,
    "build/test.sh",
    "node_modules/.bin/tsc -p src/web/page",
  ],
  [/^node_modules\/\.bin\/biome check \.$/, "build/test.sh", "node_modules/.bin/biome check ."],
  [
    /^node_modules\/\.bin\/bun test --timeout 60000 \.\/tests\/(?:dataplane|rfc)$/,
    "build/test.sh",
    "bun test --timeout",
  ],
];

/** Documents that say of some commands that no test runs them; and whether others may name these commands too. */
interface NotRun {
  readonly file: string;
  readonly says: string;
  readonly commands: RegExp;
  readonly isElsewhere: boolean;
}
const NOT_RUN: readonly NotRun[] = [
  {
    file: "docs/QUBES.md",
    says: "Commands for dom0 need Qubes OS, so no test runs them",
    commands: /^(?:sudo |qvm-|qubes-prefs|sha256sum|systemd-run|\(cd \/var)/,
    isElsewhere: false,
  },
  {
    file: "docs/PERFORMANCE.md",
    says: "no test runs it",
    commands: /^build\/appliance\.sh bench$/,
    isElsewhere: true,
  },
  {
    file: "CONTRIBUTING.md",
    says: "no test runs it",
    commands: /^build\/fresh-machine\.sh$/,
    isElsewhere: false,
  },
  {
    file: "docs/ARCHITECTURE.md",
    says: "no test runs it",
    commands: /^node_modules\/\.bin\/bun build\/profile-pages\.ts$/,
    isElsewhere: false,
  },
];

/** The program itself runs these below: whole commands, and verbs that running text names. */
const RUN_HERE = /^dist\/firebreak (?:check|explain|replay) .*\./;
const VERB_NAMED = /^firebreak (?:VERB|[a-z]+)(?: --help)?$/;

describe("every command in the documents", () => {
  const all = DOCUMENTS.flatMap((file) => commandsOf(file).map((command) => ({ file, command })));

  const firebreak = (args: readonly string[], cwd: string) =>
    Bun.spawnSync([process.execPath, join(ROOT, "src/main.ts"), ...args], { cwd });

  test("is run by a test, or a document says that none runs it", () => {
    expect(all.length).toBeGreaterThan(60);
    const isSaid = (file: string, command: string) =>
      NOT_RUN.some((said) => said.commands.test(command) && (file === said.file || said.isElsewhere));
    const unknown = all.filter(({ file, command }) => {
      if (RUN_HERE.test(command) || VERB_NAMED.test(command) || isSaid(file, command)) return false;
      return !RUN_BY.some(([pattern]) => pattern.test(command));
    });
    expect(unknown).toEqual([]);
  });

  test.each(NOT_RUN)("$commands is said in $file to be run by no test", ({ file, says, commands }) => {
    expect(all.some(({ command }) => commands.test(command))).toBeTrue();
    expect(read(file).replaceAll("\n", " ")).toContain(says);
  });

  test("that looks like one stands where it is looked at, not between fences", () => {
    const fenced = DOCUMENTS.flatMap((file) =>
      Array.from(read(file).matchAll(/^```\w*\n(.*?)^```$/gms), ([, t = ""]) => t),
    );
    expect(fenced.length).toBeGreaterThan(4);
    expect(fenced.flatMap((text) => text.split("\n")).filter((line) => isCommand(line.replace(/^\$ /, "")))).toEqual(
      [],
    );
  });

  test.each(RUN_BY)("%p is run by %s", (pattern, file, text) => {
    expect(all.some(({ command }) => pattern.test(command))).toBeTrue();
    expect(read(file).includes(text)).toBeTrue();
  });

  test("names verbs of firebreak that there are", () => {
    const { stdout } = firebreak(["--help"], ROOT);
    const verbs = Array.from(stdout.toString().matchAll(/^ {2}(\w+) /gm), ([, verb]) => verb);
    const named = all.flatMap(({ command }) => /^(?:dist\/)?firebreak ([a-z]+)/.exec(command)?.[1] ?? []);
    expect(new Set(named).size).toBeGreaterThan(3);
    expect(named.filter((verb) => !verbs.includes(verb))).toEqual([]);
  });

  const here = all.filter(({ command }) => RUN_HERE.test(command));
  test.each(here)("$command works as $file shows it", ({ command }) => {
    const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
    try {
      writeFileSync(join(folder, "firebreak.toml"), tomlOf("docs/CONFIGURATION.md"));
      writeFileSync(join(folder, "client.pcap"), readFileSync(join(ROOT, "tests/captures/http-client.pcap")));
      const [, ...args] = command.split(" ");
      const run = firebreak(args, folder);
      expect([run.exitCode, run.stderr.toString()]).toEqual([0, ""]);
      expect(run.stdout.toString()).not.toBe("");
      const [, out] = / --(?:out|html) (\S+)/.exec(command) ?? [];
      const written = out?.endsWith("/") ? `${out}eth1.pcap` : out;
      if (written !== undefined) expect(statSync(join(folder, written)).size).toBeGreaterThan(PCAP_HEADER_LENGTH);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
