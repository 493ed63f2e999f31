// What rules and probes of IPv6 are about, where they are made at random; probes come in fragments and behind extension headers, too.
import { ICMPV6 } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import { formatAddress6, parseAddress6 } from "../../src/base/address.ts";
import type { EXTENSIONS, Probe6 } from "./probes6.ts";
import { randomBits, randomProbe, type Terms } from "./rule-sets.ts";

/** Requests, errors, and what nobody knows. */
const ICMP_TYPES = [128, 128, 128, 128, 1, 2, 3, 4, 8, 100, 127];

export const TERMS: Terms = {
  addressBits: 128,
  key: "dst6",
  dns: ["2620:fe::fe", "2001:4860:4860::8888"],
  names: new Map([
    ["one.example", ["2606:2800:220:1:248:1893:25c8:1946"]],
    ["many.example", ["2001:4860:4860::8844", "2a00:1450:4001::7", "2a00:1450:4001:80b::200e", "2606:4700::1111"]],
    ["dns.example", ["2001:4860:4860::8888", "2606:4700::1111"]],
  ]),
  hosts: ["2600::", "2001:67c:2e8:22::c100:68b"],
  icmp: ICMPV6,
  icmpTypes: ICMP_TYPES,
  others: [2, 41, 47, 50, 89, 97, 253], // IGMP, IPv6, GRE, ESP, OSPF, EtherIP, and one for experiments
  isCompared: (type) => ICMP_TYPES.includes(type),
  randomPrefixLength: (random) => (random.chance(0.5) ? random.pick([32, 48, 56, 64]) : random.below(129)),
  randomAddress: (random) => (0x2n << 124n) | randomBits(random, 124),
  /** 2000::/3, but what the laboratory has. */
  isOrdinary: (address) => address >> 125n === 1n && address >> 96n !== 0x20010db8n,
  parse(text) {
    const address = parseAddress6(text);
    return address === undefined ? undefined : BigInt(`0x${Buffer.from(address).toString("hex")}`);
  },
  format: (address) => formatAddress6(Buffer.from(address.toString(16).padStart(32, "0"), "hex")),
};

/** @returns a probe as rule-sets.ts makes them, some of them in fragments, some behind extension headers */
export function randomProbe6(random: Random, texts: readonly string[]): Probe6 {
  const shape = random.pick([{}, {}, {}, { extensions: randomExtensions(random) }, { isFragmented: true }]);
  return { ...randomProbe(random, texts, TERMS), ...shape };
}

/** In an order that senders are to keep (RFC 8200 section 4.1); each is there once at most. */
function randomExtensions(random: Random): (keyof typeof EXTENSIONS)[] {
  const all = ["hop-by-hop", "routing", "atomic", "ah", "destination"] as const;
  const some = all.filter((name) => random.chance(name === "ah" ? 0.1 : 0.4));
  return some.length > 0 ? some : [random.pick(all)];
}
