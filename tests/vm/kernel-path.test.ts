// Newer kernels no longer refuse what the kernel path once relied on: a firewall that still does finds that out by itself.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "../../lab/machine.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { overlay } from "../../lab/overlay.ts";
import { becomeClient, becomeInternet, configuration, SERVER, serveHttp } from "../../lab/places.ts";
import { buildWithFault } from "../support/kernel-mutants.ts";

setDefaultTimeout(240_000);

const FILE_LENGTH = 5_000_000;
/** MiB: the executable lies in memory, uncompressed. */
const MEMORY = 768;
/** The newest 6.1 that is known to refuse it still: Debian's at its last point release. */
const LAST_TO_REFUSE = 176;

let lab: Lab;
let folder: string;
let client: Namespace;
let internet: Namespace;

beforeAll(() => {
  lab = new Lab("vmkp");
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  client = lab.namespace("client");
  internet = lab.namespace("internet");
});

afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** @returns an executable of the firewall with the old trick in it */
async function buildOldTrick(): Promise<Uint8Array> {
  const outfile = join(folder, "firebreak");
  await buildWithFault("old trick", outfile);
  return readFileSync(outfile);
}

/** @returns the last part of the version of the image's kernel, as the manifest has it: 6.1.N */
function kernelOfImage(): number {
  const manifest = readFileSync(join(import.meta.dir, "../../dist/MANIFEST"), "utf8");
  const [, last] = /^deb +linux-source-6\.1 +6\.1\.(\d+)-/m.exec(manifest) ?? [];
  return Number(last);
}

test("with the old trick in it the firewall refuses the kernel path where the kernel allows it, says so, and a download goes through", async () => {
  const isFoundOut = kernelOfImage() > LAST_TO_REFUSE;
  const content = await buildOldTrick();
  const config = join(folder, "firebreak.toml");
  writeFileSync(config, configuration([], "accept"));
  const initramfs = overlay(folder, { firebreak: { content, mode: 0o755 } });
  const machine = await Machine.boot(lab, folder, [client, internet], { config, initramfs, memory: MEMORY });
  becomeClient(client);
  becomeInternet(internet);
  await machine.says("ready in");
  const isOff = "kernel path: off, because UDP with its checksum left to the interface, from the client: ";
  expect(machine.console.text.includes(isOff)).toBe(isFoundOut);

  const www = join(folder, "www");
  mkdirSync(www);
  const file = randomBytes(FILE_LENGTH);
  writeFileSync(join(www, "file"), file);
  serveHttp(internet, www);
  const fetched = join(folder, "fetched");
  await client.run(["curl", "-sS", "--retry", "5", "--retry-connrefused", "-o", fetched, `http://${SERVER}/file`]);
  expect(sha256(readFileSync(fetched))).toBe(sha256(file));
  expect((await machine.state()).includes("kernel path:")).toBe(!isFoundOut);
  await machine.unplug();
});

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
