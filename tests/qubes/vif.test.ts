// Clients' interfaces, against a double of XenStore in which the test plays dom0 and netback.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { formatAddress } from "../../src/base/address.ts";
import { ClientVifs, readUplinkMac } from "../../src/qubes/vif.ts";
import { XenStore } from "../../src/xen/xenstore.ts";
import { XenStoreDouble } from "../support/xenstore-double.ts";

async function start() {
  const double = new XenStoreDouble();
  const store = new XenStore(double.connect, (error) => {
    throw error;
  });
  const troubles: string[] = [];
  let changes = 0;
  const vifs = await ClientVifs.start(
    store,
    () => changes++,
    (problem) => troubles.push(problem),
  );
  await settled(double);
  return { double, store, vifs, troubles, settle: () => settled(double), changes: () => changes };
}

/** Waits until all that was said has been taken in. */
async function settled(double: XenStoreDouble): Promise<void> {
  for (let seen = -1; seen !== double.requests; ) {
    seen = double.requests;
    await Bun.sleep(3);
  }
}

/** What libxl writes for a client, and netback answers. */
function attach(double: XenStoreDouble, domain: number, ip: string, device = 0): string {
  const path = `backend/vif/${domain}/${device}`;
  for (const [key, value] of Object.entries({ ip, online: "1", mac: "00:16:3e:00:00:01", "hotplug-status": "" })) {
    double.put(`${path}/${key}`, value);
  }
  double.put(`${path}/state`, "1");
  double.put(`${path}/state`, "2");
  return path;
}

function detach(double: XenStoreDouble, path: string): void {
  double.put(`${path}/online`, "0");
  double.put(`${path}/state`, "5");
  double.put(`${path}/state`, "6");
}

function shown(vifs: ClientVifs): string[] {
  return vifs.usable().map(({ name, address = 0 }) => `${name} ${formatAddress(address)}`);
}

test("a client comes, is announced once, connects, and goes: its directory is cleared away", async () => {
  const { double, vifs, settle, troubles } = await start();
  expect(shown(vifs)).toEqual([]);
  const path = attach(double, 3, "10.137.0.9");
  await settle();
  expect(shown(vifs)).toEqual(["vif3.0 10.137.0.9"]);
  const [waiting] = vifs.unannounced();
  if (waiting === undefined) throw new Error("nobody waits");
  await vifs.announce(waiting);
  await settle();
  expect([double.get(`${path}/hotplug-status`), vifs.unannounced()]).toEqual(["connected", []]);
  double.put(`${path}/state`, "4");
  await settle();
  expect(shown(vifs)).toEqual(["vif3.0 10.137.0.9"]);
  detach(double, path);
  await settle();
  expect([shown(vifs), vifs.count, double.get(`${path}/state`), troubles]).toEqual([[], 0, undefined, []]);
});

test("clients that are there before us are found, announced or not", async () => {
  const double = new XenStoreDouble();
  attach(double, 3, "10.137.0.9");
  double.put(`${attach(double, 4, "10.137.0.10")}/hotplug-status`, "connected");
  const vifs = await ClientVifs.start(
    new XenStore(double.connect, () => {}),
    () => {},
    () => {},
  );
  await settled(double);
  expect(shown(vifs)).toEqual(["vif3.0 10.137.0.9", "vif4.0 10.137.0.10"]);
  expect(vifs.unannounced().map(({ name }) => name)).toEqual(["vif3.0"]);
});

test("of two interfaces with one address, the one that connected last counts", async () => {
  const { double, vifs, settle } = await start();
  const emulated = attach(double, 8, "10.137.0.9");
  const own = attach(double, 7, "10.137.0.9");
  await settle();
  expect(shown(vifs)).toEqual(["vif8.0 10.137.0.9"]); // none connected yet: the younger domain
  double.put(`${emulated}/state`, "4");
  await settle();
  double.put(`${own}/state`, "4");
  await settle();
  expect(shown(vifs)).toEqual(["vif7.0 10.137.0.9"]);
  detach(double, own);
  await settle();
  expect(shown(vifs)).toEqual(["vif8.0 10.137.0.9"]);
});

test("a client is back before its old interface is gone", async () => {
  const { double, vifs, settle } = await start();
  const old = attach(double, 3, "10.137.0.9");
  double.put(`${old}/state`, "4");
  await settle();
  const back = attach(double, 4, "10.137.0.9");
  double.put(`${back}/state`, "4");
  await settle();
  expect(shown(vifs)).toEqual(["vif4.0 10.137.0.9"]);
  detach(double, old);
  await settle();
  expect([shown(vifs), vifs.count]).toEqual([["vif4.0 10.137.0.9"], 1]);
});

test("addresses of any family may stand together; without one of IPv4 there is nothing to use, but it may connect", async () => {
  const { double, vifs, settle } = await start();
  attach(double, 3, "fd09:24ef:4179::a89:9 10.137.0.9");
  attach(double, 4, "fd09:24ef:4179::a89:a");
  await settle();
  expect(shown(vifs)).toEqual(["vif3.0 10.137.0.9"]);
  expect(vifs.unannounced().length).toBe(2);
});

test("of a client's addresses the first of each family counts, and what else stands there is told", async () => {
  const { double, vifs, settle } = await start();
  const six = "fd09:24ef:4179::a89:9";
  for (const text of [
    `10.137.0.9 ${six}`,
    `  ${six}  10.137.0.9`,
    `x 10.137.0.9 ${six} 10.137.0.8 fd09::8`,
    "10.137.0.9",
  ]) {
    attach(double, 3, text);
    await settle();
    const [{ address, address6, unread }] = vifs.usable();
    expect({ text, address, address6, unread }).toEqual({
      text,
      address: ip("10.137.0.9"),
      address6: text.includes(six) ? ip6(six) : undefined,
      unread: text.startsWith("x") ? ["x", "10.137.0.8", "fd09::8"] : [],
    });
  }
});

test("a directory that vanishes as a whole is a client that is gone", async () => {
  const { double, vifs, settle } = await start();
  attach(double, 3, "10.137.0.9");
  attach(double, 4, "10.137.0.10");
  await settle();
  double.remove("backend/vif/3");
  await settle();
  expect(shown(vifs)).toEqual(["vif4.0 10.137.0.10"]);
  double.remove("backend");
  await settle();
  expect(vifs.count).toBe(0);
});

test("a client that goes while it is announced leaves no directory behind", async () => {
  const { double, vifs, settle } = await start();
  const path = attach(double, 3, "10.137.0.9");
  await settle();
  const [waiting] = vifs.unannounced();
  if (waiting === undefined) throw new Error("nobody waits");
  const announced = vifs.announce(waiting);
  double.remove(path);
  await announced;
  await settle();
  expect(double.dump().filter((line) => line.startsWith(path))).toEqual([]);
});

test("what may not be cleared away is said, and does not keep the others waiting", async () => {
  const { double, vifs, settle, troubles } = await start();
  double.forbidden.push("backend/vif/3/0");
  const stuck = attach(double, 3, "10.137.0.9");
  detach(double, stuck);
  attach(double, 4, "10.137.0.10");
  await settle();
  expect(shown(vifs)).toEqual(["vif4.0 10.137.0.10"]);
  expect(new Set(troubles)).toEqual(
    new Set(["Error: XenStore: rm backend/vif/3/0: EACCES (this domain has no permission there)"]),
  );
});

test("its MAC address is what dom0 gave it", async () => {
  const { double, vifs, settle } = await start();
  const path = attach(double, 3, "10.137.0.9");
  await settle();
  expect(vifs.usable().map(({ mac }) => mac)).toEqual([Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1)]);
  double.put(`${path}/mac`, "nonsense");
  await settle();
  expect(vifs.usable().map(({ mac }) => mac)).toEqual([undefined]);
});

test("a client that changes its interface's state all the time is followed now and then, and others at once", async () => {
  const { double, vifs, store, settle, changes } = await start();
  const flapping = attach(double, 3, "10.137.0.9");
  await settle();
  const before = changes();
  for (let i = 0; i < 300; i++) {
    double.put(`${flapping}/state`, i % 2 === 0 ? "6" : "2");
    await store.read("barrier");
    await Bun.sleep(2);
  }
  expect(changes() - before).toBeLessThanOrEqual(64 + 5);
  attach(double, 4, "10.137.0.10");
  await settle();
  expect(shown(vifs)).toContain("vif4.0 10.137.0.10");
  double.put(`${flapping}/ip`, "10.137.0.11");
  while (!shown(vifs).includes("vif3.0 10.137.0.11")) await Bun.sleep(10); // the last state of all is seen
});

test("a thousand clients that came and went leave nothing behind", async () => {
  const { double, vifs, store, settle } = await start();
  for (let domain = 1; domain <= 1000; domain++) {
    const path = attach(double, domain, "10.137.0.9");
    await store.read("barrier");
    detach(double, path);
  }
  await settle();
  expect([vifs.count, store.watched, double.watched]).toEqual([0, 1, 1]);
  expect(double.dump().filter((line) => /state/.test(line))).toEqual([]);
});

test("the uplink is there while its device is connected", async () => {
  const { double, store } = await start();
  expect(await readUplinkMac(store)).toBeUndefined();
  double.put("device/vif/0/mac", "00:16:3E:5E:6C:00");
  double.put("device/vif/0/state", "1");
  expect(await readUplinkMac(store)).toBeUndefined();
  double.put("device/vif/0/state", "4");
  expect(await readUplinkMac(store)).toBe("00:16:3e:5e:6c:00");
  double.put("device/vif/0/state", "6");
  expect(await readUplinkMac(store)).toBeUndefined();
});
