// Real programs reach real servers by IPv6 through `firebreak run`, from a guest who is translated and from a home network that is routed.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  GUEST_GATEWAY6,
  GUEST_HOST6,
  Ipv6Lab,
  LAN_GATEWAY6,
  LAN_HOST6,
  OUTSIDE6,
  ROUTER6,
  SERVER6,
} from "../../lab/ipv6-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";

const FILE_LENGTH = 50 * 1024 * 1024;
/** Bytes; the receiver stops to count when the sender says that it is done. */
const UPLOAD = 8_000_000;
const LEAST_UPLOAD = 1_000_000;

/** Gbit/s: what segmentation offload gives several times over and a forwarder of single segments misses. */
const LEAST_SPEED = 2;

const lab = new Ipv6Lab("programs6");
const { guest, lan, internet } = lab;
let hash = "";

interface Client {
  readonly host: Namespace;
  readonly gateway: string;
  /** What the server sees. */
  readonly seenAs: string;
}

const CLIENTS: Readonly<Record<string, Client>> = {
  "a guest who is translated": { host: guest, gateway: GUEST_GATEWAY6, seenAs: OUTSIDE6 },
  "a home network that is routed": { host: lan, gateway: LAN_GATEWAY6, seenAs: LAN_HOST6 },
};

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** tshark or tcpdump would say the same: the addresses that came to the server while something was done. */
async function seenAtServer(act: () => Promise<unknown>): Promise<string> {
  const tcpdump = internet.start([
    "tcpdump",
    "-n",
    "--immediate-mode",
    "-l",
    "-i",
    "eth0",
    "ip6",
    "dst",
    "host",
    SERVER6,
  ]);
  await tcpdump.says("listening on");
  await act();
  await tcpdump.says("IP6 ");
  tcpdump.signal("SIGTERM");
  await tcpdump.end();
  return tcpdump.text;
}

beforeAll(async () => {
  const www = join(lab.lab.folder, "www");
  mkdirSync(www);
  const content = new Uint8Array(FILE_LENGTH);
  for (let at = 0; at < FILE_LENGTH; at += 65536) crypto.getRandomValues(content.subarray(at, at + 65536));
  writeFileSync(join(www, "file"), content);
  hash = sha256(content);
  await lab.settle();
  internet.start(["busybox", "httpd", "-f", "-p", "[::]:80", "-h", www]);
  internet.start(["iperf3", "--server"]);
  const quiet = [
    "--keep-in-foreground",
    "--log-facility=-",
    "--conf-file=/dev/null",
    "--pid-file=",
    "--no-resolv",
    "--no-hosts",
  ];
  const dns = internet.start(["dnsmasq", ...quiet, `--address=/www.example/${SERVER6}`]);
  await dns.says("started");
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

for (const [who, { host, gateway, seenAs }] of Object.entries(CLIENTS)) {
  describe(who, () => {
    test("pings the server and the gateway, also with more than a packet holds", async () => {
      for (const [size, address] of [
        ["56", SERVER6],
        ["56", gateway],
        ["20000", SERVER6],
        ["65000", SERVER6],
        ["20000", gateway],
      ]) {
        const output = await host.run(["ping", "-6", "-c", "3", "-i", "0.1", "-W", "2", "-s", size, address]);
        expect(output).toContain("3 received, 0% packet loss");
      }
    }, 60_000);

    test("is seen as what it is to be seen as", async () => {
      const seen = await seenAtServer(() => host.run(["ping", "-6", "-c", "1", SERVER6]));
      expect(seen).toContain(`IP6 ${seenAs} > ${SERVER6}: ICMP6, echo request`);
      if (seenAs !== GUEST_HOST6) expect(seen).not.toContain(GUEST_HOST6);
    });

    test("fetches a file unchanged", async () => {
      const file = join(lab.lab.folder, "fetched");
      const speed = await host.run([
        "curl",
        "-6",
        "-sS",
        "-o",
        file,
        "-w",
        "%{speed_download}",
        `http://[${SERVER6}]/file`,
      ]);
      console.log(`curl -6, ${who}: ${((Number(speed) * 8) / 1e9).toFixed(2)} Gbit/s`);
      expect(sha256(await Bun.file(file).bytes())).toBe(hash);
    }, 120_000);

    test("has TCP at the speed of segmentation offload, both ways, by the kernel path", async () => {
      const before = await byKernel();
      for (const direction of [[], ["--reverse"]]) {
        const output = await host.run([
          "iperf3",
          "-6",
          "-Z",
          "--client",
          SERVER6,
          "--time",
          "2",
          "--json",
          ...direction,
        ]);
        const speed = JSON.parse(output).end.sum_received.bits_per_second / 1e9;
        console.log(`iperf3 -6 -Z ${direction}, ${who}: ${speed.toFixed(2)} Gbit/s`);
        expect(speed).toBeGreaterThan(LEAST_SPEED);
      }
      expect((await byKernel()) - before).toBeGreaterThan(1000);
    }, 120_000);

    test("asks for AAAA by UDP and TCP", async () => {
      for (const transport of ["+notcp", "+tcp"]) {
        expect(await host.run(["dig", "-6", "+short", transport, "AAAA", `@${ROUTER6}`, "www.example"])).toBe(
          `${SERVER6}\n`,
        );
      }
    });

    test("traces its route by UDP, ICMP and TCP: the firewall is its first hop", async () => {
      for (const way of [[], ["-I"], ["-T", "-p", "80"]]) {
        const hops = await host.run(["traceroute", "-6", "-n", "-q", "1", "-w", "2", ...way, SERVER6]);
        expect(hops).toContain(` 1  ${gateway} `);
        expect(hops).toContain(` 2  ${SERVER6} `);
      }
    }, 60_000);

    test("finds the path's MTU where the uplink has less", async () => {
      setUplinkMtu(1400);
      try {
        const path = await host.run(["tracepath", "-6", "-n", "-m", "4", SERVER6]);
        expect(path).toContain("pmtu 1400");
        const output = await host.run(["iperf3", "-6", "--client", SERVER6, "--bytes", String(UPLOAD), "--json"]);
        expect(JSON.parse(output).end.sum_received.bytes).toBeGreaterThan(LEAST_UPLOAD);
      } finally {
        setUplinkMtu(1500);
      }
    }, 60_000);
  });
}

/** Frames that the kernel forwarded since the firewall is there. */
async function byKernel(): Promise<number> {
  return (await lab.lab.state()).kernelPath.get("forwarded") ?? 0;
}

/** Of both ends; the firewall takes it over. */
function setUplinkMtu(mtu: number): void {
  lab.firewall.ip("link", "set", "eth1", "mtu", String(mtu));
  internet.ip("link", "set", "eth0", "mtu", String(mtu));
}
