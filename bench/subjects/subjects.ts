// What is compared: each subject stands between a client and an internet of its own, all with the same addresses and cables,
// so that A and B can alternate without one being torn down for the other. A subject that is not measured only sleeps.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lab, type Namespace, type Program } from "../../lab/namespaces.ts";
import { CLIENT, CLIENT_GATEWAY, configuration, UPLINK } from "../../lab/places.ts";
import type { Build } from "../benchmark.ts";
import { type Family, IPV4, IPV6 } from "./families.ts";

/** Names of the subjects. */
export const LINUX = "nftables";
export const NULL = "null";
export const FIREBREAK = "firebreak";

export const BENCH_FOLDER = "dist/bench";

/** Flows that fit, as many as Linux tracks by default here. */
const MAX_FLOWS = 262144;

/** MAC addresses of the cables' ends; the forwarder's two first. */
const MAC = {
  inside: "02:00:00:00:00:10",
  outside: "02:00:00:00:00:20",
  client: "02:00:00:00:00:11",
  internet: "02:00:00:00:00:21",
} as const;

/** MAC address that the client sends to. */
export const FIRST_HOP = MAC.inside;

/** CPUs that programs are kept on; all when not told. */
export interface Placement {
  readonly cpus?: string;
}

export class Subject {
  /** Its program, where it is one. */
  program: Program | undefined;

  constructor(
    readonly name: string,
    readonly client: Namespace,
    readonly forwarder: Namespace,
    readonly internet: Namespace,
  ) {}

  /** Switches the segmentation and checksum offloads of all ends of both cables. */
  async offload(on: boolean): Promise<void> {
    const switches = ["tso", "gso", "gro", "tx", "rx"].flatMap((feature) => [feature, on ? "on" : "off"]);
    for (const [namespace, name] of this.ends()) await namespace.run(["ethtool", "-K", name, ...switches]);
  }

  private ends(): [Namespace, string][] {
    return [
      [this.client, "eth0"],
      [this.forwarder, "eth0"],
      [this.forwarder, "eth1"],
      [this.internet, "eth0"],
    ];
  }
}

export class Stage {
  private readonly lab = new Lab("bench");
  private built = 0;

  private constructor(
    readonly folder: string,
    private readonly families: readonly Family[],
  ) {}

  /**
   * Lets `play` have a stage, which is taken down at the end.
   * @param folder for files; the caller's to remove
   * @param families that its subjects have; IPv4 is always among them
   */
  static async use(
    folder: string,
    play: (stage: Stage) => Promise<void>,
    families: readonly Family[] = [IPV4],
  ): Promise<void> {
    const stage = new Stage(folder, families);
    try {
      await play(stage);
    } finally {
      await stage.lab.close();
    }
  }

  /** All subjects, in the order of their turns: Linux, the null forwarder, which has IPv4 alone, and each build of the program. */
  async all(builds: readonly Build[], placement: Placement = {}): Promise<Subject[]> {
    const subjects = [await this.linux()];
    if (this.families.every((family) => family === IPV4)) subjects.push(await this.null(placement));
    for (const build of builds) subjects.push(await this.firebreak(build, placement));
    return subjects;
  }

  /** Linux's own routing, with what Qubes' agent has its firewall do. */
  async linux(): Promise<Subject> {
    const subject = await this.place(LINUX);
    const { forwarder } = subject;
    forwarder.ip("link", "set", "eth0", "group", "2");
    for (const family of this.families) {
      await family.forward(forwarder);
      await forwarder.run(["nft", "-f", join(import.meta.dir, family.rules)]);
    }
    return subject;
  }

  /** The null forwarder: it answers no ARP and translates nothing, so both sides are told what they need. */
  async null(placement: Placement = {}): Promise<Subject> {
    const subject = await this.place(NULL);
    const { client, forwarder, internet } = subject;
    client.ip("neighbour", "add", CLIENT_GATEWAY, "lladdr", MAC.inside, "dev", "eth0");
    internet.ip("neighbour", "add", UPLINK, "lladdr", MAC.outside, "dev", "eth0");
    internet.ip("route", "add", CLIENT, "via", UPLINK);
    // As the firewall does it: src/linux/net/nftables.ts.
    const drop = (name: string) => `chain ${name} { type filter hook ingress device ${name} priority 0; policy drop; }`;
    await forwarder.run(["nft", `table netdev quiet {\n${drop("eth0")}\n${drop("eth1")}\n}`]);
    const program = [join(BENCH_FOLDER, "null-forwarder"), "eth0", MAC.client, "eth1", MAC.internet];
    subject.program = forwarder.start(placed(program, placement));
    await subject.program.says("ready");
    return subject;
  }

  /** Firebreak, whose control socket is in the stage's folder and called as its namespace. */
  async firebreak({ name, executable }: Build, placement: Placement = {}): Promise<Subject> {
    const subject = await this.place(name);
    const file = join(this.folder, `${subject.forwarder.name}.toml`);
    const keys = this.families.map((family) => family.keys);
    const more = {
      uplink: keys.map(({ uplink = "" }) => uplink).join(""),
      client: `${keys.map(({ client = "" }) => client).join("")}flows_per_second = 1000000\n`,
    };
    writeFileSync(file, `${configuration([], "accept", more)}\n[nat]\nmax_flows = ${MAX_FLOWS}\n`);
    const run = ["env", `RUNTIME_DIRECTORY=${this.folder}`, executable, "run", "--config", file];
    subject.program = subject.forwarder.start(placed(run, placement));
    await subject.program.says("ready in");
    if (this.families.includes(IPV6)) await untilForwarded6(subject);
    return subject;
  }

  /** A cable alone, from a client to what stands where the forwarder would: what the generator costs. */
  cable(name: string): Promise<Subject> {
    return this.place(name);
  }

  private async place(name: string): Promise<Subject> {
    const number = this.built++;
    const [client, forwarder, internet] = ["client", "forwarder", "internet"].map((role) =>
      this.lab.namespace(`${number}-${role}`),
    ) as [Namespace, Namespace, Namespace];
    this.lab.cable(forwarder, "eth0", client, "eth0");
    this.lab.cable(forwarder, "eth1", internet, "eth0");
    setMac(forwarder, "eth0", MAC.inside);
    setMac(forwarder, "eth1", MAC.outside);
    setMac(client, "eth0", MAC.client);
    setMac(internet, "eth0", MAC.internet);
    for (const family of this.families) await family.settle(client, internet);
    return new Subject(name, client, forwarder, internet);
  }
}

/** Times that the client asks, a second each, whether IPv6 is forwarded: first nobody else may have the uplink's address. */
const ATTEMPTS6 = 20;

async function untilForwarded6({ name, client }: Subject): Promise<void> {
  const ping = ["ping", "-6", "-c", "1", "-W", "1", IPV6.server];
  for (let attempt = 0; attempt < ATTEMPTS6; attempt++) if ((await client.attempt(ping)).status === 0) return;
  throw new Error(`${name} forwards no IPv6`);
}

function setMac(namespace: Namespace, name: string, mac: string): void {
  namespace.ip("link", "set", name, "address", mac);
}

function placed(command: readonly string[], { cpus }: Placement): string[] {
  return cpus === undefined ? [...command] : ["taskset", "--cpu-list", cpus, ...command];
}
