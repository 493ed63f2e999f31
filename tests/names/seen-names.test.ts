// What clients were told of host names: the last name of an address, of each client by itself, and so many of them.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { SeenNames } from "../../src/names/seen-names.ts";
import { alias, hosts, type ReplyFields, reply } from "../support/name-servers.ts";

function answer(name: string, records: ReturnType<typeof hosts>, fields: ReplyFields = {}): Uint8Array {
  const type = "A" as const;
  const asked = { server: 0, type, at: 0, id: 1, written: name, name, payloadSize: undefined, byTcp: false };
  return reply({ ...asked, message: new Uint8Array() }, records, fields);
}

test("an address has the name that the client asked for last, whatever aliases lead there", () => {
  const names = new SeenNames();
  names.note(
    "work",
    answer("www.example", [alias("www.example", "cdn.example"), ...hosts("cdn.example", ["192.0.2.7"])]),
  );
  names.note("work", answer("other.example", hosts("other.example", ["192.0.2.8"])));
  expect([ip("192.0.2.7"), ip("192.0.2.8"), ip("192.0.2.9")].map((address) => names.nameOf("work", address))).toEqual([
    "www.example",
    "other.example",
    undefined,
  ]);
  expect(names.nameOf("lan", ip("192.0.2.7"))).toBeUndefined();
  names.note("work", answer("third.example", hosts("third.example", ["192.0.2.7"])));
  expect(names.nameOf("work", ip("192.0.2.7"))).toBe("third.example");
});

test("what is no answer with addresses, or none to a host name, is passed over", () => {
  const names = new SeenNames();
  names.note("work", Uint8Array.of(1, 2, 3));
  names.note("work", answer("www.example", hosts("www.example", ["192.0.2.7"]), { rcode: 3 }));
  names.note("work", answer("www.example", hosts("else.example", ["192.0.2.7"])));
  names.note("work", answer("a b$(x).example", hosts("a b$(x).example", ["192.0.2.7"])));
  expect(names.nameOf("work", ip("192.0.2.7"))).toBeUndefined();
});

test("one client's answers push out its own, the oldest first, and nobody else's", () => {
  const names = new SeenNames();
  names.note("lan", answer("lan.example", hosts("lan.example", ["192.0.2.1"])));
  const address = (i: number) => `10.${i >> 8}.${i & 255}.1`;
  for (let i = 0; i < 600; i++) names.note("work", answer(`h${i}.example`, hosts(`h${i}.example`, [address(i)])));
  expect(names.nameOf("lan", ip("192.0.2.1"))).toBe("lan.example");
  expect(names.nameOf("work", ip(address(87)))).toBeUndefined();
  expect(names.nameOf("work", ip(address(88)))).toBe("h88.example");
  expect(names.nameOf("work", ip(address(599)))).toBe("h599.example");
});
