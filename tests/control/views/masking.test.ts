// Masked texts: nothing of an address is left, the same one is masked the same everywhere, and networks stay networks.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { formatAddress, parseAddress } from "../../../src/base/address.ts";
import { Masking } from "../../../src/control/views/masking.ts";

const KEY = new Uint8Array(32).fill(7);
const masking = (names: readonly string[] = []) => new Masking(names, KEY);

/** Leading bits that two addresses have in common. */
const common = (one: number, other: number) => Math.clz32((one ^ other) >>> 0);
const maskOne = (mask: Masking, address: number) => parseAddress(mask.mask(formatAddress(address))) ?? -1;

test("two addresses of one first byte have as many bits in common as before, and no two become one", () => {
  const random = new Random(5);
  const mask = masking();
  const seen = new Map<number, number>();
  for (let i = 0; i < 2000; i++) {
    const one = (random.pick([8, 10, 93, 192, 172]) * 2 ** 24 + random.below(2 ** 24)) >>> 0;
    const other = (one ^ (1 << random.below(24))) >>> 0;
    expect(common(maskOne(mask, one), maskOne(mask, other))).toBe(common(one, other));
    for (const address of [one, other]) {
      const masked = maskOne(mask, address);
      expect(seen.get(masked) ?? address).toBe(address);
      seen.set(masked, address);
    }
  }
});

test("the kind of an address stays plain, and nothing else of it", () => {
  const mask = masking();
  for (const text of ["10.137.0.10", "192.168.1.20", "172.20.3.4", "169.254.7.7", "127.0.0.1", "224.0.0.251"]) {
    const masked = mask.mask(text);
    expect(masked).not.toBe(text);
    expect(masked.split(".")[0]).toBe(text.split(".")[0]);
  }
  expect(mask.mask("192.168.1.20")).toMatch(/^192\.168\./);
  for (const text of ["0.0.0.0", "255.255.255.255", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "::1", "ff02::1"]) {
    expect(mask.mask(text)).toBe(text);
  }
  const outside = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "203.0.113.9"].map((text) => mask.mask(text));
  for (const masked of outside) expect(masked).not.toMatch(/^(?:10|127|100|169|172|192)\./);
});

test("in a line all that is an address is masked, and all else stays", () => {
  const mask = masking(["db.example", "mydb.example"]);
  const [one, two] = [mask.mask("10.137.0.10"), mask.mask("203.0.113.7")];
  expect(
    mask.mask(
      "refused: tcp 10.137.0.10:40000 to 203.0.113.7:443 SYN, rule 3, /etc/fw.toml:14, at 20:14:32. 10.137.0.10.",
    ),
  ).toBe(`refused: tcp ${one}:40000 to ${two}:443 SYN, rule 3, /etc/fw.toml:14, at 20:14:32. ${one}.`);
  expect(mask.mask('dsthost=mydb.example "db.example"')).toBe('dsthost=host2.example "host1.example"');
  const mac = mask.mask("02:00:5e:10:00:01");
  expect(mac).toMatch(/^02(?::[0-9a-f]{2}){5}$/);
  expect(mask.mask("eth0 02:00:5E:10:00:01 mtu 1500")).toBe(`eth0 ${mac} mtu 1500`);
  expect(mask.mask("firebreak 1.2.3, bun 1.4.5, 1.2.3.4.5, 999.1.1.1")).toBe(
    "firebreak 1.2.3, bun 1.4.5, 1.2.3.4.5, 999.1.1.1",
  );
});

test("a prefix stays one, and its addresses are in it", () => {
  const mask = masking();
  expect(mask.mask("0.0.0.0/0")).toBe("0.0.0.0/0");
  const network = mask.mask("198.51.100.0/24");
  expect(network).toMatch(/\.0\/24$/);
  expect(mask.mask("198.51.100.77").startsWith(network.slice(0, network.lastIndexOf(".")))).toBe(true);
  const long = mask.mask("2001:db8:7::/48");
  expect(long).toMatch(/::\/48$/);
  expect(mask.mask("2001:db8:7:1::99").startsWith(long.replace("::/48", ":"))).toBe(true);
  expect(mask.mask("2001:db8:7:1::99")).not.toContain("db8");
  expect(mask.mask("fe80::5054:ff:fe12:3456")).toMatch(/^fe80:/);
});

test("another key masks otherwise", () => {
  expect(new Masking([]).mask("203.0.113.7")).not.toBe(new Masking([]).mask("203.0.113.7"));
});
