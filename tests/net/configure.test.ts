// A configuration on trial, and one that is saved, with a running firewall and its own file: what goes back, what stays over the
// firewall's death, and what is not written.
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { configuration } from "../../lab/places.ts";

const lab = new FirewallLab("configure");
const run = join(lab.folder, "run");
const other = join(lab.folder, "other.toml");
const OLD = configuration(["accept proto=tcp dstports=80"]);
const NEW = configuration(["accept proto=tcp dstports=80", "accept proto=icmp"]);
let program: Program;

const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${run}`, ...command];
const verb = (...args: readonly string[]) => lab.firewall.attempt(inFolder(firebreak(...args)));
const rules = async () => (await verb("rules", "--json")).stdout.trim().split("\n").length - 1;
const configured = async () => JSON.parse((await verb("status", "--json")).stdout).configuration;

async function start(): Promise<void> {
  program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
}

beforeAll(async () => {
  lab.writeConfig(OLD);
  writeFileSync(other, NEW);
  await start();
}, 60_000);
afterAll(() => lab.close());

test("what is not confirmed goes back by itself, and status says until when", async () => {
  const said = program.text.length;
  const { stdout, status } = await verb("configure", other, "--confirm", "5s");
  expect([status, stdout]).toEqual([
    0,
    expect.stringMatching(/^in force, until \S+Z unless confirmed: firebreak configure --confirm\n$/),
  ]);
  expect(await rules()).toBe(2);
  const words = (await verb("status")).stdout;
  expect(words).toMatch(/^what is in force is not what was read, which was \S+firewall\.toml as of \S+Z$/m);
  expect(words).toMatch(/^on trial: the one before is in force again at \S+Z /m);
  expect(await configured()).toMatchObject({
    by: "channel",
    name: other,
    differs: true,
    read: { path: lab.configFile },
  });
  await program.says("configuration not confirmed in time: the one before is in force again", said);
  expect(await rules()).toBe(1);
  expect(await configured()).toMatchObject({ by: "file", name: lab.configFile, differs: false });
  expect(await verb("configure", "--confirm")).toEqual({
    status: 1,
    stdout: "",
    stderr: "firebreak: nothing waits to be confirmed: it may have gone back already (firebreak status)\n",
  });
}, 60_000);

test("what is confirmed stays, until the firewall reads its file again", async () => {
  await verb("configure", other, "--confirm", "1h");
  expect(await verb("configure", "--save")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("is on trial"),
  });
  expect(await verb("configure", "--confirm")).toEqual({ status: 0, stdout: "in force\n", stderr: "" });
  expect(await configured()).toMatchObject({ by: "channel", differs: true });
  expect((await configured()).trial_until).toBeUndefined();
  expect(readFileSync(lab.configFile, "utf8")).toBe(OLD);
});

test("a firewall that dies in a trial starts with its file, which nobody has changed", async () => {
  await verb("configure", other, "--confirm", "1h");
  program.signal("SIGKILL");
  await program.end();
  await start();
  expect(await rules()).toBe(1);
  expect(await configured()).toMatchObject({ by: "file", differs: false });
}, 60_000);

test("a trial that is confirmed and saved is in the file, with its mode, and outlives the firewall", async () => {
  chmodSync(lab.configFile, 0o640);
  await verb("configure", other, "--confirm", "1h");
  expect(await verb("configure", "--confirm", "--save")).toEqual({
    status: 0,
    stdout: `in force\nsaved: ${lab.configFile}\n`,
    stderr: "",
  });
  expect(readFileSync(lab.configFile, "utf8")).toBe(NEW);
  expect(statSync(lab.configFile).mode & 0o7777).toBe(0o640);
  expect(readdirSync(lab.folder).filter((name) => name.endsWith(".new"))).toEqual([]);
  expect(await configured()).toMatchObject({ by: "file", differs: false });
  program.signal("SIGKILL");
  await program.end();
  await start();
  expect(await rules()).toBe(2);
}, 60_000);

test("a file that somebody has changed since is left as it is, and nothing is put in force", async () => {
  const theirs = `${NEW}# somebody's work\n`;
  writeFileSync(lab.configFile, theirs);
  writeFileSync(other, OLD);
  const { status, stderr } = await verb("configure", other, "--save");
  expect([status, stderr]).toEqual([1, expect.stringContaining("has changed since the firewall read it")]);
  expect(readFileSync(lab.configFile, "utf8")).toBe(theirs);
  expect(await rules()).toBe(2);
  writeFileSync(lab.configFile, NEW);
  writeFileSync(other, "nonsense");
  expect((await verb("configure", other, "--save")).status).toBe(2);
  expect(readFileSync(lab.configFile, "utf8")).toBe(NEW);
});

test("a link stays one: the file that it leads to is written", async () => {
  const real = join(lab.folder, "real.toml");
  renameSync(lab.configFile, real);
  symlinkSync(real, lab.configFile);
  writeFileSync(other, OLD);
  const { stdout } = await verb("configure", other, "--save", "--json");
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual([{ in_force: true, warnings: [] }, { saved: real }]);
  expect(readFileSync(real, "utf8")).toBe(OLD);
  const said = program.text.length;
  program.signal("SIGHUP");
  await program.says("configuration reloaded", said);
  expect(await rules()).toBe(1);
  rmSync(lab.configFile);
  writeFileSync(lab.configFile, OLD);
});

test("words that exclude each other are refused before anything is asked", async () => {
  for (const words of [
    ["--dry-run", "--save"],
    ["--confirm", "5s", "--save"],
    ["--confirm", "soon"],
    ["--confirm", "0"],
  ]) {
    expect((await verb("configure", other, ...words)).status).toBe(2);
  }
  for (const words of [[], ["--confirm", "5s"], ["--json"]]) expect((await verb("configure", ...words)).status).toBe(2);
  expect((await verb("configure", other, "--confirm", "2d")).stderr).toContain(
    '--confirm "2d" is not a time (write 60s or 5m)',
  );
});
