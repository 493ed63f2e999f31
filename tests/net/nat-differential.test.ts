// The same conversations through Firebreak and through a Linux router that masquerades, by IPv4 and by IPv6: every packet is delivered or
// refused alike, and what is delivered is the same to the last byte, but for what the tables in docs/NAT.md list.
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { FamilyName } from "./conversations/families.ts";
import { DifferentialLab } from "./differential.ts";

const CONVERSATIONS = 20_000;
const PATIENCE = 600_000;

const lab = new DifferentialLab("differential");

beforeAll(() => lab.start(), 120_000);
afterAll(() => lab.close());

/** With these seeds every row of the tables is met; some are rare. */
const FAMILIES: readonly (readonly [name: string, family: FamilyName, seed: number])[] = [
  ["IPv4", "ipv4", 9],
  ["IPv6", "ipv6", 3],
];

for (const [name, family, seed] of FAMILIES) {
  test(
    `${CONVERSATIONS} conversations by ${name} go through both alike, but for what the tables say`,
    async () => {
      const { differences: _, unexplained, unmet, ...total } = await lab.compare(family, CONVERSATIONS, seed, PATIENCE);
      console.log(total);
      expect(unexplained).toEqual([]);
      expect(unmet).toEqual([]);
      expect(total.delivered).toBeGreaterThan(7 * CONVERSATIONS);
      expect(total.refused).toBeGreaterThan(CONVERSATIONS);
    },
    PATIENCE,
  );
}
