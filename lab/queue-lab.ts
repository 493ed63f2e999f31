// Two clients behind the firewall, and in front of it a line that is slower than all else: the internet's router has a queue there, as a
// modem has, and behind that is a far server. Who uploads fills that queue, unless the firewall sends no faster than the line.
import { FirewallLab } from "./firewall-lab.ts";
import type { Namespace, Program } from "./namespaces.ts";
import { becomeClient, configuration, GUEST, guestSection } from "./places.ts";

/** Where both upload to: a server beyond the line. */
export const FAR = "203.0.113.80";
const NEAR = "203.0.113.1";
/** The line's, in kbit a second; and bytes that wait for it: two thirds of a second. */
const LINE = { rate: 20_000, queue: 1_600_000 };
/** What the firewall is told that the line has: a little less, so that it is the firewall where frames wait. */
export const RATE = "19 Mbit";

/** ms that a program may take beyond the time it was given. */
const GRACE = 60_000;

export class QueueLab {
  readonly lab: FirewallLab;
  readonly guest: Namespace;
  readonly far: Namespace;
  private port = 5201;

  constructor(name: string) {
    this.lab = new FirewallLab(name);
    const { firewall, internet } = this.lab;
    this.guest = this.lab.namespace("guest");
    this.far = this.lab.namespace("far");
    this.lab.cable(firewall, "eth2", this.guest, "eth0");
    this.lab.cable(internet, "eth1", this.far, "eth0");
    becomeClient(this.guest, GUEST);
    internet.ip("address", "add", `${NEAR}/24`, "dev", "eth1");
    this.far.ip("address", "add", `${FAR}/24`, "dev", "eth0");
    this.far.ip("route", "add", "default", "via", NEAR);
  }

  /** Puts the line there. */
  async build(): Promise<void> {
    const { internet } = this.lab;
    await internet.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    const tbf = ["tbf", "rate", `${LINE.rate}kbit`, "burst", "5000", "limit", String(LINE.queue)];
    await internet.run(["tc", "qdisc", "add", "dev", "eth1", "root", ...tbf]);
  }

  /** Writes a configuration with or without a rate. @param more sections of it */
  configure(rate: string | undefined, more = ""): void {
    const text = `${configuration([], "accept")}${guestSection()}${more}`;
    this.lab.writeConfig(rate === undefined ? text : text.replace("[uplink]\n", `[uplink]\nrate = "${rate}"\n`));
  }

  /**
   * Has a client upload as fast as it goes, to a server of its own.
   * @param options of iperf3 @returns when it has begun
   */
  async upload(client: Namespace, seconds: number, ...options: readonly string[]): Promise<Program> {
    const port = String(this.port++);
    await this.far.start(["iperf3", "--server", "--one-off", "--forceflush", "--port", port]).says("listening");
    const iperf3 = ["iperf3", "--forceflush", "--client", FAR, "--port", port, "--time", String(seconds)];
    const program = client.start([...iperf3, ...options]);
    await program.says(/sec .*bits\/sec/);
    return program;
  }

  /** @returns round trips of a client's pings to the far server, in ms; one without an answer is endless */
  async pings(client: Namespace, count: number, interval = 0.05): Promise<number[]> {
    const ping = ["ping", "-n", "-i", String(interval), "-c", String(count), FAR];
    const { stdout } = await client.attempt(ping, count * interval * 1000 + GRACE);
    const rtts = [...stdout.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
    while (rtts.length < count) rtts.push(Number.POSITIVE_INFINITY);
    return rtts.sort((a, b) => a - b);
  }

  /**
   * @param major of the queue: the uplink's, or the one of a network's hosts in it
   * @returns bytes and frames that have left by each of its classes, by the class's number; none without a queue
   */
  async classes(major = "fb00"): Promise<Map<number, { readonly bytes: number; readonly packets: number }>> {
    const { stdout } = await this.lab.firewall.attempt(["tc", "-s", "class", "show", "dev", "eth1"]);
    const found = stdout.matchAll(new RegExp(`class htb ${major}:([0-9a-f]+) .*\\n Sent (\\d+) bytes (\\d+) pkt`, "g"));
    return new Map(
      Array.from(found, ([, minor = "", bytes, packets]) => [
        Number.parseInt(minor, 16),
        { bytes: Number(bytes), packets: Number(packets) },
      ]),
    );
  }

  /** @returns bytes that have come to the far server */
  async received(): Promise<number> {
    return Number(await this.far.run(["cat", "/sys/class/net/eth0/statistics/rx_bytes"]));
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}
