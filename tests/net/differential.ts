// Firebreak beside a Linux router that masquerades, between ends that have the same MAC addresses, so that what comes out of both can be
// compared byte for byte; and the differences that docs/NAT.md lists.
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";
import { CLIENT, CLIENT_GATEWAY, configuration, ROUTER, UPLINK } from "../../lab/places.ts";
import type { FamilyName } from "./conversations/families.ts";
import { CLIENT_GATEWAY6, CLIENT6, ROUTER6, UPLINK6 } from "./conversations/ipv6.ts";
import { ENDS } from "./ends.ts";

/** What a Linux router is told, so that it refuses what its connection tracking finds invalid. @param table ip or ip6 */
const nftables = (table: "ip" | "ip6") => `
table ${table} nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "eth1" masquerade; }
}
table ${table} filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "eth0" oifname "eth1" ct state new accept
  }
  chain input { type filter hook input priority filter; policy drop; }
}
`;

/** No connection is taken up in mid-stream, nothing outside the window passes. */
const SYSCTLS = {
  "net/ipv4/ip_forward": 1,
  "net/ipv6/conf/all/disable_ipv6": 0,
  "net/ipv6/conf/default/disable_ipv6": 0,
  "net/ipv6/conf/all/accept_dad": 0,
  "net/ipv6/conf/default/accept_dad": 0,
  "net/ipv6/conf/all/forwarding": 1,
  // Packets whose fragments never all come wait for 30 s, of IPv6 60 s; by default four megabytes of them, and then no other fragment
  // gets through.
  "net/ipv4/ipfrag_high_thresh": 256 * 1024 * 1024,
  "net/netfilter/nf_conntrack_frag6_high_thresh": 256 * 1024 * 1024,
  // On a busy machine a conversation may stand still for longer than these are by default: what a RST has ended is forgotten after 10 s.
  "net/netfilter/nf_conntrack_tcp_timeout_close": 240,
  "net/netfilter/nf_conntrack_udp_timeout": 240,
  "net/netfilter/nf_conntrack_udp_timeout_stream": 240,
  "net/netfilter/nf_conntrack_icmp_timeout": 240,
  "net/netfilter/nf_conntrack_icmpv6_timeout": 240,
  "net/netfilter/nf_conntrack_tcp_loose": 0,
  "net/netfilter/nf_conntrack_tcp_be_liberal": 0,
};

/** A row of the tables "Where we differ from Linux". */
export interface Row {
  readonly kind: string;
  readonly firebreak: string;
  readonly linux: string;
}

/** What tests/net/peers/differential.ts says. */
interface Told {
  readonly packets: number;
  readonly delivered: number;
  readonly refused: number;
  readonly notCompared: number;
  readonly differences: readonly {
    readonly kinds: readonly string[];
    readonly firebreak: string;
    readonly linux: string;
    readonly count: number;
    readonly example: readonly string[];
  }[];
}

export interface Result extends Told {
  /** Differences that the tables don't list, and rows that no difference was of. */
  readonly unexplained: Told["differences"];
  readonly unmet: readonly Row[];
}

export class DifferentialLab {
  private readonly lab: FirewallLab;
  private readonly linux: Namespace;
  private readonly wire: Namespace;

  /** @param name short, one for each test file */
  constructor(name: string) {
    this.lab = new FirewallLab(name);
    this.linux = this.lab.namespace("linux");
    this.wire = this.lab.namespace("wire");
  }

  /** Makes both firewalls, for both families. */
  async start(): Promise<void> {
    const { lab, linux, wire } = this;
    lab.cable(lab.firewall, "p0", wire, "fb-in");
    lab.cable(lab.firewall, "p1", wire, "fb-out");
    lab.cable(linux, "eth0", wire, "nf-in");
    lab.cable(linux, "eth1", wire, "nf-out");
    await becomeLinuxFirewall(linux);
    lab.writeConfig(firebreakConfiguration());
    await lab.start();
  }

  /** Holds conversations through both. @param patience ms that it may take */
  async compare(family: FamilyName, conversations: number, seed: number, patience: number): Promise<Result> {
    const told: Told = JSON.parse(await this.wire.run(peer("differential", family, conversations, seed), patience));
    const rows = await documentedDifferences(family);
    const met = new Set<Row>();
    const unexplained = told.differences.filter(({ kinds, firebreak, linux }) => {
      const row = rows.find((row) => kinds.includes(row.kind) && row.firebreak === firebreak && row.linux === linux);
      if (row !== undefined) met.add(row);
      return row === undefined;
    });
    return { ...told, unexplained, unmet: rows.filter((row) => !met.has(row)) };
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

async function becomeLinuxFirewall(linux: Namespace): Promise<void> {
  for (const [name, value] of Object.entries(SYSCTLS))
    await linux.run(["sh", "-c", `echo ${value} >/proc/sys/${name}`]);
  const places = [
    {
      name: "eth0",
      end: ENDS.inside,
      own: [`${CLIENT_GATEWAY}/24`, `${CLIENT_GATEWAY6}/64`],
      hosts: [CLIENT, CLIENT6],
    },
    { name: "eth1", end: ENDS.outside, own: [`${UPLINK}/24`, `${UPLINK6}/64`], hosts: [ROUTER, ROUTER6] },
  ];
  for (const { name, end, own, hosts } of places) {
    await linux.run(["sh", "-c", `echo 0 >/proc/sys/net/ipv6/conf/${name}/disable_ipv6`]);
    linux.ip("link", "set", name, "address", end.firewall);
    // What is tentative is not what it masquerades as: then that is ::1.
    for (const address of own) linux.ip("address", "add", address, "dev", name, "nodad");
    for (const host of hosts) linux.ip("neighbour", "add", host, "lladdr", end.host, "dev", name, "nud", "permanent");
  }
  linux.ip("route", "add", "default", "via", ROUTER);
  linux.ip("-6", "route", "add", "default", "via", ROUTER6);
  await linux.run(["nft", nftables("ip") + nftables("ip6")]);
}

function firebreakConfiguration(): string {
  const ends = [
    ["p1", ENDS.outside, "gateway_mac", `address6 = "${UPLINK6}/64"\ngateway6 = "${ROUTER6}"`],
    ["p0", ENDS.inside, "mac", `address6 = "${CLIENT6}"\ngateway6 = "${CLIENT_GATEWAY6}"`],
  ] as const;
  let config = `${configuration([], "accept")}\n[nat]\nmax_flows = 262144\n`;
  for (const [name, end, key, ipv6] of ends) {
    config = config.replace(
      /^interface = "eth\d"$/m,
      `interface = "${name}"\nown_mac = "${end.firewall}"\n${key} = "${end.host}"\n${ipv6}`,
    );
  }
  return config.replace("[[client]]", "[[client]]\nflows_per_second = 1000000");
}

const TABLES = { ipv4: "IPv4", ipv6: "IPv6" } as const satisfies Record<FamilyName, string>;

/** @returns the rows of the table for both families, and of that for this one */
async function documentedDifferences(family: FamilyName): Promise<Row[]> {
  const text = await Bun.file(join(import.meta.dir, "../../docs/NAT.md")).text();
  const section = text.split(/^## /m).find((part) => part.startsWith("Where we differ from Linux\n")) ?? "";
  const parts = section.split(/^### /m);
  return ["Both families", TABLES[family]].flatMap((title) => {
    const part = parts.find((part) => part.startsWith(`${title}\n`));
    if (part === undefined) throw new Error(`docs/NAT.md has no table "${title}" of differences from Linux`);
    const rows = part.split("\n").filter((line) => line.startsWith("| "));
    return rows.slice(2).map((row) => {
      const [, kind = "", firebreak = "", linux = ""] = row.split("|").map((cell) => cell.trim());
      return { kind, firebreak, linux };
    });
  });
}
