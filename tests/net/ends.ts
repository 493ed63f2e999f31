// The MAC addresses around the two firewalls that are compared: the same for both, so that what comes out is too.

/** By side: of the host at the end of a firewall's cable, and of the firewall there. */
export const ENDS = {
  inside: { host: "02:00:00:00:01:00", firewall: "02:00:00:00:00:00" },
  outside: { host: "02:00:00:00:01:01", firewall: "02:00:00:00:00:01" },
} as const;
