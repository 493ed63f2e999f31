// The queue in front of a line, as tc(8) finds it in the kernel: what was meant is there, it follows what changes, it takes the place of
// nobody else's, and it is gone when it is taken away. Kernels have more or less of what it is made of.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab } from "../../lab/namespaces.ts";

const lab = new Lab("shaping");
const here = lab.namespace("here");
let hasFqCodel = false;

const MBIT = 125_000; // bytes a second
const MEMORY = 64 * 1024 * 1024;

beforeAll(async () => {
  lab.cable(here, "p0", here, "p1");
  hasFqCodel = (await here.attempt(["tc", "qdisc", "add", "dev", "p1", "root", "fq_codel"])).status === 0;
  console.log(`fq_codel: ${hasFqCodel ? "there" : "not in this kernel"}`);
});

afterAll(() => lab.close());

const shape = (rate: number, shares: number, mtu = 1500, memory = MEMORY, ...networks: readonly number[]) =>
  here.attempt(peer("shape", "p0", rate, mtu, shares, memory, ...networks));
const unshape = () => here.run(peer("shape", "p0"));

interface Qdisc {
  readonly kind: string;
  readonly handle: string;
  readonly parent?: string;
  readonly options: Record<string, unknown>;
}

async function qdiscs(): Promise<Qdisc[]> {
  return JSON.parse(await here.run(["tc", "-j", "-d", "qdisc", "show", "dev", "p0"]));
}

/** @returns the kinds of qdiscs below each parent, sorted; `inner` of those that have one in them */
async function kinds(): Promise<string[]> {
  return (await qdiscs()).map(({ kind, parent = "root" }) => `${parent} ${kind}`).toSorted();
}

/** @returns of each of the HTB's classes what it may have, by its number */
async function classes(): Promise<Map<string, string>> {
  const text = await here.run(["tc", "class", "show", "dev", "p0"]);
  const found = text.matchAll(/class htb (fb00:[0-9a-f]+) (?:root|parent (\S+)).* rate (\S+) .*ceil (\S+)/g);
  return new Map(Array.from(found, ([, id = "", parent = "root", rate, ceil]) => [id, `${parent} ${rate} of ${ceil}`]));
}

test("a class for each share and one for frames without a mark, all with an equal part and no more than the line; the mark is the class, but for the host in it", async () => {
  expect(await shape(100 * MBIT, 3)).toMatchObject({ status: 0 });
  const each = "fb00:1 25Mbit of 100Mbit";
  expect(await classes()).toEqual(
    new Map([
      ["fb00:1", "root 100Mbit of 100Mbit"],
      ["fb00:2", each],
      ["fb00:10", each],
      ["fb00:11", each],
      ["fb00:12", each],
    ]),
  );
  const inner = hasFqCodel ? ["10:1 fq_codel", "11:1 fq_codel", "12:1 fq_codel", "2:1 fq_codel"] : [];
  const cutters = ["fb00:10 tbf", "fb00:11 tbf", "fb00:12 tbf", "fb00:2 tbf"];
  expect(await kinds()).toEqual([...inner, ...cutters, "root htb"].toSorted());
  const [, filter] = JSON.parse(await here.run(["tc", "-j", "filter", "show", "dev", "p0"]));
  const [load, and, giveBack] = filter.options.bytecode.insns;
  expect([load.code, load.k | 0, and.code, and.k, giveBack.code]).toEqual([0x20, -0x1000 + 20, 0x54, 0xff00ffff, 0x16]);
});

test("the same again with more shares, with fewer, at another rate: nothing is left of what was before", async () => {
  await shape(100 * MBIT, 3);
  const root = JSON.stringify((await qdiscs()).find(({ kind }) => kind === "htb"));
  for (const [rate, shares] of [
    [100, 5],
    [20, 1],
    [40, 3],
  ] as const) {
    expect(await shape(rate * MBIT, shares)).toMatchObject({ status: 0 });
    const part = `fb00:1 ${rateText(rate / (shares + 1))} of ${rate}Mbit`;
    const ids = Array.from({ length: shares }, (_, i) => `fb00:${(16 + i).toString(16)}`);
    const all = await classes();
    expect([...all.keys()].toSorted()).toEqual(["fb00:1", "fb00:2", ...ids].toSorted());
    for (const id of ["fb00:2", ...ids]) expect(all.get(id)).toBe(part);
    expect((await kinds()).filter((text) => text.endsWith("tbf"))).toHaveLength(shares + 1);
  }
  expect(JSON.stringify((await qdiscs()).find(({ kind }) => kind === "htb"))).toBe(root);
});

/** As tc(8) writes it, in whole kbit where it is not in Mbit. */
function rateText(mbit: number): string {
  return Number.isInteger(mbit) ? `${mbit}Mbit` : `${Math.floor(mbit * 1000)}Kbit`;
}

test("a network's class has one for each of its hosts, and loses them when it is one host's", async () => {
  for (let i = 0; i < 2; i++) {
    expect(await shape(100 * MBIT, 4, 1500, MEMORY, 2)).toMatchObject({ status: 0 });
    const text = await here.run(["tc", "class", "show", "dev", "p0"]);
    const hosts = [...text.matchAll(/class htb 2012:([0-9a-f]+) parent 2012:1 /g)].map(([, minor]) => minor);
    expect(hosts.toSorted()).toEqual(Array.from({ length: 16 }, (_, host) => (16 + host).toString(16)).toSorted());
    const under = (await kinds()).filter((text) => text.includes(" tbf"));
    expect(under).toHaveLength(1 + 3 + 16);
    expect((await kinds()).filter((text) => text.startsWith("fb00:12 "))).toEqual(["fb00:12 htb"]);
  }
  expect(await shape(100 * MBIT, 4, 1500, MEMORY, 3)).toMatchObject({ status: 0 });
  const after = await kinds();
  expect(after).toContain("fb00:12 tbf");
  expect(after).toContain("fb00:13 htb");
  expect(after.filter((text) => text.startsWith("2012:"))).toEqual([]);
});

test("from 1 Gbit/s on frames stay whole, and queues are long enough for them", async () => {
  const queue = hasFqCodel ? "fq_codel" : "bfifo";
  for (const [rate, kind] of [
    [999 * MBIT, "tbf"],
    [1000 * MBIT, queue],
    [25_000 * MBIT, queue],
    [10 * MBIT, "tbf"],
  ] as const) {
    expect(await shape(rate, 1)).toMatchObject({ status: 0 });
    const under = (await qdiscs()).filter(({ parent }) => parent?.startsWith("fb00:"));
    expect(under.map((qdisc) => qdisc.kind)).toEqual([kind, kind]);
    if (kind === "tbf") continue;
    const [{ options }] = under;
    expect(Number(hasFqCodel ? options.memory_limit : options.limit)).toBeGreaterThanOrEqual(256 * 1024);
  }
  expect((await classes()).get("fb00:1")).toBe("root 10Mbit of 10Mbit");
});

test("it takes nobody else's place, and says what to do; a queue of ours that was left behind is taken over", async () => {
  await unshape();
  await here.run([
    "tc",
    "qdisc",
    "add",
    "dev",
    "p0",
    "root",
    "handle",
    "7:",
    "tbf",
    "rate",
    "1mbit",
    "burst",
    "5k",
    "limit",
    "9k",
  ]);
  const refused = await shape(MBIT, 1);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain(
    "p0: traffic control has a qdisc of its own there, tbf 7: (remove it: tc qdisc del dev p0 root, or leave out [uplink] rate)",
  );
  expect(await kinds()).toEqual(["root tbf"]);
  await here.run(["tc", "qdisc", "del", "dev", "p0", "root"]);
  await here.run(["tc", "qdisc", "add", "dev", "p0", "root", "handle", "fb00:", "htb"]); // half of one
  expect(await shape(MBIT, 1)).toMatchObject({ status: 0 });
  expect((await classes()).size).toBe(4 - 1);
});

test("taken away, the kernel's own is back; and once more is no error, nor for an interface without one", async () => {
  await shape(MBIT, 2);
  await unshape();
  expect(await kinds()).toEqual(["root noqueue"]);
  await unshape();
});

test("as many shares as there can be interfaces and more, in little memory: each has room for a few frames", async () => {
  expect(await shape(100 * MBIT, 200, 1500, 1024 * 1024)).toMatchObject({ status: 0 });
  expect((await classes()).size).toBe(202);
  await unshape();
}, 60_000);
