// "Fragmentation needed" tells a sender to send less at a time. Whoever guesses a flow's ports could say so, from any address:
// what can't be true does not pass, and nothing makes a sender go below the least that the settings say (RFC 5927 section 7).
import { describe, expect, test } from "bun:test";
import { type Ipv4Fields, payload } from "../../../lab/frames.ts";
import { dropped, forwarded, LAN_HOST, OUTSIDE, REMOTE, REMOTE_2, WORK_HOST } from "../../../lab/router-lab.ts";
import { datagram, HOP, icmpError, type NatOptions, natLab, segment, sentPort } from "../../support/nat.ts";

const IMPOSSIBLE = dropped("ICMP error that states an impossible MTU");
const DF = 0x4000;

/** How an error came out that states an MTU, about a datagram of so many bytes: the MTU that it states then, or the verdict. */
function told(mtu: number, length: number, options: NatOptions = {}, fields: Partial<Ipv4Fields> = {}): unknown {
  const lab = natLab(options);
  const content = payload(length - 28);
  lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, {}, content));
  const left = datagram(`${OUTSIDE}:5000 > ${REMOTE}:9000`, { fragment: DF, ...fields, ...HOP }, content);
  const outcome = lab.from(REMOTE_2, icmpError(`${REMOTE_2} > ${OUTSIDE}`, 3, 4, left.subarray(0, 576), { rest: mtu }));
  if (outcome.sent.length === 0) return outcome;
  const frame = lab.last[0]?.bytes ?? new Uint8Array(0);
  const said = new DataView(frame.buffer, frame.byteOffset).getUint32(14 + 20 + 4);
  const sent = datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`, { fragment: DF, ...fields, ...HOP }, content);
  const error = icmpError(`${REMOTE_2} > ${WORK_HOST}`, 3, 4, sent.subarray(0, 576), { ...HOP, rest: said });
  expect(outcome).toEqual(forwarded(WORK_HOST, error));
  return said;
}

describe("an MTU", () => {
  test("arrives as stated where the packet was longer and not to be fragmented", () => {
    expect([1499, 1400, 1280, 576, 552].map((mtu) => told(mtu, 1500))).toEqual([1499, 1400, 1280, 576, 552]);
  });

  test("that the packet fitted is none of its path", () => {
    for (const [mtu, length] of [
      [1500, 1500],
      [1400, 1400],
      [1400, 1399],
      [65535, 1500],
      [1400, 60],
    ])
      expect(told(mtu, length)).toEqual(IMPOSSIBLE);
  });

  test("is not stated for a packet that may be fragmented", () => {
    expect(told(1400, 1500, {}, { fragment: 0 })).toEqual(IMPOSSIBLE);
  });

  test("lower than the least becomes that, if the packet was longer", () => {
    expect([551, 296, 68, 67, 1].map((mtu) => told(mtu, 1500))).toEqual([552, 552, 552, 552, 552]);
    expect(told(68, 553)).toBe(552);
    expect(told(68, 552)).toEqual(IMPOSSIBLE);
    expect(told(1, 100)).toEqual(IMPOSSIBLE);
  });

  test("of 0 becomes the plateau below the packet's length (RFC 1191 section 7.1)", () => {
    expect([1500, 1493, 1492, 1007, 1006, 560].map((length) => told(0, length))).toEqual([
      1492, 1492, 1006, 1006, 552, 552,
    ]);
    expect(told(0, 552)).toEqual(IMPOSSIBLE);
    const least = { sections: "[nat]\nmin_path_mtu = 68" };
    expect([1006, 508, 296, 69].map((length) => told(0, length, least))).toEqual([508, 296, 68, 68]);
    expect(told(0, 68, least)).toEqual(IMPOSSIBLE);
  });

  test("has the least that the configuration says", () => {
    expect(told(1200, 1500, { sections: "[nat]\nmin_path_mtu = 1280" })).toBe(1280);
    expect(told(68, 1500, { sections: "[nat]\nmin_path_mtu = 68" })).toBe(68);
    expect(told(67, 1500, { sections: "[nat]\nmin_path_mtu = 68" })).toBe(68);
  });

  test("is judged of TCP too, and in errors of clients", () => {
    const lab = natLab();
    lab.from(LAN_HOST, segment(`${LAN_HOST}:5000 > ${REMOTE}:9000`, "S"));
    const port = sentPort(lab);
    const syn = segment(`${OUTSIDE}:${port} > ${REMOTE}:9000`, "S", HOP);
    expect(lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 4, syn, { rest: 1400 }))).toEqual(IMPOSSIBLE);
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`));
    const delivered = datagram(`${REMOTE}:9000 > ${LAN_HOST}:5000`, HOP);
    const error = icmpError(`${LAN_HOST} > ${REMOTE}`, 3, 4, delivered, { rest: 68 });
    expect(lab.from(LAN_HOST, error)).toEqual(IMPOSSIBLE);
  });

  test("of an interface of ours is told as it is, also half way through a hairpin", () => {
    const sections = '[[forward]]\nproto = "udp"\nport = 9000\nto = "192.168.1.20"\n';
    const lab = natLab({ sections, mtu: { lan: 300 } });
    const packet = (fields: Partial<Ipv4Fields>) =>
      datagram(`${WORK_HOST}:5000 > ${OUTSIDE}:9000`, { fragment: DF, ...fields }, payload(400));
    const outcome = lab.from(WORK_HOST, packet({}));
    const error = icmpError(`${OUTSIDE} > ${WORK_HOST}`, 3, 4, packet(HOP), { rest: 300, ...HOP });
    expect(outcome.verdict).toBe("dropped: larger than the egress MTU");
    expect(outcome.sent).toEqual(forwarded(WORK_HOST, error).sent);
  });
});
