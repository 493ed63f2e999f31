// What `explain` says of a packet: each rule, or forward, that could decide it with why it does not, and then what the
// dataplane did with the packet when it was tried (trial.ts). Made once, shown to people or to programs.

import {
  familyOf,
  formatEndpoint,
  formatIp,
  formatIpPrefix,
  hostPrefix,
  type IpAddress,
  isHost,
  isInside,
  sameIp,
} from "../base/ip.ts";
import type { Config } from "../config/config.ts";
import type { ForwardConfig } from "../config/forwards.ts";
import { circumstancesOf, configuredDevices, makeSettings } from "../control/settings.ts";
import { ruleText } from "../control/views/flow-text.ts";
import { VERDICT, VERDICT_NAMES } from "../dataplane/verdict.ts";
import { IANA } from "../rules/compile.ts";
import { type Asked, mismatch, remark } from "../rules/mismatch.ts";
import { formatPorts, formatRule } from "../rules/parse.ts";
import { type Outcome, type Sender, tryPacket } from "./trial.ts";

/** The addresses of host names; who has some of one family, and none of the other, is known to have none of that. */
export type Names = ReadonlyMap<string, readonly IpAddress[]>;

export interface Explanation {
  readonly decision: "accepted" | "refused" | "dropped" | "answered" | "never comes";
  /** The verdict in a sentence. */
  readonly sentence: string;
  /** The dataplane's name for it; none where the packet never comes to it. */
  readonly verdict?: string;
  /** Number of the rule or forward that decided; 0 for the policy. */
  readonly rule?: number;
  readonly forward?: number;
  readonly answer?: string;
  readonly egress?: string;
  /** What the receiver sees as source, and who it is where that is another than was asked for. */
  readonly source?: string;
  readonly destination?: string;
  /** Rules, or forwards, in the order in which they are asked. */
  readonly steps: readonly Step[];
}

/** A rule or a forward. */
export interface Step {
  readonly kind: "rule" | "forward";
  readonly number: number;
  readonly text: string;
  /** Why it does not match; undefined where it does. */
  readonly reason?: string | undefined;
  /** What is to be said of a match. */
  readonly remark?: string;
}

/**
 * @param now Unix time in seconds, which rules expire by
 * @returns or the configuration's errors
 */
export function explainPacket(
  config: Config,
  sender: Sender,
  asked: Asked,
  now: number,
  names: Names,
): Explanation | { readonly errors: readonly string[] } {
  const neverComes = "client" in sender ? whyNever(config, sender.client, asked.destination) : undefined;
  if (neverComes !== undefined)
    return { decision: "never comes", sentence: `never comes here: ${neverComes}`, steps: [] };
  const known = {
    addressesOf: (name: string) => names.get(name)?.filter((address) => typeof address === "number"),
    addresses6Of: (name: string) => names.get(name)?.filter((address) => typeof address !== "number"),
  };
  const result = makeSettings(config, configuredDevices(config), { anyMac: true, now, ...known });
  if ("errors" in result) return result;
  const outcome = tryPacket(result.settings, sender, asked);
  if ("address" in sender) return explainInbound(config, sender.address, asked, outcome);
  const circumstances = circumstancesOf(config, config.clients[sender.client], now, known);
  const rules = outcome.rule < 0 ? [] : config.clients[sender.client].rules;
  const steps = rules.map((rule, i): Step => {
    const reason = mismatch(rule, asked, circumstances);
    const note = reason === undefined ? remark(rule, asked, circumstances) : undefined;
    return { kind: "rule", number: i + 1, text: formatRule(rule), reason, ...(note !== undefined && { remark: note }) };
  });
  const by = outcome.rule < 0 ? undefined : ruleText(outcome.rule);
  const explanation = { ...explain(outcome, by), ...(outcome.rule >= 0 && { rule: outcome.rule }), steps };
  return by === undefined ? { ...explanation, sentence: `${explanation.sentence}; no rule is asked` } : explanation;
}

/** @param all every rule, however many there are @returns a line for each step that is shown, and one for the verdict */
export function formatExplanation({ steps, sentence }: Explanation, all: boolean): string[] {
  const first = steps.findIndex(({ reason }) => reason === undefined);
  const isShown = all || steps.length <= MOST_STEPS;
  const shown = isShown ? steps : steps.filter(({ reason }) => reason === undefined).slice(0, MOST_MATCHES);
  const lines = shown.map(({ kind, number, text, reason, remark: note }) => {
    const rank = number === first + 1 ? "match" : `match, but ${kind} ${first + 1} comes first`;
    const match = note === undefined ? rank : `${rank}: ${note}`;
    return `${kind} ${number}: ${text}: ${reason === undefined ? match : `no: ${reason}`}`;
  });
  if (!isShown) lines.push(`… ${steps.length - shown.length} more ${steps[0].kind}s (--all shows them)`);
  return [...lines, sentence];
}

/** More rules than these are not listed but for those that match, and of them not all. */
const MOST_STEPS = 20;
const MOST_MATCHES = 5;

/** @returns why a client's packet to an address does not come to the firewall */
function whyNever({ clients }: Config, number: number, destination: IpAddress): string | undefined {
  const client = clients[number];
  const site = familyOf(destination) === 4 ? client : client.ipv6;
  if (site === undefined) return undefined;
  const hosts = { address: site.network, prefix: site.prefix };
  if (sameIp(destination, site.gateway) || !isInside(hostPrefix(destination), hosts)) return undefined;
  if (isHost(hosts)) return `${formatIp(destination)} is the client itself`;
  return `hosts of ${formatIpPrefix(hosts)} reach each other without the firewall`;
}

/** @param by what accepted or refused it, if anything was asked */
function explain(outcome: Outcome, by: string | undefined): Omit<Explanation, "steps"> {
  const { answer, egress, mapped, reached } = outcome;
  const answered = answer === undefined ? "not answered" : `answered with ${answer}`;
  const verdict = VERDICT_NAMES[outcome.verdict];
  const common = { verdict, ...(answer !== undefined && { answer }) };
  if (outcome.verdict === VERDICT.ANSWERED) return { ...common, decision: "answered", sentence: answered };
  if (outcome.verdict === VERDICT.REFUSED) {
    return { ...common, decision: "refused", sentence: `refused by ${by}, ${answered}` };
  }
  if (by === undefined) return { ...common, decision: "dropped", sentence: `${verdict}, ${answered}` };
  const accepted = `accepted by ${by}`;
  if (verdict.startsWith("dropped: ")) {
    return { ...common, decision: "dropped", sentence: `${accepted}, but ${verdict}, ${answered}` };
  }
  const parts = [accepted, egress && `leaves on ${egress} as ${mapped}`, reached && `to ${reached} instead`];
  return {
    ...common,
    decision: "accepted",
    sentence: parts.filter((part) => part !== undefined).join(", "),
    ...(egress !== undefined && { egress }),
    ...(mapped !== undefined && { source: mapped }),
    ...(reached !== undefined && { destination: reached }),
  };
}

/** From outside nothing comes in but what answers a client, what a forward lets in, and what opened mappings allow. */
function explainInbound(
  { uplink, forwards, clients }: Config,
  from: IpAddress,
  asked: Asked,
  outcome: Outcome,
): Explanation {
  const steps = forwards.map((forward, i): Step => {
    const { name } = clients[forward.to.client];
    const hosts = [forward.to.address, forward.to.address6].filter((host) => host !== undefined);
    const to = hosts.map((host) => formatEndpoint(host, formatPorts(forward.toPorts))).join(" and ");
    const text = `${forward.proto} ${formatPorts(forward.ports)} to ${to} (client ${name})`;
    return { kind: "forward", number: i + 1, text, reason: forwardMismatch(forward, from, asked) };
  });
  const first = steps.findIndex(({ reason }) => reason === undefined);
  const isAccepted = outcome.egress !== undefined && first >= 0;
  const explanation = explain(outcome, isAccepted ? `forward ${first + 1}` : undefined);
  if (isAccepted) return { ...explanation, forward: first + 1, steps };
  if (outcome.verdict !== VERDICT.UNSOLICITED) return { ...explanation, steps: [] };
  const own = familyOf(asked.destination) === 4 ? uplink.address : uplink.ipv6?.address;
  if (own === undefined) return { ...explanation, steps: [] };
  if (sameIp(asked.destination, own)) return { ...explanation, steps };
  const routed = clients.flatMap(({ ipv6 }) => (ipv6?.nat === "route" ? ipv6 : []));
  if (routed.some(({ network, prefix }) => isInside(hostPrefix(asked.destination), { address: network, prefix }))) {
    return { ...explanation, steps };
  }
  const sentence = `${explanation.sentence}; only packets to our address, ${formatIp(own)}, open anything`;
  return { ...explanation, sentence, steps: [] };
}

function forwardMismatch(
  { proto, ports, to, from }: ForwardConfig,
  source: IpAddress,
  asked: Asked,
): string | undefined {
  const family = familyOf(asked.destination);
  if ((family === 4 ? to.address : to.address6) === undefined) return `leads to a host of IPv${family === 4 ? 6 : 4}`;
  if (asked.protocol !== IANA[proto]) return `protocol is not ${proto}`;
  if (asked.selector < ports.low || asked.selector > ports.high) {
    return ports.low === ports.high ? `port is not ${ports.low}` : `port is not in ${formatPorts(ports)}`;
  }
  if (from.length === 0 || from.some((prefix) => isInside(hostPrefix(source), prefix))) return undefined;
  return `${formatIp(source)} is not in ${from.map(formatIpPrefix).join(", ")}`;
}
