// The policy that the documents propose: each service of the firewall's own is in it, for somebody and then for nobody else.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { PRIVILEGES } from "../../src/channel/privileges.ts";
import { makeServices } from "../../src/qubes/services.ts";

const TEXT = readFileSync(new URL("../../docs/30-firebreak.policy", import.meta.url), "utf8");
/** Service, argument, source, target and action, as qrexec's policy version 5 has them. */
const LINES = TEXT.split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.trim().split(/\s+/));

test("each service is in it, and no other", () => {
  const own = [...makeServices(() => []).keys()].filter((name) => name.startsWith("firebreak."));
  expect(own.toSorted()).toEqual(PRIVILEGES.map((privilege) => `firebreak.${privilege}`).toSorted());
  expect([...new Set(LINES.map(([service]) => service))].toSorted()).toEqual(own.toSorted());
});

test("who is not named is refused, and what shows or changes more than numbers is asked about", () => {
  for (const privilege of PRIVILEGES) {
    const lines = LINES.filter(([service]) => service === `firebreak.${privilege}`);
    expect(lines.at(-1)?.slice(1)).toEqual(["*", "@anyvm", "@anyvm", "deny"]);
    const asks = privilege === "Capture" || privilege === "Configure";
    expect(
      lines.slice(0, -1).map(([, argument, source, target, action]) => [argument, source, target, action]),
    ).toEqual([["*", "admin", "firebreak", asks ? "ask" : "allow"]]);
  }
  for (const [, , , , action, ...more] of LINES) {
    expect(more).toEqual(action === "ask" ? ["default_target=firebreak"] : []);
  }
});
