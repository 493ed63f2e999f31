// `firebreak explain`: what becomes of a packet that a client would send, and why.

import { parseArgs } from "node:util";
import { parseAddress } from "../base/address.ts";
import { quote } from "../base/quote.ts";
import type { ClientConfig } from "../config/clients.ts";
import { type Config, readConfig } from "../config/config.ts";
import { ruleText } from "../control/flow-text.ts";
import { configuredDevices, makeSettings } from "../control/settings.ts";
import { VERDICT, VERDICT_NAMES } from "../dataplane/verdict.ts";
import { IANA } from "../rules/compile.ts";
import { type Asked, mismatch } from "../rules/mismatch.ts";
import { formatRule } from "../rules/parse.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { type Outcome, tryPacket } from "./trial.ts";
import { UsageError, type Verb } from "./verb.ts";

export const explain: Verb = {
  summary: "say what becomes of a client's packet, and why",
  help: `Usage: firebreak explain --config FILE --client NAME [--resolve HOST=ADDRESS …] PACKET

Prints each rule of the client NAME with "match" or the first of its predicates that fails,
then the verdict on PACKET as the first one of a flow, and how it would be answered. Where it
doesn't come to the rules (to the firewall itself, to another client, not routable), only that.
The verdict is the dataplane's: the packet goes through it. No root, and none of the interfaces,
is needed.

PACKET is one of
  tcp ADDRESS:PORT
  udp ADDRESS:PORT
  icmp ADDRESS [TYPE]      TYPE is 8, an echo request, if it isn't given
  proto NUMBER ADDRESS     any other IP protocol

  --config FILE            the configuration
  --client NAME            who sends it: of a network, any of its hosts
  --resolve HOST=ADDRESS   an address of a host name in the rules; may be there more than once.
                           Names without one match nothing: nobody is asked

Exit status: 0 explained, whatever the verdict is; 2 bad usage or configuration.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        config: { type: "string" },
        client: { type: "string" },
        resolve: { type: "string", multiple: true, default: [] },
      },
    });
    if (values.config === undefined) throw new UsageError("needs --config FILE");
    if (values.client === undefined) throw new UsageError("needs --client NAME");
    const asked = readPacket(positionals);
    const result = await readConfig(values.config);
    if ("errors" in result) return refuse(result.errors);
    const client = clientNumber(result.config, values.client);
    const names = readNames(values.resolve, result.config.clients[client]);
    const explanation = explainPacket(result.config, client, asked, Date.now() / 1000, names);
    if ("errors" in explanation) return refuse(explanation.errors);
    process.stdout.write(explanation.lines.map((line) => `${line}\n`).join(""));
    return 0;
  },
};

/** The IPv4 addresses of host names. */
export type Names = ReadonlyMap<string, readonly number[]>;

/**
 * @param client its number
 * @param now Unix time in seconds, which rules expire by
 * @returns a line for each rule that could be asked, and one for the verdict; or the configuration's errors
 */
export function explainPacket(
  config: Config,
  client: number,
  asked: Asked,
  now: number,
  names: Names,
): { readonly lines: string[] } | { readonly errors: readonly string[] } {
  const addressesOf = (name: string) => names.get(name) ?? [];
  const result = makeSettings(config, configuredDevices(config), { anyMac: true, now, addressesOf });
  if ("errors" in result) return result;
  const outcome = tryPacket(result.settings, client, asked);
  const verdict = describe(outcome);
  if (outcome.rule < 0) return { lines: [`${verdict}; no rule is asked`] };
  const circumstances = { dns: config.uplink.dns, now, addressesOf };
  const reasons = config.clients[client].rules.map((rule) => mismatch(rule, asked, circumstances));
  const first = reasons.indexOf(undefined);
  const lines = config.clients[client].rules.map((rule, i) => {
    const reason = reasons[i];
    const match = i === first ? "match" : `match, but rule ${first + 1} comes first`;
    return `rule ${i + 1}: ${formatRule(rule)}: ${reason === undefined ? match : `no: ${reason}`}`;
  });
  return { lines: [...lines, verdict] };
}

/** `refused by policy, answered with ICMP "administratively prohibited"` */
function describe({ verdict, rule, answer, reached }: Outcome): string {
  const answered = answer === undefined ? "not answered" : `answered with ${answer}`;
  const name = VERDICT_NAMES[verdict];
  if (verdict === VERDICT.ANSWERED) return answered;
  if (verdict === VERDICT.REFUSED) return `refused by ${ruleText(rule)}, ${answered}`;
  if (rule < 0) return `${name}, ${answered}`;
  const accepted = `accepted by ${ruleText(rule)}`;
  if (name.startsWith("dropped: ")) return `${accepted}, but ${name}, ${answered}`;
  return reached === undefined ? accepted : `${accepted}, and sent to ${reached} instead`;
}

const PACKET = "a packet is tcp ADDRESS:PORT, udp ADDRESS:PORT, icmp ADDRESS [TYPE] or proto NUMBER ADDRESS";

function readPacket([kind, ...words]: readonly string[]): Asked {
  const [first = "", second, ...more] = words;
  if (words.length === 0 || more.length > 0) throw new UsageError(PACKET);
  if (kind === "icmp") {
    const selector = second === undefined ? ICMP_TYPE.ECHO : readNumber(second, "an ICMP type", 255);
    return { protocol: PROTOCOL.ICMP, destination: readAddress(first), selector };
  }
  if ((kind === "tcp" || kind === "udp") && second === undefined) {
    const [address = "", port = "", ...rest] = first.split(":");
    if (rest.length > 0) throw new UsageError(`${quote(first)} is not ADDRESS:PORT`);
    return { protocol: IANA[kind], destination: readAddress(address), selector: readNumber(port, "a port", 65535) };
  }
  if (kind === "proto" && second !== undefined) {
    const protocol = readNumber(first, "an IP protocol", 255);
    const known = Object.entries(IANA).find(([, number]) => number === protocol);
    if (known !== undefined) throw new UsageError(`protocol ${protocol} is ${known[0]}: ${PACKET}`);
    return { protocol, destination: readAddress(second), selector: 0 };
  }
  throw new UsageError(PACKET);
}

function readAddress(text: string): number {
  const address = parseAddress(text);
  if (address === undefined) throw new UsageError(`${quote(text)} is not an IPv4 address`);
  return address;
}

function readNumber(text: string, what: string, most: number): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > most)
    throw new UsageError(`${quote(text)} is not ${what}, 0 to ${most}`);
  return Number(text);
}

function clientNumber({ clients }: Config, name: string): number {
  const number = clients.findIndex((client) => client.name === name);
  if (number >= 0) return number;
  const names = clients.map((client) => client.name).join(", ");
  throw new UsageError(`--client ${quote(name)} names no client (write one of these: ${names})`);
}

/** @param texts HOST=ADDRESS */
function readNames(texts: readonly string[], { name: client, rules }: ClientConfig): Names {
  const hosts = new Set(rules.map(({ dsthost }) => dsthost));
  const names = new Map<string, number[]>();
  for (const text of texts) {
    const [host = "", address = ""] = text.split("=");
    const name = host.toLowerCase().replace(/\.$/, "");
    if (!hosts.has(name)) throw new UsageError(`--resolve ${quote(text)}: client ${client} has no rule with that host`);
    names.set(name, [...(names.get(name) ?? []), readAddress(address)]);
  }
  return names;
}

function refuse(errors: readonly string[]): number {
  process.stderr.write(`${errors.join("\n")}\n`);
  return 2;
}
