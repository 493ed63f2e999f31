// BTF, held against Debian's bpftool on this machine's own kernel; and with every byte of a small one changed.
import { beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Random } from "../../../lab/random.ts";
import { Btf, BtfError, KERNEL_BTF } from "../../../src/linux/bpf/btf.ts";

interface PeerMember {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
  readonly bitfield_size?: number;
}

interface PeerType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly members?: readonly PeerMember[];
}

/** As bpftool reads them, by number. */
const peer = new Map<number, PeerType>();
let ours: Btf;

beforeAll(() => {
  const { stdout } = Bun.spawnSync(["/usr/sbin/bpftool", "--json", "btf", "dump", "file", KERNEL_BTF]);
  const { types }: { types: PeerType[] } = JSON.parse(stdout.toString());
  for (const type of types) peer.set(type.id, type);
  ours = new Btf(readFileSync(KERNEL_BTF));
}, 60_000);

/** The places of a structure's members, those of what has no name in it among them, by name. */
function places({ members = [] }: PeerType, base = 0): [name: string, offset: number, bits: number][] {
  return members.flatMap(({ name, type_id, bits_offset, bitfield_size = 0 }) => {
    const type = peer.get(type_id);
    if (name !== "(anon)") return [[name, base + bits_offset, bitfield_size]];
    return type?.kind === "STRUCT" || type?.kind === "UNION" ? places(type, base + bits_offset) : [];
  });
}

test("members of this kernel's structures are where bpftool says, bit fields and those of nameless unions too", () => {
  const structures = [...peer.values()].filter(({ kind, name }) => kind === "STRUCT" && name !== "(anon)");
  const timesOf = new Map<string, number>();
  for (const { name } of structures) timesOf.set(name, (timesOf.get(name) ?? 0) + 1);
  const some = structures.filter(({ name }, i) => timesOf.get(name) === 1 && (i % 40 === 0 || name === "sk_buff"));
  let compared = 0;
  for (const structure of some) {
    const number = ours.structure(structure.name);
    expect(number).toBe(structure.id);
    for (const [name, offset, bits] of places(structure)) {
      const member = ours.member(number, name);
      expect([structure.name, name, member.offset]).toEqual([structure.name, name, offset]);
      if (bits !== 0) expect([structure.name, name, member.size]).toEqual([structure.name, name, bits]);
      compared++;
    }
  }
  expect(some.some(({ name }) => name === "sk_buff")).toBe(true);
  expect(compared).toBeGreaterThan(500);
}, 60_000);

test("sizes are those of numbers, enumerations and pointers, behind names and qualifications", () => {
  const skb = ours.structure("sk_buff");
  const sizes = ["csum_start", "csum_offset", "head", "len", "ip_summed", "cb"].map(
    (name) => ours.member(skb, name).size,
  );
  expect(sizes).toEqual([16, 16, 64, 32, 2, 0]);
});

test("what is not there, or there twice, is an error", () => {
  expect(() => ours.structure("no_such_structure")).toThrow("BTF: there is no struct no_such_structure");
  expect(() => ours.member(ours.structure("sk_buff"), "no_such_member")).toThrow(
    /^BTF: type \d+ has no member no_such/,
  );
  expect(() => new Btf(btf([skb(), skb()])).structure("s")).toThrow("BTF: there are two structs s, types 1 and 2");
  const nowhere = new Btf(btf([{ ...skb(), members: [member("a", 3)] }, NUMBER]));
  expect(() => nowhere.member(1, "a")).toThrow("BTF: there is no type 3");
  const cut = btf([skb(), { ...skb(), members: [member("a", 1)] }]);
  new DataView(cut.buffer, cut.byteOffset).setUint32(12, 32, true); // bytes of types
  expect(() => new Btf(cut)).toThrow("BTF: type 2 is cut short");
  const twice = new Btf(btf([{ ...skb(), members: [member("a", 2), member("a", 2)] }, NUMBER]));
  expect(() => twice.member(1, "a")).toThrow("BTF: type 1 has two members a");
});

test("structures within each other without end, or many times over, are an error, soon", () => {
  const itself = new Btf(btf([{ ...skb(), members: [member("", 1)] }]));
  expect(() => itself.member(1, "a")).toThrow("BTF: type 1 is nested too deeply");
  const types = Array.from({ length: 20 }, (_, i) => ({ ...skb(), members: Array(8).fill(member("", i + 2)) }));
  const many = new Btf(btf([...types, { ...skb(), name: "t" }]));
  expect(() => many.member(1, "b")).toThrow(/^BTF: type \d+ has too many members$/);
  const loop = new Btf(
    btf([
      { ...skb(), members: [member("a", 2)] },
      { kind: 8, name: "t", size: 2 },
    ]),
  );
  expect(() => loop.member(1, "a")).toThrow("BTF: type 2 leads nowhere");
});

test("each truncation, and bytes changed at random, are an error that says where, or another answer, never anything else", () => {
  const whole = btf([
    { ...skb(), members: [member("a", 2), member("", 3, 32)] },
    NUMBER,
    { kind: 5, name: "", size: 8, members: [member("b", 4), member("c", 2)] },
    { kind: 8, name: "t", size: 2 },
  ]);
  expect(new Btf(whole).member(1, "b")).toEqual({ offset: 32, size: 32 });
  for (let length = 0; length < whole.length; length++) expect(ask(whole.subarray(0, length))).toBeInstanceOf(BtfError);
  const random = new Random(14);
  let errors = 0;
  for (let i = 0; i < 50_000; i++) {
    const bytes = whole.slice();
    for (let n = 1 + random.below(3); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    if (ask(bytes) instanceof BtfError) errors++;
  }
  expect(errors).toBeGreaterThan(10_000);
});

/** @returns where a member is, or the error; anything else is thrown */
function ask(bytes: Uint8Array): unknown {
  try {
    const parsed = new Btf(bytes);
    return parsed.member(parsed.structure("s"), "b");
  } catch (error) {
    if (error instanceof BtfError) return error;
    throw error;
  }
}

interface SomeMember {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
}

interface SomeType {
  readonly kind: number;
  readonly name: string;
  /** Or the type that it leads to. */
  readonly size: number;
  readonly members?: readonly SomeMember[];
}

const NUMBER: SomeType = { kind: 1, name: "n", size: 4 };

function skb(): SomeType {
  return { kind: 4, name: "s", size: 64 };
}

function member(name: string, type: number, offset = 0): SomeMember {
  return { name, type, offset };
}

/** BTF with these types, numbered from 1. */
function btf(types: readonly SomeType[]): Uint8Array {
  let strings = "\0";
  const nameAt = (name: string): number => {
    if (!strings.includes(`\0${name}\0`)) strings += `${name}\0`;
    return strings.indexOf(`\0${name}\0`) + (name === "" ? 0 : 1);
  };
  const words = types.flatMap(({ kind, name, size, members = [] }) => [
    nameAt(name),
    (kind << 24) | members.length,
    size,
    ...(kind === 1 ? [32] : []),
    ...members.flatMap((one) => [one.name === "" ? 0 : nameAt(one.name), one.type, one.offset]),
  ]);
  const header = [0x0001eb9f, 24, 0, words.length * 4, words.length * 4, strings.length];
  return Buffer.concat([Buffer.from(Uint32Array.from([...header, ...words]).buffer), Buffer.from(strings)]);
}
