// What the firewall of a Linux netvm in Qubes OS would have the kernel do: nftables rules for one client's rules, as
// qubes-core-agent-linux makes them (qubesagent/firewall.py, network/qubes-ipv4.nft; as of 2026-07), written anew to
// compare with. It shares no code with ours, and takes what the agent takes, down to what nft makes of odd values.

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

const KEYS = ["action", "proto", "dst4", "dst6", "dsthost", "dstports", "specialtarget", "icmptype"];
const REFUSE = "reject with icmp type admin-prohibited";

/**
 * @returns the lines of the client's chain
 * @throws RuleError where the agent finds an error itself. What nft finds is not known here.
 */
export function agentChain({ texts, policy }: AgentClient, names: Names): string[] {
  return [...texts, `action=${policy}`].flatMap((text) => agentLines(text, names));
}

/** The chain that a client gets whose rules are in error. */
export const REFUSE_ALL: readonly string[] = [REFUSE, REFUSE];

function agentLines(text: string, names: Names): string[] {
  const rule = new Map(text.split(" ").map((pair) => pair.split("=", 2) as [string, string]));
  const unknown = [...rule.keys()].find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new RuleError(`unsupported option ${unknown}`);
  if (rule.has("dst6")) throw new RuleError("dst6 for an IPv4 address");
  const proto = rule.get("proto");
  const words: string[] = [];
  if (proto !== undefined) words.push(`ip protocol ${proto}`);
  if (rule.has("dst4")) words.push(`ip daddr ${rule.get("dst4")}`);
  else if (rule.has("dsthost")) words.push(`ip daddr { ${resolve(rule.get("dsthost") ?? "", names).join(", ")} }`);
  let ports = rule.get("dstports");
  const [first, last = first] = ports?.split("-") ?? [];
  if (first === last) ports = first;
  if (rule.get("specialtarget") === "dns") {
    if (ports !== undefined && ports !== "53") return [];
    ports = "53";
    words.push("ip daddr @dns-addr");
  }
  if (rule.has("icmptype")) words.push(`icmp type ${rule.get("icmptype")}`);
  const lines = words.join(" ");
  const action = actionOf(rule.get("action"));
  if (ports === undefined) return [`${lines} ${action}`];
  return (proto === undefined ? ["tcp", "udp"] : [proto]).map((each) => `${lines} ${each} dport ${ports} ${action}`);
}

function resolve(name: string, names: Names): readonly string[] {
  const addresses = names.get(name) ?? [];
  if (addresses.length === 0) throw new RuleError(`${name} does not resolve`);
  return addresses;
}

function actionOf(action: string | undefined): string {
  if (action === "accept") return "accept";
  if (action === "drop") return REFUSE;
  throw new RuleError(`action ${action}`);
}

/**
 * The whole of a netvm's nftables rules about forwarding. Clients' interfaces are called vif…, and are in group 2.
 * @param chains by client address. The agent asks for each address in turn; a map does the same, and faster
 * @param dns the netvm's name servers
 */
export function agentTables(chains: ReadonlyMap<string, readonly string[]>, dns: readonly string[]): string {
  const nameOf = (address: string) => `qbs-${address.replaceAll(".", "-")}`;
  const jumps = Array.from(chains.keys(), (address) => `${address} : jump ${nameOf(address)}`);
  const clients = Array.from(chains, ([address, lines]) => `chain ${nameOf(address)} {\n${lines.join("\n")}\n}`);
  return `table ip qubes {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state invalid counter drop
    ct state related,established accept
    oifgroup 2 counter drop
  }
}
table ip qubes-firewall {
  set dns-addr {
    type ipv4_addr
    ${dns.length > 0 ? `elements = { ${dns.join(", ")} }` : ""}
  }
  ${clients.join("\n")}
  chain qubes-forward {
    ip saddr vmap { ${jumps.join(", ")} }
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
