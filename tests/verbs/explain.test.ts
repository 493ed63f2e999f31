// `firebreak explain`: what it says of rules and packets, and that it is what the dataplane does.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { ICMP, ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import { randomMatches, randomPacket } from "../../lab/rulesets.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { ANY_ICMP_TYPE, type Match } from "../../src/dataplane/rules/match.ts";
import { judge } from "../../src/dataplane/rules/ruleset.ts";
import { type Circumstances, compileRules } from "../../src/rules/compile.ts";
import { type Asked, mismatch } from "../../src/rules/mismatch.ts";
import { parseRule, type Rule } from "../../src/rules/parse.ts";
import { explainPacket, formatExplanation, type Names } from "../../src/why/explanation.ts";
import type { Sender } from "../../src/why/trial.ts";
import { sound } from "../support/sound.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const EXAMPLE = fileURLToPath(new URL("../config/example.toml", import.meta.url));

const CONFIG = `
[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
dns = ["192.0.2.53"]

[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
mac = "02:00:00:00:00:0a"
rules = [
  "action=drop dsthost=bad.example",
  "action=accept proto=udp dst4=10.139.1.1 dstports=53",
  "action=accept proto=tcp expire=1700000000",
  "action=accept proto=tcp dstports=8443",
  "action=accept dst4=10.137.0.11",
]
reach = ["game"]

[[client]]
name = "game"
interface = "eth2"
address = "10.137.0.11"
gateway = "10.137.0.1"
refuse = "reset"

[[client]]
name = "lan"
interface = "eth3"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
refuse = "drop"

[[forward]]
proto = "tcp"
port = 8443
to = "lan-host"
from = ["203.0.113.0/24"]

[dns]
redirect = { "10.139.1.1" = "192.0.2.53" }
`.replace("lan-host", "192.168.1.10");

const LAN6 = 'network6 = "2001:db8:7::/64"\ngateway6 = "2001:db8:7::1"\nnat6 = "route"';
const GRE = 47;
const [WORK, GAME, LAN] = [0, 1, 2];
/** The name in the rules is known, and has no address. */
const HARMLESS: Names = new Map([["bad.example", []]]);
const NOW = 1_700_000_000;

function configOf(text: string): Config {
  return sound(parseConfig(text, "firewall.toml")).config;
}

/** The last line: the verdict. */
function verdictOn(client: number, protocol: number, destination: string, selector = 0, config = CONFIG): string {
  const asked = { protocol, destination: ip(destination), selector };
  return linesOf(configOf(config), client, asked).at(-1) ?? "";
}

function linesOf(config: Config, client: number, asked: Asked, now = NOW, names: Names = HARMLESS): string[] {
  return linesFor(config, { client }, asked, now, names);
}

function linesFor(config: Config, sender: Sender, asked: Asked, now = NOW, names: Names = HARMLESS): string[] {
  const explanation = sound(explainPacket(config, sender, asked, now, names));
  return formatExplanation(explanation, false);
}

function firebreak(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args]);
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

function explainExample(...args: string[]) {
  return firebreak("explain", "--config", EXAMPLE, ...args);
}

describe("explain", () => {
  test("prints each rule with match or its first predicate that fails, and the verdict", () => {
    expect(explainExample("--client", "work", "tcp", "93.184.216.34:443")).toEqual({
      exitCode: 0,
      stderr: "",
      stdout: `rule 1: action=accept proto=tcp dstports=443: match
rule 2: action=accept dst4=192.0.2.0/28 proto=udp dstports=53: no: destination is not in 192.0.2.0/28
rule 3: action=accept proto=icmp icmptype=8: no: protocol is not icmp
accepted by rule 1, leaves on eth1 as 192.0.2.254:49152
`,
    });
    expect(explainExample("--client", "work", "icmp", "192.0.2.3", "13")).toEqual({
      exitCode: 0,
      stderr: "",
      stdout: `rule 1: action=accept proto=tcp dstports=443: no: protocol is not tcp
rule 2: action=accept dst4=192.0.2.0/28 proto=udp dstports=53: no: protocol is not udp
rule 3: action=accept proto=icmp icmptype=8: no: ICMP type is not 8
refused by policy, answered with ICMP "administratively prohibited"
`,
    });
  });

  test("takes packets of every kind", () => {
    const last = (...packet: string[]) =>
      explainExample("--client", "work", ...packet)
        .stdout.trimEnd()
        .split("\n")
        .at(-1);
    expect(last("udp", "192.0.2.3:53")).toBe("accepted by rule 2, leaves on eth1 as 192.0.2.254:49152");
    expect(last("icmp", "8.8.8.8")).toBe("accepted by rule 3, leaves on eth1 as 192.0.2.254 id 49152");
    expect(last("icmp", "8.8.8.8", "8")).toBe(last("icmp", "8.8.8.8"));
    expect(last("proto", "47", "8.8.8.8")).toBe('refused by policy, answered with ICMP "administratively prohibited"');
    expect(last("tcp", "10.137.0.1:22")).toBe(
      'dropped: to the firewall itself, answered with ICMP "host administratively prohibited"; no rule is asked',
    );
  });

  test("takes addresses of host names, and says which rules come too late", () => {
    const asked = { protocol: TCP, destination: ip("198.51.100.7"), selector: 8443 };
    const names = new Map([["bad.example", [ip("198.51.100.6"), ip("198.51.100.7")]]]);
    expect(linesOf(configOf(CONFIG), WORK, asked, NOW, names)).toEqual([
      "rule 1: action=drop dsthost=bad.example: match",
      "rule 2: action=accept dst4=10.139.1.1/32 proto=udp dstports=53: no: destination is not 10.139.1.1",
      "rule 3: action=accept proto=tcp expire=1700000000: no: it expired at 2023-11-14T22:13:20Z",
      "rule 4: action=accept proto=tcp dstports=8443: match, but rule 1 comes first",
      "rule 5: action=accept dst4=10.137.0.11/32: no: destination is not 10.137.0.11",
      'refused by rule 1, answered with ICMP "administratively prohibited"',
    ]);
    expect(linesOf(configOf(CONFIG), WORK, asked, NOW - 1)).toEqual([
      "rule 1: action=drop dsthost=bad.example: no: bad.example has no address, so that the rule matches nothing",
      "rule 2: action=accept dst4=10.139.1.1/32 proto=udp dstports=53: no: destination is not 10.139.1.1",
      "rule 3: action=accept proto=tcp expire=1700000000: match",
      "rule 4: action=accept proto=tcp dstports=8443: match, but rule 3 comes first",
      "rule 5: action=accept dst4=10.137.0.11/32: no: destination is not 10.137.0.11",
      "accepted by rule 3, leaves on eth1 as 192.0.2.254:49152",
    ]);
  });

  test("says of a rule that drops an unknown name that it drops all that the rest of it fits", () => {
    const asked = { protocol: TCP, destination: ip("198.51.100.7"), selector: 8443 };
    const config = configOf(
      CONFIG.replace("drop dsthost=bad.example", "drop dsthost=bad.example proto=tcp dstports=8443"),
    );
    const blind = "nobody knows the addresses of bad.example here, so that the rule drops packets to any";
    expect(linesOf(config, WORK, asked, NOW, new Map())).toEqual([
      `rule 1: action=drop dsthost=bad.example proto=tcp dstports=8443: match: ${blind}`,
      "rule 2: action=accept dst4=10.139.1.1/32 proto=udp dstports=53: no: destination is not 10.139.1.1",
      "rule 3: action=accept proto=tcp expire=1700000000: no: it expired at 2023-11-14T22:13:20Z",
      "rule 4: action=accept proto=tcp dstports=8443: match, but rule 1 comes first",
      "rule 5: action=accept dst4=10.137.0.11/32: no: destination is not 10.137.0.11",
      'refused by rule 1, answered with ICMP "administratively prohibited"',
    ]);
    const others = linesOf(config, WORK, { ...asked, selector: 443 }, NOW - 1, new Map());
    expect([others[0], others.at(-1)]).toEqual([
      "rule 1: action=drop dsthost=bad.example proto=tcp dstports=8443: no: port is not 8443",
      "accepted by rule 3, leaves on eth1 as 192.0.2.254:49152",
    ]);
    const accepting = configOf(CONFIG.replace("action=drop dsthost", "action=accept dsthost"));
    expect(linesOf(accepting, WORK, asked, NOW, new Map())[0]).toBe(
      "rule 1: action=accept dsthost=bad.example: no: nobody knows the addresses of bad.example here, so that the rule matches nothing",
    );
  });

  test("takes both ends of a redirect for name servers, as the running firewall does", () => {
    const config = CONFIG.replace(
      "action=accept proto=udp dst4=10.139.1.1 dstports=53",
      "action=accept specialtarget=dns",
    );
    const behind = "leaves on eth1 as 192.0.2.254:49152";
    expect(verdictOn(WORK, UDP, "10.139.1.1", 53, config)).toBe(
      `accepted by rule 2, ${behind}, to 192.0.2.53:53 instead`,
    );
    expect(verdictOn(WORK, TCP, "192.0.2.53", 53, config.replace('dns = ["192.0.2.53"]', ""))).toBe(
      `accepted by rule 2, ${behind}`,
    );
  });

  test("says what becomes of packets that come to no rule", () => {
    const asked = "; no rule is asked";
    expect(verdictOn(WORK, ICMP, "10.137.0.1", 8)).toBe(`answered with an echo reply${asked}`);
    expect(verdictOn(LAN, TCP, "192.168.1.1", 80)).toBe(
      `dropped: to the firewall itself, answered with ICMP "host administratively prohibited"${asked}`,
    );
    expect(verdictOn(GAME, UDP, "10.137.0.10", 5)).toBe(`dropped: to another client, not answered${asked}`);
    for (const nowhere of ["127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1", "192.0.2.255", "0.0.0.0"]) {
      expect(verdictOn(WORK, UDP, nowhere, 5)).toBe(`dropped: destination not routable, not answered${asked}`);
    }
    expect(verdictOn(WORK, ICMP, "8.8.8.8", 0)).toBe(`dropped: unsolicited, not answered${asked}`);
    expect(verdictOn(WORK, ICMP, "8.8.8.8", 3)).toBe(
      `dropped: ICMP error that belongs to no flow, not answered${asked}`,
    );
    expect(verdictOn(WORK, ICMP, "8.8.8.8", 5)).toBe(`dropped: ICMP type not handled, not answered${asked}`);
  });

  test("says how a refused packet is answered", () => {
    expect(verdictOn(GAME, TCP, "8.8.8.8", 80)).toBe("refused by policy, answered with RST");
    expect(verdictOn(GAME, UDP, "8.8.8.8", 80)).toBe(
      'refused by policy, answered with ICMP "administratively prohibited"',
    );
    expect(verdictOn(LAN, TCP, "8.8.8.8", 80)).toBe("refused by policy, not answered");
  });

  test("says where else an accepted packet goes, and what else becomes of it", () => {
    expect(verdictOn(WORK, UDP, "10.139.1.1", 53)).toBe(
      "accepted by rule 2, leaves on eth1 as 192.0.2.254:49152, to 192.0.2.53:53 instead",
    );
    expect(verdictOn(WORK, UDP, "10.137.0.11", 9)).toBe("accepted by rule 5, leaves on eth2 as 10.137.0.10:49152");
    // To a forwarded port of our own address, from one who may not use it; and from one who may.
    const hairpin = verdictOn(WORK, TCP, "192.0.2.254", 8443);
    expect(hairpin).toBe("accepted by rule 4, but dropped: unsolicited, not answered");
    const open = CONFIG.replace(/from = .*\n/, "");
    expect(verdictOn(WORK, TCP, "192.0.2.254", 8443, open)).toBe(
      "accepted by rule 4, leaves on eth3 as 192.0.2.254:49152",
    );
  });
});

/** What is said of a packet from outside. */
function fromOutside(source: string, protocol: number, destination: string, selector = 0): string[] {
  const sender = { address: ip(source), port: 40000 };
  return linesFor(configOf(CONFIG), sender, { protocol, destination: ip(destination), selector });
}

describe("explain, of a packet from the uplink,", () => {
  test("says which forward lets it in, where it leaves, and whom it reaches", () => {
    expect(fromOutside("203.0.113.9", TCP, "192.0.2.254", 8443)).toEqual([
      "forward 1: tcp 8443 to 192.168.1.10:8443 (client lan): match",
      "accepted by forward 1, leaves on eth3 as 203.0.113.9:40000, to 192.168.1.10:8443 instead",
    ]);
  });

  test("says why no forward lets it in", () => {
    const reasons: [string, number, number, string][] = [
      ["8.8.8.8", TCP, 8443, "8.8.8.8 is not in 203.0.113.0/24"],
      ["203.0.113.9", TCP, 8444, "port is not 8443"],
      ["203.0.113.9", UDP, 8443, "protocol is not tcp"],
    ];
    for (const [source, protocol, port, reason] of reasons) {
      expect(fromOutside(source, protocol, "192.0.2.254", port)).toEqual([
        `forward 1: tcp 8443 to 192.168.1.10:8443 (client lan): no: ${reason}`,
        "dropped: unsolicited, not answered",
      ]);
    }
  });

  test("says what else becomes of it", () => {
    expect(fromOutside("8.8.8.8", ICMP, "192.0.2.254", 8)).toEqual(["answered with an echo reply"]);
    expect(fromOutside("10.137.0.10", TCP, "192.0.2.254", 8443)).toEqual([
      "dropped: source address spoofed, not answered",
    ]);
    expect(fromOutside("8.8.8.8", TCP, "10.137.0.10", 80)).toEqual([
      "dropped: unsolicited, not answered; only packets to our address, 192.0.2.254, open anything",
    ]);
  });
});

describe("explain", () => {
  test("says of a neighbour, and of the client itself, that the packet never comes here", () => {
    expect(verdictOn(LAN, TCP, "192.168.1.77", 80)).toBe(
      "never comes here: hosts of 192.168.1.0/24 reach each other without the firewall",
    );
    expect(verdictOn(WORK, TCP, "10.137.0.10", 80)).toBe("never comes here: 10.137.0.10 is the client itself");
  });

  test("takes a name as destination, with the first of its addresses", () => {
    const resolve = ["--resolve", "www.example.org=192.0.2.3", "--resolve", "www.example.org=192.0.2.4"];
    expect(explainExample("--client", "work", ...resolve, "tcp", "WWW.example.org.:443").stdout).toStartWith(
      "www.example.org has 192.0.2.3, which is tried, and 192.0.2.4\nrule 1: ",
    );
    expect(explainExample("--client", "work", "icmp", "localhost").stdout).toBe(
      "localhost has 127.0.0.1\ndropped: destination not routable, not answered; no rule is asked\n",
    );
  });

  test("--from takes an address, and a port", () => {
    const { exitCode, stdout } = explainExample("--from", "8.8.8.8:9", "tcp", "192.0.2.254:22");
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "dropped: unsolicited, not answered\n" });
  });

  test("--json prints one object", () => {
    const { stdout } = explainExample("--client", "work", "--json", "udp", "192.0.2.3:53");
    expect(JSON.parse(stdout)).toEqual({
      tried: "192.0.2.3",
      decision: "accepted",
      sentence: "accepted by rule 2, leaves on eth1 as 192.0.2.254:49152",
      verdict: "forwarded",
      rule: 2,
      egress: "eth1",
      source: "192.0.2.254:49152",
      steps: [
        {
          kind: "rule",
          number: 1,
          text: "action=accept proto=tcp dstports=443",
          reason: "protocol is not tcp",
        },
        { kind: "rule", number: 2, text: "action=accept dst4=192.0.2.0/28 proto=udp dstports=53" },
        { kind: "rule", number: 3, text: "action=accept proto=icmp icmptype=8", reason: "protocol is not icmp" },
      ],
    });
  });

  test("of ten thousand rules shows those that match, and with --all each", () => {
    const config = configOf(CONFIG);
    const many = Array.from({ length: 10_000 }, (_, i): Rule => {
      return { action: "accept", proto: "tcp", dstports: { low: i + 1, high: i + 1 } };
    });
    const rules = [...many.slice(0, 9999), { action: "drop" as const }];
    const changed = { ...config, clients: config.clients.with(WORK, { ...config.clients[WORK], rules }) };
    const asked = packet(TCP, "198.51.100.7", 5000);
    expect(linesOf(changed, WORK, asked)).toEqual([
      "rule 5000: action=accept proto=tcp dstports=5000: match",
      "rule 10000: action=drop: match, but rule 5000 comes first",
      "… 9998 more rules (--all shows them)",
      "accepted by rule 5000, leaves on eth1 as 192.0.2.254:49152",
    ]);
    const explanation = explainPacket(changed, { client: WORK }, asked, NOW, HARMLESS);
    expect("errors" in explanation ? 0 : formatExplanation(explanation, true).length).toBe(10_001);
  });

  test("uses colours on a terminal, and only there", () => {
    const command = [process.execPath, MAIN, "explain", "--config", EXAMPLE, "--client", "work", "udp", "1.2.3.4:5"];
    const terminal = (env: Record<string, string>) =>
      Bun.spawnSync(["script", "-qec", command.join(" "), "/dev/null"], {
        env: { PATH: process.env.PATH, TERM: "xterm", ...env },
        stdin: "ignore",
      }).stdout.toString();
    expect(terminal({})).toContain("\x1b[31mrefused by policy");
    expect(terminal({})).toContain("\x1b[2mrule 1: ");
    expect(terminal({ NO_COLOR: "1" })).not.toContain("\x1b[");
    expect(explainExample("--client", "work", "udp", "1.2.3.4:5").stdout).not.toContain("\x1b[");
  });
});

test("what check says that a rule can't accept, the dataplane does not accept", () => {
  const folder = new URL("../config/bad/", import.meta.url).pathname;
  let tried = 0;
  for (const file of readdirSync(folder).filter((name) => /^warn-.*toml$/.test(name))) {
    const result = sound(parseConfig(readFileSync(folder + file, "utf8"), file));
    for (const warning of result.warnings) {
      const [, name, address = ""] = /client "(\w+)": rule \d+ accepts nothing: (\d+\.[\d.]+)/.exec(warning) ?? [];
      if (name === undefined) continue;
      tried++;
      const client = result.config.clients.findIndex((other) => other.name === name);
      const rules: Rule[] = [{ action: "accept" }];
      const open = result.config.clients.with(client, { ...result.config.clients[client], rules });
      const asked = packet(UDP, address, 9);
      const explanation = explainPacket({ ...result.config, clients: open }, { client }, asked, NOW, HARMLESS);
      expect({ warning, decision: "errors" in explanation ? "errors" : explanation.decision }).not.toEqual({
        warning,
        decision: "accepted",
      });
    }
  }
  expect(tried).toBeGreaterThan(9);
});

const BASE = ["--client", "work"];
const PACKET =
  "a packet is tcp DESTINATION:PORT, udp DESTINATION:PORT, icmp DESTINATION [TYPE] or proto NUMBER DESTINATION";
const USAGE: [string[], string][] = [
  [[], "needs --client NAME or --from ADDRESS, and one of them"],
  [BASE, PACKET],
  [[...BASE, "tcp"], PACKET],
  [[...BASE, "sctp", "1.2.3.4:5"], PACKET],
  [[...BASE, "tcp", "1.2.3.4:5", "6"], PACKET],
  [[...BASE, "icmp", "1.2.3.4", "5", "6"], PACKET],
  [[...BASE, "proto", "47"], PACKET],
  [[...BASE, "proto", "17", "1.2.3.4"], `protocol 17 is udp: ${PACKET}`],
  [[...BASE, "proto", "256", "1.2.3.4"], '"256" is not an IP protocol, 0 to 255'],
  [[...BASE, "tcp", "1.2.3.4"], 'tcp "1.2.3.4" has no port (write tcp DESTINATION:PORT)'],
  [[...BASE, "udp", "www.example:"], 'udp "www.example:" has no port (write udp DESTINATION:PORT)'],
  [[...BASE, "tcp", "1.2.3.4:http"], '"http" is not a port, 0 to 65535'],
  [[...BASE, "udp", "1.2.3.4:65536"], '"65536" is not a port, 0 to 65535'],
  [
    [...BASE, "udp", "2001:db8::1:53"],
    '"2001:db8::1:53": an IPv6 address with a port is in brackets (write [2001:db8::1]:443)',
  ],
  [[...BASE, "tcp", "[2001:db8::1]"], 'tcp "[2001:db8::1]" has no port (write tcp DESTINATION:PORT)'],
  [[...BASE, "tcp", "[2001:db8::g]:80"], '"2001:db8::g" is not an address or host name'],
  [[...BASE, "proto", "58", "2001:db8::1"], `protocol 58 is icmpv6: ${PACKET}`],
  [[...BASE, "icmp", "1.2.3"], '"1.2.3" is not an address or host name'],
  [
    ["--from", "2001:db8::1", "icmp", "192.0.2.254"],
    "the packet's two addresses are of different families (write both of IPv4, or of IPv6)",
  ],
  [[...BASE, "--from", "1.2.3.4", "icmp", "1.2.3.4"], "needs --client NAME or --from ADDRESS, and one of them"],
  [["--from", "example.org", "icmp", "1.2.3.4"], '"example.org" is not an address'],
  [["--from", "1.2.3.4:x", "icmp", "1.2.3.4"], '"x" is not a port, 0 to 65535'],
  [
    ["--from", "1.2.3.4", "--resolve", "a.example=1.2.3.4", "icmp", "192.0.2.254"],
    '--resolve "a.example=1.2.3.4": the packet has no host',
  ],
  [
    [...BASE, "udp", "www.example.invalid:53"],
    '"www.example.invalid" has no address here (write --resolve www.example.invalid=ADDRESS)',
  ],
  [[...BASE, "icmp", "1.2.3.4", "256"], '"256" is not an ICMP type, 0 to 255'],
  [["--client", "home", "icmp", "1.2.3.4"], '--client "home" names no client (write one of these: work, lan)'],
  [
    [...BASE, "--resolve", "a.example=1.2.3.4", "icmp", "1.2.3.4"],
    '--resolve "a.example=1.2.3.4": client work has no rule with that host',
  ],
];

describe("explain, of IPv6,", () => {
  test("says of a packet that none is configured", () => {
    expect(explainExample("--client", "work", "tcp", "[2001:db8::1]:443")).toEqual({
      exitCode: 0,
      stderr: "",
      stdout: "dropped: IPv6 is not configured, not answered; no rule is asked\n",
    });
    const { stdout } = explainExample("--client", "work", "--json", "icmp", "2001:DB8:0::1");
    expect(JSON.parse(stdout)).toMatchObject({ tried: "2001:db8::1", decision: "dropped" });
  });

  const both = `${CONFIG.replace("[uplink]", '[uplink]\naddress6 = "2001:db8:1::2/64"\ngateway6 = "2001:db8:1::1"')
    .replace('dns = ["192.0.2.53"]', 'dns = ["192.0.2.53", "2001:db8:53::53"]')
    .replace('address = "10.137.0.10"', 'address6 = "fd00::10"\ngateway6 = "fd00::1"\naddress = "10.137.0.10"')
    .replace('network = "192.168.1.0/24"', `network = "192.168.1.0/24"\n${LAN6}`)
    .replace(
      '"action=accept dst4=10.137.0.11",',
      '"action=accept specialtarget=dns", "action=accept dst6=2001:db8:a::/48",',
    )}`;
  const packet6 = (protocol: number, destination: string, selector = 0) => ({
    ...{ protocol, selector },
    destination: ip6(destination),
  });

  test("prints each rule with match or its first predicate that fails, and the dataplane's verdict", () => {
    const lines = linesOf(configOf(both), WORK, packet6(TCP, "2001:db8:a::1", 8443));
    expect(lines.slice(0, -1)).toEqual([
      "rule 1: action=drop dsthost=bad.example: no: bad.example has no IPv6 address, so that the rule matches nothing",
      "rule 2: action=accept dst4=10.139.1.1/32 proto=udp dstports=53: no: destination is not 10.139.1.1",
      "rule 3: action=accept proto=tcp expire=1700000000: no: it expired at 2023-11-14T22:13:20Z",
      "rule 4: action=accept proto=tcp dstports=8443: match",
      "rule 5: action=accept specialtarget=dns: no: destination is no name server: these are: 2001:db8:53::53",
      "rule 6: action=accept dst6=2001:db8:a::/48: match, but rule 4 comes first",
    ]);
    expect(lines.at(-1)).toBe("accepted by rule 4, leaves on eth1 as [2001:db8:1::2]:49152");
    expect(linesOf(configOf(both), WORK, packet6(UDP, "2001:db8:53::53", 53)).at(-1)).toBe(
      "accepted by rule 5, leaves on eth1 as [2001:db8:1::2]:49152",
    );
    expect(linesOf(configOf(both), WORK, packet6(GRE, "2001:db8:a::1")).at(-1)).toBe(
      "accepted by rule 6, leaves on eth1 as 2001:db8:1::2",
    );
    expect(linesOf(configOf(both), WORK, packet6(TCP, "2001:db8:b::1", 80)).at(-1)).toBe(
      'refused by policy, answered with ICMPv6 "administratively prohibited"',
    );
  });

  test("whatever MAC address is ours, or the gateway's of IPv4: hosts around have others, and answer who asks for them", () => {
    const packet = packet6(TCP, "2001:db8:a::1", 8443);
    for (const lines of [
      'own_mac = "02:00:00:00:00:01"',
      'own_mac = "02:00:00:00:00:02"',
      'gateway_mac = "02:00:00:00:00:01"',
      'own_mac = "02:00:00:00:00:01"\ngateway_mac = "02:00:00:00:00:02"',
    ]) {
      const toml = both.replace("[uplink]", `[uplink]\n${lines}`);
      expect([lines, linesOf(configOf(toml), WORK, packet).at(-1)]).toEqual([
        lines,
        "accepted by rule 4, leaves on eth1 as [2001:db8:1::2]:49152",
      ]);
    }
  });

  test("says of an unknown name that drops that it drops IPv6 too", () => {
    const [first, , , , , , last] = linesOf(configOf(both), WORK, packet6(TCP, "2001:db8:a::1", 8443), NOW, new Map());
    const blind = "nobody knows the addresses of bad.example here, so that the rule drops packets to any";
    expect([first, last]).toEqual([
      `rule 1: action=drop dsthost=bad.example: match: ${blind}`,
      'refused by rule 1, answered with ICMPv6 "administratively prohibited"',
    ]);
  });

  test("asks no rule where none is asked", () => {
    const last = (client: number, protocol: number, destination: string, selector = 80) =>
      linesOf(configOf(both), client, packet6(protocol, destination, selector)).at(-1);
    expect(last(WORK, ICMPV6, "fd00::1", 128)).toBe("answered with an echo reply; no rule is asked");
    expect(last(WORK, TCP, "fd00::1", 22)).toBe(
      'dropped: to the firewall itself, answered with ICMPv6 "administratively prohibited"; no rule is asked',
    );
    expect(last(WORK, TCP, "fd00::10")).toBe("never comes here: fd00::10 is the client itself");
    expect(last(LAN, TCP, "2001:db8:7::9")).toBe(
      "never comes here: hosts of 2001:db8:7::/64 reach each other without the firewall",
    );
    expect(last(LAN, ICMPV6, "2001:db8::1", 128)).toBe("refused by policy, not answered");
    expect(last(WORK, TCP, "ff02::1")).toBe("dropped: destination not routable, not answered; no rule is asked");
    expect(last(GAME, TCP, "2001:db8::1")).toBe("dropped: IPv6 is not configured, not answered; no rule is asked");
  });

  test("of who is outside says what comes in", () => {
    const last = (destination: string, port: number) => {
      const outside = { address: ip6("2001:db8:2::1"), port: 5 };
      return linesFor(configOf(both), outside, packet6(TCP, destination, port));
    };
    expect(last("2001:db8:1::2", 8443)).toEqual([
      "forward 1: tcp 8443 to 192.168.1.10:8443 (client lan): no: leads to a host of IPv4",
      "dropped: unsolicited, not answered",
    ]);
    expect(last("2001:db8:9::2", 8443).at(-1)).toBe(
      "dropped: unsolicited, not answered; only packets to our address, 2001:db8:1::2, open anything",
    );
  });

  test("tries a host name's IPv6 address with --ipv6, and its IPv4 address without", () => {
    const names = ["--resolve", "two.example=2001:db8::7", "--resolve", "two.example=192.0.2.7"];
    const first = (...args: string[]) =>
      explainExample("--client", "work", ...names, ...args, "tcp", "two.example:443").stdout.split("\n")[0];
    expect(first()).toBe("two.example has 192.0.2.7, which is tried, and 2001:db8::7");
    expect(first("--ipv6")).toBe("two.example has 2001:db8::7, which is tried, and 192.0.2.7");
  });
});

describe("explain refuses", () => {
  test.each(USAGE)("the arguments %j", (args, error) => {
    const stderr = `firebreak: explain: ${error} (see firebreak explain --help)\n`;
    expect(explainExample(...args)).toEqual({ exitCode: 2, stdout: "", stderr });
  });

  test("to go without a configuration, or with a bad one", () => {
    expect(firebreak("explain", "--client", "work", "icmp", "1.2.3.4")).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: "firebreak: explain: needs --config FILE (see firebreak explain --help)\n",
    });
    expect(firebreak("explain", "--config", "/nonexistent", "--client", "work", "icmp", "1.2.3.4")).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: "/nonexistent: can't be read: ENOENT: no such file or directory\n",
    });
  });
});

/** Of every other name nothing is known. */
const FOUND = new Map([
  ["www.example", [ip("192.0.2.80"), ip("192.0.2.81")]],
  ["mail.example", []],
]);

const CIRCUMSTANCES: Circumstances = {
  dns: [ip("10.139.1.1"), ip("10.139.1.2")],
  now: NOW,
  addressesOf: (name) => FOUND.get(name),
};

/** A rule without its action, a packet, and what keeps them from matching. */
const REASONS: [string, Asked, string | undefined][] = [
  ["", packet(47, "1.2.3.4"), undefined],
  ["dst6=::1", packet(TCP, "1.2.3.4", 80), "destination is not ::1"],
  ["dst4=1.2.3.0/30", packet(TCP, "1.2.3.4", 80), "destination is not in 1.2.3.0/30"],
  ["dst4=1.2.3.4/30", packet(TCP, "1.2.3.7", 80), undefined],
  ["dst4=1.2.3.5", packet(TCP, "1.2.3.4", 80), "destination is not 1.2.3.5"],
  ["dsthost=www.example", packet(TCP, "192.0.2.81", 80), undefined],
  [
    "dsthost=www.example",
    packet(TCP, "1.2.3.4", 80),
    "destination is no address of www.example, which has 192.0.2.80, 192.0.2.81",
  ],
  ["dsthost=mail.example", packet(TCP, "1.2.3.4", 80), "mail.example has no address, so that the rule matches nothing"],
  [
    "dsthost=new.example",
    packet(TCP, "1.2.3.4", 80),
    "nobody knows the addresses of new.example here, so that the rule matches nothing",
  ],
  ["specialtarget=dns", packet(UDP, "10.139.1.2", 53), undefined],
  [
    "specialtarget=dns",
    packet(UDP, "10.139.1.3", 53),
    "destination is no name server: these are: 10.139.1.1, 10.139.1.2",
  ],
  ["specialtarget=dns", packet(TCP, "10.139.1.1", 54), "port is not 53"],
  ["specialtarget=dns", packet(ICMP, "10.139.1.1", 8), "protocol is neither tcp nor udp"],
  ["specialtarget=dns proto=udp", packet(TCP, "10.139.1.1", 53), "protocol is not udp"],
  [
    "specialtarget=dns dstports=53-54",
    packet(TCP, "10.139.1.1", 53),
    "dstports is not port 53 alone, so that the rule matches nothing",
  ],
  ["proto=tcp", packet(TCP, "1.2.3.4", 0), undefined],
  ["proto=tcp", packet(UDP, "1.2.3.4", 80), "protocol is not tcp"],
  ["dstports=80-81", packet(UDP, "1.2.3.4", 81), undefined],
  ["dstports=80-81", packet(UDP, "1.2.3.4", 82), "port is not in 80-81"],
  ["dstports=80", packet(TCP, "1.2.3.4", 81), "port is not 80"],
  ["dstports=80", packet(132, "1.2.3.4"), "protocol is neither tcp nor udp"],
  ["proto=icmp", packet(ICMP, "1.2.3.4", 13), undefined],
  ["proto=icmp icmptype=8", packet(ICMP, "1.2.3.4", 13), "ICMP type is not 8"],
  ["expire=1700000001", packet(ICMP, "1.2.3.4", 13), undefined],
  ["dst4=9.9.9.9 expire=0", packet(ICMP, "1.2.3.4", 13), "it expired at 1970-01-01T00:00:00Z"],
];

function packet(protocol: number, destination: string, selector = 0): Asked {
  return { protocol, destination: ip(destination), selector };
}

test.each(REASONS)("a rule with %j and the packet %j", (text, asked, reason) => {
  const result = parseRule(`action=accept ${text}`.trimEnd());
  if (!result.ok) throw new Error(result.error);
  expect(mismatch(result.rule, asked, CIRCUMSTANCES)).toBe(reason);
});

/** The match as a rule, or one that says more or less of it. */
function ruleLike(match: Match, random: Random): Rule {
  const proto = [ICMP, TCP, UDP].indexOf(match.protocol);
  const { portLow: low, portHigh: high, icmpType } = match;
  const hasPorts = proto > 0 && !(low === 0 && high === 65535);
  const isDns = proto !== 0 && random.chance(0.1);
  const target = random.chance(0.1)
    ? { dsthost: random.pick(["www.example", "mail.example", "new.example"]) }
    : undefined;
  const leavesProtoOut = (hasPorts || isDns) && random.chance(0.2);
  return {
    action: match.accept ? "accept" : "drop",
    ...(target ?? (random.chance(0.9) && { dst4: { address: match.address, prefix: match.prefix } })),
    ...(proto >= 0 && !leavesProtoOut && { proto: (["icmp", "tcp", "udp"] as const)[proto] }),
    ...(isDns && { specialtarget: "dns" as const }),
    ...(hasPorts && { dstports: { low, high } }),
    ...(icmpType !== ANY_ICMP_TYPE && { icmptype: icmpType }),
    ...(random.chance(0.1) && { expire: NOW + random.pick([-1, 0, 1]) }),
  };
}

test("what is said of random rules and packets is what the rules' compiled form says", () => {
  const random = new Random(11);
  const seen = new Set<number>();
  for (let round = 0; round < 2000; round++) {
    const matches = randomMatches(random, 1 + random.below(20), random.pick([0, 8, 24]));
    const rules = matches.map((match) => ruleLike(match, random));
    const policy = random.pick(["accept", "drop"] as const);
    const ruleset = compileRules(rules, policy, CIRCUMSTANCES);
    for (let i = 0; i < 20; i++) {
      const { protocol, destination, selector } = randomPacket(random, matches);
      const near = random.pick([destination >>> 0, destination >>> 0, ip("10.139.1.1"), ip("192.0.2.80")]);
      const asked = { protocol, destination: near, selector: random.chance(0.1) ? 53 : selector };
      const first = rules.findIndex((rule) => mismatch(rule, asked, CIRCUMSTANCES) === undefined);
      const accepts = (rules[first]?.action ?? policy) === "accept";
      expect((first + 1) * 2 + Number(accepts)).toBe(judge(ruleset, protocol, near | 0, asked.selector));
      seen.add(first);
    }
  }
  expect(seen.size).toBeGreaterThan(10);
});

test("the verdict printed is that of the first rule that is said to match", () => {
  const random = new Random(12);
  const config = configOf(CONFIG);
  let verdicts = 0;
  for (let round = 0; round < 150; round++) {
    const matches = randomMatches(random, 1 + random.below(8), random.pick([0, 8]));
    const rules = matches.map((match) => ruleLike(match, random));
    const policy = random.pick(["accept", "drop"] as const);
    const changed = { ...config, clients: config.clients.with(GAME, { ...config.clients[GAME], rules, policy }) };
    const { protocol, destination, selector } = randomPacket(random, matches);
    const asked = { protocol, destination: destination >>> 0, selector };
    const lines = linesOf(changed, GAME, asked);
    const verdict = lines.pop() ?? "";
    if (verdict.endsWith("; no rule is asked")) continue;
    verdicts++;
    const first = lines.findIndex((line) => /: match(?=$|: )/.test(line));
    const action = rules[first]?.action ?? policy;
    const by = first < 0 ? "policy" : `rule ${first + 1}`;
    expect(verdict).toStartWith(`${action === "accept" ? "accepted" : "refused"} by ${by}`);
  }
  expect(verdicts).toBeGreaterThan(75);
});
