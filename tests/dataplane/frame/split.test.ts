// A later fragment that came before the first and is larger than the egress MTU is cut once it may go.
import { expect, test } from "bun:test";
import { concat, fragmented, payload, udp } from "../../../lab/frames.ts";
import { Lab, REMOTE, SETTINGS, UPLINK, WORK_HOST } from "../../../lab/router-lab.ts";

const CONTENT = payload(1992);
const FRAGMENT_FIELD = 20;

test("all of it arrives, whatever it waited in", () => {
  const interfaces = SETTINGS.interfaces.map((iface, i) => ({ ...iface, mtu: i === UPLINK ? 600 : 1500 }));
  const lab = new Lab({ settings: { ...SETTINGS, interfaces } });
  const datagram = udp(
    { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000, fragment: 0 },
    CONTENT,
  );
  const [first, second] = fragmented(datagram, 1000);
  expect(lab.from(WORK_HOST, second).verdict).toBe("held until the first fragment comes");
  expect(lab.from(WORK_HOST, first).verdict).toBe("forwarded");
  const parts = lab.last.map(({ bytes }) => ({
    at: ((bytes[FRAGMENT_FIELD] & 31) * 256 + bytes[FRAGMENT_FIELD + 1]) * 8,
    content: bytes.subarray(34),
  }));
  parts.sort((one, another) => one.at - another.at);
  expect(parts.length).toBeGreaterThan(3);
  expect(concat(...parts.map(({ content }) => content)).subarray(8)).toEqual(CONTENT);
});
