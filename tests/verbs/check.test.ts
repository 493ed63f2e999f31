// `firebreak check` and the command line around it, started as users start them.
import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { version } from "../../package.json";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const EXAMPLE = fileURLToPath(new URL("../config/example.toml", import.meta.url));
const EVERYTHING = fileURLToPath(new URL("../config/everything.toml", import.meta.url));

function firebreak(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args]);
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** Runs `firebreak check` on a text; its file is called FILE in what comes back. */
async function checkText(text: string) {
  const directory = await mkdtemp(join(tmpdir(), "firebreak-check-"));
  const file = join(directory, "firewall.toml");
  try {
    await writeFile(file, text);
    const result = firebreak("check", file);
    return { ...result, stderr: result.stderr.replaceAll(file, "FILE") };
  } finally {
    await rm(directory, { recursive: true });
  }
}

test("check prints the example as understood", () => {
  expect(firebreak("check", EXAMPLE)).toEqual({
    exitCode: 0,
    stderr: "",
    stdout: `uplink
  interface         eth1
  own_mac           the interface's
  address           192.0.2.254/24
  gateway           192.0.2.1
  address6          none: IPv6 is dropped
  gateway_mac       asked for by ARP
  dns               192.0.2.1
  rate              as fast as the interface takes it
  clamp_mss         false

client "work"
  interface         eth0
  own_mac           the interface's
  address           10.137.0.10
  mac               any
  gateway           10.137.0.1
  address6          none
  clamp_mss         false
  max_flows         32768
  max_mappings      32768
  flows_per_second  20000
  filtering         address-and-port-dependent
  reach             none
  rule 1            action=accept proto=tcp dstports=443
  rule 2            action=accept dst4=192.0.2.0/28 proto=udp dstports=53
  rule 3            action=accept proto=icmp icmptype=8
  policy            drop
  refuse            icmp
  log               false
  drop_ip_options   false
  random_ip_id      false
  min_ttl           0
  clear_dscp        false

client "lan"
  interface         eth2
  own_mac           the interface's
  network           192.168.1.0/24
  mac               any
  gateway           192.168.1.1
  network6          none
  clamp_mss         false
  max_flows         32768
  max_mappings      32768
  flows_per_second  20000
  filtering         address-and-port-dependent
  reach             none
  policy            accept
  refuse            icmp
  log               false
  drop_ip_options   false
  random_ip_id      false
  min_ttl           0
  clear_dscp        false

dns
  redirect          none

nat
  max_flows         65536
  reset             true
  min_path_mtu      552
  kernel_path       true

nat.timeouts
  udp               5m
  udp_new           30s
  dns               10s
  tcp_established   2h4m
  tcp_opening       4m
  tcp_closing       4m
  icmp              1m
  other             10m
`,
  });
});

test("check prints every key", () => {
  expect(firebreak("check", EVERYTHING)).toEqual({
    exitCode: 0,
    stderr: "",
    stdout: `uplink
  interface         02:00:00:00:00:0a
  own_mac           fe:ff:ff:ff:ff:ff
  address           192.0.2.254/24
  gateway           192.0.2.1
  address6          2001:db8::2/64
  gateway6          fe80::1
  gateway_mac       02:00:00:00:00:02
  dns               192.0.2.1, 198.51.100.53, 2001:db8::53
  rate              2.5 Gbit
  clamp_mss         true

client "work"
  interface         eth0
  own_mac           02:00:00:00:00:03
  address           10.137.0.10
  mac               02:00:00:00:00:04
  gateway           10.137.0.1
  address6          fd09:24ef:4179::a89:7
  gateway6          2001:db8::2
  nat6              masquerade
  clamp_mss         true
  max_flows         2000
  max_mappings      1000
  flows_per_second  50
  filtering         address-and-port-dependent
  reach             lan, game
  rule 1            action=accept specialtarget=dns
  rule 2            action=drop dst4=10.0.0.0/8
  policy            accept
  refuse            reset
  log               true
  drop_ip_options   true
  random_ip_id      true
  min_ttl           32
  clear_dscp        true

client "game"
  interface         eth0
  own_mac           the interface's
  address           10.137.0.11
  mac               any
  gateway           10.137.0.1
  address6          none
  clamp_mss         true
  max_flows         2048
  max_mappings      32768
  flows_per_second  20000
  filtering         endpoint-independent
  reach             none
  policy            drop
  refuse            drop
  log               false
  drop_ip_options   false
  random_ip_id      false
  min_ttl           0
  clear_dscp        false

client "lan"
  interface         eth2
  own_mac           the interface's
  network           192.168.1.0/24
  mac               any
  gateway           192.168.1.1
  network6          2001:db8:1::/64
  gateway6          2001:db8:1::1
  nat6              route
  clamp_mss         false
  max_flows         2048
  max_mappings      32768
  flows_per_second  20000
  filtering         address-and-port-dependent
  reach             none
  policy            drop
  refuse            icmp
  log               false
  drop_ip_options   false
  random_ip_id      false
  min_ttl           0
  clear_dscp        false

forward 1
  proto             tcp
  port              8443
  to                10.137.0.10, fd09:24ef:4179::a89:7  (client "work")
  to_port           443
  from              203.0.113.0/24, 2001:db8:9::/48, 198.51.100.7/32, 2001:db8:ffff::1/128

forward 2
  proto             udp
  port              8000-8010
  to                192.168.1.10  (client "lan")
  to_port           8000-8010
  from              anyone

forward 3
  proto             tcp
  port              65000-65535
  to                10.137.0.11  (client "game")
  to_port           1-536
  from              anyone

forward 4
  proto             udp
  port              8000-8010
  to                2001:db8:1::10  (client "lan")
  to_port           8000-8010
  from              anyone

dns
  redirect          10.139.1.1 to 192.0.2.53
  redirect          10.139.1.2 to 198.51.100.53

nat
  max_flows         4096
  reset             false
  min_path_mtu      600
  kernel_path       false

nat.timeouts
  udp               2m
  udp_new           1s
  dns               1s
  tcp_established   2h13m20s
  tcp_opening       30s
  tcp_closing       1h1s
  icmp              1m1s
  other             2m
`,
  });
});

test("check gives one client alone everything, and says of a rule that it matches nothing", async () => {
  const text = `[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
[[client]]
name = "a"
interface = "eth0"
address = "10.0.0.2"
gateway = "10.0.0.1"
rules = ["specialtarget=dns action=accept"]
[nat]
max_flows = 1024
`;
  expect(await checkText(text)).toEqual({
    exitCode: 0,
    stderr:
      'FILE:10: warning: client "a": rule 1 is about name servers, but there are none, so that it matches nothing ' +
      "(write dns in [uplink])\n",
    stdout: `uplink
  interface         eth1
  own_mac           the interface's
  address           192.0.2.254/24
  gateway           192.0.2.1
  address6          none: IPv6 is dropped
  gateway_mac       asked for by ARP
  dns               none
  rate              as fast as the interface takes it
  clamp_mss         false

client "a"
  interface         eth0
  own_mac           the interface's
  address           10.0.0.2
  mac               any
  gateway           10.0.0.1
  address6          none
  clamp_mss         false
  max_flows         1024
  max_mappings      49152
  flows_per_second  20000
  filtering         address-and-port-dependent
  reach             none
  rule 1            action=accept specialtarget=dns  (matches nothing)
  policy            drop
  refuse            icmp
  log               false
  drop_ip_options   false
  random_ip_id      false
  min_ttl           0
  clear_dscp        false

dns
  redirect          none

nat
  max_flows         1024
  reset             true
  min_path_mtu      552
  kernel_path       true

nat.timeouts
  udp               5m
  udp_new           30s
  dns               10s
  tcp_established   2h4m
  tcp_opening       4m
  tcp_closing       4m
  icmp              1m
  other             10m
`,
  });
});

test("check prints all errors on standard error", async () => {
  expect(
    await checkText("[uplink]\ninterface = 5\naddress = '192.0.2.254/24'\ngateway = '192.0.2.1'\nx = 1\n"),
  ).toEqual({
    exitCode: 2,
    stdout: "",
    stderr: `FILE:1: client: is missing (write [[client]] for each, then name, interface, address and gateway)
FILE:2: uplink: interface 5 is neither an interface's name nor a MAC address (write interface = "eth1" or its MAC address)
FILE:5: uplink: unknown key "x" (known: interface, address, gateway, address6, gateway6, dns, own_mac, gateway_mac, rate, clamp_mss)
`,
  });
});

const QUBES = '[qubes]\nuplink_client = "10.137.0.7"\naddress = "10.137.0.5"\ndns = ["9.9.9.9", "9.9.9.10"]\n';

test("check prints a qube's configuration as understood", async () => {
  expect(await checkText(QUBES)).toEqual({
    exitCode: 0,
    stderr: "",
    stdout: `qubes
  uplink_client     10.137.0.7
  address           10.137.0.5
  dns               9.9.9.9, 9.9.9.10
`,
  });
});

test("check says that a file can't be read", () => {
  expect(firebreak("check", "/nonexistent/firewall.toml")).toEqual({
    exitCode: 2,
    stdout: "",
    stderr: "/nonexistent/firewall.toml: can't be read: ENOENT: no such file or directory\n",
  });
});

const REFUSED: [string[], string][] = [
  [[], "no verb (see firebreak --help)"],
  [["frobnicate"], 'unknown verb "frobnicate" (see firebreak --help)'],
  [["constructor"], 'unknown verb "constructor" (see firebreak --help)'],
  [["--frobnicate"], 'unknown verb "--frobnicate" (see firebreak --help)'],
  [["help", "frobnicate"], 'unknown verb "frobnicate" (see firebreak help)'],
  [["help", "check", "run"], "help: takes one VERB (see firebreak help)"],
  [["check", "--config", "a", "b"], "check: takes one FILE (see firebreak check --help)"],
  [["check"], "check: takes one FILE (see firebreak check --help)"],
  [["check", "a", "b"], "check: takes one FILE (see firebreak check --help)"],
  [
    ["replay", "--seed", "-1"],
    'replay: --seed has no value, or one that begins with "-" (write --seed=VALUE) (see firebreak replay --help)',
  ],
  [["check", "--frobnicate", "a"], "check: Unknown option '--frobnicate' (see firebreak check --help)"],
];

test.each(REFUSED)("the arguments %j are bad usage", (args, error) => {
  expect(firebreak(...args)).toEqual({ exitCode: 2, stdout: "", stderr: `firebreak: ${error}\n` });
});

test("--version prints the version", () => {
  expect(firebreak("--version")).toEqual({ exitCode: 0, stderr: "", stdout: `firebreak ${version}\n` });
});

test("--help lists the verbs", () => {
  const { exitCode, stdout } = firebreak("--help");
  expect(exitCode).toBe(0);
  expect(stdout).toStartWith("Usage: firebreak VERB [ARGUMENTS…]\n");
  expect(stdout).toContain("\n  check      print a configuration as understood, or all of its errors\n");
});

test("help is a verb too, and -V is --version", () => {
  expect(firebreak("help")).toEqual(firebreak("--help"));
  expect(firebreak("help", "check")).toEqual(firebreak("check", "--help"));
  expect(firebreak("-V")).toEqual(firebreak("--version"));
  expect(firebreak("-V").stdout).toBe(`firebreak ${version}\n`);
});

test.each(["run", "check", "explain", "replay", "appliance"])("%s --help fits into 100 columns", (verb) => {
  const { stdout } = firebreak(verb, "--help");
  expect(stdout).toStartWith(`Usage: firebreak ${verb}`);
  expect(stdout.split("\n").filter((line) => line.length > 100)).toEqual([]);
});

test("check takes its FILE behind --config too", () => {
  expect(firebreak("check", "--config", EXAMPLE)).toEqual(firebreak("check", EXAMPLE));
});

test("check --strict makes warnings errors", () => {
  const file = join(import.meta.dir, "../config/bad/warn-duplicate.toml");
  const warning = `${file}:14: warning: client "work": rule 2 is rule 1 once more (leave it out)\n`;
  const lenient = firebreak("check", file);
  expect({ ...lenient, stdout: lenient.stdout.slice(0, 6) }).toEqual({
    exitCode: 0,
    stdout: "uplink",
    stderr: warning,
  });
  expect(firebreak("check", "--strict", file)).toEqual({ exitCode: 2, stdout: "", stderr: warning });
  expect(firebreak("check", "--strict", EXAMPLE).exitCode).toBe(0);
});

test("a reader who has seen enough is no failure", async () => {
  const script = '(set +e; "$0" "$1" check "$2"; echo $? >&2) | exec true';
  const { stdout, stderr } = Bun.spawnSync(["bash", "-c", script, process.execPath, MAIN, EVERYTHING]);
  expect({ stdout: stdout.toString(), stderr: stderr.toString() }).toEqual({ stdout: "", stderr: "0\n" });
});

test("check --help says what check does", () => {
  expect(firebreak("check", "--help")).toEqual({
    exitCode: 0,
    stderr: "",
    stdout: `Usage: firebreak check [--strict] [--config] FILE

Reads the configuration FILE and prints it as understood. If anything is wrong with it,
prints each error on standard error as FILE:LINE: where: what is wrong (how to write it).
What is allowed but hardly meant, such as a rule that is never reached, is told there too,
as FILE:LINE: warning: where: … No root, and none of the interfaces, is needed.

  --strict   warnings are errors

Exit status: 0 the configuration is good, 2 it is not.
`,
  });
});
