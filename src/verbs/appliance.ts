// `firebreak appliance`: what init starts in the image. Finds its configuration itself and has nobody to give an exit status
// to: whatever is wrong it says on the console, and then it waits, forwarding nothing, to be powered off.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { version } from "../../package.json" with { type: "json" };
import { formatMac } from "../base/address.ts";
import { MACHINE_CLOCK } from "../base/clock.ts";
import { log, logAll } from "../base/log.ts";
import { makeServices } from "../channel/operations/services.ts";
import { PortServer } from "../channel/port.ts";
import { type Config, parseDocumentBytes, unlessQube } from "../config/config.ts";
import { ConfigurationError, Firewall } from "../control/firewall.ts";
import { isBegunAnew, restrict } from "../control/restrictions.ts";
import { stopAsked, untilStopped } from "../control/signals.ts";
import { LAYOUT_FILE } from "../linux/bpf/skb-layout.ts";
import { libc } from "../linux/libc.ts";
import { listDevices } from "../linux/net/links.ts";
import { openVirtioPort, VirtioPort } from "../linux/virtio-port.ts";
import { runQube } from "../qubes/qube.ts";
import { XENBUS } from "../xen/xenbus.ts";
import { UsageError, type Verb } from "./verb.ts";

export interface FoundConfiguration {
  readonly bytes: Uint8Array;
  /** Where it was found; its name in errors. */
  readonly source: string;
}

/** What QEMU's -fw_cfg name=opt/firebreak/config,file=… is in Linux (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg). */
const FIRMWARE = "/sys/firmware/qemu_fw_cfg";
const FIRMWARE_FILE = `${FIRMWARE}/by_name/opt/firebreak/config/raw`;
const FILE = "/etc/firebreak.toml";
/** A kernel command line option; its value is the TOML text in base64. */
const OPTION = "firebreak.config";

/** The port by which a host asks it (docs/CONTROL.md), and the environment variable with the descriptor of it that was taken along. */
const PORT = "org.firebreak.control";
const PORT_TAKEN = "FIREBREAK_PORT";

const ADVICE = [
  "no configuration: nothing is forwarded. Start the machine with one, in any of these ways:",
  "  QEMU option             -fw_cfg name=opt/firebreak/config,file=firebreak.toml",
  `  file in the initramfs   ${FILE}`,
  `  kernel command line     ${OPTION}=$(base64 -w 0 firebreak.toml)`,
];

export const appliance: Verb = {
  summary: "be the appliance: what the bootable image runs",
  help: `Usage: firebreak appliance

What the bootable image runs. Takes its configuration from the first of these that there is,
and forwards as it says until SIGTERM:

  QEMU's firmware configuration   opt/firebreak/config
  a file                          ${FILE}
  the kernel command line         ${OPTION}=BASE64

Without any of them, or with one that has the section [qubes] alone, under Xen, it is a qube of
Qubes OS that provides network, and takes its configuration from QubesDB as long as it runs. Else,
or with a configuration that is not good, it says what to do, forwards nothing and waits for
SIGTERM. Enter on the console, or SIGUSR1, prints counters and flows.

Exit status: 0 stopped by a signal, 1 failed.
`,
  async run(args) {
    if (args.length > 0) throw new UsageError("takes no arguments");
    if (findConfiguration() === undefined && !existsSync(XENBUS) && !existsSync(LAYOUT_FILE)) {
      throw new UsageError(
        "here is no image of Firebreak, nor a configuration for one (on a host: firebreak run --config FILE)",
      );
    }
    let status = 0;
    try {
      // dom0 sets a qube's clock.
      const takeAlong = isBegunAnew() ? {} : { [PORT_TAKEN]: String(openVirtioPort(PORT) ?? "") };
      restrict({ read: [FILE, FIRMWARE], use: [dirname(XENBUS)], clock: existsSync(XENBUS), takeAlong });
      log(`firebreak ${version}`);
      for (const { name, mac, mtu } of listDevices()) log(`found ${name} ${formatMac(mac)} mtu ${mtu}`);
      await forward();
    } catch (error) {
      log(`firebreak: ${error instanceof Error ? error.message : String(error)}`);
      status = 1;
    }
    // What there is to stop is stopped, and nobody has anything to wait for: the JavaScript engines of three threads take seconds
    // to clear themselves away where the machine is emulated, and what else is open the kernel closes.
    libc._exit(status);
    return status;
  },
};

/** @returns the configuration's text from the first source that has one, before it is checked */
export function findConfiguration(root = "/"): FoundConfiguration | undefined {
  for (const file of [FIRMWARE_FILE, FILE]) {
    const path = join(root, file);
    if (existsSync(path)) return { bytes: readFileSync(path), source: file === FILE ? FILE : "opt/firebreak/config" };
  }
  const words = readFileSync(join(root, "proc/cmdline"), "utf8").trim().split(/\s+/);
  const option = words.find((word) => word.startsWith(`${OPTION}=`));
  if (option === undefined) return undefined;
  return { bytes: Buffer.from(option.slice(OPTION.length + 1), "base64"), source: OPTION };
}

/** Forwards, or says why not, until a signal asks to stop. @throws when the dataplane died */
async function forward(): Promise<void> {
  const found = findConfiguration();
  const isXen = existsSync(XENBUS);
  if (found === undefined) return isXen ? runQube() : idle(ADVICE);
  log(`configuration from ${found.source}`);
  const document = parseDocumentBytes(found.bytes, found.source);
  if ("qube" in document && isXen) return runQube(document.qube);
  let firewall: Firewall;
  try {
    firewall = await Firewall.start(parse(found));
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return idle([...error.errors, "the configuration is not good: nothing is forwarded until it is corrected"]);
  }
  for (const line of firewall.describeInterfaces()) log(line);
  process.stdin.on("data", () => logAll(firewall.describeState()));
  const stopped = untilStopped(firewall, async () => parse(found));
  const port = process.env[PORT_TAKEN];
  if (port) new PortServer(new VirtioPort(Number(port)), makeServices("appliance", firewall), MACHINE_CLOCK).start();
  log(`ready in ${Math.round(performance.now())} ms`);
  await stopped;
  process.stdin.destroy(); // listening to it would keep the program running
}

/** @throws ConfigurationError with all its errors */
function parse({ bytes, source }: FoundConfiguration): Config {
  const result = unlessQube(parseDocumentBytes(bytes, source));
  if ("errors" in result) throw new ConfigurationError(result.errors);
  result.warnings.forEach(log);
  return result.config;
}

async function idle(lines: readonly string[]): Promise<void> {
  lines.forEach(log);
  const awake = setInterval(() => {}, 1 << 30); // a signal handler alone keeps no program running
  await stopAsked();
  clearInterval(awake);
}
