// A client's rules from QubesDB: what is in force when, and that everything that is not understood drops everything.
import { expect, test } from "bun:test";
import { ip6 } from "../../lab/frames6.ts";
import { CommittedRules, DROP_EVERYTHING, readClientRules } from "../../src/qubes/client-rules.ts";
import { databaseOf } from "../support/database.ts";

const NONE = databaseOf({});
const ADDRESS = "10.137.0.9";
const ROOT = `/qubes-firewall/${ADDRESS}`;

test("rules come in the order of their numbers, with the policy behind them", () => {
  const database = databaseOf({
    [`${ROOT}/0001`]: "action=drop dst4=10.0.0.0/8",
    [`${ROOT}/0000`]: "action=accept proto=tcp dstports=443-443",
    [`${ROOT}/policy`]: "accept",
    [ROOT]: "",
    "/qubes-firewall/10.137.0.99/0000": "action=accept",
  });
  expect(readClientRules(database, ADDRESS)).toEqual({
    policy: "accept",
    rules: [
      { action: "accept", proto: "tcp", dstports: { low: 443, high: 443 } },
      { action: "drop", dst4: { address: 0x0a000000, prefix: 8 } },
    ],
    numbers: [0, 1],
  });
});

test("any error drops everything and says where it is", () => {
  const wrong: [Record<string, string>, string][] = [
    [{}, "there is no policy"],
    [{ policy: "reject" }, 'policy "reject" is neither accept nor drop'],
    [{ policy: "accept", "0": "action=drop" }, `"0" is neither policy nor a rule's number of four digits`],
    [
      { policy: "accept", "0000": "action=drop", "0001": "" },
      "rule 0001: is empty (write action=accept or action=drop, then what it is for)",
    ],
    [
      { policy: "accept", "0000": "action=accept dst6=fd00::1" },
      "rule 0000: dst6 is not for a client with an IPv4 address (write dst4, or leave the rule out)",
    ],
  ];
  for (const [entries, error] of wrong) {
    const database = databaseOf(
      Object.fromEntries(Object.entries(entries).map(([key, value]) => [`${ROOT}/${key}`, value])),
    );
    expect(readClientRules(database, ADDRESS)).toEqual({
      policy: "drop",
      rules: [],
      numbers: [],
      error: `client ${ADDRESS}: ${error}`,
    });
  }
});

test("rules are in force from the write to the client's own key on, not before", () => {
  const entries: Record<string, string> = { [`${ROOT}/policy`]: "accept", [ROOT]: "" };
  const rules = new CommittedRules(databaseOf(entries));
  expect(rules.readAll(NONE)).toEqual([ADDRESS]);
  entries[`${ROOT}/policy`] = "drop";
  expect(rules.written(`${ROOT}/policy`)).toBeUndefined();
  expect(rules.get(ADDRESS)?.policy).toBe("accept");
  expect(rules.written(ROOT)).toBe(ADDRESS);
  expect(rules.get(ADDRESS)).toEqual(DROP_EVERYTHING);
});

test("rules that are removed stay in force until something else is written, or the client's key is removed", () => {
  const entries: Record<string, string> = { [`${ROOT}/policy`]: "accept", [ROOT]: "" };
  const rules = new CommittedRules(databaseOf(entries));
  rules.readAll(NONE);
  delete entries[`${ROOT}/policy`];
  expect(rules.removed(`${ROOT}/`)).toBeFalse();
  expect(rules.get(ADDRESS)?.policy).toBe("accept");
  expect(rules.removed(ROOT)).toBeTrue();
  expect(rules.get(ADDRESS)).toBeUndefined();
  expect(rules.removed(ROOT)).toBeFalse();
});

test("after everything was read anew, only clients whose rules differ are named", () => {
  const other = "/qubes-firewall/10.137.0.10";
  const entries: Record<string, string> = { [`${ROOT}/policy`]: "accept", [`${other}/policy`]: "drop" };
  entries[ROOT] = entries[other] = "";
  const rules = new CommittedRules(databaseOf(entries));
  expect(rules.readAll(NONE)).toEqual(["10.137.0.10", ADDRESS]);
  expect(rules.readAll(NONE)).toEqual([]);
  delete entries[`${other}/policy`];
  delete entries[other];
  entries[`${ROOT}/0000`] = "nonsense";
  expect(rules.readAll(NONE)).toEqual([ADDRESS]);
  expect(rules.get("10.137.0.10")).toBeUndefined();
  expect(rules.errors()).toEqual([
    'client 10.137.0.9: rule 0000: "nonsense" is not key=value (write action=accept proto=tcp dstports=443)',
  ]);
});

test("in a database that is filled anew, a client keeps its last rules until its own are written whole", () => {
  const before = databaseOf({ [`/mapped-ip/${ADDRESS}/visible-ip`]: "192.168.1.128", [`${ROOT}/policy`]: "accept" });
  const entries: Record<string, string> = { [`${ROOT}/policy`]: "accept", [ROOT]: "" };
  const rules = new CommittedRules(databaseOf(entries));
  rules.readAll(NONE);
  delete entries[ROOT];
  delete entries[`${ROOT}/policy`];
  entries["/connected-ips"] = "10.137.0.8 192.168.1.128"; // dom0 lists what clients were told
  expect(rules.readAll(before)).toEqual([]);
  expect(rules.readAll(databaseOf(entries))).toEqual([]); // filled anew once more
  const told = () => rules.inForce.get(`/mapped-ip/${ADDRESS}/visible-ip`);
  expect([rules.get(ADDRESS)?.policy, told()]).toEqual(["accept", "192.168.1.128"]);
  entries[`${ROOT}/policy`] = "drop";
  expect(rules.written(`${ROOT}/policy`)).toBeUndefined();
  expect([rules.get(ADDRESS)?.policy, told()]).toEqual(["accept", "192.168.1.128"]);
  rules.written(ROOT);
  expect([rules.get(ADDRESS)?.policy, told()]).toEqual(["drop", undefined]);
});

test("the last rules of a client that is not connected any more are gone, at once or when dom0 says so", () => {
  const entries: Record<string, string> = { [`${ROOT}/policy`]: "accept", [ROOT]: "" };
  const rules = new CommittedRules(databaseOf(entries));
  rules.readAll(NONE);
  delete entries[ROOT];
  entries["/connected-ips"] = ADDRESS;
  rules.readAll(NONE);
  expect(rules.get(ADDRESS)).toBeDefined();
  entries["/connected-ips"] = `${ADDRESS}9`;
  rules.written("/connected-ips");
  expect(rules.get(ADDRESS)).toBeUndefined();
});

test("a client's rules of IPv6 stand below that address, come into force, are forgotten and are no good by themselves", () => {
  const [address, root] = ["fd09:24ef:4179::a89:9", "/qubes-firewall/fd09:24ef:4179::a89:9"];
  const entries: Record<string, string> = {
    ...{ [`${ROOT}/policy`]: "drop", [`${ROOT}/0000`]: "action=accept dst4=192.0.2.1", [ROOT]: "" },
    ...{ [`${root}/policy`]: "drop", [`${root}/0003`]: "action=accept dst6=2001:db8::1/128", [root]: "" },
  };
  const rules = new CommittedRules(databaseOf(entries));
  expect(rules.readAll(NONE)).toEqual([ADDRESS, address]);
  const dst6 = { address: ip6("2001:db8::1"), prefix: 128 };
  expect(rules.get(address)).toEqual({ policy: "drop", rules: [{ action: "accept", dst6 }], numbers: [3] });
  entries[`${root}/0004`] = "action=accept dst4=192.0.2.1";
  expect(rules.written(`${root}/0004`)).toBeUndefined();
  expect(rules.written(root)).toBe(address);
  expect(rules.get(address)).toMatchObject(DROP_EVERYTHING);
  expect(rules.get(ADDRESS)?.rules.length).toBe(1);
  expect(rules.errors()).toEqual([
    `client ${address}: rule 0004: dst4 is not for a client with an IPv6 address (write dst6, or leave the rule out)`,
  ]);
  delete entries[root];
  entries["/connected-ips"] = ADDRESS;
  entries["/connected-ips6"] = address;
  rules.readAll(NONE);
  expect(rules.get(address)).toBeDefined();
  entries["/connected-ips6"] = "";
  rules.written("/connected-ips6");
  expect([rules.get(address), rules.get(ADDRESS)?.rules.length]).toEqual([undefined, 1]);
});

test("whatever else is there, also an address that is written otherwise than dom0 writes it, is not looked at", () => {
  const names = ["x", "FD09::1", "fd09:0:0:0:0:0:0:1", "fd09::1%eth0", "10.137.0.09"];
  const paths = names.map((name) => `/qubes-firewall/${name}`);
  const rules = new CommittedRules(
    databaseOf(
      Object.fromEntries(
        paths.flatMap((path) => [
          [path, ""],
          [`${path}/policy`, "accept"],
        ]),
      ),
    ),
  );
  expect(rules.readAll(NONE)).toEqual([]);
  for (const path of paths) expect(rules.written(path)).toBeUndefined();
  expect(rules.removed("/qubes-firewall/")).toBeFalse();
});
