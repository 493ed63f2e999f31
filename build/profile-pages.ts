// Finds out which pages of dist/firebreak a firewall at work uses, and writes them to rootfs/hot-pages: to be run when there is
// another version of Bun. It is run on this host, from a file system without readahead, so that what is in memory afterwards is
// what was asked for, page by page; and in a machine (profile-machine.ts).
// Usage, as root: bun build/profile-pages.ts
import { dlopen, ptr } from "bun:ffi";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FirewallLab } from "../lab/firewall-lab.ts";
import { ROUTER, SERVER, serveDns, serveHttp } from "../lab/places.ts";
import { PAGE, PF, PT, readBuildId, readSegments } from "./elf.ts";
import { pagesInMachine } from "./profile-machine.ts";
import { shell } from "./shell.ts";

const EXECUTABLE = "dist/firebreak";
const LIST = "rootfs/hot-pages";
/** A run's rest is bridged when it is so short, in pages: runs are limited, and each costs the kernel a mapping. */
const BRIDGE = 2;
/** Seconds of traffic, in which the program is compiled and its memory collected. */
const TRAFFIC = 20;

const PROT_READ = 1;
const MAP_SHARED = 1;
const { symbols: libc } = dlopen("libc.so.6", {
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  mincore: { args: ["ptr", "u64", "ptr"], returns: "i32" },
});

async function work(lab: FirewallLab, executable: string): Promise<void> {
  const { client, internet, firewall, configFile } = lab;
  await serveDns(internet);
  serveHttp(internet, "/usr/share/common-licenses");
  await internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
  const rules = [
    "accept dsthost=www.example proto=tcp",
    "accept proto=icmp",
    "accept specialtarget=dns",
    "drop dst4=0.0.0.0/0",
  ];
  lab.configure(rules);
  await firewall.run([executable, "check", configFile]);
  const program = firewall.start([executable, "run", "--config", configFile]);
  await program.says("ready in");
  await client.run(["curl", "-sS", "--retry", "9", "--retry-all-errors", "-o", "/dev/null", `http://${SERVER}/GPL-3`]);
  lab.configure([], "accept");
  program.signal("SIGHUP");
  await program.says("configuration reloaded");
  for (const options of [[], ["--reverse"], ["--udp", "--bitrate", "50M"]]) {
    const seconds = String(TRAFFIC / 4);
    await client.run(["iperf3", "--client", ROUTER, "--time", seconds, ...options]);
  }
  await client.run(["ping", "-c", "20", "-i", "0.1", SERVER]);
  await Bun.sleep((TRAFFIC / 4) * 1000);
  lab.configure(["frobnicate"]);
  program.signal("SIGHUP");
  await program.says("not reloaded");
  program.signal("SIGUSR1");
  await program.says("flows:");
  program.signal("SIGTERM");
  await program.end();
}

/** @returns for each page of the file, whether it is in memory */
function residentPages(path: string): Uint8Array {
  const length = statSync(path).size;
  const resident = new Uint8Array(Math.ceil(length / PAGE));
  const file = openSync(path, "r");
  const address = libc.mmap(null, length, PROT_READ, MAP_SHARED, file, 0n);
  const status = libc.mincore(address, length, ptr(resident));
  libc.munmap(address, length);
  closeSync(file);
  if (status !== 0) throw new Error(`mincore ${path} failed`);
  return resident.map((state) => state & 1);
}

/** @returns for each page of what is not written to, by address / 4096, which page of the file it is */
function constantPages(path: string): Map<number, number> {
  const segments = readSegments(readFileSync(path)).filter(
    ({ type, flags }) => type === PT.LOAD && (flags & PF.WRITE) === 0,
  );
  const pages = segments.flatMap(({ offset, address, fileLength }) => {
    const count = Math.ceil(((offset % PAGE) + fileLength) / PAGE);
    const [inMemory, inFile] = [Math.floor(address / PAGE), Math.floor(offset / PAGE)];
    return Array.from({ length: count }, (_, i) => [inMemory + i, inFile + i] as const);
  });
  return new Map(pages);
}

/** @returns first pages and counts */
function toRuns(pages: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const page of pages) {
    const last = runs.at(-1);
    if (last !== undefined && page - (last[0] + last[1]) <= BRIDGE) last[1] = page - last[0] + 1;
    else runs.push([page, 1]);
  }
  return runs;
}

/** @returns for each page of the file, whether it was used */
async function pagesOnHost(folder: string): Promise<Uint8Array> {
  const executable = join(folder, "mount/firebreak");
  const megabytes = Math.ceil(statSync(EXECUTABLE).size / 1e6) + 16;
  await shell(
    `cd ${folder}; mkdir mount; truncate --size=${megabytes}M image; mkfs.ext2 -q image; mount -o loop image mount; ` +
      `cp ${join(process.cwd(), EXECUTABLE)} mount/firebreak; umount mount; mount -o loop,ro image mount; ` +
      "echo 0 >/sys/block/$(basename $(findmnt --noheadings --output SOURCE mount))/queue/read_ahead_kb",
  );
  const lab = new FirewallLab("profile");
  try {
    await work(lab, executable);
    return residentPages(executable);
  } finally {
    await lab.close();
    await shell(`umount ${folder}/mount`);
  }
}

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
try {
  const constant = constantPages(EXECUTABLE);
  const onHost = await pagesOnHost(folder);
  await shell(
    `unsquashfs -quiet -no-progress -dest ${folder}/system dist/system.squashfs; cp ${EXECUTABLE} ${folder}/system/`,
  );
  const inMachine = new Set(await pagesInMachine(folder, Math.max(...constant.keys())));
  const isHot = ([page, inFile]: [number, number]) => onHost[inFile] === 1 || inMachine.has(page);
  const pages = [...constant].filter(isHot).map(([page]) => page);
  pages.sort((one, other) => one - other);
  const runs = toRuns(pages);
  const title =
    "# Pages of the executable that a firewall uses, by address / 4096: the first, how many (build/profile-pages.ts)";
  const lines = runs.map((run) => run.map((number) => number.toString(16)).join(" "));
  writeFileSync(LIST, [title, `build-id ${readBuildId(readFileSync(EXECUTABLE))}`, ...lines, ""].join("\n"));
  const total = runs.reduce((sum, [, count]) => sum + count, 0);
  console.log(
    `${pages.length} pages used, ${total} in ${runs.length} runs: ${Math.round((total * PAGE) / 1e5) / 10} MB`,
  );
} finally {
  rmSync(folder, { recursive: true });
}
