// Why a frame fails the checks of its format: the names that counters and replay show. Each wire format's check returns
// one of these numbers, and 0 for a sound frame; after it, the format's accessors may be trusted. This table alone says
// which faults there are: their numbers follow from their order.

declare const brand: unique symbol;

/** A fault's number; 0 is FAULT.NONE. */
export type Fault = number & { readonly [brand]: "Fault" };

const TABLE = [
  ["NONE", "none"],
  ["ETHERNET_TRUNCATED", "ethernet: truncated"],
  ["ARP_TRUNCATED", "arp: truncated"],
  ["ARP_FORMAT", "arp: not IPv4 over Ethernet"],
  ["ARP_OPERATION", "arp: neither request nor reply"],
  ["IPV4_TRUNCATED", "ipv4: truncated"],
  ["IPV4_VERSION", "ipv4: version is not 4"],
  ["IPV4_HEADER_LENGTH", "ipv4: header length"],
  ["IPV4_TOTAL_LENGTH", "ipv4: total length"],
  ["IPV4_CHECKSUM", "ipv4: header checksum"],
  ["IPV4_OPTIONS", "ipv4: options"],
  ["IPV4_SOURCE_ROUTE", "ipv4: source route"],
  ["IPV4_FRAGMENT", "ipv4: fragment"],
  ["IPV6_TRUNCATED", "ipv6: truncated"],
  ["IPV6_VERSION", "ipv6: version is not 6"],
  ["IPV6_PAYLOAD_LENGTH", "ipv6: payload length"],
  ["IPV6_JUMBOGRAM", "ipv6: jumbogram"],
  ["IPV6_EXTENSION_LENGTH", "ipv6: extension header length"],
  ["IPV6_EXTENSIONS", "ipv6: more extension headers than are looked at"],
  ["IPV6_HOP_BY_HOP", "ipv6: hop-by-hop options"],
  ["IPV6_OPTION", "ipv6: hop-by-hop option that must be known"],
  ["IPV6_SOURCE_ROUTE", "ipv6: source route"],
  ["IPV6_FRAGMENT", "ipv6: fragment"],
  ["IPV6_CHAIN", "ipv6: headers cut by a fragment"],
  ["ICMP_TRUNCATED", "icmp: truncated"],
  ["ICMP_CHECKSUM", "icmp: checksum"],
  ["ICMPV6_TRUNCATED", "icmpv6: truncated"],
  ["ICMPV6_CHECKSUM", "icmpv6: checksum"],
  ["ND_HOP_LIMIT", "nd: hop limit is not 255"],
  ["ND_TRUNCATED", "nd: truncated"],
  ["ND_FORMAT", "nd: code or fragment header"],
  ["ND_OPTIONS", "nd: options"],
  ["ND_ADDRESSES", "nd: addresses"],
  ["MLD_FORMAT", "mld: hop limit, source, options, or length"],
  ["UDP_TRUNCATED", "udp: truncated"],
  ["UDP_LENGTH", "udp: length"],
  ["UDP_CHECKSUM", "udp: checksum"],
  ["TCP_TRUNCATED", "tcp: truncated"],
  ["TCP_DATA_OFFSET", "tcp: data offset"],
  ["TCP_FLAGS", "tcp: flags"],
  ["TCP_CHECKSUM", "tcp: checksum"],
] as const;

type Key = (typeof TABLE)[number][0];

/** The numbers, by the names that code uses. */
export const FAULT = Object.fromEntries(TABLE.map(([key], number) => [key, number])) as Readonly<Record<Key, Fault>>;

/** The names, by number. */
export const FAULT_NAMES: readonly string[] = TABLE.map(([, name]) => name);
