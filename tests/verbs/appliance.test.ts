// Where the appliance finds its configuration: an order of three places, here in a folder that stands for the machine's root.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { findConfiguration } from "../../src/verbs/appliance.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const FIRMWARE_FILE = "sys/firmware/qemu_fw_cfg/by_name/opt/firebreak/config/raw";

let root: string;

function put(file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}

function found(): { text: string; source: string } | undefined {
  const configuration = findConfiguration(root);
  return configuration && { text: new TextDecoder().decode(configuration.bytes), source: configuration.source };
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "firebreak-"));
  put("proc/cmdline", "console=ttyS0 quiet\n");
});

afterEach(() => rmSync(root, { recursive: true }));

describe("the appliance's configuration", () => {
  test("is nowhere on a machine that was given none", () => {
    expect(found()).toBeUndefined();
  });

  test("is in the kernel command line, in base64", () => {
    put("proc/cmdline", `console=ttyS0 firebreak.config=${btoa("a = 'ü=1'\n".replace("ü", "\xc3\xbc"))} quiet\n`);
    expect(found()).toEqual({ text: "a = 'ü=1'\n", source: "firebreak.config" });
  });

  test("is in the initramfs, whatever the kernel command line says", () => {
    put("proc/cmdline", "firebreak.config=YQ==\n");
    put("etc/firebreak.toml", "b = 1\n");
    expect(found()).toEqual({ text: "b = 1\n", source: "/etc/firebreak.toml" });
  });

  test("is in the firmware, whatever the initramfs has", () => {
    put("etc/firebreak.toml", "b = 1\n");
    put(FIRMWARE_FILE, "c = 1\n");
    expect(found()).toEqual({ text: "c = 1\n", source: "opt/firebreak/config" });
  });

  test("is empty when the firmware has an empty one: nothing else is looked for then", () => {
    put("etc/firebreak.toml", "b = 1\n");
    put(FIRMWARE_FILE, "");
    expect(found()).toEqual({ text: "", source: "opt/firebreak/config" });
  });
});

test("on a host, without a configuration, it says what to run there", () => {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, "appliance"], { timeout: 20_000 });
  expect({ exitCode, stdout: stdout.toString(), stderr: stderr.toString() }).toEqual({
    exitCode: 2,
    stdout: "",
    stderr:
      "firebreak: appliance: here is no image of Firebreak, nor a configuration for one " +
      "(on a host: firebreak run --config FILE) (see firebreak appliance --help)\n",
  });
});
