// XenStore's client against a double of its daemon, and against bytes that no daemon sends.

import { expect, test } from "bun:test";
import { concat, toHex } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { XenStore } from "../../src/xen/xenstore.ts";
import { encodeXs, XS, XS_PAYLOAD_LENGTH } from "../../src/xen/xenstore-wire.ts";
import { rejectionOf } from "../support/rejection.ts";
import { XenStoreDouble } from "../support/xenstore-double.ts";

function connect() {
  const double = new XenStoreDouble();
  const failures: string[] = [];
  const store = new XenStore(double.connect, (error) => failures.push(error.message));
  return { double, store, failures };
}

test("a message is the header of xs_wire.h and the payload", () => {
  const bytes = encodeXs({ type: XS.READ, request: 7, transaction: 3, payload: Buffer.from("domid\0") });
  expect(toHex(bytes)).toBe(["02 00 00 00 07 00 00 00 03 00 00 00 06 00 00 00", "64 6f 6d 69 64 00"].join("\n"));
});

test("values are written, read, listed and removed", async () => {
  const { store } = connect();
  await store.write("a/b/c", "one");
  await store.write("a/b/d", "");
  await store.write("a/e", "");
  expect(await store.read("a/b/c")).toBe("one");
  expect(await store.read("a/b/d")).toBe("");
  expect(await store.directory("a")).toEqual(["b", "e"]);
  expect(await store.directory("a/e")).toEqual([]);
  await store.rm("a/b");
  expect(await store.directory("a")).toEqual(["e"]);
});

test("what is not there is undefined, and can be removed", async () => {
  const { store } = connect();
  expect(await store.read("nothing")).toBeUndefined();
  expect(await store.directory("nothing")).toBeUndefined();
  await store.rm("nothing");
});

test("answers find their requests, however many wait", async () => {
  const { double, store } = connect();
  for (let i = 0; i < 500; i++) double.put(`n/${i}`, String(i * i));
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => store.read(`n/${i}`)));
  expect(values).toEqual(Array.from({ length: 500 }, (_, i) => String(i * i)));
});

test("a missing permission is named, with the path", async () => {
  const { double, store } = connect();
  double.forbidden.push("memory");
  expect(await rejectionOf(store.write("memory/meminfo", "1"))).toContain(
    "XenStore: write memory/meminfo: EACCES (this domain has no permission there)",
  );
  await store.write("shared", "x");
  await store.setPermissions("shared", ["n1", "r2"]);
  expect(await store.permissions("shared")).toEqual(["n1", "r2"]);
});

test("a value that is too long is refused here", async () => {
  const { store } = connect();
  expect(await rejectionOf(store.write("a", "x".repeat(XS_PAYLOAD_LENGTH)))).toContain(
    "4098 bytes are too much for XenStore",
  );
});

test("a transaction happens as one, again when somebody else came between, and not at all when its body throws", async () => {
  const { double, store } = connect();
  double.put("counter", "1");
  let attempts = 0;
  await store.transaction(async (access) => {
    const value = Number(await access.read("counter"));
    await access.write("counter", String(value + 1));
    expect(double.get("counter")).toBe(String(value));
    if (++attempts < 4) double.put("counter", String(value * 10));
  });
  expect([attempts, double.get("counter")]).toEqual([4, "1001"]);
  const failing = store.transaction(async (access) => {
    await access.write("counter", "0");
    throw new Error("changed my mind");
  });
  expect(await rejectionOf(failing)).toContain("changed my mind");
  await failing.catch(() => {});
  expect(double.get("counter")).toBe("1001");
});

test("a transaction that never gets its turn fails", async () => {
  const { double, store } = connect();
  const hopeless = store.transaction(async () => double.put("other", "x"));
  expect(await rejectionOf(hopeless)).toContain("XenStore: transaction end T: EAGAIN");
});

test("a watch tells of the start and of every change at and below its path, until it is removed", async () => {
  const { double, store } = connect();
  const heard: string[] = [];
  const remove = await store.watch("backend/vif", (path) => heard.push(path));
  double.put("backend/vif/3/0/state", "1");
  double.put("backend/console", "x");
  await store.read("barrier");
  double.remove("backend");
  await store.read("barrier");
  expect(heard).toEqual(["backend/vif", "backend/vif/3/0/state", "backend/vif"]);
  await remove();
  await remove();
  double.put("backend/vif/4/0/state", "1");
  await store.read("barrier");
  expect(heard.length).toBe(3);
  expect([store.watched, double.watched]).toEqual([0, 0]);
});

test("requests go one at a time: Linux's xenbus device and Xen's xenstored can't bear more", async () => {
  const { double, store } = connect();
  const counts: number[] = [];
  double.heard = (_, underWay) => counts.push(underWay);
  await Promise.all([store.read("a"), store.watch("b", () => {}), store.read("c"), store.transaction(async () => {})]);
  expect(counts).toEqual([1, 1, 1, 1, 1]);
});

test("ten thousand watches that came and went leave nothing behind", async () => {
  const { double, store } = connect();
  for (let i = 0; i < 10_000; i++) {
    const remove = await store.watch(`backend/vif/${i}/0/state`, () => {});
    await remove();
  }
  expect([store.watched, double.watched]).toEqual([0, 0]);
});

test("when the connection ends, all that wait are told, and all that come later", async () => {
  const { double, store, failures } = connect();
  const waiting = store.read("a");
  double.break();
  expect(await rejectionOf(waiting)).toContain("XenStore: the connection ended: the daemon ended");
  expect(await rejectionOf(store.read("b"))).toContain("the daemon ended");
  expect(failures).toEqual(["XenStore: the connection ended: the daemon ended"]);
});

test("a payload longer than the protocol allows ends the connection", () => {
  const { double, failures } = connect();
  const header = new Uint8Array(16);
  new DataView(header.buffer).setUint32(12, 4097, true);
  double.break(header);
  expect(failures).toEqual(["XenStore: a payload of 4097 bytes"]);
});

test("random bytes in random pieces do no harm beyond ending the connection", async () => {
  const random = new Random(42);
  for (let round = 0; round < 2000; round++) {
    const { double, store, failures } = connect();
    store.read("x").catch(() => {});
    const noise = Uint8Array.from({ length: random.below(200) }, () => random.below(random.chance(0.7) ? 4 : 256));
    const event = encodeXs({ type: XS.WATCH_EVENT, request: 0, transaction: 0, payload: noise.slice(0, 40) });
    const bytes = concat(event, noise);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random.below(60);
      double.break(bytes.slice(at, end));
      at = end;
    }
    expect(failures.length).toBeLessThanOrEqual(1);
    store.close();
  }
});
