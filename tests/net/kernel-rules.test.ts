// Rules mean what the Linux kernel makes of the rules that Qubes' Linux agent installs for them: the same probes go through
// a kernel with the agent's nftables rules and through our dataplane, and meet the same fate. The differences there are,
// each with its reason, stand in docs/RULES.md, and are shown here to be those.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { parseAddress } from "../../src/base/address.ts";
import { IPV4 } from "./linux-agent.ts";
import { answerOf, CLIENT_MAC, FIREWALL_MAC, probeFrame } from "./probes.ts";
import { ODDITIES, ONE_SIDED, OTHER_CLIENT, SAME, WELCOME } from "./rule-cases4.ts";
import { NOW, ROUTER_MAC, RuleLab } from "./rule-lab.ts";
import { randomProbe, randomRuleSet } from "./rule-sets.ts";
import { TERMS } from "./rule-sets4.ts";

const RANDOM_SETS = 2000;
const PROBES_A_SET = 24;

const UPLINK = "192.0.2.254";
const ROUTER = "192.0.2.255";
const NEXT_CLIENT = "10.128.0.2"; // the kernel's way to all clients

const numberOf = (address: string) => parseAddress(address) ?? 0;

const lab = new RuleLab("rules", {
  dialect: IPV4,
  dns: TERMS.dns,
  names: TERMS.names,
  somewhere: "198.51.100.1",
  circumstances: {
    dns: TERMS.dns.map(numberOf),
    now: NOW,
    addressesOf: (name) => (name === "unknown.example" ? undefined : (TERMS.names.get(name) ?? []).map(numberOf)),
  },
  configuration: `[uplink]
interface = "eth0"
address = "${UPLINK}/31"
gateway = "${ROUTER}"
gateway_mac = "${ROUTER_MAC}"
dns = ${JSON.stringify(TERMS.dns)}
[[client]]
name = "asking"
interface = "vif1"
own_mac = "${FIREWALL_MAC}"
address = "10.137.0.3"
gateway = "10.137.0.1"
[[client]]
name = "other"
interface = "vif1"
address = "${OTHER_CLIENT}"
gateway = "10.137.0.1"
[nat]
max_flows = 1024
`,
  clientAddress: (number) => `10.137.${number >>> 8}.${number & 255}`,
  framesOf: (client, number, probe) => [probeFrame(client, number, probe)],
  answerOf,
  outcomeOf: (frame, side) => answerOf(frame, side)?.outcome,
  async prepare(kernel) {
    await kernel.run([
      ...["busybox", "sysctl", "-q", "net.ipv4.ip_forward=1"],
      ...["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"],
      "net.ipv4.icmp_ratemask=0", // every refusal is answered
    ]);
  },
  address(kernel) {
    kernel.ip("address", "add", "10.128.0.1/32", "dev", "vif1");
    kernel.ip("route", "add", "10.137.0.0/16", "via", NEXT_CLIENT, "dev", "vif1", "onlink");
    kernel.ip("neighbour", "add", NEXT_CLIENT, "lladdr", CLIENT_MAC, "dev", "vif1", "nud", "permanent");
    kernel.ip("address", "add", `${UPLINK}/31`, "dev", "eth0");
    kernel.ip("route", "add", "default", "via", ROUTER);
    kernel.ip("neighbour", "add", ROUTER, "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent");
  },
  asking(settings, client, ruleset) {
    const [asking, ...others] = settings.clients;
    return { ...settings, clients: [{ ...asking, network: numberOf(client), ruleset }, ...others] };
  },
});

const random = new Random(7);
const probesFor = (texts: readonly string[]) =>
  Array.from({ length: PROBES_A_SET }, () => randomProbe(random, texts, TERMS));
const oddProbes = ODDITIES.map(({ probe }) => probe);
/** Cases in which what rules alone don't decide meets rules that accept and that refuse. */
const ODD_CASES = ["odd packets where everything is accepted", "odd packets where everything is refused"];
const RANDOM_CASES = Array.from({ length: RANDOM_SETS }, (_, i) => `random ${i + 1}`);

for (const [name, texts, policy = "drop"] of SAME) lab.add(name, { texts, policy }, probesFor(texts));
for (const [, name, texts] of ONE_SIDED) lab.add(name, { texts, policy: "drop" }, WELCOME);
for (const [i, policy] of (["accept", "drop"] as const).entries()) {
  lab.add(ODD_CASES[i] ?? "", { texts: [], policy }, oddProbes);
}
for (const name of RANDOM_CASES) {
  const set = randomRuleSet(random, TERMS);
  lab.addSound(name, set, probesFor(set.texts));
}

beforeAll(() => lab.ask(100_000), 120_000);
afterAll(() => lab.close());

describe("rules mean what Linux makes of them:", () => {
  test.each([...SAME])("%s", (name) => {
    expect(lab.differences(name)).toEqual([]);
  });

  test(`${RANDOM_SETS} random rule sets`, () => {
    expect(RANDOM_CASES.flatMap((name) => lab.differences(name))).toEqual([]);
    const counts = lab.counts(RANDOM_CASES);
    expect(counts.accept).toBeGreaterThan(10_000);
    expect(counts.refuse).toBeGreaterThan(10_000);
    expect(counts.reset).toBe(0);
  });
});

describe("the only differences between rules are", () => {
  test.each([...ONE_SIDED])("enforced by %s alone: %s", (who, name) => {
    const { kernel, ours } = lab.fatesOf(name);
    const [enforcing, refusing] = who === "agent" ? [kernel, ours] : [ours, kernel];
    expect(refusing).toEqual(WELCOME.map(() => "refuse"));
    expect(enforcing).toContain("accept");
  });
});

describe("the only packets that are handled differently whatever the rules are, and those that nobody forwards:", () => {
  test.each([...ODDITIES])("$what", ({ probe, fates }) => {
    const place = oddProbes.indexOf(probe);
    const met = ODD_CASES.map((name) => {
      const { kernel, ours } = lab.fatesOf(name);
      return [kernel[place], ours[place]];
    });
    expect(met).toEqual(fates.map((each) => [...each]));
  });
});
