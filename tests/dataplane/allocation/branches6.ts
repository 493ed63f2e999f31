// What happens to packets of IPv6, that all go one way with IPv4's but where addresses are looked up, written and held.
import { fromHex, payload } from "../../../lab/frames.ts";
import { DESTINATION, fragmented6, icmpv6, options, tcp6, type Udp6Fields, udp6 } from "../../../lab/frames6.ts";
import {
  frameFrom6,
  interfaceOf6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  ROUTED,
  ROUTED_HOST,
  SETTINGS_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import type { Kept, Treadmill } from "../../support/treadmill.ts";
import { type Branch, branch, counting, cycle, ERROR_INTERVAL } from "./branches.ts";

const QUERY: Udp6Fields = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 5000, destinationPort: 5001 };
const SMALL = payload(20);
const OPTIONS = [options(DESTINATION, fromHex("1e02 0000"))];

// Offsets in a frame without extension headers.
const DESTINATION_LOW = 52;
const SOURCE_PORT = 54;

/** Few flows at a time: the oldest gives way to the next. */
const FEW_FLOWS = { flows: 50, mappings: 100_000, flowsPerSecond: 1e9 };
const FEW: Settings = {
  ...SETTINGS_6,
  clients: [{ ...WORK_SETTINGS_6, limits: FEW_FLOWS }, LAN_SETTINGS_6],
};

const from =
  (host: string, ...packets: readonly Uint8Array[]) =>
  (mill: Treadmill): readonly Kept[] =>
    packets.map((packet) => mill.keep(interfaceOf6(host), frameFrom6(host, packet)));

const echo = { source: WORK_HOST_6, destination: REMOTE_6, type: 128, rest: 0x12340001 };
const sent = udp6({ ...QUERY, source: OUTSIDE_6 }, SMALL);

export const BRANCHES_6: Readonly<Record<string, Branch>> = {
  "a packet of IPv6 of an open flow": branch("FORWARDED", 1, cycle(from(WORK_HOST_6, udp6(QUERY, SMALL))), SETTINGS_6),
  "one with extension headers": branch(
    "FORWARDED",
    1,
    cycle(from(WORK_HOST_6, udp6({ ...QUERY, extensions: OPTIONS }, SMALL))),
    SETTINGS_6,
  ),
  "echo of IPv6 and its reply": branch(
    "FORWARDED",
    2,
    (mill) => {
      const asked = from(WORK_HOST_6, icmpv6(echo, SMALL))(mill);
      const answered = from(
        REMOTE_6,
        icmpv6({ ...echo, source: REMOTE_6, destination: OUTSIDE_6, type: 129 }, SMALL),
      )(mill);
      return cycle(() => [...asked, ...answered])(mill);
    },
    SETTINGS_6,
  ),
  "a new flow of IPv6 in place of another, with another port": branch(
    "FORWARDED",
    1,
    counting(SOURCE_PORT, from(WORK_HOST_6, udp6(QUERY, SMALL))),
    FEW,
  ),
  "the same, to another address": branch(
    "FORWARDED",
    1,
    counting(DESTINATION_LOW, from(WORK_HOST_6, udp6(QUERY, SMALL))),
    FEW,
  ),
  "a new flow of a network that is routed": branch(
    "FORWARDED",
    1,
    counting(DESTINATION_LOW, from(ROUTED_HOST, udp6({ ...QUERY, source: ROUTED_HOST }, SMALL))),
    { ...ROUTED, clients: ROUTED.clients.map((client) => ({ ...client, limits: FEW_FLOWS })) },
  ),
  "an ICMPv6 error": branch(
    "TTL",
    1,
    cycle(from(WORK_HOST_6, udp6({ ...QUERY, hopLimit: 1 }, SMALL)), ERROR_INTERVAL),
    SETTINGS_6,
  ),
  "a refusal by ICMPv6": branch("REFUSED", 1, cycle(from(WORK_HOST_6, udp6(QUERY, SMALL)), ERROR_INTERVAL), {
    ...SETTINGS_6,
    clients: [{ ...WORK_SETTINGS_6, ruleset: compileRuleset([], false) }, LAN_SETTINGS_6],
  }),
  "a RST over IPv6 to a segment of no connection": branch(
    "TCP_STATE",
    1,
    cycle(from(WORK_HOST_6, tcp6({ ...QUERY, flags: "." })), ERROR_INTERVAL),
    SETTINGS_6,
  ),
  "an echo of IPv6 to us": branch(
    "ANSWERED",
    1,
    cycle(from(WORK_HOST_6, icmpv6({ ...echo, destination: WORK_GATEWAY_6 }, SMALL))),
    SETTINGS_6,
  ),
  "an ICMPv6 error on its way, about a packet of a flow": branch(
    "FORWARDED",
    1,
    (mill) => {
      for (const kept of from(WORK_HOST_6, udp6(QUERY, SMALL))(mill)) mill.put(kept);
      return cycle(from(REMOTE_6, icmpv6({ source: REMOTE_6, destination: OUTSIDE_6, type: 1, code: 4 }, sent)))(mill);
    },
    SETTINGS_6,
  ),
  "a packet of IPv6 in two fragments": branch(
    "FORWARDED",
    2,
    cycle(from(WORK_HOST_6, ...fragmented6(udp6(QUERY, payload(60)), 48))),
    SETTINGS_6,
  ),
  "one whose later fragment comes first": branch(
    "FORWARDED",
    2,
    cycle(from(WORK_HOST_6, ...fragmented6(udp6(QUERY, payload(60)), 48).reverse())),
    SETTINGS_6,
  ),
};
