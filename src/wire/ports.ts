// The ports of TCP and UDP as one number, as they stand in front of both headers. ICMP queries and replies have such a number
// too (dataplane/packet.ts).

declare const brand: unique symbol;

/** 0 to 65535. */
export type Port = number & { readonly [brand]: "Port" };

/** Source port << 16 | destination port: an int32, compared whole. */
export type Ports = number & { readonly [brand]: "Ports" };

export const sourcePort = (ports: Ports): Port => (ports >>> 16) as Port;
export const destinationPort = (ports: Ports): Port => (ports & 0xffff) as Port;
export const joinPorts = (source: Port, destination: Port): Ports => ((source << 16) | destination) as Ports;
/** @returns the ports of the answer */
export const swapPorts = (ports: Ports): Ports => ((ports << 16) | (ports >>> 16)) as Ports;

/** What name servers are asked on (IANA "domain"). */
export const DNS_PORT = 53 as Port;
