// What a client's settings have changed in its packets beside NAT, or refuse of them: whole frames, of every way that they take.
import { describe, expect, test } from "bun:test";
import { type Ipv4Fields, icmp, ipv4, payload } from "../../../lab/frames.ts";
import {
  dropped,
  forwarded,
  LAN_HOST,
  LAN_HOST_2,
  type Lab,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { cut, datagram, HOP, icmpError, natLab, natSettings, query, segment } from "../../support/nat.ts";

const OPTIONS = Uint8Array.of(148, 4, 0, 0);
const REFUSED = dropped("IP options");
const OUT = `${WORK_HOST}:5000 > ${REMOTE}:9000`;
const LEFT = `${OUTSIDE}:5000 > ${REMOTE}:9000`;
const BACK = `${REMOTE}:9000 > ${OUTSIDE}:5000`;
const INSIDE = `${REMOTE}:9000 > ${WORK_HOST}:5000`;
const DF = 0x4000;
const FRAGMENT = 488;

/** @returns the identifications that a host's packets left with */
function identifications(lab: Lab, packets: readonly Uint8Array[], host = WORK_HOST): number[] {
  return packets.flatMap((packet) => {
    expect(lab.from(host, packet).verdict).toBe("forwarded");
    return lab.last.map(({ bytes }) => bytes[18] * 256 + bytes[19]);
  });
}

const distinct = (numbers: readonly number[]) => new Set(numbers).size;

describe("drop_ip_options", () => {
  const lab = () => natLab({ work: "drop_ip_options = true" });

  test("refuses packets with options that the client sends, whatever they are, and makes no flow for them", () => {
    const work = lab();
    for (const packet of [
      datagram(OUT, { options: OPTIONS }),
      segment(OUT, "S", { options: Uint8Array.of(1, 1, 1, 0) }),
      query(`${WORK_HOST} > ${REMOTE}`, 7, { options: OPTIONS }),
      query(`${WORK_HOST} > ${WORK_GATEWAY}`, 7, { options: OPTIONS }),
      ipv4({ source: WORK_HOST, destination: REMOTE, fragment: 9, options: OPTIONS }, 17, payload(8)),
    ])
      expect(work.from(WORK_HOST, packet)).toEqual(REFUSED);
    expect(work.router.flows.size).toBe(0);
    expect(work.from(WORK_HOST, datagram(OUT))).toEqual(forwarded(REMOTE, datagram(LEFT, HOP)));
  });

  test("refuses those that are sent to it: answers, errors, fragments, and what a forward lets in", () => {
    const work = natLab({
      work: "drop_ip_options = true",
      sections: '[[forward]]\nproto = "udp"\nport = 7000\nto = "work"\n',
    });
    work.from(WORK_HOST, datagram(OUT));
    const { size } = work.router.flows;
    const options = { options: OPTIONS };
    expect(work.from(REMOTE, datagram(BACK, options))).toEqual(REFUSED);
    const error = icmpError(`${REMOTE_2} > ${OUTSIDE}`, 3, 3, datagram(LEFT, HOP), options);
    expect(work.from(REMOTE_2, error)).toEqual(REFUSED);
    expect(work.from(REMOTE, datagram(`${REMOTE}:1 > ${OUTSIDE}:7000`, options))).toEqual(REFUSED);
    expect(work.router.flows.size).toBe(size);
    expect(work.from(REMOTE, datagram(BACK))).toEqual(forwarded(WORK_HOST, datagram(INSIDE, HOP)));
  });

  test("is one client's alone", () => {
    const ends = `${LAN_HOST}:5000 > ${REMOTE}:9000`;
    const fields = { options: OPTIONS };
    expect(lab().from(LAN_HOST, datagram(ends, fields))).toEqual(
      forwarded(REMOTE, datagram(LEFT, { ...HOP, ...fields })),
    );
  });

  test("refuses what another client sends to it", () => {
    const both = natLab({ work: "drop_ip_options = true", lan: 'reach = ["work"]' });
    const ends = `${LAN_HOST}:5000 > ${WORK_HOST}:9000`;
    expect(both.from(LAN_HOST, datagram(ends, { options: OPTIONS }))).toEqual(REFUSED);
    expect(both.router.flows.size).toBe(0);
    expect(both.from(LAN_HOST, datagram(ends)).sent).toEqual(forwarded(WORK_HOST, datagram(ends, HOP)).sent);
  });
});

describe("random_ip_id", () => {
  test("gives the client's packets identifications that say nothing, and those to it none", () => {
    const lab = natLab({ work: "random_ip_id = true" });
    const packets = Array.from({ length: 500 }, (_, i) =>
      datagram(OUT, { identification: i, fragment: i % 2 === 0 ? 0 : DF }),
    );
    const seen = identifications(lab, packets);
    expect(distinct(seen)).toBeGreaterThan(480);
    const rising = seen.filter((id, i) => i > 0 && id > seen[i - 1]).length;
    expect(rising).toBeGreaterThan(200);
    expect(rising).toBeLessThan(300);
    const answer = datagram(BACK, { identification: 77 });
    expect(lab.from(REMOTE, answer)).toEqual(forwarded(WORK_HOST, datagram(INSIDE, { ...HOP, identification: 77 })));
  });

  test("leaves fragments together", () => {
    const lab = natLab({ work: "random_ip_id = true" });
    lab.verifiesChecksums = false;
    const fields = { source: WORK_HOST, destination: REMOTE, identification: 4711 };
    const parts = cut(datagram(OUT, { fragment: 0 }, payload(1200)), FRAGMENT, (fragment, content) =>
      ipv4({ ...fields, fragment }, 17, content),
    );
    expect(identifications(lab, parts)).toEqual([4711, 4711, 4711]);
  });

  test("gives a packet that we cut one for all its fragments", () => {
    const lab = natLab({ work: "random_ip_id = true", mtu: { uplink: 600 } });
    lab.verifiesChecksums = false;
    const packet = datagram(OUT, { identification: 5, fragment: 0 }, payload(1200));
    const [first, ...others] = identifications(lab, [packet]);
    expect(first).not.toBe(5);
    expect(others).toEqual([first, first]);
  });
});

describe("min_ttl and clear_dscp", () => {
  const lab = (keys: string) => natLab({ work: keys });
  const sent = (keys: string, fields: Partial<Ipv4Fields>) => {
    const outcome = lab(keys).from(WORK_HOST, datagram(OUT, fields));
    return outcome;
  };
  const left = (fields: Partial<Ipv4Fields>) => forwarded(REMOTE, datagram(LEFT, fields));

  test("raise a TTL that is lower when it leaves, and no other", () => {
    expect(sent("min_ttl = 64", { ttl: 2 })).toEqual(left({ ttl: 64 }));
    expect(sent("min_ttl = 64", { ttl: 64 })).toEqual(left({ ttl: 64 }));
    expect(sent("min_ttl = 64", { ttl: 65 })).toEqual(left({ ttl: 64 }));
    expect(sent("min_ttl = 64", { ttl: 255 })).toEqual(left({ ttl: 254 }));
    expect(sent("min_ttl = 64", { ttl: 1 }).verdict).toBe("dropped: TTL exceeded");
  });

  test("clear DSCP, and leave ECN", () => {
    for (let tos = 0; tos < 256; tos++) {
      expect(sent("clear_dscp = true", { tos })).toEqual(left({ ...HOP, tos: tos & 3 }));
    }
  });

  test("change errors and fragments of the client too, and nothing that comes to it", () => {
    const work = lab("min_ttl = 100\nclear_dscp = true");
    work.verifiesChecksums = false;
    work.from(WORK_HOST, datagram(OUT));
    const marked = { tos: 0xb9, ttl: 9 };
    const error = icmpError(`${WORK_HOST} > ${REMOTE}`, 3, 3, datagram(INSIDE, HOP), marked);
    const changed = { tos: 1, ttl: 100 };
    expect(work.from(WORK_HOST, error)).toEqual(
      forwarded(REMOTE, icmpError(`${OUTSIDE} > ${REMOTE}`, 3, 3, datagram(BACK, HOP), changed)),
    );
    expect(work.from(REMOTE, datagram(BACK, marked))).toEqual(
      forwarded(WORK_HOST, datagram(INSIDE, { tos: 0xb9, ttl: 8 })),
    );
    const parts = (source: string, fields: Partial<Ipv4Fields>) =>
      cut(datagram(OUT, { fragment: 0 }, payload(1000)), FRAGMENT, (fragment, content) =>
        ipv4({ source, destination: REMOTE, identification: 3, fragment, ...fields }, 17, content),
      );
    const [, before] = parts(WORK_HOST, marked);
    const [, after] = parts(OUTSIDE, changed);
    work.from(WORK_HOST, parts(WORK_HOST, marked)[0] ?? before);
    expect(work.from(WORK_HOST, before)).toEqual(forwarded(REMOTE, after));
  });

  test("hold for packets of open flows, which would take the fast path, and end with the settings", () => {
    const work = lab("min_ttl = 64");
    for (let i = 0; i < 3; i++) expect(work.from(WORK_HOST, datagram(OUT, { ttl: 9 }))).toEqual(left({ ttl: 64 }));
    work.apply(natSettings({}));
    for (let i = 0; i < 3; i++) expect(work.from(WORK_HOST, datagram(OUT, { ttl: 9 }))).toEqual(left({ ttl: 8 }));
    work.apply(natSettings({ work: "min_ttl = 30" }));
    for (let i = 0; i < 3; i++) expect(work.from(WORK_HOST, datagram(OUT, { ttl: 9 }))).toEqual(left({ ttl: 30 }));
  });

  test("change nothing of another client's, nor of hosts that share no interface with it", () => {
    const work = lab("min_ttl = 64\nclear_dscp = true");
    const marked = { ttl: 9, tos: 0xff };
    const ends = `${LAN_HOST_2}:5001 > ${REMOTE}:9000`;
    const outside = `${OUTSIDE}:5001 > ${REMOTE}:9000`;
    expect(work.from(LAN_HOST_2, datagram(ends, marked))).toEqual(
      forwarded(REMOTE, datagram(outside, { ttl: 8, tos: 0xff })),
    );
  });
});

test("pings of a client are changed by all of it at once", () => {
  const lab = natLab({ work: "drop_ip_options = true\nmin_ttl = 50\nclear_dscp = true" });
  const ping = icmp({ source: WORK_HOST, destination: REMOTE, type: 8, rest: 0x70001, ttl: 3, tos: 0xfc }, payload(16));
  const changed = icmp({ source: OUTSIDE, destination: REMOTE, type: 8, rest: 0x70001, ttl: 50, tos: 0 }, payload(16));
  expect(lab.from(WORK_HOST, ping)).toEqual(forwarded(REMOTE, changed));
});
