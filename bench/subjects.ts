// What is compared: each subject stands between a client and an internet of its own, all with the same addresses and cables,
// so that A and B can alternate without one being torn down for the other. A subject that is not measured only sleeps.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lab, type Namespace, type Program } from "../lab/namespaces.ts";
import { becomeClient, becomeInternet, CLIENT, CLIENT_GATEWAY, configuration, ROUTER, UPLINK } from "../lab/places.ts";
import type { Build } from "./benchmark.ts";

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

  /** @param folder for files; the caller's to remove */
  private constructor(readonly folder: string) {}

  /** Lets `play` have a stage, which is taken down at the end. */
  static async use(folder: string, play: (stage: Stage) => Promise<void>): Promise<void> {
    const stage = new Stage(folder);
    try {
      await play(stage);
    } finally {
      await stage.lab.close();
    }
  }

  /** All subjects, in the order of their turns: Linux, the null forwarder, and each build of the program. */
  async all(builds: readonly Build[], placement: Placement = {}): Promise<Subject[]> {
    const subjects = [await this.linux(), await this.null(placement)];
    for (const build of builds) subjects.push(await this.firebreak(build, placement));
    return subjects;
  }

  /** Linux's own routing, with what Qubes' agent has its firewall do. */
  async linux(): Promise<Subject> {
    const subject = this.place(LINUX);
    const { forwarder } = subject;
    forwarder.ip("link", "set", "eth0", "group", "2");
    forwarder.ip("address", "add", CLIENT_GATEWAY, "dev", "eth0");
    forwarder.ip("route", "add", CLIENT, "dev", "eth0");
    forwarder.ip("address", "add", `${UPLINK}/24`, "dev", "eth1");
    forwarder.ip("route", "add", "default", "via", ROUTER);
    await forwarder.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
    await forwarder.run(["nft", "-f", join(import.meta.dir, "qubes-agent.nft")]);
    return subject;
  }

  /** The null forwarder: it answers no ARP and translates nothing, so both sides are told what they need. */
  async null(placement: Placement = {}): Promise<Subject> {
    const subject = this.place(NULL);
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

  async firebreak({ name, executable }: Build, placement: Placement = {}): Promise<Subject> {
    const subject = this.place(name);
    const file = join(this.folder, `${subject.forwarder.name}.toml`);
    writeFileSync(
      file,
      `${configuration([], "accept")}flows_per_second = 1000000\n\n[nat]\nmax_flows = ${MAX_FLOWS}\n`,
    );
    subject.program = subject.forwarder.start(placed([executable, "run", "--config", file], placement));
    await subject.program.says("ready in");
    return subject;
  }

  /** A cable alone, from a client to what stands where the forwarder would: what the generator costs. */
  cable(name: string): Subject {
    return this.place(name);
  }

  private place(name: string): Subject {
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
    becomeClient(client);
    becomeInternet(internet);
    return new Subject(name, client, forwarder, internet);
  }
}

function setMac(namespace: Namespace, name: string, mac: string): void {
  namespace.ip("link", "set", name, "address", mac);
}

function placed(command: readonly string[], { cpus }: Placement): string[] {
  return cpus === undefined ? [...command] : ["taskset", "--cpu-list", cpus, ...command];
}
