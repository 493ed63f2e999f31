// The families of addresses by which subjects are measured: who is where, and what each kind of subject needs for it. Both have the same
// client, internet and cables.
import {
  becomeGuest6,
  becomeInternet6,
  GUEST_GATEWAY6,
  GUEST_HOST6,
  OUTSIDE6,
  ROUTER6,
  SERVER6,
  switchOn,
} from "../../lab/ipv6-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";
import {
  becomeClient,
  becomeInternet,
  CLIENT,
  CLIENT_GATEWAY,
  type MoreKeys,
  ROUTER,
  SERVER,
  UPLINK,
} from "../../lab/places.ts";

export interface Family {
  readonly name: "IPv4" | "IPv6";
  readonly client: string;
  /** The uplink's gateway, on the far end's eth0, and a server behind it. */
  readonly router: string;
  readonly server: string;
  /** The rules of Qubes' agent for it: a file beside this one. */
  readonly rules: string;
  /** Keys of Firebreak's configuration, beside those that it has for IPv4. */
  readonly keys: MoreKeys;
  /** Gives the client and the internet their addresses. */
  settle(client: Namespace, internet: Namespace): Promise<void>;
  /** Has Linux forward between the client on its eth0 and the uplink on its eth1. */
  forward(linux: Namespace): Promise<void>;
}

export const IPV4: Family = {
  name: "IPv4",
  client: CLIENT,
  router: ROUTER,
  server: SERVER,
  rules: "qubes-agent.nft",
  keys: {},
  async settle(client, internet) {
    becomeClient(client);
    becomeInternet(internet);
  },
  async forward(linux) {
    linux.ip("address", "add", CLIENT_GATEWAY, "dev", "eth0");
    linux.ip("route", "add", CLIENT, "dev", "eth0");
    linux.ip("address", "add", `${UPLINK}/24`, "dev", "eth1");
    linux.ip("route", "add", "default", "via", ROUTER);
    await linux.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
  },
};

export const IPV6: Family = {
  name: "IPv6",
  client: GUEST_HOST6,
  router: ROUTER6,
  server: SERVER6,
  rules: "qubes-agent6.nft",
  keys: {
    uplink: `address6 = "${OUTSIDE6}/64"\ngateway6 = "${ROUTER6}"\n`,
    client: `address6 = "${GUEST_HOST6}"\ngateway6 = "${GUEST_GATEWAY6}"\nnat6 = "masquerade"\n`,
  },
  async settle(client, internet) {
    await becomeGuest6(client);
    await becomeInternet6(internet);
  },
  async forward(linux) {
    await switchOn(linux);
    linux.ip("-6", "address", "add", `${GUEST_GATEWAY6}/128`, "dev", "eth0", "nodad");
    linux.ip("-6", "route", "add", GUEST_HOST6, "dev", "eth0");
    linux.ip("-6", "address", "add", `${OUTSIDE6}/64`, "dev", "eth1", "nodad");
    linux.ip("-6", "route", "add", "default", "via", ROUTER6);
    await linux.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"]);
  },
};

/** @returns what a case of a benchmark is called that measures these families */
export function caseName(name: string, family: Family, families: readonly Family[]): string {
  return families.length === 1 ? name : `${family.name}, ${name}`;
}
