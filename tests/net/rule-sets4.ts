// What rules and probes of IPv4 are about, where they are made at random.
import { ICMP } from "../../lab/protocols.ts";
import { formatAddress, parseAddress } from "../../src/base/address.ts";
import { randomBits, type Terms } from "./rule-sets.ts";

/** Requests, errors, and what nobody knows. */
const ICMP_TYPES = [8, 8, 8, 13, 3, 4, 5, 11, 12, 30, 255];
/** Networks of 16 bits that the laboratory has. */
const LAB = ["10.137.0.0", "10.128.0.0", "192.0.0.0"].map((text) => (parseAddress(text) ?? 0) >>> 16);

export const TERMS: Terms = {
  addressBits: 32,
  key: "dst4",
  dns: ["10.139.1.1", "10.139.1.2"],
  names: new Map([
    ["one.example", ["93.184.216.34"]],
    ["many.example", ["8.8.8.8", "198.51.100.7", "10.20.30.40", "172.16.5.9"]],
    ["dns.example", ["10.139.1.2", "8.8.8.8"]],
  ]),
  hosts: ["192.168.7.1", "203.0.113.200"],
  icmp: ICMP,
  icmpTypes: ICMP_TYPES,
  others: [2, 41, 47, 50, 51, 89, 97, 253], // IGMP, IPv6, GRE, ESP, AH, OSPF, EtherIP, and one for experiments
  isCompared: (type) => (type > 18 && type < 256) || ICMP_TYPES.includes(type),
  randomPrefixLength: (random) => (random.chance(0.2) ? random.below(33) : 8 + random.below(25)),
  randomAddress: (random) => randomBits(random, 32),
  isOrdinary(address) {
    const half = Number(address >> 16n);
    const top = half >>> 8;
    return top !== 0 && top !== 127 && top < 224 && half !== 0xa9fe && !LAB.includes(half);
  },
  parse(text) {
    const address = parseAddress(text);
    return address === undefined ? undefined : BigInt(address);
  },
  format: (address) => formatAddress(Number(address)),
};
