// What the running firewall has given up: each of its threads, and of the engine's, is looked at from outside, and tries what it must
// not do.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { configuration, SERVER } from "../../lab/places.ts";
import { readPrivileges } from "../../src/linux/limits/process.ts";
import { buildTrying, CLOSED_FILES, KILLING, REFUSED, THREADS, UNKNOWN } from "../support/forbidden-calls.ts";

/** CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF (linux/capability.h). */
const KEPT = (1n << 12n) | (1n << 13n) | (1n << 38n) | (1n << 39n);
const [EPERM, EACCES, ENOSYS] = [1, 13, 38];
/** As a shell has it of a process that SIGSYS ended. */
const KILLED = 128 + 31;

const lab = new FirewallLab("limits");
const trying = join(lab.folder, "firebreak");

beforeAll(async () => {
  lab.configure([], "accept");
  await buildTrying(trying);
}, 60_000);
afterAll(() => lab.close());

/** @param tries what FIREBREAK_TRIES says */
function start(tries: string): Program {
  return lab.firewall.start(["env", `FIREBREAK_TRIES=${tries}`, trying, "run", "--config", lab.configFile]);
}

async function pings(): Promise<boolean> {
  return (await lab.client.attempt(["ping", "-c", "1", "-W", "5", SERVER])).status === 0;
}

interface ThreadStatus {
  readonly name: string;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly noNewPrivileges: boolean;
  /** 2: it has a filter (proc(5)). */
  readonly seccomp: string | undefined;
}

function threadsOf(pid: number): ThreadStatus[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1];
    return { name: field("Name") ?? "", ...readPrivileges(status), seccomp: field("Seccomp") };
  });
}

test("every thread, the engine's too, has four capabilities, no new privileges and a filter", async () => {
  const program = start("nothing");
  await program.says("ready in");
  expect(await pings()).toBe(true);
  const threads = threadsOf(program.pid);
  const names = threads.map(({ name }) => name);
  expect(names[0]).toBe("firebreak");
  expect(names.some((name) => name.startsWith("JITWorker"))).toBe(true);
  expect(threads.length).toBeGreaterThan(4);
  const restricted = { permitted: KEPT, effective: KEPT, bounding: KEPT, noNewPrivileges: true, seccomp: "2" };
  expect(threads).toEqual(names.map((name) => ({ name, ...restricted })));
  program.signal("SIGKILL"); // its third thread is there for the test alone, and nobody would stop it
  await program.end();
});

test("in each of our threads, forbidden calls fail, and files are closed", async () => {
  const program = start("errors");
  for (const thread of THREADS) await program.says(new RegExp(`tried in ${thread}: .*\\.\\n`));
  const expected = {
    ...Object.fromEntries(Object.keys(REFUSED).map((name) => [name, EPERM])),
    ...Object.fromEntries(Object.keys(UNKNOWN).map((name) => [name, ENOSYS])),
    ...Object.fromEntries(CLOSED_FILES.map((name) => [name, EACCES])),
  };
  expect(Object.keys(REFUSED).length).toBeGreaterThanOrEqual(20);
  for (const thread of THREADS) {
    const [, tried = ""] = new RegExp(`tried in ${thread}: (.*)\\.\\n`).exec(program.text) ?? [];
    expect({ thread, ...JSON.parse(tried) }).toEqual({ thread, ...expected });
  }
  expect(await pings()).toBe(true);
  program.signal("SIGKILL");
  await program.end();
});

const ENDINGS = Object.keys(KILLING).map((name) => ["control", name] as const);
test.each([...ENDINGS, ["dataplane", "execve"], ["devices", "execve"]] as const)(
  "in the thread for %s, %s ends the program",
  async (thread, name) => {
    const program = start(`${thread} ${name}`);
    expect(await program.end()).toBe(KILLED);
  },
  20_000,
);

test("with the capabilities that docs/firebreak.service gives it, it runs, on the kernel path", async () => {
  const unit = readFileSync(join(import.meta.dir, "../../docs/firebreak.service"), "utf8");
  const [, names = ""] = /^CapabilityBoundingSet=(.*)$/m.exec(unit) ?? [];
  const given = names.toLowerCase().replaceAll("cap_", "+").replaceAll(" ", ",");
  const powerless = ["setpriv", "--no-new-privs", `--bounding-set=-all,${given}`, "--inh-caps=-all"];
  const program = lab.firewall.start([...powerless, trying, "run", "--config", lab.configFile]);
  await program.says("ready in");
  expect(program.text).not.toContain("kernel path: off");
  expect(threadsOf(program.pid).every(({ permitted, bounding }) => permitted === KEPT && bounding === KEPT)).toBe(true);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("a mark in the environment does not do in place of the restrictions", async () => {
  const marked = ["env", "FIREBREAK_RESTRICTED=yes", ...firebreak("run", "--config", lab.configFile)];
  expect(await lab.firewall.attempt(marked)).toEqual({
    status: 1,
    stdout: "",
    stderr:
      "firebreak: the restrictions are not in force, though FIREBREAK_RESTRICTED is set (unset it: nobody else is to set it)\n",
  });
});

test("a kernel without seccomp and Landlock is told in two lines, and the firewall runs", async () => {
  const command = peer("older-kernel", ...firebreak("run", "--config", join(lab.folder, "none.toml")));
  const { status, stdout, stderr } = await lab.firewall.attempt(command);
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: `${lab.folder}/none.toml: can't be read: ENOENT: no such file or directory\n`,
  });
  expect(stdout.replaceAll(/\[.*?\] /g, "")).toBe(
    "files: not restricted, because this kernel has no Landlock\n" +
      "system calls: not filtered, because this kernel has no seccomp\n",
  );
});

test("without root, with capabilities alone, it runs, and keeps no more than it was given", async () => {
  const given = "+net_admin,+net_raw";
  const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const command = [
    ...user,
    `--inh-caps=${given}`,
    `--ambient-caps=${given}`,
    trying,
    "run",
    "--config",
    lab.configFile,
  ];
  chmodSync(lab.folder, 0o755);
  chmodSync(lab.configFile, 0o644);
  const program = lab.firewall.start(command);
  await program.says("ready in");
  expect(await pings()).toBe(true);
  for (const { permitted, effective, seccomp } of threadsOf(program.pid)) {
    const network = KEPT & 0xffffffffn;
    expect({ permitted, effective, seccomp }).toEqual({ permitted: network, effective: network, seccomp: "2" });
  }
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("a reload reads a configuration that another file has become, by its name or behind a link, and no other", async () => {
  const behind = join(lab.folder, "behind");
  mkdirSync(behind);
  const text = configuration([], "accept");
  writeFileSync(join(behind, "real.toml"), text);
  const link = join(lab.folder, "link.toml");
  await lab.firewall.run(["ln", "-s", "behind/real.toml", link]);
  const program = lab.firewall.start(firebreak("run", "--config", link));
  await program.says("ready in");
  const reload = async (what: string) => {
    const said = program.text.length;
    program.signal("SIGHUP");
    await program.says(what, said);
    return program.text.slice(said);
  };
  writeFileSync(join(behind, "new"), text);
  renameSync(join(behind, "new"), join(behind, "real.toml"));
  await reload("configuration reloaded");
  writeFileSync(join(lab.folder, "new"), text);
  renameSync(join(lab.folder, "new"), link);
  await reload("configuration reloaded");
  await lab.firewall.run(["ln", "-sf", "/etc/hostname", link]);
  expect(await reload("configuration not reloaded")).toContain(`${link}: can't be read: EACCES: ${CLOSED}`);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

/** What a folder is for the firewall that it was not started with. */
const CLOSED =
  "permission denied (the firewall reads in the folder alone that it was started with: that has been made anew since, " +
  "or the file is a link out of it; restart it)";

test("a folder that was made anew since is told of, with the remedy", async () => {
  const folder = join(lab.folder, "folder");
  const file = join(folder, "firewall.toml");
  mkdirSync(folder);
  writeFileSync(file, configuration([], "accept"));
  const errors = join(lab.folder, "errors");
  const command = firebreak("run", "--config", file).join(" ");
  const program = lab.firewall.start(["bash", "-c", `exec ${command} 2>${errors}`]);
  await program.says("ready in");
  rmSync(folder, { recursive: true });
  mkdirSync(folder);
  writeFileSync(file, configuration([], "accept"));
  program.signal("SIGHUP");
  await program.says("configuration not reloaded");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  // What was wrong, and what came of it, go to one stream, in this order.
  expect(readFileSync(errors, "utf8")).toBe("");
  expect(program.text).toContain(`${file}: can't be read: EACCES: ${CLOSED}\n`);
  expect(program.text.indexOf("EACCES")).toBeLessThan(program.text.indexOf("configuration not reloaded"));
});

test.each(["<(cat CONFIG)", "/dev/stdin < <(cat CONFIG)"])(
  "a configuration that can be read once is refused: %s",
  async (words) => {
    const command = firebreak("run", "--config").join(" ");
    const { status, stdout, stderr } = await lab.firewall.attempt([
      ...["bash", "-c", `${command} ${words.replace("CONFIG", lab.configFile)}`],
    ]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(
      /^\/dev\/\S+: is no file that a reload can read again \(write the configuration to one\)\n$/,
    );
  },
);

test("root's firewall reads no file that others keep to themselves, and says whose it has to be", async () => {
  const file = join(lab.folder, "private.toml");
  writeFileSync(file, configuration([], "accept"), { mode: 0o600 });
  chownSync(file, 65534, 65534);
  expect(await lab.firewall.attempt(firebreak("run", "--config", file))).toEqual({
    status: 2,
    stdout: "",
    stderr:
      `${file}: can't be read: EACCES: permission denied (it is user 65534's, the firewall user 0's, and not all may ` +
      `read it: chmod a+r ${file}, or chown)\n`,
  });
});

test("a reload takes another interface, also once the kernel has forgotten which files of /proc there were", async () => {
  lab.firewall.ip("link", "add", "eth2", "type", "veth", "peer", "eth3");
  const program = await lab.start();
  writeFileSync("/proc/sys/vm/drop_caches", "2"); // as it does of itself where memory is short
  lab.writeConfig(configuration([], "accept").replace('"eth0"', '"eth2"'));
  await lab.reload();
  lab.configure([], "accept");
  await lab.reload();
  expect(await pings()).toBe(true);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});
