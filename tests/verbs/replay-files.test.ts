// What `firebreak replay` reads and writes: files of all kinds are read as tcpdump and Wireshark read them, and none that is read is
// ever written over.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFile, link, mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { patched } from "../support/place.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const ODD = join(import.meta.dir, "../captures/odd");
const CONFIG = `
[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
own_mac = "02:00:00:00:00:fe"
gateway_mac = "02:00:00:00:00:02"

[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
own_mac = "02:00:00:00:00:01"
mac = "02:00:00:00:00:0a"
policy = "accept"
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "firebreak-replay-files-"));
  await Bun.write(join(folder, "firebreak.toml"), CONFIG);
});
afterAll(() => rm(folder, { recursive: true }));

interface Outcome {
  readonly status: number;
  /** Of each frame, without time, rule and flow. */
  readonly frames: readonly string[];
  readonly errors: readonly string[];
}

/** @param inputs what stands behind each --in @param stdin a file */
async function replay(inputs: readonly string[], out = join(folder, "out"), stdin?: string): Promise<Outcome> {
  const args = ["replay", "--config", join(folder, "firebreak.toml"), "--out", out];
  const child = Bun.spawn([process.execPath, MAIN, ...args, ...inputs.flatMap((input) => ["--in", input])], {
    cwd: folder,
    stdin: stdin === undefined ? "ignore" : Bun.file(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith(" ")); // without the totals
  return {
    status: await child.exited,
    frames: lines.map((line) => line.replace(/^\S+ \S+ /, "").replace(/;.*/, "")),
    errors: errors.split("\n").filter((line) => line !== ""),
  };
}

const warning = (name: string, text: string) => `firebreak: replay: warning: ${join(ODD, name)}: ${text}`;

describe("odd captures", () => {
  test("with obsolete packet blocks are read", async () => {
    const { status, frames, errors } = await replay([`eth0=${ODD}/obsolete-pb.pcapng`]);
    expect([status, frames, errors]).toEqual([0, ["eth0 #1 forwarded", "eth0 #2 forwarded", "eth0 #3 forwarded"], []]);
  });

  test("that are cut have all their whole records handled, then the error", async () => {
    const { status, frames, errors } = await replay([`eth0=${ODD}/cut.pcap`]);
    expect([status, frames]).toEqual([1, ["eth0 #1 forwarded", "eth0 #2 forwarded"]]);
    expect(errors.length).toBe(1);
    expect(errors[0]).toContain("cut.pcap: byte 154: a record announces 47 bytes, there are 40 (the file is cut short");
    expect((await readCapture(await Bun.file(join(folder, "out/eth1.pcap")).bytes())).frames.length).toBe(2);
  });

  test("with several link types have their Ethernet frames used, and the others counted and named", async () => {
    const { status, frames, errors } = await replay([`eth0=${ODD}/mixed.pcapng`]);
    expect([status, frames]).toEqual([0, ["eth0 #1 forwarded", "eth0 #3 forwarded"]]);
    const text = "1 frame of link type 113 (Linux cooked, as of tcpdump -i any) left out";
    expect(errors).toEqual([warning("mixed.pcapng", text)]);
  });

  test("are used where they are cooked, when that is what was asked for", async () => {
    const { status, frames, errors } = await replay([`eth0=${ODD}/mixed.pcapng:0`]);
    expect([status, frames, errors]).toEqual([0, ["eth0 #2 dropped: not to our MAC address"], []]);
  });

  test("whose record says that the frame was shorter than what was captured are read, with a warning", async () => {
    const { status, frames, errors } = await replay([`eth0=${ODD}/len0.pcap`]);
    expect([status, frames]).toEqual([0, ["eth0 #1 forwarded", "eth0 #2 forwarded"]]);
    expect(errors).toEqual([warning("len0.pcap", "1 frame with more bytes than the record tells: taken as captured")]);
  });

  test("whose time has a second and more behind the point are read, with a warning", async () => {
    const late = join(folder, "late.pcap");
    const whole = (await Bun.file(join(ODD, "cut.pcap")).bytes()).subarray(0, 146);
    await Bun.write(late, patched(whole, 24 + 4, 0x60, 0xe3, 0x16, 0)); // 1 500 000 µs
    const { status, frames, errors } = await replay([`eth0=${late}`]);
    expect([status, frames]).toEqual([0, ["eth0 #1 forwarded", "eth0 #2 forwarded"]]);
    expect(errors).toEqual([
      `firebreak: replay: warning: ${late}: 1 frame with a second or more behind the point: counted as seconds`,
    ]);
    const [first] = (await readCapture(await Bun.file(join(folder, "out/eth1.pcap")).bytes())).frames;
    expect([first.seconds, first.nanoseconds]).toEqual([2, 500_000_000]);
  });
});

describe("one interface of a capture", () => {
  const both = join(ODD, "both.pcapng");

  test("is chosen by its number or its name there", async () => {
    const { status, frames, errors } = await replay([`eth0=${both}:0`, `eth1=${both}:eth1`]);
    expect([status, errors]).toEqual([0, []]);
    expect(frames).toEqual(["eth0 #1 forwarded", "eth1 #2 forwarded", "eth0 #3 forwarded"]);
  });

  test("has to be chosen, or all are taken as one, with a warning that says how", async () => {
    const { status, frames, errors } = await replay([`eth0=${both}`]);
    expect([status, frames.length]).toEqual([0, 3]);
    const choice = "frames of several interfaces, 0 (eth0), 1 (eth1), all taken as eth0's";
    expect(errors).toEqual([warning("both.pcapng", `${choice} (choose with --in eth0=${both}:eth0)`)]);
  });

  test("that is not there is refused, with those that are", async () => {
    const { status, frames, errors } = await replay([`eth0=${both}:lo`]);
    expect([status, frames]).toEqual([1, []]);
    const text = 'byte 0: no frame is of interface "lo" (write one of these: 0 (eth0), 1 (eth1))';
    expect(errors).toEqual([`firebreak: replay: ${both}: ${text}`]);
  });

  test("is not meant by a colon in a file's own name", async () => {
    await copyFile(both, join(folder, "a:eth1"));
    expect((await replay(["eth0=a:eth1"])).frames.length).toBe(3);
    expect((await replay(["eth0=a:eth1:eth1"])).frames.length).toBe(1);
  });
});

describe("compressed captures and pipes", () => {
  const compress = async (command: readonly string[], name: string) => {
    const child = Bun.spawnSync([...command, join(ODD, "obsolete-pb.pcapng")]);
    expect(child.exitCode).toBe(0);
    await Bun.write(join(folder, name), child.stdout);
    return join(folder, name);
  };
  const three = ["eth0 #1 forwarded", "eth0 #2 forwarded", "eth0 #3 forwarded"];

  for (const [name, command] of [
    ["gzip", ["gzip", "-c"]],
    ["zstd", ["zstd", "-qc"]],
  ] as const) {
    test(`of ${name} are read, from a file and from standard input, also cut and in two parts`, async () => {
      const file = await compress(command, `small.${name}`);
      expect(await replay([`eth0=${file}`])).toEqual({ status: 0, frames: three, errors: [] });
      expect(await replay(["eth0=-"], undefined, file)).toEqual({ status: 0, frames: three, errors: [] });
      const bytes = await Bun.file(file).bytes();
      await Bun.write(join(folder, "twice"), Buffer.concat([bytes, bytes]));
      expect((await replay([`eth0=${folder}/twice`])).frames.length).toBe(6);
      await Bun.write(join(folder, "cut"), bytes.subarray(0, -2));
      const { status, frames, errors } = await replay([`eth0=${folder}/cut`]);
      expect([status, frames]).toEqual([1, three]);
      expect(errors).toEqual([
        `firebreak: replay: ${folder}/cut: byte ${bytes.length - 2}: can't be decompressed: unexpected end of file ` +
          "(the file is damaged or cut short: copy it anew)",
      ]);
    });
  }

  test("may be one interface of standard input", async () => {
    const { frames } = await replay(["eth1=-:eth1"], undefined, join(ODD, "both.pcapng"));
    expect(frames).toEqual(["eth1 #2 dropped: unsolicited"]);
  });

  test("can't both be standard input", async () => {
    const { status, errors } = await replay(["eth0=-", "eth1=-:1"], undefined, join(ODD, "both.pcapng"));
    expect([status, errors]).toEqual([
      2,
      ["firebreak: replay: standard input can be only one --in (see firebreak replay --help)"],
    ]);
  });

  test("are judged as they come: a line is out before the next frame is in", async () => {
    const bytes = await Bun.file(join(ODD, "cut.pcap")).bytes();
    const args = ["replay", "--config", "firebreak.toml", "--in", "eth0=-", "--out", "live"];
    const child = Bun.spawn([process.execPath, MAIN, ...args], { cwd: folder, stdin: "pipe", stdout: "pipe" });
    const output = child.stdout.getReader();
    for (const [from, to] of [
      [0, 85],
      [85, 146],
    ]) {
      child.stdin.write(bytes.subarray(from, to));
      child.stdin.flush();
      const { value } = await output.read();
      expect(new TextDecoder().decode(value)).toContain(`eth0 #${from === 0 ? 1 : 2} forwarded`);
    }
    child.stdin.end();
    expect(await child.exited).toBe(0);
  });

  /** @returns what a folder in `folder` has in it */
  const namesIn = async (name: string) => (await readdir(join(folder, name))).sort();

  test("leave nothing where nobody reads on, but what was there before", async () => {
    const script = `"$@" | head -n 1; echo "\${PIPESTATUS[0]}"`;
    const args = ["replay", "--config", "firebreak.toml", "--in", `eth0=${folder}/many.pcap`, "--out", "piped"];
    const whole = (await Bun.file(join(ODD, "cut.pcap")).bytes()).subarray(0, 146);
    const records = Array.from({ length: 20_000 }, () => whole.subarray(24));
    await Bun.write(join(folder, "many.pcap"), Buffer.concat([whole.subarray(0, 24), ...records]));
    await Bun.write(join(folder, "piped/eth1.pcap"), "of last time");
    const child = Bun.spawnSync(["bash", "-c", script, "bash", process.execPath, MAIN, ...args], { cwd: folder });
    expect(child.stderr.toString()).toBe(
      "firebreak: replay: nobody reads standard output any more, so nothing is written (--quiet prints less)\n",
    );
    expect(child.stdout.toString()).toMatch(/^0\.000000 \S+Z eth0 #1 forwarded.*\n1\n$/);
    expect(await namesIn("piped")).toEqual(["eth1.pcap"]);
    expect(await Bun.file(join(folder, "piped/eth1.pcap")).text()).toBe("of last time");
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("that %s stops leave nothing", async (signal) => {
    const args = ["replay", "--config", "firebreak.toml", "--in", "eth0=-", "--out", `stopped-${signal}`];
    const html = ["--html", `${signal}.html`];
    const options = { cwd: folder, stdin: "pipe", stdout: "pipe" } as const;
    const child = Bun.spawn([process.execPath, MAIN, ...args, ...html], options);
    child.stdin.write((await Bun.file(join(ODD, "cut.pcap")).bytes()).subarray(0, 85));
    child.stdin.flush();
    await child.stdout.getReader().read();
    expect(await namesIn(`stopped-${signal}`)).toEqual(["eth0.pcap.part", "eth1.pcap.part"]);
    child.kill(signal);
    await child.exited;
    expect(child.signalCode).toBe(signal);
    expect(await namesIn(`stopped-${signal}`)).toEqual([]);
    expect((await readdir(folder)).filter((name) => name.startsWith(signal))).toEqual([]);
  });
});

describe("what is read is never written over", () => {
  const original = join(ODD, "obsolete-pb.pcapng");

  /** Replays into a new folder that `prepare` has put something in, and expects that nothing is written. */
  async function refused(prepare: (out: string) => Promise<readonly string[]>): Promise<readonly string[]> {
    const out = join(folder, "guarded");
    await rm(out, { recursive: true, force: true });
    await mkdir(out);
    const inputs = await prepare(out);
    const before = await contents(out);
    const { status, frames, errors } = await replay(inputs, out);
    expect([status, frames]).toEqual([2, []]);
    expect(await contents(out)).toEqual(before);
    return errors.map((error) => error.replaceAll(folder, "DIR"));
  }

  async function contents(directory: string): Promise<readonly (readonly [string, string])[]> {
    const names = (await readdir(directory)).sort();
    return Promise.all(names.map(async (name) => [name, await Bun.file(join(directory, name)).text()] as const));
  }

  const told = (file: string, input: string) =>
    `firebreak: replay: --out DIR/guarded would overwrite DIR/guarded/${file}, which is read (as ${input}) ` +
    "(name another directory)";

  test("by its own name", async () => {
    const errors = await refused(async (out) => {
      await copyFile(original, join(out, "eth0.pcap"));
      return [`eth0=${out}/eth0.pcap`];
    });
    expect(errors).toEqual([told("eth0.pcap", "DIR/guarded/eth0.pcap")]);
  });

  test("through a path that goes round", async () => {
    const errors = await refused(async (out) => {
      await copyFile(original, join(out, "eth1.pcap"));
      return ["eth0=guarded/../guarded/./eth1.pcap:0"];
    });
    expect(errors).toEqual([told("eth1.pcap", "guarded/../guarded/./eth1.pcap")]);
  });

  test("through links of both kinds, in both directions", async () => {
    const soft = await refused(async (out) => {
      await copyFile(original, join(folder, "precious.pcapng"));
      await symlink(join(folder, "precious.pcapng"), join(out, "eth1.pcap"));
      return [`eth0=${folder}/precious.pcapng`];
    });
    expect(soft).toEqual([told("eth1.pcap", "DIR/precious.pcapng")]);
    const hard = await refused(async (out) => {
      await link(join(folder, "precious.pcapng"), join(out, "eth0.pcap"));
      await symlink(join(out, "eth0.pcap"), join(folder, "alias"));
      return [`eth1=${folder}/alias`];
    });
    expect(hard).toEqual([told("eth0.pcap", "DIR/alias")]);
  });

  test("from standard input, the configuration, and where a capture is written before it is whole", async () => {
    const out = join(folder, "guarded");
    await rm(out, { recursive: true, force: true });
    await mkdir(out);
    await copyFile(original, join(out, "eth1.pcap.part"));
    const piped = await replay(["eth0=-"], out, join(out, "eth1.pcap.part"));
    expect([piped.status, piped.errors.map((error) => error.replaceAll(folder, "DIR"))]).toEqual([
      2,
      [told("eth1.pcap.part", "-")],
    ]);
    const configured = await refused(async (into) => {
      await link(join(folder, "firebreak.toml"), join(into, "eth0.pcap"));
      return [`eth0=${original}`];
    });
    expect(configured).toEqual([told("eth0.pcap", "DIR/firebreak.toml")]);
  });

  test("nor is anything through a link where a capture is begun", async () => {
    const out = join(folder, "linked");
    await mkdir(out);
    await Bun.write(join(folder, "elsewhere"), "precious");
    await symlink(join(folder, "elsewhere"), join(out, "eth1.pcap.part"));
    expect((await replay([`eth0=${original}`], out)).status).toBe(0);
    expect(await Bun.file(join(folder, "elsewhere")).text()).toBe("precious");
    expect((await readdir(out)).sort()).toEqual(["eth0.pcap", "eth1.pcap"]);
  });

  test("but what is only in the way is, when the new one is whole", async () => {
    const out = join(folder, "fresh");
    await mkdir(out);
    await Bun.write(join(out, "eth1.pcap"), "of last time");
    expect((await replay([`eth0=${original}`], out)).status).toBe(0);
    expect((await readdir(out)).sort()).toEqual(["eth0.pcap", "eth1.pcap"]);
    expect((await readCapture(await Bun.file(join(out, "eth1.pcap")).bytes())).frames.length).toBe(3);
  });
});
