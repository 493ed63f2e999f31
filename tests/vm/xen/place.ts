// Who is who around the appliance on Xen: addresses of the qubes and of the one server, and what QubesDB says of them.

export const UPLINK_MAC = "00:16:3e:00:00:05";
/** All of Qubes OS's IPv6 addresses. */
const PREFIX = "fd09:24ef:4179::a89";
export const NETVM6 = `${PREFIX}:1`;
export const FIREWALL6 = `${PREFIX}:5`;
export const DATABASE = {
  "/qubes-ip": "10.137.0.5",
  "/qubes-gateway": "10.138.0.1",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/qubes-primary-dns": "10.139.1.1",
  "/qubes-secondary-dns": "10.139.1.2",
  "/qubes-netvm-primary-dns": "10.139.1.1",
  "/qubes-netvm-secondary-dns": "10.139.1.2",
  "/connected-ips": "10.137.0.9 10.137.0.10",
  "/qubes-ip6": FIREWALL6,
  "/qubes-gateway6": NETVM6,
  "/qubes-netvm-gateway6": FIREWALL6,
  "/connected-ips6": address6(10),
};
/** Addresses of the one server. */
export const SERVER = "10.138.0.80";
export const SERVER6 = { allowed: "2001:db8::80", other: "2001:db8::81" };
/** A client's addresses, as the first is named to who reads rules and settings. One has IPv4 alone. */
export const WORK = ["10.137.0.9"] as const;
export const LOST = ["10.137.0.10", address6(10)] as const;
/** What the clients may do in both families, where they may do something. */
export const RULES = ["action=accept proto=icmp", "action=accept proto=tcp dstports=80-80"];
/** MiB that the appliance gets. */
export const MEMORY = 128;

/** @param addresses of both families, with a space between, as Qubes OS gives them to libxl */
export function uplinkVif(addresses = `${DATABASE["/qubes-ip"]} ${FIREWALL6}`): string {
  return `mac=${UPLINK_MAC},ip=${addresses},script=/etc/xen/scripts/vif`;
}

export function address6(host: number): string {
  return `${PREFIX}:${host.toString(16)}`;
}

/** As it stands in a URL. */
export function host(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}
