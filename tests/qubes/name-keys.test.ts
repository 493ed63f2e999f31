// The keys that tell what host names in rules mean, in a QubesDB against the double of dom0's daemon.
import { afterEach, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import type { ResolvedNames } from "../../src/control/live-rules.ts";
import { NameKeys } from "../../src/qubes/name-keys.ts";
import { QubesDb } from "../../src/qubes/qubesdb.ts";
import { QUBESDB_PORT } from "../../src/qubes/qubesdb-wire.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { Switchboard } from "../support/vchans.ts";

const LONG = `${"a".repeat(40)}.example.org`;

/** By name, who has IPv6. */
const SIX: Readonly<Record<string, string>> = { "10.137.0.9": "fd09:24ef:4179::a89:9" };

let database: QubesDb;
afterEach(() => database.close());

/** Without it a database is not complete. */
const COMPLETE = { "/connected-ips": "" };

/** A key that is written behind all others: messages keep their order, so when dom0 has it, it has them. */
const LAST = "/last";
let rounds = 0;

/** Waits until dom0, if it is there, has been told all. */
async function told(double: QubesDbDouble): Promise<void> {
  if (!database.synchronised) return;
  const round = String(++rounds);
  database.write(LAST, round);
  while (double.entries.get(LAST) !== round) await Bun.sleep(1);
}

/** A database in step with dom0's, which has these entries at first. */
async function start(entries: Readonly<Record<string, string>> = {}) {
  const double = new QubesDbDouble({ ...COMPLETE, ...entries });
  const board = new Switchboard();
  const connect = async () => double.attach(await board.serve(QUBESDB_PORT, double.handler()));
  void connect();
  const synchronised = [Promise.withResolvers<void>()];
  database = new QubesDb((handler) => board.connect(QUBESDB_PORT, handler), {
    synchronised: () => synchronised.at(-1)?.resolve(),
    written() {},
    removed() {},
    trouble() {},
  });
  await synchronised[0].promise;
  const said: string[] = [];
  const keys = new NameKeys(database, (line) => said.push(line));
  return {
    said,
    /** Shows these names. @returns what dom0 has then */
    show: async (clients: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>) => {
      keys.show(resolved(clients), new Map(Object.keys(clients).map((name) => [name, { 4: name, 6: SIX[name] }])));
      await told(double);
      expect(double.mistakes).toEqual([]);
      return Object.fromEntries([...double.entries].filter(([path]) => !(path in COMPLETE) && path !== LAST));
    },
    /** Dom0's daemon starts anew, and has lost everything that it is not given here. */
    restart: async (left: Readonly<Record<string, string>>) => {
      synchronised.push(Promise.withResolvers<void>());
      double.detach();
      double.entries.clear();
      for (const [path, value] of Object.entries({ ...COMPLETE, ...left })) double.entries.set(path, value);
      void connect();
      await synchronised.at(-1)?.promise;
    },
    detach: () => double.detach(),
  };
}

function resolved(clients: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>): ResolvedNames {
  return new Map(
    Object.entries(clients).map(([client, names]) => [
      client,
      new Map(Object.entries(names).map(([name, addresses]) => [name, addresses.map(anyIp)])),
    ]),
  );
}

function anyIp(text: string) {
  return text.includes(":") ? ip6(text) : ip(text);
}

test("a name has the text of a set of prefixes, as Python writes it; one that does not resolve has no key", async () => {
  const { show, said } = await start();
  expect(
    await show({
      "10.137.0.9": { "a.example": ["192.0.2.7"], "b.example": ["192.0.2.8", "192.0.2.9"], "c.example": [] },
      "10.137.0.10": { "a.example": ["192.0.2.7", "192.0.2.70"] },
      "10.137.0.11": {},
    }),
  ).toEqual({
    "/dns/10.137.0.9/a.example": "{'192.0.2.7/32'}",
    "/dns/10.137.0.9/b.example": "{'192.0.2.8/32', '192.0.2.9/32'}",
    "/dns/10.137.0.10/a.example": "{'192.0.2.7/32', '192.0.2.70/32'}",
  });
  expect(said).toEqual([]);
});

test("IPv6 addresses of a name stand below the client's own of that family, if it has one", async () => {
  const { show, said } = await start();
  const names = { "a.example": ["192.0.2.7", "2001:db8::1", "2001:db8::2"], "b.example": ["2001:db8::3"] };
  expect(await show({ "10.137.0.9": names, "10.137.0.10": names })).toEqual({
    "/dns/10.137.0.9/a.example": "{'192.0.2.7/32'}",
    "/dns/10.137.0.10/a.example": "{'192.0.2.7/32'}",
    "/dns/fd09:24ef:4179::a89:9/a.example": "{'2001:db8::1/128', '2001:db8::2/128'}",
    "/dns/fd09:24ef:4179::a89:9/b.example": "{'2001:db8::3/128'}",
  });
  const many = Array.from({ length: 80 }, (_, i) => `2001:db8:1111:2222:3333:4444:5555:${(0x6600 + i).toString(16)}`);
  const shown = await show({ "10.137.0.9": { "a.example": many } });
  const value = shown["/dns/fd09:24ef:4179::a89:9/a.example"] ?? "";
  expect(value).toBe(
    `{${many
      .slice(0, 65)
      .map((address) => `'${address}/128'`)
      .join(", ")}}`,
  );
  expect(value.length).toBeLessThan(3072);
  expect(said).toEqual(["QubesDB: /dns/fd09:24ef:4179::a89:9/a.example has room for 65 addresses"]);
});

test("keys follow the names: other addresses, names that rules have no more, clients that are gone", async () => {
  const { show } = await start({ "/qubes-ip": "10.137.0.5", "/dns/10.137.0.8/left.example": "{'192.0.2.1/32'}" });
  const others = { "/qubes-ip": "10.137.0.5" };
  await show({
    "10.137.0.9": { "a.example": ["192.0.2.7"], "b.example": ["192.0.2.8"] },
    "10.137.0.10": { "a.example": ["192.0.2.7"] },
  });
  expect(await show({ "10.137.0.9": { "a.example": ["192.0.2.77"] } })).toEqual({
    ...others,
    "/dns/10.137.0.9/a.example": "{'192.0.2.77/32'}",
  });
  expect(await show({ "10.137.0.9": { "a.example": [] } })).toEqual(others);
});

test("nothing is removed that dom0 does not have, whatever was lost meanwhile", async () => {
  const { show, restart, detach } = await start();
  const names = { "10.137.0.9": { "a.example": ["192.0.2.7"], "b.example": ["192.0.2.8"] } };
  await show(names);
  await restart({ "/dns/10.137.0.8/left.example": "{'192.0.2.1/32'}" });
  expect(await show(names)).toEqual({
    "/dns/10.137.0.9/a.example": "{'192.0.2.7/32'}",
    "/dns/10.137.0.9/b.example": "{'192.0.2.8/32'}",
  });
  detach();
  while (database.synchronised) await Bun.sleep(1);
  await show({ "10.137.0.9": { "b.example": ["192.0.2.9"] } });
  await restart({});
  expect(await show({ "10.137.0.9": { "b.example": ["192.0.2.9"] } })).toEqual({
    "/dns/10.137.0.9/b.example": "{'192.0.2.9/32'}",
  });
});

test("a name too long for a key is said once, and again only after it was gone", async () => {
  const { show, said } = await start();
  const line = `QubesDB: no key /dns/10.137.0.9/${LONG}, which is longer than 63 characters; its rules work all the same`;
  expect(await show({ "10.137.0.9": { [LONG]: ["192.0.2.7"] } })).toEqual({});
  await show({ "10.137.0.9": { [LONG]: ["192.0.2.8"], "a.example": ["192.0.2.7"] } });
  expect(said).toEqual([line]);
  await show({});
  await show({ "10.137.0.9": { [LONG]: ["192.0.2.8"] } });
  expect(said).toEqual([line, line]);
});

test("of more addresses than a value holds the first are told, and that there are more", async () => {
  const { show, said } = await start();
  const many = Array.from({ length: 256 }, (_, i) => `192.168.255.${i}`);
  const shown = await show({ "10.137.0.9": { "a.example": many } });
  const value = shown["/dns/10.137.0.9/a.example"] ?? "";
  expect(value).toBe(
    `{${many
      .slice(0, 139)
      .map((address) => `'${address}/32'`)
      .join(", ")}}`,
  );
  expect(said).toEqual(["QubesDB: /dns/10.137.0.9/a.example has room for 139 addresses"]);
});
