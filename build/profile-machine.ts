// Which pages of dist/firebreak the image uses in a machine: another CPU than a host's has other versions of the same functions,
// and the appliance does what a program on a host does not. The kernel tells, of a file system in which each page lies by
// itself (Documentation/admin-guide/mm/pagemap.rst).
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Machine } from "../lab/machine.ts";
import { Lab, type Namespace } from "../lab/namespaces.ts";
import { overlay } from "../lab/overlay.ts";
import { becomeClient, becomeInternet, configuration, ROUTER, SERVER, serveHttp } from "../lab/places.ts";
import { PAGE } from "./elf.ts";
import { shell } from "./shell.ts";

/** MiB: of the system, which is twice in the initramfs, and of all that it has in memory, nothing may be missing. */
const MEMORY = 1024;
const ENTRY = 8;
/** Of an entry: the page is in the program's memory. */
const PRESENT = 1n << 63n;
/** Seconds after which nothing new is compiled. */
const REST = 20;

/** In the program's place: starts it, and prints on Enter so many pages of its page map. */
function wrapper(count: number): string {
  return `#!/bin/sh
/system/firebreak "$@" </dev/null &
while read -r _; do
  echo begin
  busybox dd if=/proc/$!/pagemap bs=${PAGE} count=${count} 2>/dev/null | busybox gzip | busybox base64
  echo end
done
`;
}

/** @returns the image's initramfs with the wrapper, and with the system page by page */
async function pagedInitramfs(folder: string, wrapperText: string): Promise<string> {
  await shell(
    `mksquashfs ${folder}/system ${folder}/system.squashfs -comp zstd -Xcompression-level 3 -b 4K -no-fragments ` +
      "-noappend -quiet -no-progress",
  );
  return overlay(folder, {
    firebreak: { content: wrapperText, mode: 0o755 },
    "system.squashfs": { content: await Bun.file(`${folder}/system.squashfs`).bytes(), mode: 0o644 },
  });
}

async function work(client: Namespace, internet: Namespace): Promise<void> {
  serveHttp(internet, "/usr/share/common-licenses");
  await internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
  await client.run(["ping", "-c", "20", "-i", "0.1", SERVER]);
  await client.run(["curl", "-sS", "-o", "/dev/null", `http://${SERVER}/GPL-3`]);
  for (const options of [[], ["--reverse"], ["--udp", "--bitrate", "5M"]]) {
    await client.run(["iperf3", "--client", ROUTER, "--time", String(REST / 4), ...options]);
  }
  await Bun.sleep(REST * 1000);
}

/**
 * @param folder for files, and with the system that the image is made of in system/
 * @param last the last page that may be asked for, by address / 4096
 * @returns the places of pages in memory, by address / 4096, of which some are not the executable's
 */
export async function pagesInMachine(folder: string, last: number): Promise<number[]> {
  const config = join(folder, "firebreak.toml");
  writeFileSync(config, configuration([], "accept"));
  const initramfs = await pagedInitramfs(folder, wrapper(Math.ceil(((last + 1) * ENTRY) / PAGE)));
  const lab = new Lab("profile");
  try {
    const [client, internet] = [lab.namespace("client"), lab.namespace("internet")];
    const machine = await Machine.boot(lab, folder, [client, internet], { initramfs, config, memory: MEMORY });
    becomeClient(client);
    becomeInternet(internet);
    await machine.says("ready in");
    await work(client, internet);
    machine.console.type("\n");
    await machine.console.says(/^end\r$/m);
    const [, text = ""] = /^begin\r$(.*?)^end\r$/ms.exec(machine.console.text) ?? [];
    await machine.unplug();
    return presentPages(gunzipSync(Buffer.from(text, "base64")));
  } finally {
    await lab.close();
  }
}

function presentPages(map: Buffer): number[] {
  const pages = Array.from({ length: map.length / ENTRY }, (_, page) => page);
  return pages.filter((page) => (map.readBigUInt64LE(page * ENTRY) & PRESENT) !== 0n);
}
