// The two ends between which every test of a running firewall puts it, and `build/appliance.sh demo` too: a client, and an
// "internet" that is a router with a server behind it.
import type { Namespace, Program } from "./namespaces.ts";

export const CLIENT = "10.137.0.10";
/** Another client, where a test has two. */
export const GUEST = "10.137.0.11";
export const CLIENT_GATEWAY = "10.137.0.1";
/** A network behind one interface: its prefix, our address there, and a host. */
export const LAN = "192.168.0.0/16";
export const LAN_GATEWAY = "192.168.0.1";
export const LAN_HOST = "192.168.0.20";
export const UPLINK = "192.0.2.254";
/** The internet's router, which is the uplink's gateway and its DNS server. */
export const ROUTER = "192.0.2.1";
/** A server behind the router; www.example, if one asks the router. */
export const SERVER = "198.51.100.80";

/** Gives a namespace a client's address, on its eth0. */
export function becomeClient(client: Namespace, address = CLIENT): void {
  client.ip("address", "add", address, "dev", "eth0");
  client.ip("route", "add", CLIENT_GATEWAY, "dev", "eth0");
  client.ip("route", "add", "default", "via", CLIENT_GATEWAY);
}

/** Gives a namespace the internet's addresses, the router's on its eth0. */
export function becomeInternet(internet: Namespace): void {
  internet.ip("address", "add", `${ROUTER}/24`, "dev", "eth0");
  internet.ip("address", "add", SERVER, "dev", "lo");
}

/** More keys of a configuration's sections, as lines. */
export interface MoreKeys {
  readonly uplink?: string;
  readonly client?: string;
}

/**
 * @param rules in Qubes' syntax, without "action="
 * @returns a configuration for a firewall whose eth0 leads to the client and whose eth1 to the internet
 */
export function configuration(
  rules: readonly string[],
  policy: "accept" | "drop" = "drop",
  { uplink = "", client = "" }: MoreKeys = {},
): string {
  const lines = rules.map((rule) => `  "action=${rule}",\n`);
  return `[uplink]
interface = "eth1"
address = "${UPLINK}/24"
gateway = "${ROUTER}"
dns = ["${ROUTER}"]
${uplink}
[[client]]
name = "work"
interface = "eth0"
address = "${CLIENT}"
gateway = "${CLIENT_GATEWAY}"
policy = "${policy}"
rules = [
${lines.join("")}]
${client}`;
}

/** @returns the section of the other client, which is on the firewall's eth2. @param more keys of it */
export function guestSection(more = ""): string {
  return `
[[client]]
name = "guest"
interface = "eth2"
address = "${GUEST}"
gateway = "${CLIENT_GATEWAY}"
policy = "accept"
${more}`;
}

/** Starts the server's HTTP server. @param folder what it serves */
export function serveHttp(internet: Namespace, folder: string, port = 80): Program {
  return internet.start(["busybox", "httpd", "-f", "-vv", "-p", `${SERVER}:${port}`, "-h", folder]);
}

/** Starts the router's DNS server, and waits until it answers. @param options more of dnsmasq's */
export async function serveDns(internet: Namespace, ...options: readonly string[]): Promise<Program> {
  const quiet = ["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file="];
  const names = ["--no-resolv", "--no-hosts", `--address=/www.example/${SERVER}`];
  const dns = internet.start(["dnsmasq", ...quiet, ...names, ...options]);
  await dns.says("started");
  return dns;
}
