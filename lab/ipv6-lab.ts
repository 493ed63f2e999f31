// A firewall with IPv6 between a home network, a guest whose packets are translated, and an "internet": a router on the uplink's link,
// with a server behind it. Each is a namespace with Linux' own IPv6.
import { FirewallLab, firebreak } from "./firewall-lab.ts";
import type { Namespace, Program } from "./namespaces.ts";

export const OUTSIDE6 = "2001:db8:1::254";
export const ROUTER6 = "2001:db8:1::1";
export const SERVER6 = "2001:db8:ffff::7";
export const LAN_GATEWAY6 = "2001:db8:2::1";
export const LAN_HOST6 = "2001:db8:2::20";
export const GUEST_GATEWAY6 = "fd09:24ef:4179::5";
export const GUEST_HOST6 = "fd09:24ef:4179::a";

const configuration = (gateway6: string): string => `
[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
address6 = "${OUTSIDE6}/64"
gateway6 = "${gateway6}"
dns = []

[[client]]
name = "lan"
interface = "eth0"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
network6 = "2001:db8:2::/64"
gateway6 = "${LAN_GATEWAY6}"
nat6 = "route"
policy = "accept"

[[client]]
name = "guest"
interface = "eth2"
address = "10.137.0.10"
gateway = "10.137.0.1"
address6 = "${GUEST_HOST6}"
gateway6 = "${GUEST_GATEWAY6}"
nat6 = "masquerade"
policy = "accept"
`;

export class Ipv6Lab {
  readonly lab: FirewallLab;
  readonly lan: Namespace;
  readonly guest: Namespace;
  readonly internet: Namespace;
  readonly firewall: Namespace;

  constructor(name: string) {
    this.lab = new FirewallLab(name);
    this.lan = this.lab.client;
    this.internet = this.lab.internet;
    this.firewall = this.lab.firewall;
    this.guest = this.lab.namespace("guest");
    this.lab.cable(this.firewall, "eth2", this.guest, "eth0");
    this.configure({});
  }

  /** Writes the configuration, as it is or with another gateway. */
  configure({ gateway6 = ROUTER6 }: { readonly gateway6?: string }): void {
    this.lab.writeConfig(configuration(gateway6));
  }

  /** Gives all of them their addresses. */
  async settle(): Promise<void> {
    await this.settleLan();
    await becomeGuest6(this.guest);
    await becomeInternet6(this.internet);
    this.internet.ip("-6", "route", "add", "2001:db8:2::/64", "via", OUTSIDE6);
  }

  /** Gives the home network's host its addresses, also of an interface that is made anew. */
  async settleLan(): Promise<void> {
    await switchOn(this.lan);
    this.lan.ip("address", "flush", "dev", "eth0", "scope", "global");
    this.lan.ip("address", "add", "192.168.1.20/24", "dev", "eth0");
    this.lan.ip("route", "replace", "default", "via", "192.168.1.1");
    becomeHost6(this.lan, `${LAN_HOST6}/64`, LAN_GATEWAY6);
  }

  /** Starts the firewall, and waits until it has looked whether its addresses are anybody else's. */
  async start(): Promise<Program> {
    const program = await this.lab.start(this.inFolder(firebreak()));
    while ((await this.internet.attempt(["ping", "-6", "-c", "1", "-W", "1", OUTSIDE6])).status !== 0);
    return program;
  }

  /** @returns how many frames had each verdict, by its slug */
  async verdicts(): Promise<ReadonlyMap<string, number>> {
    const json = await this.firewall.run(this.inFolder(firebreak("status", "--json")));
    return new Map(Object.entries(JSON.parse(json).frames as Record<string, number>));
  }

  /** A command of the product's, where its socket is. */
  inFolder(command: readonly string[]): string[] {
    return ["env", `RUNTIME_DIRECTORY=${this.lab.folder}`, ...command];
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

/** Gives a namespace the guest's address of IPv6, on its eth0. */
export async function becomeGuest6(guest: Namespace): Promise<void> {
  await switchOn(guest);
  becomeHost6(guest, `${GUEST_HOST6}/64`, GUEST_GATEWAY6);
}

/** Gives a namespace the internet's addresses of IPv6, the router's on its eth0. */
export async function becomeInternet6(internet: Namespace): Promise<void> {
  await switchOn(internet);
  internet.ip("-6", "address", "add", `${ROUTER6}/64`, "dev", "eth0", "nodad");
  internet.ip("-6", "address", "add", `${SERVER6}/128`, "dev", "lo");
}

/** Has Linux speak IPv6 there: a lab's namespaces begin without. */
export async function switchOn(namespace: Namespace): Promise<void> {
  const files = "for f in /proc/sys/net/ipv6/conf/*/; do echo 0 >$f/disable_ipv6; done";
  await namespace.run(["sh", "-c", files]);
}

/** Gives a namespace an address with its prefix, on its eth0, and a gateway for all else. */
export function becomeHost6(namespace: Namespace, address: string, gateway: string): void {
  namespace.ip("-6", "address", "add", address, "dev", "eth0", "nodad");
  namespace.ip("-6", "route", "replace", "default", "via", gateway);
}
