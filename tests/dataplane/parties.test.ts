// Parties: who is told from whom, and that who is there as before keeps his number.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { INTERFACES, LAN, LAN_SETTINGS, SETTINGS, WORK_SETTINGS } from "../../lab/router-lab.ts";
import { Parties } from "../../src/dataplane/parties.ts";
import type { ClientSettings, Settings } from "../../src/dataplane/settings.ts";
import type { Client, Group, Party } from "../../src/dataplane/types.ts";
import { toAddress } from "../../src/wire/ipv4.ts";

const FORWARD = { protocol: 6, portLow: 80, portHigh: 80, client: 0, to: 0, toPort: 80, from: [] };

test("each client is a group, of a network each host is a party, and each forward", () => {
  const parties = new Parties({ ...SETTINGS, forwards: [FORWARD, FORWARD] });
  const [work, lan] = [0 as Client, 1 as Client];
  const all = [
    parties.host(work, toAddress(1)),
    ...Array.from({ length: 256 }, (_, host) => parties.host(lan, toAddress(0xc0a80100 + host))),
    parties.uplink,
    parties.forward(0),
    parties.forward(1),
    parties.ourselves,
  ];
  expect(new Set(all).size).toBe(261);
  expect(parties.host(work, toAddress(2))).toBe(all[0]);
  const groups = [0, 1, 257, 260].map((i) => parties.group(all[i]));
  expect(new Set(groups).size).toBe(parties.liveGroups);
  expect(groups.slice(0, 2)).toEqual([work, lan].map((client) => parties.ofClient(client)));
  expect([1, 2, 256].map((i) => parties.group(all[i]))).toEqual([groups[1], groups[1], groups[1]]);
  expect([257, 258, 259].map((i) => parties.group(all[i]))).toEqual([groups[2], groups[2], groups[2]]);
  expect([parties.hosts(work), parties.hosts(lan)]).toEqual([1, 256]);
});

/** By name, where each client's first host is. */
function numbers(parties: Parties, { clients }: Settings): Map<string, Party> {
  return new Map(clients.map(({ name, network }, i) => [name, parties.host(i as Client, toAddress(network))]));
}

test("whoever comes and goes: who stays keeps his numbers, nobody has those of one who has just gone, and there are no more than needed", () => {
  const random = new Random(9);
  const all = Array.from({ length: 12 }, (_, i): ClientSettings => {
    const prefix = random.pick([32, 25, 24]);
    return { ...WORK_SETTINGS, name: `c${i}`, network: 0x0a000000 + i * 256, prefix, iface: i % 3 };
  });
  let settings: Settings = { ...SETTINGS, clients: all };
  let parties = new Parties(settings);
  for (let round = 0; round < 300; round++) {
    const before = numbers(parties, settings);
    const clients = all.filter(() => random.chance(0.6)).sort(() => random.below(3) - 1);
    const next = { ...settings, clients, forwards: Array.from({ length: random.below(5) }, () => FORWARD) };
    const following = new Parties(next, parties);
    const after = numbers(following, next);
    for (const [name, party] of after) {
      if (before.has(name)) expect(party).toBe(before.get(name) as Party);
      else expect([...before.values()].map((old) => parties.group(old))).not.toContain(following.group(party));
    }
    const live = Array.from({ length: following.groups }, (_, group) => following.isLive(group as Group));
    expect(live.filter((is) => is).length).toBe(clients.length + 2);
    expect(following.liveGroups).toBe(clients.length + 2);
    [settings, parties] = [next, following];
  }
  expect(parties.groups).toBeLessThan(3 * all.length);
});

test("a client on another interface, or with another network, is somebody else; one whose interface has another number is not", () => {
  const before = new Parties(SETTINGS);
  const interfaces = INTERFACES.toReversed();
  const same = new Parties(
    { ...SETTINGS, interfaces, clients: SETTINGS.clients.map((client) => ({ ...client, iface: 2 - client.iface })) },
    before,
  );
  const [work, lan] = [0 as Client, 1 as Client];
  expect([same.ofClient(work), same.ofClient(lan)]).toEqual([before.ofClient(work), before.ofClient(lan)]);
  const moved = { ...WORK_SETTINGS, iface: LAN };
  const smaller = { ...LAN_SETTINGS, prefix: 25 };
  const other = new Parties({ ...SETTINGS, clients: [moved, smaller] }, before);
  const known = [before.ofClient(work), before.ofClient(lan)];
  expect([other.ofClient(work), other.ofClient(lan)].filter((group) => known.includes(group))).toEqual([]);
});
