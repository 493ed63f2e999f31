// The list of flows where there are some of both families: as programs and as people get it, and as filters of either family pick from it.
import { expect, test } from "bun:test";
import { ip, payload } from "../../../lab/frames.ts";
import { icmpv6, ip6, tcp6, udp6 } from "../../../lab/frames6.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import { Lab, REMOTE, REMOTE_2, WORK_HOST } from "../../../lab/router-lab.ts";
import {
  from6,
  LAN_HOST_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_HOST,
  SETTINGS_6,
  WORK_HOST_6,
} from "../../../lab/router-lab6.ts";
import { flowsOperation } from "../../../src/channel/operations/flows-operation.ts";
import { type FlowEntry, flowLine, viewFlows } from "../../../src/control/views/flow-list.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { datagram } from "../../support/nat.ts";

const REMOTES: Readonly<Record<string, [number[], Uint8Array[]]>> = {
  "both.example": [[ip(REMOTE)], [ip6(REMOTE_62)]],
  "six.example": [[], [ip6(REMOTE_6)]],
};

/** As control sees them: by the memory that the dataplane shares, and the settings. */
async function ask({ router }: Lab, settings: Settings, ...match: string[]): Promise<FlowEntry[]> {
  const memory = { flows: router.flows.words, addresses: router.addresses.words };
  const firewall = {
    flowTable: viewFlows(memory, settings),
    addressesOf: (name: string) => REMOTES[name]?.[0],
    addresses6Of: (name: string) => REMOTES[name]?.[1],
    endFlow: () => true,
    countFlows: async () => {},
  };
  const answers: FlowEntry[] = [];
  const records = flowsOperation(firewall)({ match }, new AbortController().signal);
  for (let part = await records.next(); part.done !== true; part = await records.next()) {
    answers.push(part.value.data as unknown as FlowEntry);
  }
  return answers;
}

/** Three flows of IPv6 and two of IPv4. */
function labOfBoth(): Lab {
  const lab = new Lab({ settings: SETTINGS_6 });
  const ports = { sourcePort: 40000, destinationPort: 443 };
  from6(lab, WORK_HOST_6, tcp6({ source: WORK_HOST_6, destination: REMOTE_6, ...ports, flags: "S" }));
  from6(lab, LAN_HOST_6, udp6({ source: LAN_HOST_6, destination: REMOTE_62, ...ports }, payload(9)));
  from6(
    lab,
    WORK_HOST_6,
    icmpv6({ source: WORK_HOST_6, destination: REMOTE_62, type: 128, rest: 7 << 16 }, payload(8)),
  );
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${REMOTE}:53`));
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:4001 > ${REMOTE_2}:443`));
  return lab;
}

const TCP_6 = `flow: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 as [${OUTSIDE_6}]:40000, SYN-SENT, client work, policy`;
const UDP_6 = `flow: udp [${LAN_HOST_6}]:40000 to [${REMOTE_62}]:443 as [${OUTSIDE_6}]:40000, client lan, policy`;
const PING_6 = `flow: icmp ${WORK_HOST_6} id 7 to ${REMOTE_62} as ${OUTSIDE_6} id 7, client work, policy`;
const DNS = `flow: udp ${WORK_HOST}:4000 to ${REMOTE}:53 as 192.0.2.254:4000, client work, policy`;
const QUIC = `flow: udp ${WORK_HOST}:4001 to ${REMOTE_2}:443 as 192.0.2.254:4001, client work, policy`;

test("addresses of IPv6 are written as RFC 5952 has them, ports behind brackets", async () => {
  const lab = labOfBoth();
  expect((await ask(lab, SETTINGS_6)).map(flowLine)).toEqual([TCP_6, UDP_6, PING_6, DNS, QUIC]);
  const [tcp, , ping] = await ask(lab, SETTINGS_6);
  expect(tcp).toEqual({
    ...{ protocol: TCP, proto: "tcp", client: "work", rule: 0, state: "SYN-SENT" },
    source: { address: WORK_HOST_6, port: 40000 },
    destination: { address: REMOTE_6, port: 443 },
    mapped: { address: OUTSIDE_6, port: 40000 },
  });
  expect([ping.protocol, ping.proto, ping.source]).toEqual([58, "icmp", { address: WORK_HOST_6, id: 7 }]);
});

const FILTERS: [string[], string[]][] = [
  [["dst=2001:db8::/32"], [TCP_6, UDP_6, PING_6]],
  [["dst=::/0"], [TCP_6, UDP_6, PING_6]],
  [["dst=0.0.0.0/0"], [DNS, QUIC]],
  [["dst6=2001:db8:7::/48"], [TCP_6]],
  [["dst4=198.51.100.0/24"], [DNS]],
  [[`dst=${REMOTE_62}`], [UDP_6, PING_6]],
  [["dst=2001:db8:98::/47"], [UDP_6, PING_6]],
  [["dst=2001:db8:98::/48"], []],
  [
    ["src=fd00::/8", "dstports=443"],
    [TCP_6, UDP_6],
  ],
  [[`src=${WORK_HOST_6}`, "proto=icmp"], [PING_6]],
  [["proto=icmp"], [PING_6]],
  [["proto=58"], [PING_6]],
  [["proto=1"], []],
  [["icmptype=128"], [PING_6]],
  [["dsthost=both.example"], [UDP_6, PING_6, DNS]],
  [["dsthost=six.example"], [TCP_6]],
];

test.each(FILTERS)("%j", async (match, lines) => {
  expect((await ask(labOfBoth(), SETTINGS_6, ...match)).map(flowLine)).toEqual(lines);
});

test("a filter that is no address of either family is said", async () => {
  await ask(labOfBoth(), SETTINGS_6, "dst=2001:db8::/129").then(
    () => expect.unreachable(),
    (error) => expect(String(error)).toContain('dst "2001:db8::/129" is not an IPv6 prefix'),
  );
});

test("a flow from the uplink says which forward let it in, of a routed host too", async () => {
  const [to6, from6Prefix] = [ip6(WORK_HOST_6), { address: ip6("2001:db8:7::"), prefix: 48 }];
  const forward = { protocol: UDP, portLow: 8000, portHigh: 8001, to: undefined, from: [] };
  const settings: Settings = {
    ...ROUTED,
    forwards: [
      { ...forward, client: 0, toPort: 53, to6, from6: [{ address: ip6("2001:db8:8::"), prefix: 48 }] },
      { ...forward, client: 0, toPort: 53, to6, from6: [from6Prefix] },
      { ...forward, client: 1, toPort: 7000, to6: ip6(ROUTED_HOST), from6: [] },
    ],
  };
  const lab = new Lab({ settings: { ...settings, forwards: settings.forwards.slice(1) } });
  const packet = { source: REMOTE_6, sourcePort: 5000 };
  from6(lab, REMOTE_6, udp6({ ...packet, destination: OUTSIDE_6, destinationPort: 8001 }, payload(1)));
  from6(lab, REMOTE_6, udp6({ ...packet, destination: ROUTED_HOST, destinationPort: 7001 }, payload(1)));
  expect((await ask(lab, settings)).map(flowLine)).toEqual([
    `flow: udp [${REMOTE_6}]:5000 to [${OUTSIDE_6}]:8001 as [${REMOTE_6}]:5000 at [${WORK_HOST_6}]:54, client work, forward 2`,
    `flow: udp [${REMOTE_6}]:5000 to [${ROUTED_HOST}]:7001 as [${REMOTE_6}]:5000, client lan, forward 3`,
  ]);
});
