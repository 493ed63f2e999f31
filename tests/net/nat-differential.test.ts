// The same conversations through Firebreak and through a Linux router that masquerades: every packet is delivered or refused
// alike, and what is delivered is the same to the last byte, but for what the table in docs/NAT.md lists.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { CLIENT, CLIENT_GATEWAY, configuration, ROUTER, UPLINK } from "../../lab/places.ts";
import { ENDS } from "./differential.ts";

const CONVERSATIONS = 20_000;
const SEED = 9;
const PATIENCE = 600_000;

const lab = new FirewallLab("differential");
const linux = lab.namespace("linux");
const wire = lab.namespace("wire");

/** What a Linux router is told, so that it refuses what its connection tracking finds invalid. */
const NFTABLES = `
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "eth1" masquerade; }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "eth0" oifname "eth1" ct state new accept
  }
  chain input { type filter hook input priority filter; policy drop; }
}
`;

/** By net/netfilter/nf_conntrack_…: no connection is taken up in mid-stream, nothing outside the window passes. */
const SYSCTLS = {
  "net/ipv4/ip_forward": 1,
  // Packets whose fragments never all come wait for 30 s; by default four megabytes of them, and then no other fragment gets through.
  "net/ipv4/ipfrag_high_thresh": 256 * 1024 * 1024,
  // On a busy machine a conversation may stand still for longer than these are by default: what a RST has ended is forgotten after 10 s.
  "net/netfilter/nf_conntrack_tcp_timeout_close": 240,
  "net/netfilter/nf_conntrack_udp_timeout": 240,
  "net/netfilter/nf_conntrack_udp_timeout_stream": 240,
  "net/netfilter/nf_conntrack_icmp_timeout": 240,
  "net/netfilter/nf_conntrack_tcp_loose": 0,
  "net/netfilter/nf_conntrack_tcp_be_liberal": 0,
};

beforeAll(async () => {
  lab.cable(lab.firewall, "p0", wire, "fb-in");
  lab.cable(lab.firewall, "p1", wire, "fb-out");
  lab.cable(linux, "eth0", wire, "nf-in");
  lab.cable(linux, "eth1", wire, "nf-out");
  await becomeLinuxFirewall();
  const ends = [
    ["p1", ENDS.outside, "gateway_mac"],
    ["p0", ENDS.inside, "mac"],
  ] as const;
  let config = `${configuration([], "accept")}\n[nat]\nmax_flows = 262144\n`;
  for (const [name, end, key] of ends) {
    config = config.replace(
      /^interface = "eth\d"$/m,
      `interface = "${name}"\nown_mac = "${end.firewall}"\n${key} = "${end.host}"`,
    );
  }
  lab.writeConfig(config.replace("[[client]]", "[[client]]\nflows_per_second = 1000000"));
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

async function becomeLinuxFirewall(): Promise<void> {
  linux.ip("link", "set", "eth0", "address", ENDS.inside.firewall);
  linux.ip("link", "set", "eth1", "address", ENDS.outside.firewall);
  linux.ip("address", "add", `${CLIENT_GATEWAY}/24`, "dev", "eth0");
  linux.ip("address", "add", `${UPLINK}/24`, "dev", "eth1");
  linux.ip("route", "add", "default", "via", ROUTER);
  linux.ip("neighbour", "add", CLIENT, "lladdr", ENDS.inside.host, "dev", "eth0", "nud", "permanent");
  linux.ip("neighbour", "add", ROUTER, "lladdr", ENDS.outside.host, "dev", "eth1", "nud", "permanent");
  await linux.run(["nft", NFTABLES]);
  for (const [name, value] of Object.entries(SYSCTLS))
    await linux.run(["sh", "-c", `echo ${value} >/proc/sys/${name}`]);
}

/** A row of the table "Where we differ from Linux". */
interface Row {
  readonly kind: string;
  readonly firebreak: string;
  readonly linux: string;
}

async function documentedDifferences(): Promise<Row[]> {
  const text = await Bun.file(join(import.meta.dir, "../../docs/NAT.md")).text();
  const section = text.split(/^## /m).find((part) => part.startsWith("Where we differ from Linux\n")) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  return rows.slice(2).map((row) => {
    const [, kind = "", firebreak = "", linux = ""] = row.split("|").map((cell) => cell.trim());
    return { kind, firebreak, linux };
  });
}

/** What tests/net/peers/differential.ts says. */
interface Result {
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

test(
  `${CONVERSATIONS} conversations go through both alike, but for what the table says`,
  async () => {
    const { differences, ...total }: Result = JSON.parse(
      await wire.run(peer("differential", CONVERSATIONS, SEED), PATIENCE),
    );
    console.log(total);
    const rows = await documentedDifferences();
    const met = new Set<Row>();
    const unexplained = differences.filter(({ kinds, firebreak, linux }) => {
      const row = rows.find((row) => kinds.includes(row.kind) && row.firebreak === firebreak && row.linux === linux);
      if (row !== undefined) met.add(row);
      return row === undefined;
    });
    expect(unexplained).toEqual([]);
    expect(rows.filter((row) => !met.has(row))).toEqual([]);
    expect(total.delivered).toBeGreaterThan(7 * CONVERSATIONS);
    expect(total.refused).toBeGreaterThan(CONVERSATIONS);
  },
  PATIENCE,
);
