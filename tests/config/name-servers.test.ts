// Who counts as a name server, and whom we ask ourselves.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { nameServers, serversToAsk } from "../../src/config/name-servers.ts";

const [OURS, TOLD, BEHIND, OTHER] = ["192.0.2.1", "10.139.1.1", "192.0.2.53", "9.9.9.9"].map(ip);

test("name servers are those of the uplink and both ends of redirects, each once", () => {
  const redirects = [
    { from: TOLD, to: BEHIND },
    { from: OTHER, to: OURS },
  ];
  expect(nameServers({ uplink: { dns: [OURS] }, redirects })).toEqual([OURS, BEHIND, TOLD, OTHER]);
  expect(nameServers({ uplink: { dns: [] }, redirects: [] })).toEqual([]);
});

test("asked are those that clients' questions would come to, the uplink's first", () => {
  const redirects = [{ from: TOLD, to: BEHIND }];
  expect(serversToAsk({ uplink: { dns: [OURS] }, redirects })).toEqual([OURS, BEHIND]);
  expect(serversToAsk({ uplink: { dns: [TOLD, OTHER] }, redirects })).toEqual([BEHIND, OTHER]);
  expect(serversToAsk({ uplink: { dns: [] }, redirects })).toEqual([BEHIND]);
  const ipv6 = { address: ip6("2001:db8::2"), prefix: 64, gateway: ip6("fe80::1"), dns: [ip6("2001:db8::53")] };
  expect(serversToAsk({ uplink: { dns: [OURS], ipv6 }, redirects })).toEqual([OURS, BEHIND, ip6("2001:db8::53")]);
  expect(serversToAsk({ uplink: { dns: [], ipv6 }, redirects: [] })).toEqual([ip6("2001:db8::53")]);
});
