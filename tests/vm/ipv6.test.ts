// IPv6 through the image: what it says of itself on its links from its first instruction on, and real programs at both ends, translated, by
// the kernel path and without it. One boot serves all: it takes seconds, on a busy machine minutes. What it needs is in dist/
// (build/appliance.sh build).
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { firebreak } from "../../lab/firewall-lab.ts";
import {
  becomeGuest6,
  becomeHost6,
  becomeInternet6,
  GUEST_GATEWAY6,
  GUEST_HOST6,
  LAN_GATEWAY6,
  LAN_HOST6,
  OUTSIDE6,
  ROUTER6,
  SERVER6,
  switchOn,
} from "../../lab/ipv6-lab.ts";
import { type Listening, listen } from "../../lab/listening.ts";
import { Machine } from "../../lab/machine.ts";
import { Lab, type Namespace, type Program } from "../../lab/namespaces.ts";
import {
  becomeClient,
  becomeInternet,
  CLIENT,
  CLIENT_GATEWAY,
  LAN,
  LAN_GATEWAY,
  ROUTER,
  SERVER,
  UPLINK,
} from "../../lab/places.ts";

setDefaultTimeout(400_000);

/** Another address of the server, which the rules refuse. */
const REFUSED6 = "2001:db8:ffff::8";

const RULES = ["accept proto=icmp", `drop dst6=${REFUSED6}`, "accept proto=tcp dstports=80"];
const RULE_LINES = RULES.map((rule) => `  "action=${rule}",\n`).join("");

const CONFIGURATION = `[uplink]
interface = "eth1"
address = "${UPLINK}/24"
gateway = "${ROUTER}"
address6 = "${OUTSIDE6}/64"
gateway6 = "${ROUTER6}"
dns = []

[[client]]
name = "work"
interface = "eth0"
address = "${CLIENT}"
gateway = "${CLIENT_GATEWAY}"
address6 = "${GUEST_HOST6}"
gateway6 = "${GUEST_GATEWAY6}"
rules = [
${RULE_LINES}]

[[client]]
name = "lan"
interface = "eth2"
network = "${LAN}"
gateway = "${LAN_GATEWAY}"
network6 = "2001:db8:2::/64"
gateway6 = "${LAN_GATEWAY6}"
nat6 = "masquerade"
rules = [
${RULE_LINES}]

[[forward]]
proto = "tcp"
port = 8080
to = "work"
to_port = 80

[[forward]]
proto = "tcp"
port = 8081
to = "${LAN_HOST6}"
to_port = 80
`;

const FILE_LENGTH = 10_000_000;
/** Of how many segments to "lan" the sum is looked at. */
const SUMS = 500;
/** Frames of all transfers, as large as they may be: each has 64 KB at most. */
const LEAST_BY_KERNEL = (4 * FILE_LENGTH) / 65_536;
/** ms until it has told of all its addresses: it probes for a second, and emulated it is slow. */
const SAYING_PATIENCE = 60_000;

const lab = new Lab("vm6");
const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
const content = randomBytes(FILE_LENGTH);
const [client, internet, lan, host] = ["client", "internet", "lan", "host"].map((name) => lab.namespace(name));
let machine: Machine;
let listening: Listening;

beforeAll(async () => {
  const port = join(folder, "port");
  const options = {
    config: put("firebreak.toml", CONFIGURATION),
    port,
    bare: 2,
    async onPlugged() {
      listening = await listen([client, internet, lan]);
    },
  };
  machine = await Machine.boot(lab, folder, [client, internet, lan], options);
  await machine.says("ready in");
  const attached = host.start([...asked, ...firebreak("attach", port, "--name", "machine")]);
  await attached.says("attached: ");
  mkdirSync(join(folder, "www"));
  put("www/file", content);
});

afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** Writes a file. @returns its path */
function put(name: string, text: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const asked = ["env", `RUNTIME_DIRECTORY=${join(folder, "run")}`];

/** Asks the machine, by its port. @returns the answer */
const ask = (...words: readonly string[]): Promise<string> =>
  host.run([...asked, ...firebreak(...words, "--at", "machine")]);

/** What it may say by IPv6 on each link, and has to: it probes for its addresses, tells of them and of their groups, and asks for its gateway. */
const SAID = [
  [],
  [
    "IP6 2001:db8:1::254 > ff02::1: ICMP6, neighbor advertisement, tgt is 2001:db8:1::254, length 32",
    "IP6 2001:db8:1::254 > ff02::1:ff00:1: ICMP6, neighbor solicitation, who has 2001:db8:1::1, length 32",
    "IP6 :: > ff02::16: HBH ICMP6, multicast listener report v2",
    "IP6 :: > ff02::1:ff00:1: ICMP6, neighbor solicitation, who has fe80::5054:ff:fe00:1, length 24",
    "IP6 :: > ff02::1:ff00:254: ICMP6, neighbor solicitation, who has 2001:db8:1::254, length 24",
    "IP6 fe80::5054:ff:fe00:1 > ff02::1: ICMP6, neighbor advertisement, tgt is fe80::5054:ff:fe00:1, length 32",
    "IP6 fe80::5054:ff:fe00:1 > ff02::16: HBH ICMP6, multicast listener report v2",
  ],
  [
    "IP6 2001:db8:2::1 > ff02::1: ICMP6, neighbor advertisement, tgt is 2001:db8:2::1, length 32",
    "IP6 fe80::5054:ff:fe00:2 > ff02::1: ICMP6, neighbor advertisement, tgt is fe80::5054:ff:fe00:2, length 32",
    "IP6 fe80::5054:ff:fe00:2 > ff02::16: HBH ICMP6, multicast listener report v2",
  ],
];

test("from the machine's first instruction on it says of itself by IPv6 what the firewall says: no kernel speaks beside it", async () => {
  const heard = () =>
    listening.heard().map((lines) => {
      const ofIpv6 = lines
        .filter((line) => line.startsWith("IP6 "))
        .map((line) => line.replace(/, \d+ group rec.*/, ""));
      return [...new Set(ofIpv6)].sort();
    });
  const said = SAID.map((lines) => lines.toSorted());
  const deadline = performance.now() + SAYING_PATIENCE;
  while (!Bun.deepEquals(heard(), said) && performance.now() < deadline) await Bun.sleep(50);
  await Bun.sleep(1000); // a kernel that were not silent would ask for routers, and probe for its own addresses, by now
  expect(heard()).toEqual(said);
  await listening.stop();
});

test("a host and a network are translated: they ping us and the server", async () => {
  await becomeGuest6(client);
  await switchOn(lan);
  becomeHost6(lan, `${LAN_HOST6}/64`, LAN_GATEWAY6);
  await becomeInternet6(internet);
  internet.ip("-6", "address", "add", REFUSED6, "dev", "lo");
  for (const [side, gateway] of [
    [client, GUEST_GATEWAY6],
    [lan, LAN_GATEWAY6],
  ] as const) {
    for (const address of [gateway, SERVER6]) {
      const ping = ["ping", "-6", "-c", "3", "-i", "0.2", "-W", "5", address];
      expect(await side.run(ping)).toContain("3 received, 0% packet loss");
    }
  }
});

/** Has a file fetched. @throws where it is not what was served */
async function fetch(side: Namespace, from: string): Promise<void> {
  const fetched = join(folder, "fetched");
  const command = ["curl", "-6", "-sS", "--retry", "5", "--retry-connrefused", "-o", fetched, `http://${from}/file`];
  await side.run(command, 120_000);
  expect(sha256(readFileSync(fetched))).toBe(sha256(content));
}

/** As many bytes each way, to and from each side, some by forwarded ports. */
async function fetchAll(): Promise<void> {
  for (const side of [client, lan]) await fetch(side, `[${SERVER6}]`);
  for (const port of [8080, 8081]) await fetch(internet, `[${OUTSIDE6}]:${port}`);
}

/** Frames that the kernel has forwarded. */
async function byKernel(): Promise<number> {
  return Number(/ kernel path: (\d+) forwarded$/m.exec(await machine.state())?.[1]);
}

test("TCP goes through both ways, whole, by the kernel; sums are right, also those that senders leave to their interfaces", async () => {
  const [server] = [internet, client, lan].map((side) => serveHttp6(side));
  // On the cable of "lan" all sums are whole: there it shows what became of those that were left to an interface.
  const count = ["-c", String(SUMS)];
  const sums = lan.start([
    "tcpdump",
    "-n",
    "-v",
    "--immediate-mode",
    "-Q",
    "in",
    "-i",
    "eth0",
    ...count,
    "ip6 and tcp",
  ]);
  await sums.says("listening on");
  await fetchAll();
  await sums.end();
  expect(sums.text.match(/\(correct\)/g)).toHaveLength(SUMS);
  expect(server.text).toContain(`[${OUTSIDE6}]`);
  for (const inside of [GUEST_HOST6, LAN_HOST6]) expect(server.text).not.toContain(inside);
  expect(await byKernel()).toBeGreaterThan(LEAST_BY_KERNEL);
  for (const side of [lan, internet]) {
    expect(await side.run(["nstat", "-asz", "TcpInCsumErrors"])).toMatch(/^TcpInCsumErrors +0 /m);
  }
});

test("rules for IPv6 refuse, and say so at once", async () => {
  await fetch(internet, `[${REFUSED6}]`);
  for (const side of [client, lan]) {
    const refused = await side.attempt(["curl", "-6", "-v", "--max-time", "20", `http://[${REFUSED6}]/file`]);
    expect(refused.stderr).toContain("Permission denied"); // what Linux makes of "administratively prohibited"
  }
  expect(await machine.state()).toContain("dropped: refused by rules");
});

test("status and flows have both families", async () => {
  becomeClient(client);
  becomeInternet(internet);
  expect(await client.run(["ping", "-c", "3", "-i", "0.2", SERVER])).toContain("3 received, 0% packet loss");
  expect(await ask("status")).toContain(
    `uplink ${UPLINK}/24 gateway ${ROUTER} and ${OUTSIDE6}/64 gateway ${ROUTER6}\n`,
  );
  const flows = await ask("flows");
  expect(flows).toMatch(new RegExp(`flow: icmp ${CLIENT} id (\\d+) to ${SERVER} as ${UPLINK} id \\d+, client work`));
  for (const [side, name] of [
    [GUEST_HOST6, "work"],
    [LAN_HOST6, "lan"],
  ]) {
    expect(flows).toMatch(
      new RegExp(`flow: icmp ${side} id \\d+ to ${SERVER6} as ${OUTSIDE6} id \\d+, client ${name}`),
    );
  }
});

test("with kernel_path = false all of it goes, by the program", async () => {
  const without = put("without.toml", `${CONFIGURATION}\n[nat]\nkernel_path = false\n`);
  expect(await ask("configure", without)).toBe("in force\n");
  const before = await byKernel();
  await fetchAll();
  expect(await byKernel()).toBe(before);
  expect(await machine.powerOff()).toBe(0);
});

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Serves the file to all who come by IPv6. */
function serveHttp6(side: Namespace): Program {
  return side.start(["busybox", "httpd", "-f", "-vv", "-p", "[::]:80", "-h", join(folder, "www")]);
}
