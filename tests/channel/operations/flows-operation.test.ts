// The operation `flows`, over the flow table of a router that has opened them: which match, in which order, a page of them, and the end
// of those that are to end.
import { describe, expect, test } from "bun:test";
import { icmp, ip, payload, tcp } from "../../../lab/frames.ts";
import { LAN_HOST, LAN_HOST_2, Lab, REMOTE, REMOTE_2, SETTINGS, WORK_HOST } from "../../../lab/router-lab.ts";
import { ChannelError } from "../../../src/channel/messages.ts";
import { type FlowsAnswering, flowsOperation } from "../../../src/channel/operations/flows-operation.ts";
import { type FlowEntry, flowLine } from "../../../src/control/views/flow-list.ts";
import { COUNT_WORDS, countPacket } from "../../../src/dataplane/tables/flow-counts.ts";
import type { Flow, Side } from "../../../src/dataplane/types.ts";
import { datagram } from "../../support/nat.ts";

interface Built {
  readonly lab: Lab;
  readonly firewall: FlowsAnswering;
  readonly sent: string[];
  /** As tables/flow-counts.ts has them. */
  readonly counts: Int32Array;
}

/** A router with six flows, of two clients. */
function built(): Built {
  const lab = new Lab();
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:4000 > ${REMOTE}:53`));
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:4001 > ${REMOTE_2}:443`));
  lab.from(
    WORK_HOST,
    tcp({ source: WORK_HOST, destination: REMOTE, sourcePort: 4002, destinationPort: 443, flags: "S" }),
  );
  lab.from(LAN_HOST, datagram(`${LAN_HOST}:4000 > ${REMOTE}:5000`));
  lab.from(LAN_HOST_2, datagram(`${LAN_HOST_2}:4000 > ${REMOTE}:5001`));
  lab.from(LAN_HOST, icmp({ source: LAN_HOST, destination: REMOTE, type: 8, code: 0, rest: 7 << 16 }, payload(8)));
  const { flows } = lab.router;
  const sent: string[] = [];
  const counts = new Int32Array(flows.capacity * COUNT_WORDS);
  let isCounted = false;
  return {
    lab,
    sent,
    counts,
    firewall: {
      get flowTable() {
        return { records: flows, capacity: flows.capacity, settings: SETTINGS, counts: isCounted ? counts : undefined };
      },
      async countFlows() {
        isCounted = true;
      },
      addressesOf: (name) => (name === "www.example" ? [ip(REMOTE_2)] : undefined),
      endFlow(records, flow) {
        const words = Int32Array.of(records.source(flow, 0), records.destination(flow, 0), records.ports(flow, 0));
        const protocol = records.protocol(flow);
        sent.push(...lab.command((router) => router.endFlow(protocol, new Uint8Array(words.buffer), 0)));
        return true;
      },
    },
  };
}

async function ask(firewall: FlowsAnswering, args: Record<string, string | number | boolean | string[]>) {
  const answers: FlowEntry[] = [];
  const records = flowsOperation(firewall)(args, new AbortController().signal);
  for (let part = await records.next(); part.done !== true; part = await records.next()) {
    answers.push(part.value.data as unknown as FlowEntry);
  }
  return answers;
}

const lines = async (args: Record<string, string | number | boolean | string[]>) =>
  (await ask(built().firewall, args)).map((entry) =>
    flowLine(entry).replace(/^flow: (\S+ \S+)( id \d+)? to (\S+) .*/, "$1 $3"),
  );

const DNS = `udp ${WORK_HOST}:4000 ${REMOTE}:53`;
const QUIC = `udp ${WORK_HOST}:4001 ${REMOTE_2}:443`;
const WEB = `tcp ${WORK_HOST}:4002 ${REMOTE}:443`;
const LAN_1 = `udp ${LAN_HOST}:4000 ${REMOTE}:5000`;
const LAN_2 = `udp ${LAN_HOST_2}:4000 ${REMOTE}:5001`;
const PING = `icmp ${LAN_HOST} ${REMOTE}`;
const ALL = [DNS, QUIC, WEB, LAN_1, LAN_2, PING];

test("without a filter, all flows there are, and each with what JSON has of it", async () => {
  expect(await lines({})).toEqual(ALL);
  const [first] = await ask(built().firewall, {});
  expect(first).toEqual({
    ...{ protocol: 17, proto: "udp", client: "work", rule: 0 },
    source: { address: WORK_HOST, port: 4000 },
    destination: { address: REMOTE, port: 53 },
    mapped: { address: "192.0.2.254", port: 4000 },
  });
});

describe("bytes and packets", () => {
  /** Counts bytes for a flow, of as many packets. */
  function count({ counts }: Built, number: number, side: Side, bytes: number, packets = 1): void {
    for (let i = 0; i < packets; i++) countPacket(counts, number as Flow, 0, side, bytes);
  }

  test("are there only for who asks for them, of both ways", async () => {
    const lab = built();
    count(lab, 1, 0, 40, 3);
    count(lab, 1, 1, 1500);
    expect((await ask(lab.firewall, {})).every(({ sent, received }) => sent === undefined && received === undefined));
    const entries = await ask(lab.firewall, { bytes: true });
    expect(entries.map(({ sent, received }) => [sent, received])[1]).toEqual([
      { bytes: 120, packets: 3 },
      { bytes: 1500, packets: 1 },
    ]);
    expect(flowLine(entries[1])).toEndWith(", sent 120 bytes in 3 packets, received 1500 bytes in 1 packets");
    expect((await ask(lab.firewall, {}))[1].sent).toBeUndefined();
  });

  test("flows are sorted by them, also beyond 32 bits", async () => {
    const lab = built();
    for (let i = 0; i < 300; i++) count(lab, 2, 1, 0x1fff_ffff);
    count(lab, 3, 0, 100, 5);
    count(lab, 4, 0, 501);
    const numbers = async (sort: string) =>
      (await ask(lab.firewall, { sort, limit: 3 })).map(
        ({ sent, received }) => (sent?.bytes ?? 0) + (received?.bytes ?? 0),
      );
    expect(await numbers("-bytes")).toEqual([300 * 0x1fff_ffff, 501, 500]);
    expect(await numbers("-packets")).toEqual([300 * 0x1fff_ffff, 500, 501]);
    expect(await numbers("bytes")).toEqual([0, 0, 0]);
  });
});

describe("filters are those of the rules, and all must hold", () => {
  test.each<[string[], string[]]>([
    [["client=work"], [DNS, QUIC, WEB]],
    [["proto=tcp"], [WEB]],
    [["proto=1"], [PING]],
    [[`src=${LAN_HOST}`], [LAN_1, PING]],
    [["src=192.168.1.0/24"], [LAN_1, LAN_2, PING]],
    [[`dst=${REMOTE_2}`], [QUIC]],
    [["dst4=0.0.0.0/0"], ALL],
    [["dsthost=www.example"], [QUIC]],
    [["dstports=443"], [QUIC, WEB]],
    [
      ["dstports=443-5000", "proto=udp"],
      [QUIC, LAN_1],
    ],
    [["srcports=4000", "client=work"], [DNS]],
    [["icmptype=8"], [PING]],
    [["rule=policy"], ALL],
    [["rule=1"], []],
    [["state=syn-sent"], [WEB]],
    [["state=ESTABLISHED"], []],
  ])("%j", async (match, expected) => {
    expect(await lines({ match })).toEqual(expected);
  });

  test.each([
    [["client"], '"client" is no filter (write KEY=VALUE, where KEY is one of client, proto,'],
    [["verdict=x"], '"verdict=x" is no filter'],
    [["client=nobody"], 'client "nobody" is not there (there are work, lan)'],
    [["proto=sctp"], 'proto "sctp" is not a protocol (write tcp or udp or icmp)'],
    [["dst=10.0.0.256"], 'dst "10.0.0.256" is no address or prefix'],
    [["srcports=9-8"], 'srcports "9-8" is not a port range'],
    [["dsthost=unknown.example"], 'dsthost "unknown.example" is in no rule'],
    [["rule=one"], 'rule "one" is no number of a rule'],
    [["state=OPEN"], 'state "OPEN" is none of TCP\'s'],
    [["client=work", "client=lan"], "client is there twice"],
    [["client=\x1b[2J"], 'client "\\u001b[2J" is not there'],
  ])("%j is an error", async (match, text) => {
    const failure = await ask(built().firewall, { match }).catch((error) => error);
    expect(failure).toBeInstanceOf(ChannelError);
    expect(failure.code).toBe("arguments");
    expect(failure.message).toContain(text);
  });
});

test("an order, from either end; flows that are equal stay as they are", async () => {
  expect(await lines({ sort: "dstports" })).toEqual([PING, DNS, QUIC, WEB, LAN_1, LAN_2]);
  expect(await lines({ sort: "-client" })).toEqual([LAN_1, LAN_2, PING, DNS, QUIC, WEB]);
  expect(await lines({ sort: "dst", match: ["client=work"] })).toEqual([DNS, WEB, QUIC]);
  expect(await lines({ sort: "src" })).toEqual([DNS, QUIC, WEB, LAN_1, PING, LAN_2]);
});

test("a page, in an order or without one, and their number", async () => {
  expect(await lines({ offset: 1, limit: 2 })).toEqual([QUIC, WEB]);
  expect(await lines({ offset: 4, limit: 9, sort: "dstports" })).toEqual([LAN_1, LAN_2]);
  expect(await lines({ offset: 9 })).toEqual([]);
  expect(await lines({ limit: 0 })).toEqual([]);
  expect(await ask(built().firewall, { count: true, match: ["client=lan"] })).toEqual([{ flows: 3 } as never]);
});

test.each<[Record<string, string | number | boolean | string[]>, string]>([
  [{ match: "client=work" }, "match is not a list of texts"],
  [{ limit: -1 }, "limit is not a whole number"],
  [{ limit: 1.5 }, "limit is not a whole number"],
  [{ sort: "size" }, '"size" is no order'],
  [{ count: "yes" }, "count is not true or false"],
  [{ filter: [] }, 'there is no argument "filter"'],
])("arguments that are not what they should be are errors: %j", async (args, text) => {
  expect((await ask(built().firewall, args).catch((error) => error)).message).toContain(text);
});

test("what is to end does, its TCP client is told, and all else lives on", async () => {
  const { lab, firewall, sent } = built();
  expect((await ask(firewall, { match: ["client=work", "dstports=443"], end: true })).length).toBe(2);
  expect(lab.router.flows.size).toBe(4);
  expect(sent.length).toBe(1); // a RST, to the client that sent the SYN
  expect((await ask(firewall, { match: ["client=work"] })).map(({ proto }) => proto)).toEqual(["udp"]);
  const again = datagram(`${WORK_HOST}:4001 > ${REMOTE_2}:443`);
  expect(lab.from(WORK_HOST, again).verdict).toBe("forwarded");
  expect(lab.router.flows.size).toBe(5);
});

test("a flow that is not there, or whose other side is meant, is not ended", () => {
  const { lab } = built();
  const key = Int32Array.of(ip(REMOTE), ip("192.0.2.254"), (53 << 16) | 4000);
  lab.command((router) => router.endFlow(17, new Uint8Array(key.buffer), 0));
  lab.command((router) => router.endFlow(17, new Uint8Array(12), 0));
  expect(lab.router.flows.size).toBe(6);
});
