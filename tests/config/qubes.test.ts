// The configuration of a qube whose netvm is its client: what it says, and each error whole.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { parseConfig, parseDocument } from "../../src/config/config.ts";

const QUBES = `[qubes]
uplink_client = "10.137.0.7"
address = "10.137.0.5"
dns = ["9.9.9.9", "9.9.9.10"]
`;

function errorsOf(text: string): readonly string[] {
  const result = parseDocument(text, "fb.toml");
  return "errors" in result ? result.errors : [];
}

/** The configuration with one line replaced. */
function withLine(number: number, line: string): string {
  return QUBES.split("\n")
    .with(number - 1, line)
    .join("\n");
}

test("names the client that is the uplink, our address there, and name servers", () => {
  const qube = { uplinkClient: ip("10.137.0.7"), address: ip("10.137.0.5"), place: "fb.toml:1: qubes" };
  expect(parseDocument(QUBES, "fb.toml")).toEqual({ qube: { ...qube, dns: [ip("9.9.9.9"), ip("9.9.9.10")] } });
  expect(parseDocument(withLine(4, "dns = []"), "fb.toml")).toEqual({ qube: { ...qube, dns: [] } });
  const usual = [ip("10.139.1.1"), ip("10.139.1.2")];
  expect(parseDocument(withLine(4, ""), "fb.toml")).toEqual({ qube: { ...qube, dns: usual } });
});

const ADDRESS = "is not an IPv4 address";
const DNS = '(write dns = ["10.139.1.1", "10.139.1.2"])';

test.each([
  [2, "", '1: qubes: uplink_client is missing (write uplink_client = "10.137.0.7")'],
  [2, "uplink_client = 7", `2: qubes: uplink_client 7 ${ADDRESS} (write uplink_client = "10.137.0.7")`],
  [3, "", '1: qubes: address is missing (write address = "10.137.0.5")'],
  [3, 'address = "10.137.0.5/24"', `3: qubes: address "10.137.0.5/24" ${ADDRESS} (write address = "10.137.0.5")`],
  [
    3,
    'address = "10.137.0.7"',
    "3: qubes: address is uplink_client too (write our own address, as that client knows it)",
  ],
  [4, 'dns = "9.9.9.9"', `4: qubes: dns "9.9.9.9" is not an array ${DNS}`],
  [4, 'dns = ["::1"]', `4: qubes: dns "::1" is IPv6, and not an IPv4 address ${DNS}`],
  [4, 'dns = ["10.137.0.5"]', `4: qubes: dns "10.137.0.5" is our own address ${DNS}`],
  [4, "mac = 1", '4: qubes: unknown key "mac" (known: uplink_client, address, dns)'],
  [1, "[[qubes]]", "1: qubes: is not one table (write [qubes], then uplink_client and address)"],
])("line %i, %s", (number, line, error) => {
  expect(errorsOf(withLine(number, line))).toEqual([`fb.toml:${error}`]);
});

test("stands alone, and all that is wrong is said at once", () => {
  const beside =
    "stands beside [qubes], but a qube has its uplink, clients and rules from dom0 (leave one of them out)";
  const text = `[uplink]\ninterface = 5\n${withLine(2, "uplink_client = true")}[[client]]\n[[client]]\n[nat]\n`;
  expect(errorsOf(text)).toEqual([
    `fb.toml:1: uplink: ${beside}`,
    `fb.toml:4: qubes: uplink_client true ${ADDRESS} (write uplink_client = "10.137.0.7")`,
    `fb.toml:7: client: ${beside}`,
    `fb.toml:9: nat: ${beside}`,
  ]);
});

test("is no configuration for a firewall that is no qube", () => {
  expect(parseConfig(QUBES, "fb.toml")).toEqual({
    errors: [
      "fb.toml:1: qubes: is for the appliance as a qube of Qubes OS only (write [uplink] and [[client]] anywhere else)",
    ],
  });
});
