// To whom and by what a packet goes that `why` is asked about: DESTINATION as somebody writes it, with the filters beside it.
import { isIpv6Text } from "../base/address.ts";
import { formatIp, isHost, parseIp, parseIpPrefix, splitEndpoint } from "../base/ip.ts";
import { quote } from "../base/quote.ts";
import { hostsOf } from "../config/clients.ts";
import type { Config } from "../config/config.ts";
import { FilterError, type Meaning, readProtocol, readValue } from "../control/views/flow-filter.ts";
import { parseValue } from "../rules/parse.ts";
import { PROTOCOL } from "../wire/ipv4.ts";

export interface Destination {
  /** An address, or a host name that is in the rules; without brackets. */
  readonly host: string;
  /** As rules have it: a number, or a range. */
  readonly port: string | undefined;
}

/** @param words filters beside it @throws FilterError: it is no address or known name, or has a port that the words have no use for */
export function readDestination(
  text: string,
  words: readonly string[],
  { config, ...meaning }: Meaning & { readonly config: Config },
): Destination {
  const { host, port } = splitEndpoint(text);
  requireHost(host, config, meaning);
  if (port === undefined) return { host, port };
  if (!parseValue("dstports", port).ok)
    throw new FilterError(`port ${quote(port)} is none (write ${inBrackets(host)}:443)`);
  const proto = wordOf(words, "proto");
  const hasPorts = proto === undefined || hasPort(readProtocol(proto));
  if (hasPorts && wordOf(words, "icmptype") === undefined) return { host, port };
  throw new FilterError(`ICMP and protocols by number have no ports (leave out ${quote(`:${port}`)})`);
}

/**
 * The first packet of a flow that is meant: a SYN where there is a port, else an echo request, unless words say something else.
 * @param icmp number of the protocol that is the destination's ICMP
 * @returns IANA's number of the protocol; the port, or for ICMP a type where one is given
 * @throws FilterError where a port would decide, and there is none
 */
export function packetMeant(
  { host, port }: Destination,
  words: readonly string[],
  icmp: number,
): { readonly protocol: number; readonly selector: number | undefined } {
  const [proto, ports, type] = [wordOf(words, "proto"), port ?? wordOf(words, "dstports"), wordOf(words, "icmptype")];
  const usual = ports === undefined || type !== undefined ? icmp : PROTOCOL.TCP;
  const protocol = proto === undefined ? usual : proto === "icmp" ? icmp : readProtocol(proto);
  if (protocol === icmp)
    return { protocol, selector: type === undefined ? undefined : readValue("icmptype", "icmptype", type) };
  if (!hasPort(protocol)) return { protocol, selector: 0 };
  if (ports !== undefined) return { protocol, selector: readValue("dstports", "dstports", ports).low };
  throw new FilterError(
    `nothing of this was dropped, as far as it is remembered; to say what would happen now takes a port (write ${inBrackets(host)}:443)`,
  );
}

function inBrackets(host: string): string {
  return isIpv6Text(host) ? `[${host}]` : host;
}

function hasPort(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP;
}

function wordOf(words: readonly string[], key: string): string | undefined {
  return words.find((word) => word.startsWith(`${key}=`))?.slice(key.length + 1);
}

function requireHost(host: string, config: Config, { addressesOf, addresses6Of = () => undefined }: Meaning): void {
  if (parseIp(host) !== undefined) return;
  requireOne(host);
  const name = host.toLowerCase();
  if (addressesOf(name) !== undefined || addresses6Of(name) !== undefined) return;
  const client = config.clients.find((one) => one.name === host);
  if (client !== undefined) throw new FilterError(`${quote(host)} is a client (write ${addressText(client)})`);
  if (!parseValue("dsthost", host).ok) {
    throw new FilterError(
      `${quote(host)} is neither an address nor a host name (write 203.0.113.7 or 203.0.113.7:443)`,
    );
  }
  throw new FilterError(`${quote(host)} is in no rule, so that its addresses are not known (write an address)`);
}

/** @throws FilterError where it is a network */
export function requireOne(text: string): void {
  if (parseIp(text) !== undefined || parseIpPrefix(text) === undefined) return;
  throw new FilterError(`${quote(text)} is a network (write one of its addresses)`);
}

/** What can be written in its place. */
function addressText(client: Config["clients"][number]): string {
  const host = hostsOf(client).find(isHost);
  return host === undefined ? "an address of it" : formatIp(host.address);
}
