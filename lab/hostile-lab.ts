// A firewall between an attacker and a victim: the attacker is a client, a host of a LAN, or somebody on the internet (lab/attacks.ts);
// the victim is another client, which pings, asks names, opens connections and has a stream. Beside the firewall stands a cable into
// the void, for what the same attack costs the victim when it reaches nobody: all share this machine.
import { ATTACKS, FORWARDED_PORT } from "./attacks.ts";
import { FirewallLab, peer } from "./firewall-lab.ts";
import { macOf, type Namespace, type Program } from "./namespaces.ts";
import {
  becomeClient,
  configuration,
  GUEST,
  guestSection,
  LAN,
  LAN_GATEWAY,
  LAN_HOST,
  ROUTER,
  SERVER,
  serveDns,
  serveHttp,
} from "./places.ts";

/** Bits a second that the victim's stream is held to. */
const STREAM = "1G";
const PINGS_PER_SECOND = 100;
/** ms that a program may take beyond the time it was given: the attack may slow it down. */
const GRACE = 60_000;

/** What the victim noticed. */
export interface Noticed {
  readonly questions: number;
  /** How many were asked again, for want of an answer. */
  readonly repeated: number;
  /** Without the right answer, however often they were asked. */
  readonly lost: number;
  readonly connections: number;
  /** Of them, not opened. */
  readonly refused: number;
  /** ms; of a ping without an answer, endless. */
  readonly rttP99: number;
  /** Bits a second of the stream. */
  readonly stream: number;
}

export class HostileLab {
  readonly lab: FirewallLab;
  private readonly guest: Namespace;
  private readonly lan: Namespace;
  private readonly nowhere: Namespace;

  constructor(name: string) {
    this.lab = new FirewallLab(name);
    const { firewall, client, internet } = this.lab;
    [this.guest, this.lan, this.nowhere] = ["guest", "lan", "void"].map((role) => this.lab.namespace(role)) as [
      Namespace,
      Namespace,
      Namespace,
    ];
    this.lab.cable(firewall, "eth2", this.guest, "eth0");
    this.lab.cable(firewall, "eth3", this.lan, "eth0");
    for (const [i, attacker] of [client, this.lan, internet].entries())
      this.lab.cable(this.nowhere, `eth${i}`, attacker, "void");
    becomeClient(this.guest, GUEST);
    this.lan.ip("address", "add", `${LAN_HOST}/16`, "dev", "eth0");
    this.lan.ip("route", "add", "default", "via", LAN_GATEWAY);
  }

  /** Starts the firewall, and what the victim speaks with. @param folder that the HTTP server serves */
  async start(folder: string): Promise<void> {
    const drop = (name: string) => `chain ${name} { type filter hook ingress device ${name} priority 0; policy drop; }`;
    await this.nowhere.run(["nft", `table netdev void {\n${["eth0", "eth1", "eth2"].map(drop).join("\n")}\n}`]);
    this.lab.writeConfig(`${configuration([], "accept")}${guestSection()}
[[client]]
name = "lan"
interface = "eth3"
network = "${LAN}"
gateway = "${LAN_GATEWAY}"
policy = "accept"

[[forward]]
proto = "tcp"
port = ${FORWARDED_PORT}
to = "guest"
to_port = 80
`);
    const { internet } = this.lab;
    await this.lab.start();
    serveHttp(internet, folder);
    await serveDns(internet);
    await internet.start(["iperf3", "--server", "--forceflush", "--bind", SERVER]).says("listening");
  }

  /** Starts an attack. @param into whether it reaches the firewall, or the void */
  async attack(name: string, into: "firewall" | "void"): Promise<Program> {
    const { from } = ATTACKS[name];
    const { client, firewall, internet } = this.lab;
    const [attacker, at] = { client: [client, 0], internet: [internet, 1], lan: [this.lan, 3] }[from] as [
      Namespace,
      number,
    ];
    const theirs = await macOf(firewall, `eth${at}`);
    const ours = await macOf(attacker, "eth0");
    const program = attacker.start(peer("attack", into === "void" ? "void" : "eth0", name, ours, theirs));
    await program.says("attacking");
    return program;
  }

  /** Has the victim go about its business for so many seconds. */
  async victim(seconds: number): Promise<Noticed> {
    const patience = seconds * 1000 + GRACE;
    const count = seconds * PINGS_PER_SECOND;
    const ping = ["ping", "-n", "-i", String(1 / PINGS_PER_SECOND), "-c", String(count), SERVER];
    const iperf3 = ["iperf3", "--json", "--client", SERVER, "--bitrate", STREAM, "--time", String(seconds)];
    const [business, pings, stream] = await Promise.all([
      this.guest.run(peer("victim", SERVER, 80, ROUTER, seconds), patience),
      this.guest.attempt(ping, patience),
      this.guest.run(iperf3, patience),
    ]);
    const rtts = [...pings.stdout.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
    while (rtts.length < count) rtts.push(Number.POSITIVE_INFINITY);
    rtts.sort((a, b) => a - b);
    return {
      ...JSON.parse(business),
      rttP99: rtts[Math.ceil(count * 0.99) - 1],
      stream: JSON.parse(stream).end.sum_received.bits_per_second,
    };
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}
