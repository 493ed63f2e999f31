// Why something does not get through: what the running firewall has dropped of it, alike frames together; and where that is nothing,
// what would become of it now.
import { familyOf, hostPrefix, type IpAddress, isInside, parseIp, splitEndpoint } from "../base/ip.ts";
import { plain, printable, quote } from "../base/quote.ts";
import { type ClientConfig, hostsOf } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { findDrops } from "../control/views/drop-filter.ts";
import { type DropBook, type DropEntry, formatAge, frameText, verdictWords } from "../control/views/drops.ts";
import { FilterError, type Meaning } from "../control/views/flow-filter.ts";
import type { FlowEnd } from "../control/views/flow-text.ts";
import type { Asked } from "../rules/mismatch.ts";
import { parseValue } from "../rules/parse.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { NEXT_HEADER } from "../wire/ipv6.ts";
import { type Destination, packetMeant, readDestination, requireOne } from "./destination.ts";
import { type Explanation, explainPacket, formatExplanation, type Names, type Step } from "./explanation.ts";
import { type Sender, SOME_PORT } from "./trial.ts";

/** What is asked of the running firewall. */
export interface Asking extends Meaning {
  readonly config: Config;
  readonly drops: DropBook;
}

/** The keys are those of `firebreak why --json`: docs/CONTROL.md has them. */
export type Reason = { readonly cause: Cause } | { readonly now: Explanation };

/** Frames that differ in nothing but the sender's port and TCP's flags. What is said of one is the last one's. */
export type Cause = DropEntry;

/** More are not told: the last seen are. */
const MOST_CAUSES = 20;

/**
 * @param source a client's name, or an address
 * @param destination an address or a host name that is in the rules, and for one port `:PORT`
 * @param words filters beside these
 * @param now Unix time in seconds
 * @throws FilterError
 */
export function findReasons(
  asking: Asking,
  source: string,
  destination: string,
  words: readonly string[],
  now: number,
): Reason[] {
  const { config, drops } = asking;
  const isClient = config.clients.some(({ name }) => name === source);
  const from = isClient ? source : readSource(source, config);
  const to = readDestination(destination, words, asking);
  const { host, port } = to;
  const asked = [
    isClient ? `client=${from}` : `src=${from}`,
    parseIp(host) === undefined ? `dsthost=${host}` : `dst=${host}`,
    ...(port === undefined ? [] : [`dstports=${port}`]),
    ...words,
  ];
  const causes = together(findDrops(drops, asked, asking));
  if (causes.length > 0) return causes.slice(0, MOST_CAUSES).map((cause) => ({ cause }));
  return [{ now: whatNow(asking, from, to, words, now) }];
}

/** @param text an address, of IPv6 also in brackets @returns it without them @throws FilterError */
function readSource(text: string, config: Config): string {
  const { host, port } = splitEndpoint(text);
  if (parseIp(host) === undefined) {
    requireOne(text);
    const names = config.clients.map(({ name }) => name).join(", ");
    throw new FilterError(`${quote(text)} is neither an address nor a client (there are ${names})`);
  }
  if (port === undefined) return host;
  const only = parseValue("dstports", port).ok ? `, and srcports=${port} beside it for that one alone` : "";
  throw new FilterError(`SOURCE has no port: each conversation has another (write ${host}${only})`);
}

/** @param now Unix time in seconds @returns lines that a terminal shows as they are */
export function reasonLines(reason: Reason, now: number): string[] {
  if ("now" in reason) {
    return ["nothing of this was dropped, as far as it is remembered; what would happen now:"].concat(
      formatExplanation(reason.now, false).map(plain),
    );
  }
  const { count, last } = reason.cause;
  const times = count === 1 ? "once" : `${count} times, last`;
  const what = `${verdictWords(reason.cause)}: ${frameText(reason.cause)}`;
  return [printable(`${times} ${formatAge(now - last)} ago: ${what}`)];
}

/** @param entries the last seen first */
function together(entries: readonly DropEntry[]): Cause[] {
  const causes = new Map<string, DropEntry>();
  for (const entry of entries) {
    const { verdict, proto, source, destination, rule, place, client, icmptype, ethertype } = entry;
    const ends = [source?.address, destination];
    const key = JSON.stringify([verdict, proto, ends, rule, place, client, entry.interface, icmptype, ethertype]);
    const known = causes.get(key);
    causes.set(key, known === undefined ? entry : merged(known, entry));
  }
  return [...causes.values()];
}

function merged(one: DropEntry, other: DropEntry): DropEntry {
  const isSame = one.source?.port === other.source?.port && one.source?.id === other.source?.id;
  return {
    ...one,
    count: one.count + other.count,
    first: Math.min(one.first, other.first),
    ...(one.source !== undefined && !isSame && { source: withoutPort(one.source) }),
  };
}

function withoutPort({ address }: FlowEnd): FlowEnd {
  return { address };
}

/** @throws FilterError */
function addressOf(host: string, { addressesOf, addresses6Of = () => undefined }: Meaning): IpAddress {
  const name = host.toLowerCase();
  const address = parseIp(host) ?? addressesOf(name)?.[0] ?? addresses6Of(name)?.[0];
  if (address === undefined) throw new FilterError(`${quote(host)} has no address here (write an address)`);
  return address;
}

/** What `explain` says of the first packet of a flow. */
function whatNow(asking: Asking, source: string, to: Destination, words: readonly string[], now: number): Explanation {
  const { config, addressesOf, addresses6Of = () => undefined } = asking;
  const destination = addressOf(to.host, asking);
  const [icmp, echo] =
    familyOf(destination) === 4 ? [PROTOCOL.ICMP, ICMP_TYPE.ECHO] : [NEXT_HEADER.ICMPV6, ICMPV6_TYPE.ECHO];
  const { protocol, selector = echo } = packetMeant(to, words, icmp);
  const asked: Asked = { protocol, destination, selector };
  const hosts = config.clients.flatMap(({ rules }) => rules.flatMap(({ dsthost }) => dsthost ?? []));
  const addressesIn = (host: string) => [...(addressesOf(host) ?? []), ...(addresses6Of(host) ?? [])];
  const names: Names = new Map(
    hosts.map((host) => [host, addressesIn(host)] as const).filter(([, { length }]) => length > 0),
  );
  const explanation = explainPacket(config, senderOf(config, source), asked, now, names);
  if ("errors" in explanation) throw new FilterError(explanation.errors.join("\n"));
  return { ...explanation, steps: explanation.steps.map(withoutUndefined) };
}

/** The channel has no word for what is undefined: it is left out, as JSON does. */
function withoutUndefined({ reason, ...step }: Step): Step {
  return reason === undefined ? step : { ...step, reason };
}

/** A client by its name or an address of its, else a host behind the uplink. */
function senderOf({ clients }: Config, source: string): Sender {
  const address = parseIp(source);
  const isTheirs = (client: ClientConfig) =>
    address !== undefined && hostsOf(client).some((hosts) => isInside(hostPrefix(address), hosts));
  const client = clients.findIndex((one) => one.name === source || isTheirs(one));
  return client >= 0 || address === undefined ? { client } : { address, port: SOME_PORT };
}
