// Rules mean of IPv6 what the Linux kernel makes of the rules that Qubes' Linux agent installs for them, as kernel-rules.test.ts
// shows of IPv4. The differences there are, each with its reason, stand in docs/RULES.md, and are shown here to be those. Where the
// agent's rules look at the first header alone, a second client has the same rules about the upper layer, as they are meant.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mac } from "../../lab/frames.ts";
import { ip6, text6 } from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { type Dialect, IPV6 } from "./linux-agent.ts";
import { CLIENT_MAC, FIREWALL_MAC } from "./probes.ts";
import { answerOf6, type Probe6, probeFrames } from "./probes6.ts";
import { BY_PORT, BY_PROTOCOL, ODDITIES, ONE_SIDED, OTHER_CLIENT, SAME, UPPER, WELCOME } from "./rule-cases6.ts";
import { NOW, ROUTER_MAC, RuleLab } from "./rule-lab.ts";
import { randomProbe, randomRuleSet } from "./rule-sets.ts";
import { randomProbe6, TERMS } from "./rule-sets6.ts";

const RANDOM_SETS = 2000;
const PROBES_A_SET = 20;

const UPLINK = "2001:db8:1::2";
const ROUTER = "fe80::1";
const NEXT_CLIENT = "fe80::2"; // the kernel's way to all clients
/** Rules that say what the agent's are meant to: they look for the upper layer behind all extension headers. */
const MEANT: Dialect = { ...IPV6, protocol: "meta l4proto" };

function clientAddress(number: number): string {
  return text6(ip6(`fd09:24ef:4179::a89:${number.toString(16)}`));
}

const lab = new RuleLab<Probe6>("rules6", {
  dialect: IPV6,
  dns: TERMS.dns,
  names: TERMS.names,
  somewhere: "2600::9",
  circumstances: {
    dns: [],
    now: NOW,
    addressesOf: () => [],
    ipv6: {
      dns: TERMS.dns.map(ip6),
      addressesOf: (name) => (name === "unknown.example" ? undefined : (TERMS.names.get(name) ?? []).map(ip6)),
    },
  },
  configuration: `[uplink]
interface = "eth0"
address = "192.0.2.254/31"
gateway = "192.0.2.255"
gateway_mac = "${ROUTER_MAC}"
address6 = "${UPLINK}/128"
gateway6 = "${ROUTER}"
dns = ${JSON.stringify(TERMS.dns)}
[[client]]
name = "asking"
interface = "vif1"
own_mac = "${FIREWALL_MAC}"
address = "10.137.0.3"
gateway = "10.137.0.1"
address6 = "${clientAddress(3)}"
gateway6 = "fd09:24ef:4179::1"
[[client]]
name = "other"
interface = "vif1"
address = "10.137.0.2"
gateway = "10.137.0.1"
address6 = "${OTHER_CLIENT}"
gateway6 = "fd09:24ef:4179::1"
[nat]
max_flows = 1024
`,
  clientAddress,
  framesOf: probeFrames,
  answerOf: answerOf6,
  outcomeOf(frame, side) {
    if (side === "in") return answerOf6(frame, side)?.outcome;
    // Probes leave with the uplink's address; what the firewall itself asks there goes to groups.
    return text6(frame.subarray(14 + 8, 14 + 24)) === UPLINK && frame[14 + 24] !== 0xff ? "accept" : undefined;
  },
  async prepare(kernel) {
    const every = (setting: string) => ["all", "default"].map((group) => `net.ipv6.conf.${group}.${setting}`);
    await kernel.run([
      ...["busybox", "sysctl", "-q"],
      ...["disable_ipv6=0", "forwarding=1", "accept_dad=0", "dad_transmits=0"].flatMap(every),
      "net.ipv6.icmp.ratelimit=0", // every refusal is answered
    ]);
    await kernel.run(["sh", "-c", "echo >/proc/sys/net/ipv6/icmp/ratemask"]);
  },
  address(kernel) {
    kernel.ip("address", "add", "fd09:24ef:4179::1/128", "dev", "vif1", "nodad");
    kernel.ip("neighbour", "add", NEXT_CLIENT, "lladdr", CLIENT_MAC, "dev", "vif1", "nud", "permanent");
    kernel.ip("-6", "route", "add", "fd09:24ef:4179::/96", "via", NEXT_CLIENT, "dev", "vif1", "onlink");
    kernel.ip("address", "add", `${UPLINK}/128`, "dev", "eth0", "nodad");
    kernel.ip("neighbour", "add", ROUTER, "lladdr", ROUTER_MAC, "dev", "eth0", "nud", "permanent");
    kernel.ip("-6", "route", "add", "default", "via", ROUTER, "dev", "eth0", "onlink");
  },
  asking(settings, client, ruleset) {
    const { uplink } = settings;
    const [asking, ...others] = settings.clients;
    if (uplink.ipv6 === undefined || asking?.ipv6 === undefined) throw new Error("no IPv6");
    return {
      ...settings,
      uplink: { ...uplink, ipv6: { ...uplink.ipv6, gatewayMac: mac(ROUTER_MAC) } },
      clients: [{ ...asking, ipv6: { ...asking.ipv6, network: ip6(client) }, ruleset }, ...others],
    };
  },
});

const random = new Random(17);
const oddProbes = ODDITIES.map(({ probe }) => probe);
/** Cases in which what rules alone don't decide meets rules that accept and that refuse. */
const ODD_CASES = ["odd packets where everything is accepted", "odd packets where everything is refused"];
const RANDOM_CASES = Array.from({ length: RANDOM_SETS }, (_, i) => `random ${i + 1}`);
const asMeant = (name: string) => `${name}, as meant`;

for (const [name, texts, policy = "drop"] of SAME) {
  const probes = Array.from({ length: PROBES_A_SET }, () => randomProbe(random, texts, TERMS));
  lab.add(name, { texts, policy }, probes);
}
for (const [, name, texts] of ONE_SIDED) lab.add(name, { texts, policy: "drop" }, WELCOME);
for (const [i, policy] of (["accept", "drop"] as const).entries()) {
  lab.add(ODD_CASES[i] ?? "", { texts: [], policy }, oddProbes);
}
lab.addSound("by protocol", BY_PROTOCOL, UPPER);
lab.addSound(asMeant("by protocol"), BY_PROTOCOL, UPPER, MEANT);
lab.addSound("by port", BY_PORT, UPPER);
for (const name of RANDOM_CASES) {
  const set = randomRuleSet(random, TERMS);
  const probes = Array.from({ length: PROBES_A_SET }, () => randomProbe6(random, set.texts));
  lab.addSound(name, set, probes);
  lab.addSound(asMeant(name), set, probes.filter(hasExtensions), MEANT);
}

beforeAll(() => lab.ask(200_000), 240_000);
afterAll(() => lab.close());

function hasExtensions({ extensions }: Probe6): boolean {
  return extensions !== undefined;
}

function hasAh({ extensions }: Probe6): boolean {
  return extensions?.includes("ah") === true;
}

describe("rules mean of IPv6 what Linux makes of them:", () => {
  test.each([...SAME])("%s", (name) => {
    expect(lab.differences(name)).toEqual([]);
  });

  test(`${RANDOM_SETS} random rule sets, of packets whole, in fragments, and behind extension headers`, () => {
    expect(RANDOM_CASES.flatMap((name) => lab.differences(name, (probe) => !hasExtensions(probe)))).toEqual([]);
    expect(RANDOM_CASES.flatMap((name) => lab.differences(asMeant(name), (probe) => !hasAh(probe)))).toEqual([]);
    const counts = lab.counts([...RANDOM_CASES, ...RANDOM_CASES.map(asMeant)]);
    expect(counts.accept).toBeGreaterThan(10_000);
    expect(counts.refuse).toBeGreaterThan(10_000);
    expect([counts.reset, counts.problem]).toEqual([0, 0]);
  });
});

describe("the only differences between rules are, of IPv6,", () => {
  test.each([...ONE_SIDED])("enforced by %s alone: %s", (who, name) => {
    const { kernel, ours } = lab.fatesOf(name);
    const [enforcing, refusing] = who === "agent" ? [kernel, ours] : [ours, kernel];
    expect(refusing).toEqual(WELCOME.map(() => "refuse"));
    expect(enforcing).toContain("accept");
  });

  /** @returns the extension headers in front of a protocol with which both differ, each with what the kernel made of it, and ours */
  function differing(name: string, protocol: number): string[] {
    const { probes, kernel, ours } = lab.fatesOf(name);
    return probes.flatMap((probe, i) => {
      if (probe.protocol !== protocol || kernel[i] === ours[i]) return [];
      return [`${probe.extensions}: ${kernel[i]}, ours ${ours[i]}`];
    });
  }

  test("a protocol behind an extension header, which the agent's rules take for another one", () => {
    expect(differing("by protocol", TCP)).toEqual(
      ["hop-by-hop", "destination", "routing", "ah"].map((kind) => `${kind}: accept, ours refuse`),
    );
    expect([UDP, ICMPV6, 47].flatMap((protocol) => differing("by protocol", protocol))).toEqual([]);
    const without = RANDOM_CASES.filter((name) => !lab.fatesOf(name).texts.some((text) => text.includes("proto=")));
    expect(without.length).toBeGreaterThan(100);
    expect(without.flatMap((name) => lab.differences(name, (probe) => !hasAh(probe)))).toEqual([]);
  });

  test("what stands behind an authentication header, to which Linux does not look", () => {
    expect(differing(asMeant("by protocol"), TCP)).toEqual(["ah: accept, ours refuse"]);
    expect([TCP, UDP].map((protocol) => differing("by port", protocol))).toEqual([
      ["ah: refuse, ours accept"],
      ["ah: refuse, ours accept"],
    ]);
  });
});

describe("the only packets of IPv6 that are handled differently whatever the rules are, and those that nobody forwards:", () => {
  test.each([...ODDITIES])("$what", ({ probe, fates }) => {
    const place = oddProbes.indexOf(probe);
    const met = ODD_CASES.map((name) => {
      const { kernel, ours } = lab.fatesOf(name);
      return [kernel[place], ours[place]];
    });
    expect(met).toEqual(fates.map((each) => [...each]));
  });
});
