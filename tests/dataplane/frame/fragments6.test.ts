// Fragments of IPv6: forwarded one by one, in whichever order they come; overlaps condemned, atomic ones taken as whole.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, payload } from "../../../lab/frames.ts";
import {
  DESTINATION,
  fragment,
  fragmented6,
  icmpv6,
  ipv6,
  options,
  tcp6,
  type Udp6Fields,
  udp6,
} from "../../../lab/frames6.ts";
import { dropped, INTERFACES, Lab, UPLINK } from "../../../lab/router-lab.ts";
import {
  forwarded6,
  from6,
  OUTSIDE_6,
  QUERY_6,
  REMOTE_6,
  refused6,
  SETTINGS_6,
  shownTo6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
} from "../../../lab/router-lab6.ts";

const OUT: Udp6Fields = { ...QUERY_6, source: OUTSIDE_6, hopLimit: 63 };
const SIZE = 1232;

const lab6 = () => {
  const lab = new Lab({ settings: SETTINGS_6 });
  lab.verifiesChecksums = false; // those of fragments cover more than they have; here whole packets are compared
  return lab;
};

describe("fragments", () => {
  test("leave translated as they came, whatever the order", () => {
    const came = fragmented6(udp6(QUERY_6, payload(3000)), SIZE);
    const leave = fragmented6(udp6(OUT, payload(3000)), SIZE);
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [2, 1, 0],
      [1, 0, 2],
    ]) {
      const lab = lab6();
      const sent = order.flatMap((i) => from6(lab, WORK_HOST_6, came[i]).sent);
      const [held, first] = [order.slice(0, order.indexOf(0)), order.slice(order.indexOf(0))];
      const expected = [0, ...held, ...first.slice(1)];
      expect(sent).toEqual(expected.map((i) => shownTo6(REMOTE_6, leave[i])));
    }
  });

  test("are forgotten when all have come, and after a while: nobody's address is held any longer", () => {
    const lab = lab6();
    const came = fragmented6(udp6(QUERY_6, payload(3000)), SIZE, 1);
    for (const part of came) from6(lab, WORK_HOST_6, part);
    const open = lab.router.addresses.size;
    from6(lab, WORK_HOST_6, fragmented6(udp6({ ...QUERY_6, destination: "2001:db8:7::8" }, payload(3000)), SIZE, 2)[1]);
    expect(lab.router.addresses.size).toBe(open + 1);
    lab.wait(20_000);
    expect(lab.router.addresses.size).toBe(open);
  });

  test("of echo requests to us are answered", () => {
    const lab = lab6();
    const ask = { source: WORK_HOST_6, destination: WORK_GATEWAY_6, type: 128, rest: 7, hopLimit: 9 };
    const answer = { source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 129, rest: 7 };
    const sent = fragmented6(icmpv6(ask, payload(2000)), SIZE).flatMap((part) => from6(lab, WORK_HOST_6, part).sent);
    expect(sent).toEqual(fragmented6(icmpv6(answer, payload(2000)), SIZE).map((part) => shownTo6(WORK_HOST_6, part)));
  });

  test("that overlap condemn their packet, and what came before it was whole does not pass either", () => {
    const lab = lab6();
    const [first, second] = fragmented6(udp6(QUERY_6, payload(3000)), SIZE);
    const ends = { source: WORK_HOST_6, destination: REMOTE_6 };
    const overlapping = ipv6({ ...ends, extensions: [fragment(SIZE - 8, true)] }, 17, payload(SIZE));
    expect(from6(lab, WORK_HOST_6, first).verdict).toBe("forwarded");
    expect(from6(lab, WORK_HOST_6, overlapping)).toEqual(dropped("fragments overlap"));
    expect(from6(lab, WORK_HOST_6, second)).toEqual(dropped("fragment of a dropped packet"));
    expect(from6(lab, WORK_HOST_6, first)).toEqual(dropped("fragment of a dropped packet"));
  });

  test("that come twice pass once", () => {
    const lab = lab6();
    const [first, second] = fragmented6(udp6(QUERY_6, payload(3000)), SIZE);
    from6(lab, WORK_HOST_6, first);
    expect(from6(lab, WORK_HOST_6, second).verdict).toBe("forwarded");
    expect(from6(lab, WORK_HOST_6, second)).toEqual(dropped("fragment of a dropped packet"));
  });

  test("that are the first and lack a header are dropped, and told of", () => {
    const packet = ipv6(
      { source: WORK_HOST_6, destination: REMOTE_6, extensions: [fragment(0, true)] },
      6,
      payload(16),
    );
    const problem = icmpv6({ source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 4, code: 3 }, packet);
    expect(from6(lab6(), WORK_HOST_6, packet)).toEqual(
      refused6("malformed ipv6: headers cut by a fragment", WORK_HOST_6, problem),
    );
  });

  test("that are atomic are whole packets, also beside others of the same identification", () => {
    const lab = lab6();
    const extensions = [fragment(0, false)];
    const parts = fragmented6(udp6(QUERY_6, payload(2000)), SIZE);
    from6(lab, WORK_HOST_6, parts[0]);
    expect(from6(lab, WORK_HOST_6, udp6({ ...QUERY_6, extensions }, payload(20)))).toEqual(
      forwarded6(REMOTE_6, udp6({ ...OUT, extensions }, payload(20))),
    );
    expect(from6(lab, WORK_HOST_6, parts[1]).verdict).toBe("forwarded");
  });

  test("carry extension headers of their packet: a TCP window counts what is behind them", () => {
    const lab = lab6();
    const ends = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 40000, destinationPort: 443 };
    const back = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 443, destinationPort: 40000 };
    from6(lab, WORK_HOST_6, tcp6({ ...ends, flags: "S", sequence: 1000 }));
    from6(lab, REMOTE_6, tcp6({ ...back, flags: "S.", sequence: 5000, acknowledgment: 1001 }));
    const data = {
      ...ends,
      flags: ".",
      sequence: 1001,
      acknowledgment: 5001,
      extensions: [options(DESTINATION, fromHex("1e02 0000"))],
    };
    const segment = tcp6(data, payload(2000));
    // The destination options are in the part that is cut.
    const [, rest] = fragment(0, true);
    const parts = [segment.subarray(40, 40 + SIZE), segment.subarray(40 + SIZE)].map((part, i) => {
      const [, word] = fragment(i * SIZE, i === 0);
      const header = segment.slice(0, 40);
      header.set([(8 + part.length) >> 8, (8 + part.length) & 255, 44], 4);
      return concat(header, Uint8Array.of(DESTINATION), i === 0 ? rest : word, part);
    });
    for (const part of parts) expect(from6(lab, WORK_HOST_6, part).verdict).toBe("forwarded");
    const ack = { ...back, flags: ".", sequence: 5001, acknowledgment: 3001 };
    expect(from6(lab, REMOTE_6, tcp6(ack)).verdict).toBe("forwarded");
    expect(from6(lab, REMOTE_6, tcp6({ ...ack, acknowledgment: 3002 })).verdict).toBe(
      "dropped: TCP outside the window",
    );
  });

  test("too large for the egress are told of: no router cuts them", () => {
    const interfaces = INTERFACES.map((iface, i) => ({ ...iface, mtu: i === UPLINK ? 1280 : 9000 }));
    const lab = new Lab({ settings: { ...SETTINGS_6, interfaces } });
    const [first] = fragmented6(udp6(QUERY_6, payload(3000)), 1240);
    expect(from6(lab, WORK_HOST_6, first)).toEqual(
      refused6(
        "larger than the egress MTU",
        WORK_HOST_6,
        icmpv6({ source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 2, rest: 1280 }, first.subarray(0, 1232)),
      ),
    );
  });
});
