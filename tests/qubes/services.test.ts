// The services that dom0 counts on: each answers by itself, whatever its caller has to say.
import { expect, test } from "bun:test";
import { makeServices } from "../../src/qubes/services.ts";

const SERVICES = makeServices(() => ["uplink eth0"]);

function call(name: string, input: Promise<string> = new Promise(() => {})) {
  return SERVICES.get(name)?.({ argument: "", caller: "dom0", input, converse: () => Promise.reject(new Error("no")) });
}

test.each([
  "qubes.SuspendPreAll",
  "qubes.SuspendPre",
  "qubes.SuspendPost",
  "qubes.SuspendPostAll",
  "qubes.WaitForSession",
])("%s is done at once, without any input", async (name) => {
  expect(await call(name)).toEqual({ status: 0 });
});

test("firebreak.Status tells what there is", async () => {
  const { output = "" } = (await call("firebreak.Status")) ?? {};
  expect([...output].join("")).toMatch(/^firebreak [0-9.]+, up \d+ s\nuplink eth0\n$/);
});

test("qubes.SetDateTime refuses what is not a date", async () => {
  expect(await call("qubes.SetDateTime", Promise.resolve("tomorrow\n"))).toEqual({
    status: 1,
    error: "not a date: write it as date -u -Iseconds does\n",
  });
});
