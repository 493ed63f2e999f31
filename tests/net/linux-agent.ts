// What the firewall of a Linux netvm in Qubes OS would have the kernel do: nftables rules for one client's rules, as
// qubes-core-agent-linux makes them (qubesagent/firewall.py, network/qubes-ipv4.nft, qubes-ipv6.nft; as of 2026-07), written
// anew to compare with. It shares no code with ours, and takes what the agent takes, down to what nft makes of odd values.

/** A client of the agent's: its rules' texts as they stand in QubesDB, in order. */
export interface AgentClient {
  readonly address: string;
  readonly texts: readonly string[];
  readonly policy: string;
}

/** Addresses of host names; none: the name does not exist. */
export type Names = ReadonlyMap<string, readonly string[]>;

/** The agent gives up on these rules and drops everything from the client, with an error to it. */
export class RuleError extends Error {}

/** How the agent speaks to nft of one family. */
export interface Dialect {
  readonly ip: "ip" | "ip6";
  readonly destination: "dst4" | "dst6";
  /** The other family's. */
  readonly foreign: "dst4" | "dst6";
  readonly protocol: string;
  readonly icmp: string;
  readonly addressType: string;
  readonly refuse: string;
}

export const IPV4: Dialect = {
  ip: "ip",
  destination: "dst4",
  foreign: "dst6",
  protocol: "ip protocol",
  icmp: "icmp",
  addressType: "ipv4_addr",
  refuse: "reject with icmp type admin-prohibited",
};

export const IPV6: Dialect = {
  ip: "ip6",
  destination: "dst6",
  foreign: "dst4",
  protocol: "ip6 nexthdr",
  icmp: "icmpv6",
  addressType: "ipv6_addr",
  refuse: "reject with icmpv6 type admin-prohibited",
};

const KEYS = ["action", "proto", "dst4", "dst6", "dsthost", "dstports", "specialtarget", "icmptype"];
/**
 * @returns the lines of the client's chain
 * @throws RuleError where the agent finds an error itself. What nft finds is not known here.
 */
export function agentChain({ texts, policy }: AgentClient, names: Names, dialect: Dialect): string[] {
  return [...texts, `action=${policy}`].flatMap((text) => agentLines(text, names, dialect));
}

/** The chain that a client gets whose rules are in error. */
export function refuseAll({ refuse }: Dialect): string[] {
  return [refuse, refuse];
}

function agentLines(text: string, names: Names, dialect: Dialect): string[] {
  const { ip, destination, foreign, icmp } = dialect;
  const rule = new Map(text.split(" ").map((pair) => pair.split("=", 2) as [string, string]));
  const unknown = [...rule.keys()].find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new RuleError(`unsupported option ${unknown}`);
  if (rule.has(foreign)) throw new RuleError(`${foreign} for an address of the other family`);
  const proto = rule.get("proto");
  const words: string[] = [];
  if (proto !== undefined) words.push(`${dialect.protocol} ${proto === "icmp" ? icmp : proto}`);
  if (rule.has(destination)) words.push(`${ip} daddr ${rule.get(destination)}`);
  else if (rule.has("dsthost")) words.push(`${ip} daddr { ${resolve(rule.get("dsthost") ?? "", names).join(", ")} }`);
  let ports = rule.get("dstports");
  const [first, last = first] = ports?.split("-") ?? [];
  if (first === last) ports = first;
  if (rule.get("specialtarget") === "dns") {
    if (ports !== undefined && ports !== "53") return [];
    ports = "53";
    words.push(`${ip} daddr @dns-addr`);
  }
  if (rule.has("icmptype")) words.push(`${icmp} type ${rule.get("icmptype")}`);
  const lines = words.join(" ");
  const action = actionOf(rule.get("action"), dialect);
  if (ports === undefined) return [`${lines} ${action}`];
  return (proto === undefined ? ["tcp", "udp"] : [proto]).map((each) => `${lines} ${each} dport ${ports} ${action}`);
}

function resolve(name: string, names: Names): readonly string[] {
  const addresses = names.get(name) ?? [];
  if (addresses.length === 0) throw new RuleError(`${name} does not resolve`);
  return addresses;
}

function actionOf(action: string | undefined, { refuse }: Dialect): string {
  if (action === "accept") return "accept";
  if (action === "drop") return refuse;
  throw new RuleError(`action ${action}`);
}

/**
 * The whole of a netvm's nftables rules about forwarding. Clients' interfaces are called vif…, and are in group 2.
 * @param chains by client address. The agent asks for each address in turn; a map does the same, and faster
 * @param dns the netvm's name servers
 */
export function agentTables(
  chains: ReadonlyMap<string, readonly string[]>,
  dns: readonly string[],
  { ip, addressType }: Dialect,
): string {
  const nameOf = (address: string) => `qbs-${address.replace(/[.:]/g, "-")}`;
  const jumps = Array.from(chains.keys(), (address) => `${address} : jump ${nameOf(address)}`);
  const clients = Array.from(chains, ([address, lines]) => `chain ${nameOf(address)} {\n${lines.join("\n")}\n}`);
  return `table ${ip} qubes {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state invalid counter drop
    ct state related,established accept
    oifgroup 2 counter drop
  }
}
table ${ip} qubes-firewall {
  set dns-addr {
    type ${addressType}
    ${dns.length > 0 ? `elements = { ${dns.join(", ")} }` : ""}
  }
  ${clients.join("\n")}
  chain qubes-forward {
    ${ip} saddr vmap { ${jumps.join(", ")} }
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    meta iifname != "vif*" accept
    jump qubes-forward
  }
}
`;
}
