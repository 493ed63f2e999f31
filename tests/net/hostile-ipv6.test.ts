// Attacks of thc-ipv6, as Debian has it, from a home network and from the uplink's link: fake routers, parasites, redirects, floods of
// Neighbour Discovery, header chains, fragments. Nothing unsolicited passes, who is where stays known, memory stays bounded, and a guest's
// pings go on meanwhile.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { linkLocalOf } from "../../lab/discovery-frames.ts";
import { text6 } from "../../lab/frames6.ts";
import { GUEST_GATEWAY6, Ipv6Lab, LAN_GATEWAY6, LAN_HOST6, OUTSIDE6, ROUTER6, SERVER6 } from "../../lab/ipv6-lab.ts";
import { macOf, type Namespace, type Program } from "../../lab/namespaces.ts";

/** Seconds that an attack lasts at most; its pings begin before it, and end after it. */
const SECONDS = 1;
const PINGS = 40;
const PING_EVERY = "0.05";
/** Of the pings that may be lost: an attack that sends as fast as it can takes one of two processors. */
const LOST = 4;
/** That an engine's memory goes up and down by. */
const BREATH_MB = 24;

const lab = new Ipv6Lab("thc");
const { lan, guest, internet, firewall } = lab;

beforeAll(async () => {
  await lab.settle();
  await lab.start();
  while ((await guest.attempt(["ping", "-6", "-c", "1", "-W", "1", SERVER6])).status !== 0);
}, 120_000);

afterAll(() => lab.close());

interface Attack {
  readonly from: Namespace;
  readonly command: readonly string[];
  /** What becomes of frames of its: slug of a verdict of which there are more then. */
  readonly becomes: string;
}

const ATTACKS: Readonly<Record<string, Attack>> = {
  "a router that advertises itself to a home": {
    from: lan,
    command: ["fake_router6", "eth0", "2001:db8:66::/64"],
    becomes: "icmp-type",
  },
  "one that says that our address is its own": {
    from: lan,
    command: ["fake_advertise6", "eth0", LAN_GATEWAY6],
    becomes: "nd-spoofed",
  },
  "a flood of solicitations": {
    from: lan,
    command: ["flood_solicitate6", "eth0", LAN_GATEWAY6],
    becomes: "answered",
  },
  "a flood of advertisements": { from: lan, command: ["flood_advertise6", "eth0"], becomes: "nd-not-for-us" },
  "a flood of redirects": {
    from: lan,
    command: ["flood_redir6", "eth0", LAN_GATEWAY6],
    becomes: "icmp-type",
  },
  "a flood of reports": { from: lan, command: ["flood_mld26", "eth0"], becomes: "icmp-type" },
  "pings to all hosts that the uplink's network could have": {
    from: lan,
    command: ["ndpexhaust26", "-p", "eth0", "2001:db8:1::"],
    becomes: "queued",
  },
  "overlarge and odd fragments": {
    from: lan,
    command: ["exploit6", "eth0", LAN_GATEWAY6],
    becomes: "malformed-ipv6-fragment",
  },
  "header chains and fragments for who is behind us": {
    from: lan,
    command: ["firewall6", "eth0", SERVER6, "80"],
    becomes: "forwarded",
  },
  "messages of every ICMPv6 type": {
    from: lan,
    command: ["randicmp6", "eth0", LAN_GATEWAY6],
    becomes: "icmp-type",
  },
  "a router that advertises itself to us": {
    from: internet,
    command: ["flood_router26", "eth0"],
    becomes: "icmp-type",
  },
  "one that says that the gateway's address is its own": {
    from: internet,
    command: ["fake_advertise6", "-n", "1000", "-w", "0", "-r", "eth0", ROUTER6, "ff02::1", "02:00:00:00:0b:ad"],
    becomes: "nd-taken",
  },
  "a flood of solicitations from the uplink": {
    from: internet,
    command: ["flood_solicitate6", "eth0", OUTSIDE6],
    becomes: "answered",
  },
  "pings to all hosts that a home could have": {
    from: internet,
    command: ["ndpexhaust26", "-p", "eth0", "2001:db8:2::"],
    becomes: "unsolicited",
  },
  "header chains and fragments for who has asked for nothing": {
    from: internet,
    command: ["firewall6", "eth0", LAN_HOST6, "80"],
    becomes: "unsolicited",
  },
};

/** Captures what the firewall sends on an interface of its own. */
async function watch(name: string): Promise<{ readonly file: string; readonly program: Program }> {
  const file = join(lab.lab.folder, `${name}.pcap`);
  const program = firewall.start([
    "tcpdump",
    "--immediate-mode",
    "-U",
    "-n",
    "-s",
    "128",
    "-i",
    name,
    "-Q",
    "out",
    "-w",
    file,
    "ip6",
  ]);
  await program.says("listening on");
  return { file, program };
}

/** @returns the sources of packets that were sent, as text */
async function sources({ file, program }: Awaited<ReturnType<typeof watch>>): Promise<Set<string>> {
  program.signal("SIGINT");
  await program.end();
  const { frames } = await readCapture(await Bun.file(file).bytes());
  return new Set(frames.map(({ bytes }) => text6(bytes.subarray(14 + 8, 14 + 24))));
}

const strangers = (found: Iterable<string>, ...known: readonly string[]): string[] =>
  [...found].filter((source) => !known.includes(source));

/** @returns MB of memory that the firewall's process has */
function memory(): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${lab.lab.program.pid}/status`, "utf8"))?.[1]) / 1024;
}

async function answeredPings(): Promise<number> {
  const { stdout } = await guest.attempt(["ping", "-6", "-i", PING_EVERY, "-c", String(PINGS), "-W", "2", SERVER6]);
  return Number(/(\d+) received/.exec(stdout)?.[1]);
}

const count = async (slug: string): Promise<number> => (await lab.verdicts()).get(slug) ?? 0;

describe("a guest's pings go on, and nothing passes that nobody asked for, beside", () => {
  let peak = 0;
  for (const [name, { from, command, becomes }] of Object.entries(ATTACKS)) {
    test(name, async () => {
      const [tool, ...args] = command;
      const [up, home, toGuest] = await Promise.all(["eth1", "eth0", "eth2"].map((iface) => macOf(firewall, iface)));
      const before = await count(becomes);
      const watched = await Promise.all(["eth1", "eth0", "eth2"].map(watch));
      const [answered] = await Promise.all([
        answeredPings(),
        from.attempt(["timeout", String(SECONDS), `atk6-${tool}`, ...args], 30_000),
      ]);
      const [outside, inside, beside] = await Promise.all(watched.map(sources));
      expect(await count(becomes)).toBeGreaterThan(before);
      expect(answered).toBeGreaterThanOrEqual(PINGS - LOST);
      // Of a home whose network is routed all addresses leave, as its rules let them.
      const translated = [...outside].filter((source) => !source.startsWith("2001:db8:2:"));
      expect(strangers(translated, OUTSIDE6, linkLocalOf(up))).toEqual([]);
      expect(strangers(inside, LAN_GATEWAY6, linkLocalOf(home), ...(from === lan ? [SERVER6] : []))).toEqual([]);
      expect(strangers(beside, GUEST_GATEWAY6, linkLocalOf(toGuest), SERVER6)).toEqual([]);
      peak = Math.max(peak, memory());
    }, 60_000);
  }

  test("and memory has not grown with any of it", async () => {
    const before = memory();
    await lan.attempt(["timeout", String(SECONDS), "atk6-flood_solicitate6", "eth0", LAN_GATEWAY6]);
    await internet.attempt(["timeout", String(SECONDS), "atk6-flood_advertise6", "eth0"]);
    expect(memory() - before).toBeLessThan(BREATH_MB);
    expect(peak - before).toBeLessThan(BREATH_MB);
    expect(await answeredPings()).toBe(PINGS);
  }, 60_000);
});
