// Why a frame fails the checks of its format: the names that counters and replay show. Each wire format's check returns
// one of these numbers, and 0 for a sound frame; after it, the format's accessors may be trusted.

export const FAULT_NAMES = [
  "none",
  "ethernet: truncated",
  "arp: truncated",
  "arp: not IPv4 over Ethernet",
  "arp: neither request nor reply",
  "ipv4: truncated",
  "ipv4: version is not 4",
  "ipv4: header length",
  "ipv4: total length",
  "ipv4: header checksum",
  "ipv4: options",
  "ipv4: source route",
  "ipv4: fragment",
  "icmp: truncated",
  "icmp: checksum",
  "udp: truncated",
  "udp: length",
  "tcp: truncated",
  "tcp: data offset",
  "tcp: flags",
] as const;

/** The numbers of FAULT_NAMES, by the names that code uses. */
export const FAULT = {
  NONE: 0,
  ETHERNET_TRUNCATED: 1,
  ARP_TRUNCATED: 2,
  ARP_FORMAT: 3,
  ARP_OPERATION: 4,
  IPV4_TRUNCATED: 5,
  IPV4_VERSION: 6,
  IPV4_HEADER_LENGTH: 7,
  IPV4_TOTAL_LENGTH: 8,
  IPV4_CHECKSUM: 9,
  IPV4_OPTIONS: 10,
  IPV4_SOURCE_ROUTE: 11,
  IPV4_FRAGMENT: 12,
  ICMP_TRUNCATED: 13,
  ICMP_CHECKSUM: 14,
  UDP_TRUNCATED: 15,
  UDP_LENGTH: 16,
  TCP_TRUNCATED: 17,
  TCP_DATA_OFFSET: 18,
  TCP_FLAGS: 19,
} as const;
