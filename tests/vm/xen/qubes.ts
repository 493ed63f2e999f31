// The qubes on Xen, as dom0 has them: how each is created, what rules it is given, and what it is asked to do.
import type { GuestType, XenLab } from "./lab.ts";
import { address6, DATABASE, FIREWALL6, host, MEMORY, SERVER, SERVER6, uplinkVif } from "./place.ts";

/** MiB that a client gets, with the appliance's own kernel or one of Debian's, which has IPv6. */
const CLIENT_MEMORY = 48;
const CLIENT6_MEMORY = 160;
/** MiB for Bun, which compiles what it runs there. */
const ECHO_MEMORY = 256;
/** A guest that died stays as it is: one that boots again instead would hide that. */
const STAYS = ['on_reboot="preserve"', 'on_crash="preserve"'];

export class Qubes {
  constructor(private readonly lab: XenLab) {}

  /** Has dom0 be the one server, by both families. */
  async startServer(): Promise<void> {
    await this.lab.run(
      `mkdir -p /srv/cgi-bin && dd if=/dev/urandom of=/srv/file bs=128k count=4 2>/dev/null
      printf '#!/bin/sh\\necho; echo "$REMOTE_ADDR"\\n' >/srv/cgi-bin/peer && chmod +x /srv/cgi-bin/peer
      for address in ${SERVER}/32 ${SERVER6.allowed}/128 ${SERVER6.other}/128; do ip addr add $address dev lo || exit; done
      for port in 80 81; do
        for address in ${[SERVER, ...Object.values(SERVER6)].map(host).join(" ")}; do httpd -p $address:$port -h /srv || exit; done
      done`,
    );
  }

  /** Creates the appliance as a qube, and serves it as Qubes OS's daemons do. @returns its domain's number */
  async startAppliance(name: string, type: GuestType): Promise<number> {
    const domain = await this.lab.create(name, type, [
      'kernel="/share/vmlinuz"',
      'ramdisk="/share/initramfs"',
      'extra="console=hvc0 quiet loglevel=3 panic=-1"',
      `memory=${MEMORY}`,
      `vif=["${uplinkVif()}"]`,
      ...STAYS,
    ]);
    // Qubes OS lets a qube report its memory.
    const report = `/local/domain/${domain}/memory/meminfo`;
    await this.lab.run(`xenstore-write ${report} '' && xenstore-chmod ${report} n${domain}`);
    await this.lab.ask({ do: "serve", domain, entries: DATABASE });
    return domain;
  }

  /** @param hasIpv6 whether its feature `ipv6` is on */
  async createClient(name: string, host: number, hasIpv6 = false): Promise<void> {
    const address = `10.137.0.${host}`;
    const way = `address=${address} gateway=10.137.0.1${hasIpv6 ? ` address6=${address6(host)} gateway6=${FIREWALL6}` : ""}`;
    const addresses = hasIpv6 ? `${address} ${address6(host)}` : address;
    // A PV guest needs nothing of the CPU that emulation is slow at.
    await this.lab.create(name, "pv", [
      `kernel="/share/${hasIpv6 ? "vmlinuz-debian" : "vmlinuz"}"`,
      'ramdisk="/share/client"',
      `extra="console=hvc0 quiet loglevel=3 ${way}"`,
      `memory=${hasIpv6 ? CLIENT6_MEMORY : CLIENT_MEMORY}`,
      `vif=["backend=fw,mac=00:16:3e:00:01:${String(host).padStart(2, "0")},ip=${addresses}"]`,
      ...STAYS,
    ]);
  }

  async attach(name: string, vif: string): Promise<void> {
    const words = vif.split(",").map((word) => `'${word}'`);
    await this.lab.run(`xl network-attach ${name} ${words.join(" ")}`);
  }

  /** Starts the guest that sends back what it gets over vchans. @returns its domain's number */
  async startEcho(): Promise<number> {
    const domain = await this.lab.create("echo", "pv", [
      'kernel="/share/vmlinuz"',
      'ramdisk="/share/echo"',
      'extra="console=hvc0 quiet loglevel=3 panic=-1"',
      `memory=${ECHO_MEMORY}`,
      ...STAYS,
    ]);
    await this.lab.guestSays("echo", "echo: server is open");
    return domain;
  }

  /** Fetches the file from a port of the server. @returns its MD5 sum, or how that failed */
  fetch(client: string, port: number, server = SERVER): Promise<string> {
    return this.lastLine(client, `wget -q -O /file http://${host(server)}:${port}/file && md5sum </file`);
  }

  /** @returns whom the server takes the client for */
  seenAs(client: string, server: string): Promise<string> {
    return this.lastLine(client, `wget -q -O - http://${host(server)}/cgi-bin/peer`);
  }

  private async lastLine(client: string, command: string): Promise<string> {
    const { output } = await this.lab.in(client, command);
    return (
      output
        .replace(/^.*[$#] /s, "")
        .trim()
        .split("\n")
        .at(-1) ?? ""
    );
  }

  async pings(client: string, address: string): Promise<boolean> {
    const { status } = await this.lab.in(client, `ping -c 1 -W 10 ${address}`);
    return status === 0;
  }

  /** The file's MD5 sum. */
  async sum(): Promise<string> {
    return (await this.lab.run("md5sum </srv/file")).trim();
  }

  /** How often the firewall has said that it took over an address's rules. */
  async handled(address: string): Promise<number> {
    return Number((await this.lab.dump())[`/qubes-firewall-handled/${address}`] ?? 0);
  }

  /** Writes a client's rules as qubesd does: for each of its addresses those that are not about the other family. */
  async writeRules(addresses: readonly string[], rules: readonly string[], policy = "drop"): Promise<void> {
    for (const address of addresses) {
      const others = address.includes(":") ? " dst4=" : " dst6=";
      const own = rules.map((rule) => (rule.includes(others) ? null : rule));
      await this.lab.ask({ do: "rules", address, rules: own, policy });
    }
  }

  /** Writes rules, and waits until the firewall says that they are in force. */
  async setRules(addresses: readonly string[], rules: readonly string[], policy?: string): Promise<void> {
    const counts = () => Promise.all(addresses.map((address) => this.handled(address)));
    const before = await counts();
    await this.writeRules(addresses, rules, policy);
    await eventually(60, `/qubes-firewall-handled of ${addresses}`, async () =>
      (await counts()).every((count, i) => count > before[i]),
    );
  }

  /** Frames that were dropped because IPv6 is not configured. */
  async withoutIpv6(): Promise<number> {
    const { output } = await this.lab.call("root:QUBESRPC firebreak.Status dom0");
    return Number(/^frames: (\d+) dropped: IPv6 is not configured$/m.exec(output)?.[1] ?? 0);
  }
}

/** Tries again until it is so. @param seconds at most */
export async function eventually(seconds: number, what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what} did not come about in ${seconds} s`);
    await Bun.sleep(100);
  }
}
