// Single packets that Linux treats otherwise, as docs/NAT.md tells: what we do with each, whole.
import { expect, test } from "bun:test";
import { fromHex, icmp, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import { forwarded, Lab, OUTSIDE, REMOTE, WORK_HOST } from "../../../lab/router-lab.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
const OUTSIDE_OUT = { ...OUT, source: OUTSIDE, ttl: 63 };
const UDP = 17;

/** @returns the packet with one byte of its payload another, so that the transport checksum is wrong */
function spoiled(packet: Uint8Array): Uint8Array {
  return packet.with(packet.length - 1, packet[packet.length - 1] ^ 0x55);
}

test("a wrong checksum of TCP, UDP or an ICMP query is passed on as it is, as wrong as it was", () => {
  const lab = new Lab();
  lab.verifiesChecksums = false;
  const segment = { flags: "S", sequence: 1 };
  expect(lab.from(WORK_HOST, spoiled(tcp({ ...OUT, ...segment }, payload(4)))).sent).toEqual(
    forwarded(REMOTE, spoiled(tcp({ ...OUTSIDE_OUT, ...segment }, payload(4)))).sent,
  );
  expect(lab.from(WORK_HOST, spoiled(udp(OUT, payload(4)))).sent).toEqual(
    forwarded(REMOTE, spoiled(udp(OUTSIDE_OUT, payload(4)))).sent,
  );
  const echo = { destination: REMOTE, type: 8, rest: 77 << 16 };
  expect(lab.from(WORK_HOST, spoiled(icmp({ ...echo, source: WORK_HOST }, payload(4)))).sent).toEqual(
    forwarded(REMOTE, spoiled(icmp({ ...echo, source: OUTSIDE, ttl: 63 }, payload(4)))).sent,
  );
});

test("a UDP length below the IP payload is passed on, with all bytes", () => {
  const lab = new Lab();
  lab.verifiesChecksums = false; // they count what is behind the datagram too
  const behind = fromHex("aabbccdd");
  const longer = (packet: Uint8Array, fields: { source: string; ttl?: number }) =>
    ipv4({ ...OUT, ...fields }, UDP, Uint8Array.from([...packet.subarray(20), ...behind]));
  expect(lab.from(WORK_HOST, longer(udp(OUT, payload(4)), OUT)).sent).toEqual(
    forwarded(REMOTE, longer(udp(OUTSIDE_OUT, payload(4)), OUTSIDE_OUT)).sent,
  );
});

test("Record Route and Timestamp are passed on as they are: our address is not filled in", () => {
  const lab = new Lab();
  for (const options of [fromHex("070b04 0000000000000000 00"), fromHex("440c0501 0000000000000000")]) {
    expect(lab.from(WORK_HOST, udp({ ...OUT, options }, payload(4)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, options }, payload(4))),
    );
  }
});

test("an ICMP error that quotes a wrong IP header checksum is refused, by the name of the header's own fault", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, udp(OUT, payload(4)));
  const quoted = udp({ ...OUTSIDE_OUT, ttl: 60 }, payload(4));
  const about = (quote: Uint8Array) => icmp({ source: REMOTE, destination: OUTSIDE, type: 3, code: 3 }, quote);
  expect(lab.from(REMOTE, about(quoted.with(10, quoted[10] ^ 1)))).toEqual({
    verdict: "dropped: malformed ipv4: header checksum",
    sent: [],
  });
  const error = icmp(
    { source: REMOTE, destination: WORK_HOST, type: 3, code: 3, ttl: 63 },
    udp({ ...OUT, ttl: 60 }, payload(4)),
  );
  expect(lab.from(REMOTE, about(quoted)).sent).toEqual(forwarded(WORK_HOST, error).sent);
});
