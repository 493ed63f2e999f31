// What a STUN client finds out about our NAT (RFC 5780): coturn's natdiscovery asks coturn's server, which has two
// addresses and two ports at each.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab } from "../../lab/firewall-lab.ts";
import { CLIENT, SERVER, UPLINK } from "../../lab/places.ts";

const COTURN = join(import.meta.dir, "../../dist/coturn/usr/bin");
const OTHER_ADDRESS = "198.51.100.81";
const PORT = 3478;
const OTHER_PORT = 3479;

const lab = new FirewallLab("stun");

beforeAll(async () => {
  lab.internet.ip("address", "add", OTHER_ADDRESS, "dev", "lo");
  const files = ["--db", join(lab.folder, "database"), "--pidfile", join(lab.folder, "pid")];
  const addresses = [SERVER, OTHER_ADDRESS].flatMap((address) => ["-L", address]);
  const options = ["-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli", "-m", "0", "-l", "stdout"];
  const server = lab.internet.start([`${COTURN}/turnserver`, ...options, ...addresses, ...files]);
  await server.says("Total General servers");
  lab.configure([], "accept");
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

/** What natdiscovery says, with PORT for the client's port wherever it is preserved. */
async function discover(option: "-m" | "-f" | "-H"): Promise<string> {
  const output = await lab.client.run([`${COTURN}/turnutils_natdiscovery`, option, SERVER]);
  const port = /Local addr: : 0\.0\.0\.0:(\d+)$/m.exec(output)?.[1];
  return output.replaceAll(`:${port}\n`, ":PORT\n").replaceAll("0: : ", "").trim();
}

const RULE = "========================================";
const ADDRESSES = `IPv4. Other addr: : ${OTHER_ADDRESS}:${OTHER_PORT}
IPv4. UDP reflexive addr: ${UPLINK}:PORT`;
const FIRST = `${RULE}
RFC 5780 response 1
No ALG: Mapped == XOR-Mapped
IPv4. Response origin: : ${SERVER}:${PORT}
IPv4. Response origin: : ${SERVER}:${PORT}
${ADDRESSES}
IPv4. Local addr: : 0.0.0.0:PORT`;

/** The answer to the second request, which came from `origin`. */
function second(origin: string): string {
  return `${RULE}
RFC 5780 response 2
No ALG: Mapped == XOR-Mapped
IPv4. Response origin: : ${origin}
${ADDRESSES}
IPv4. Local addr: : 0.0.0.0:PORT`;
}

test("mapping is endpoint-independent, and filtering address- and port-dependent", async () => {
  const [mapping, filtering] = await Promise.all([discover("-m"), discover("-f")]);
  expect(mapping).toBe(`-= Mapping Behavior Discovery =-

${FIRST}

${second(`${OTHER_ADDRESS}:${PORT}`)}

${RULE}
NAT with Endpoint Independent Mapping!
${RULE}`);
  expect(filtering).toBe(`-= Filtering Behavior Discovery =-

${FIRST}
STUN receive timeout..
STUN receive timeout..

${RULE}
NAT with Address and Port Dependent Filtering!
${RULE}`);
}, 120_000);

test("a client with endpoint-independent filtering is open to anyone, and reaches itself by its outside address", async () => {
  const config = await Bun.file(lab.configFile).text();
  lab.writeConfig(config.replace(/^address = "10.*$/m, '$&\nfiltering = "endpoint-independent"'));
  await lab.reload();
  const tcpdump = lab.client.start(["tcpdump", "-n", "-t", "--immediate-mode", "-l", "-i", "eth0", "host", UPLINK]);
  await tcpdump.says("listening on");
  expect(await discover("-f")).toBe(`-= Filtering Behavior Discovery =-

${FIRST}

${second(`${OTHER_ADDRESS}:${OTHER_PORT}`)}

${RULE}
NAT with Endpoint Independent Filtering!
${RULE}`);
  expect(await discover("-H")).toBe(`-= Hairpinning Behavior Discovery =-

${FIRST}
Received a request (maybe a successful hairpinning)`);
  await tcpdump.says(` > ${CLIENT}.`);
  // The hairpin's source is the outside address and port (RFC 4787 REQ-9a).
  const client = CLIENT.replaceAll(".", "\\.");
  const uplink = UPLINK.replaceAll(".", "\\.");
  expect(tcpdump.text).toMatch(
    new RegExp(
      `^IP ${client}\\.(\\d+) > ${uplink}\\.(\\d+): UDP, length 20\nIP ${uplink}\\.\\1 > ${client}\\.\\2: UDP`,
      "m",
    ),
  );
}, 120_000);
