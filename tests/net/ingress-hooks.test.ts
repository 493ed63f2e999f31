// Messages to the kernel by netlink: what tc(8) and nft(8) find in the kernel afterwards is what was meant, and it is gone
// when it is undone.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab } from "../../lab/namespaces.ts";

const lab = new Lab("hooks");
const here = lab.namespace("here");

beforeAll(() => {
  lab.cable(here, "p0", here, "p1");
});

afterAll(() => lab.close());

const filters = async () => JSON.parse(await here.run(["tc", "-j", "filter", "show", "dev", "p0", "ingress"]));
const hasClsact = async () => (await here.run(["tc", "qdisc", "show", "dev", "p0"])).includes("clsact");

/** @returns the words of what nft lists, without comments; its JSON has no room for devices and owners */
async function ruleset(): Promise<string> {
  const text = await here.run(["nft", "list", "ruleset"]);
  return text.replaceAll(/#.*/g, "").replaceAll(/\s+/g, " ").trim();
}

test("a program at ingress, behind all others, and a chain that drops: there until undone, clsact too", async () => {
  const hooks = here.start(peer("ingress-hooks", "p0"), "pipe");
  await hooks.says("attached");
  const filter = { protocol: "all", pref: 0xfb00, kind: "bpf", chain: 0 };
  const options = { handle: "0x1", bpf_name: "firebreak", "direct-action": true };
  expect(await filters()).toEqual([filter, { ...filter, options: expect.objectContaining(options) }]);
  const chain = 'chain p0 { type filter hook ingress device "p0" priority filter; policy drop; }';
  expect(await ruleset()).toBe(`table netdev firebreak-${hooks.pid} { flags owner ${chain} }`);

  hooks.type("\n");
  await hooks.says("detached");
  expect([await filters(), await hasClsact()]).toEqual([[], false]);
  expect(await ruleset()).toBe(`table netdev firebreak-${hooks.pid} { flags owner }`);
  hooks.type("\n");
  expect(await hooks.end()).toBe(0);
  expect(await ruleset()).toBe("");
});

test("what ends without undoing leaves no chain; a clsact that was there before stays", async () => {
  await here.run(["tc", "qdisc", "add", "dev", "p0", "clsact"]);
  const hooks = here.start(peer("ingress-hooks", "p0"), "pipe");
  await hooks.says("attached");
  hooks.type("\n");
  await hooks.says("detached");
  expect([await filters(), await hasClsact()]).toEqual([[], true]);
  hooks.signal("SIGKILL");
  await hooks.end();
  expect(await ruleset()).toBe("");
});

test("an interface that is not there is an error that says so", async () => {
  const hooks = here.start(peer("ingress-hooks", "p7"));
  expect(await hooks.end()).toBe(1);
  expect(hooks.text).toContain("p7: there is no such interface");
});
