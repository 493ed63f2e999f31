// What the documentation says that holds where a configuration says nothing: not taken from src, so that a mistake there is found.

/** Of one client among several. */
export const DEFAULT_LIMITS = { flows: 32768, mappings: 32768, flowsPerSecond: 20000 };

/** Nothing beside NAT is changed in what a client sends. */
export const NO_SCRUB = { dropOptions: false, randomId: false, minTtl: 0, clearDscp: false };

export const DEFAULT_NAT = {
  maxFlows: 65536,
  resetUnknown: true,
  minPathMtu: 552,
  kernelPath: true,
  timeouts: {
    udpNew: 30,
    udp: 300,
    dns: 10,
    tcpEstablished: 7440,
    tcpOpening: 240,
    tcpClosing: 240,
    icmp: 60,
    other: 600,
  },
};
