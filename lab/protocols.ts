// IANA protocol numbers, for tests: not those of src/wire, so that a mistake there is found.

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;
