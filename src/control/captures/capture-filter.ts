// Which frames somebody wants to capture, in the words of `flows` and `drops`: read into the numbers that the dataplane's thread compares.
import type { IpAddress, IpPrefix } from "../../base/ip.ts";
import type { CaptureMatch, Network } from "../../dataplane/io/capture-match.ts";
import { VERDICT_SLUGS } from "../../dataplane/verdict.ts";
import { maskOf, PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import { readVerdicts } from "../views/drop-filter.ts";
import {
  FilterError,
  type Meaning,
  numberOf,
  readHost,
  readPrefix,
  readProtocol,
  readRuleNumber,
  readValue,
  readWords,
} from "../views/flow-filter.ts";

type Reader = (text: string, meaning: Meaning) => CaptureMatch;

/** By key: what a value means. */
const WORDS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ["client", (text, { settings }) => ({ client: numberOf("client", settings.clients, text) })],
  ["interface", (text, { settings }) => ({ iface: numberOf("interface", settings.interfaces, text) })],
  ["proto", (text) => ({ protocols: text === "icmp" ? [PROTOCOL.ICMP, NEXT_HEADER.ICMPV6] : [readProtocol(text)] })],
  ["src", (text) => ({ source: networksOf([readPrefix("src", text)]) })],
  ["dst", (text) => ({ destination: networksOf([readPrefix("dst", text)]) })],
  ["dst4", (text) => ({ destination: networksOf([readValue("dst4", "dst4", text)]) })],
  ["dst6", (text) => ({ destination: networksOf([readValue("dst6", "dst6", text)]) })],
  ["dsthost", (text, meaning) => ({ destination: networksOf(readHost(text, meaning)) })],
  ["srcports", (text) => ({ sourcePorts: readValue("dstports", "srcports", text) })],
  ["dstports", (text) => ({ destinationPorts: readValue("dstports", "dstports", text) })],
  ["icmptype", (text) => ({ icmpType: readValue("icmptype", "icmptype", text) })],
  ["rule", (text) => ({ rule: readRuleNumber(text) })],
  ["verdict", (text) => ({ verdicts: verdictsOf(readVerdicts(text)) })],
]);

export const CAPTURE_FILTER_KEYS: readonly string[] = [...WORDS.keys()];

/** @param words each key=value; all must hold. Without any, all frames are meant @throws FilterError */
export function readCaptureFilter(words: readonly string[], meaning: Meaning): CaptureMatch {
  return Object.assign({}, ...readWords(words, WORDS, meaning));
}

/** In place of a client or an interface that is gone: nothing is its. */
const GONE = -2;

/** What a filter that could be understood once means by other settings: what is not there any more, matches nothing. */
export function rereadCaptureFilter(words: readonly string[], meaning: Meaning): CaptureMatch {
  try {
    return readCaptureFilter(words, meaning);
  } catch (error) {
    if (error instanceof FilterError) return { client: GONE };
    throw error;
  }
}

function networksOf(prefixes: readonly IpPrefix[]): Network[] {
  return prefixes.map(({ address, prefix }) => {
    const words = wordsOf(address);
    const masks = words.map((_, i) => maskOf(Math.min(Math.max(prefix - 32 * i, 0), 32)));
    return { words: words.map((word, i) => word & masks[i]), masks };
  });
}

/** @returns int32 in host order */
function wordsOf(address: IpAddress): number[] {
  if (typeof address === "number") return [address | 0];
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  return [0, 4, 8, 12].map((at) => view.getInt32(at));
}

function verdictsOf(slugs: readonly string[]): boolean[] {
  return VERDICT_SLUGS.map((slug) => slugs.includes(slug));
}
