// `firebreak why`, for real: for each way in which something does not get through, a program to which it happens, and what the running
// firewall then says of it.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";
import { CLIENT, configuration, ROUTER, SERVER, serveHttp, UPLINK } from "../../lab/places.ts";

const lab = new FirewallLab("why");
const folder = join(lab.folder, "run");
/** An address that is nobody's here. */
const STRANGER = "10.99.0.1";
const MOST_FLOWS = 40;
const PYTHON = "/usr/bin/python3";

/** A verb of the product's, asking the running firewall. */
const verb = (...args: readonly string[]) =>
  lab.firewall.attempt(["env", `RUNTIME_DIRECTORY=${folder}`, ...firebreak(...args)]);

/** @returns what `why` prints, with times left out, as soon as it knows of a drop */
async function why(...args: readonly string[]): Promise<string> {
  for (;;) {
    const { stdout, status } = await verb("why", ...args);
    if (status !== 0) throw new Error(`why ${args.join(" ")}: ${status}: ${stdout}`);
    if (!stdout.startsWith("nothing")) return stdout.trimEnd().replace(/^(?:once|\d+ times, last) \d+ s ago: /gm, "");
    await Bun.sleep(50);
  }
}

/** Where the configuration has a line. */
function place(line: string): string {
  const at = readFileSync(lab.configFile, "utf8")
    .split("\n")
    .findIndex((text) => text.includes(line));
  return `${lab.configFile}:${at + 1}`;
}

/** @param pattern of a regular expression, in which dots are dots */
const like = (pattern: string) => new RegExp(pattern.replaceAll(".", "\\."));

const python = (where: Namespace, program: string) => where.attempt([PYTHON, "-c", program]);

beforeAll(async () => {
  const rules = ["accept proto=tcp dstports=80", "drop proto=tcp dstports=25", "accept proto=icmp"];
  lab.writeConfig(configuration(rules).replace("policy =", `max_flows = ${MOST_FLOWS}\npolicy =`));
  lab.client.ip("address", "add", STRANGER, "dev", "eth0");
  await lab.start(["env", `RUNTIME_DIRECTORY=${folder}`, ...firebreak()]);
  serveHttp(lab.internet, lab.folder);
  await lab.client.run(["ping", "-c", "1", "-W", "10", SERVER]);
}, 120_000);

afterAll(() => lab.close());

describe("why names", () => {
  test("the rule that refused a connection, with its line", async () => {
    for (let i = 0; i < 2; i++) await lab.client.attempt(["curl", "-sS", `http://${SERVER}:25/`]);
    const by = `rule 2, ${place("dstports=25")}`;
    expect(await why("work", `${SERVER}:25`)).toBe(
      `refused by rules: tcp ${CLIENT} to ${SERVER}:25 SYN on eth0, client work, ${by}`,
    );
    const { stdout } = await verb("why", CLIENT, `${SERVER}:25`, "verdict=refused", "--json");
    const { cause } = JSON.parse(stdout);
    expect(cause).toMatchObject({ verdict: "refused", count: 2, rule: 2, place: place("dstports=25"), client: "work" });
    expect(Math.abs(cause.last - Date.now() / 1000)).toBeLessThan(30);
  });

  test("the policy, where no rule matched", async () => {
    await lab.client.attempt(["curl", "-sS", "--local-port", "40001", `http://${SERVER}:443/`]);
    expect(await why(CLIENT, `${SERVER}:443`)).toBe(
      `refused by rules: tcp ${CLIENT}:40001 to ${SERVER}:443 SYN on eth0, client work, policy`,
    );
  });

  test("a source address that is not the client's", async () => {
    await lab.client.attempt(["ping", "-c", "1", "-W", "1", "-I", STRANGER, SERVER]);
    expect(await why(STRANGER, SERVER)).toMatch(
      like(`source address spoofed: icmp ${STRANGER} id [0-9]+ to ${SERVER} type 8 on eth0$`),
    );
  });

  test("that nobody asked for what came from the uplink", async () => {
    await lab.internet.attempt(["curl", "-sS", "-m", "1", "--interface", ROUTER, `http://${UPLINK}:8080/`]);
    expect(await why(ROUTER, `${UPLINK}:8080`)).toMatch(
      like(`^unsolicited: tcp ${ROUTER}:[0-9]+ to ${UPLINK}:8080 SYN on eth1$`),
    );
  });

  test("a segment outside TCP's window", async () => {
    // A connection, and a segment of its ports from somebody who does not know where it has come to.
    const { stderr, status } = await python(
      lab.client,
      `
import socket, struct
connection = socket.create_connection(("${SERVER}", 80))
port = connection.getsockname()[1]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
def segment(checksum):
    return struct.pack("!HHIIBBHHH", port, 80, 1, 1, 5 << 4, 0x10, 1000, checksum, 0)
pseudo = socket.inet_aton("${CLIENT}") + socket.inet_aton("${SERVER}") + struct.pack("!HH", 6, 20)
total = sum(struct.unpack("!16H", pseudo + segment(0)))
while total >> 16: total = (total & 0xffff) + (total >> 16)
raw.sendto(segment(~total & 0xffff), ("${SERVER}", 0))
`,
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(await why("work", `${SERVER}:80`)).toMatch(
      like(`^TCP outside the window: tcp ${CLIENT}:[0-9]+ to ${SERVER}:80 ACK on eth0, client work$`),
    );
  });

  test("a TTL that is used up", async () => {
    await lab.client.attempt(["ping", "-c", "1", "-W", "1", "-t", "1", SERVER]);
    expect(await why("work", SERVER, "icmptype=8", "verdict=ttl")).toMatch(
      like(`^TTL exceeded: icmp ${CLIENT} id [0-9]+ to ${SERVER} type 8 on eth0, client work`),
    );
  });

  test("a destination that can't be routed", async () => {
    await lab.client.attempt(["ping", "-c", "1", "-W", "1", "169.254.7.7"]);
    expect(await why(CLIENT, "169.254.7.7")).toMatch(
      like(`^destination not routable: icmp ${CLIENT} id [0-9]+ to 169.254.7.7 type 8 on eth0, client work$`),
    );
  });

  test("what is wrong with a malformed packet", async () => {
    const { stderr } = await python(
      lab.client,
      `
import socket, struct
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
raw.sendto(struct.pack("!HHHH", 40009, 53, 200, 0) + b"eight by", ("${SERVER}", 0)) # says that it is longer than it is
`,
    );
    expect(stderr).toBe("");
    expect(await why("work", `${SERVER}:53`, "proto=udp")).toBe(
      `malformed udp: length: udp ${CLIENT}:40009 to ${SERVER}:53 on eth0, client work`,
    );
  });

  test("a quota that is full", async () => {
    const holder = lab.client.start([
      PYTHON,
      "-u",
      "-c",
      `
import socket, signal
held = []
try:
    for _ in range(${2 * MOST_FLOWS}): held.append(socket.create_connection(("${SERVER}", 80), timeout=3))
except OSError as error:
    print("refused after", len(held), error)
signal.pause()
`,
    ]);
    await holder.says("refused after");
    expect(await why("work", `${SERVER}:80`, "verdict=client-flows")).toMatch(
      like(
        `^client has its quota of flows: tcp ${CLIENT}(?::[0-9]+)? to ${SERVER}:80 SYN on eth0, client work, rule 1, ${place("dstports=80")}$`,
      ),
    );
    holder.signal("SIGKILL");
  }, 60_000);
});

test("of what was never dropped it says what would become of it", async () => {
  const lines = (text: string) => text.trimEnd().split("\n");
  const nothing = "nothing of this was dropped, as far as it is remembered; what would happen now:";
  expect(lines((await verb("why", "work", "203.0.113.9:80")).stdout)).toEqual([
    nothing,
    "rule 1: action=accept proto=tcp dstports=80: match",
    "rule 2: action=drop proto=tcp dstports=25: no: port is not 25",
    "rule 3: action=accept proto=icmp: no: protocol is not icmp",
    `accepted by rule 1, leaves on eth1 as ${UPLINK}:49152`,
  ]);
  expect(lines((await verb("why", CLIENT, "203.0.113.9:7", "proto=udp")).stdout).at(-1)).toBe(
    'refused by policy, answered with ICMP "administratively prohibited"',
  );
  expect(lines((await verb("why", "203.0.113.9", `${UPLINK}:4000`)).stdout)).toEqual([
    nothing,
    "dropped: unsolicited, not answered",
  ]);
});

test("what can't be understood is said, with what can be written", async () => {
  expect(await verb("why", "nobody", SERVER)).toMatchObject({
    status: 2,
    stderr: 'firebreak: "nobody" is neither an address nor a client (there are work)\n',
  });
  expect(await verb("why", "[2001:db8::7]:52740", SERVER)).toMatchObject({
    status: 2,
    stderr:
      "firebreak: SOURCE has no port: each conversation has another (write 2001:db8::7, and srcports=52740 beside it for that one alone)\n",
  });
  const [plain, bracketed] = [
    await verb("why", "2001:db8::7", "2001:db8::2"),
    await verb("why", "[2001:db8::7]", "2001:db8::2"),
  ];
  expect([plain.status, bracketed]).toEqual([0, plain]);
  expect(await verb("why", "work", `${SERVER}:443`, "proto=icmp")).toMatchObject({
    status: 2,
    stderr: 'firebreak: ICMP and protocols by number have no ports (leave out ":443")\n',
  });
  expect(await verb("why", "work", SERVER, "interface=eth7")).toMatchObject({
    status: 2,
    stderr: 'firebreak: interface "eth7" is not there (there are eth1, eth0)\n',
  });
  expect(await verb("why", "work", SERVER, "verdict=bad")).toMatchObject({ status: 2 });
  expect(await verb("why", "work")).toMatchObject({ status: 2 });
});

test("all drops are there, in lines or as JSON, with filters in the words of rules", async () => {
  const { stdout } = await verb("drops", "client=work", "proto=tcp", "dstports=20-30");
  expect(stdout).toMatch(/^\d+ refused by rules: tcp .* SYN on eth0, client work, rule 2, .*; last \d+ s ago\n/);
  const all = (await verb("drops", "--json")).stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const verdicts = new Set(all.map(({ verdict }) => verdict));
  for (const verdict of [
    "refused",
    "spoofed",
    "unsolicited",
    "tcp-window",
    "ttl",
    "unroutable",
    "malformed-udp-length",
  ])
    expect(verdicts).toContain(verdict);
  const times = all.map(({ last }) => last);
  expect(times).toEqual(times.toSorted((one, other) => other - one));
});

test("so many drops are printed as are asked for", async () => {
  expect((await verb("drops", "--limit", "2")).stdout.trimEnd().split("\n")).toHaveLength(2);
  expect(await verb("drops", "--limit", "two")).toMatchObject({ status: 2, stdout: "" });
});
