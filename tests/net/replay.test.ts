// What a real firewall did is what replay says that it did: both ends of its cables are captured, as the demo does, while real
// programs talk through it with all offloads on, and the captures are replayed and compared, whole and with every frame cut.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Namespace, Program } from "../../lab/namespaces.ts";
import { CLIENT_GATEWAY, ROUTER, SERVER, serveDns, serveHttp } from "../../lab/places.ts";

const FILE_LENGTH = 10_000_000;
const REFUSED_PORT = 8080;
/** Bytes of each frame that the cut captures hold. */
const CUT = 128;

const lab = new FirewallLab("replay");

async function capture(namespace: Namespace, file: string, ...where: readonly string[]): Promise<Program> {
  // Longer than any frame. tcpdump's own snapshot length is four times that, and then its buffer has room for few.
  const quick = ["--immediate-mode", "--snapshot-length=65550", "--buffer-size=65536", "-Z", "root"];
  const tcpdump = namespace.start(["tcpdump", ...(where.length > 0 ? where : ["-i", "eth0"]), ...quick, "-w", file]);
  await tcpdump.says("listening on");
  return tcpdump;
}

const cooked = (linkType: string) => join(lab.folder, `${linkType}.pcap`);
const files = { eth0: join(lab.folder, "client.pcap"), eth1: join(lab.folder, "uplink.pcap") };

beforeAll(async () => {
  const www = join(lab.folder, "www");
  mkdirSync(www);
  writeFileSync(join(www, "file"), Buffer.alloc(FILE_LENGTH, "firebreak"));
  serveHttp(lab.internet, www);
  await serveDns(lab.internet);
  lab.configure([
    "accept proto=icmp icmptype=8",
    "accept specialtarget=dns",
    `accept dst4=${SERVER} proto=tcp dstports=80`,
  ]);
  await lab.start();
  const captures = [
    await capture(lab.client, files.eth0),
    await capture(lab.internet, files.eth1),
    await capture(lab.client, cooked("LINUX_SLL"), "-i", "any", "-y", "LINUX_SLL"),
    await capture(lab.client, cooked("LINUX_SLL2"), "-i", "any", "-y", "LINUX_SLL2"),
  ];
  await lab.client.run(["ping", "-c", "3", "-i", "0.2", "-s", "400", SERVER]);
  await lab.client.run(["ping", "-c", "2", "-i", "0.2", "-s", "400", CLIENT_GATEWAY]);
  await lab.client.run(["dig", `@${ROUTER}`, "www.example"]);
  await lab.client.run(["curl", "-sS", "-o", "/dev/null", `http://${SERVER}/file`]);
  await lab.client.attempt(["curl", "-sS", "--max-time", "5", `http://${SERVER}:${REFUSED_PORT}/`]);
  for (const tcpdump of captures) {
    tcpdump.signal("SIGINT");
    await tcpdump.end();
    expect(tcpdump.text).toContain("\n0 packets dropped by kernel");
  }
}, 60_000);

afterAll(() => lab.close());

interface Replayed {
  readonly status: number;
  readonly lines: readonly string[];
}

function replay(inputs: Readonly<Record<string, string>>, ...options: readonly string[]): Replayed {
  const ins = Object.entries(inputs).flatMap(([iface, file]) => ["--in", `${iface}=${file}`]);
  const fixed = ["--config", lab.configFile, "--out", join(lab.folder, "out"), "--quiet"];
  const { exitCode, stdout, stderr } = Bun.spawnSync(firebreak("replay", ...fixed, ...ins, ...options));
  expect(stderr.toString()).toBe("");
  return {
    status: exitCode,
    lines: stdout
      .toString()
      .trim()
      .split("\n")
      .map((line) => line.trim()),
  };
}

async function cut(): Promise<Record<string, string>> {
  const cuts = { eth0: join(lab.folder, "client-cut.pcap"), eth1: join(lab.folder, "uplink-cut.pcap") };
  await lab.client.run(["editcap", "-F", "pcap", "-s", String(CUT), files.eth0, cuts.eth0]);
  await lab.client.run(["editcap", "-F", "pcap", "-s", String(CUT), files.eth1, cuts.eth1]);
  return cuts;
}

for (const kind of ["whole", "cut"]) {
  test(`${kind} captures of a real firewall replay, and it sent what we would have sent`, async () => {
    const inputs = kind === "whole" ? files : await cut();
    const { frames } = await readCapture(await Bun.file(files.eth0).bytes());
    expect(frames.filter(({ originalLength }) => originalLength > 1514).length).toBeGreaterThan(100);
    const { status, lines } = replay(inputs, "--compare");
    expect(status).toBe(0);
    expect(lines.filter((line) => line.includes("dropped"))).toEqual(["1 dropped: refused by rules"]);
    // Two echo requests to the firewall itself, and its client's ARP request.
    expect(lines).toContain("3 answered");
    const [, same = ""] =
      /^compared: (\d+) packets the same, 0 only by the router, 0 only by us$/.exec(lines.at(-1) ?? "") ?? [];
    expect(Number(same)).toBeGreaterThan(100);
  }, 60_000);
}

test("totals and the comparison are one JSON object, for programs", () => {
  const { lines } = replay(files, "--compare", "--json");
  expect(lines.length).toBe(1);
  const { frames, verdicts, sentByRouter, compared, sent } = JSON.parse(lines[0]);
  expect(verdicts).toMatchObject({ answered: 3, "dropped: refused by rules": 1 });
  expect(frames).toBe(verdicts.forwarded + 4 + sentByRouter);
  expect(compared).toEqual({ same: verdicts.forwarded + 3, onlyByRouter: 0, onlyByUs: 0 });
  expect(Object.keys(sent)).toEqual(["eth1", "eth0"]);
});

test("what the real router did not do is told as a difference", () => {
  const config = join(lab.folder, "other.toml");
  writeFileSync(
    config,
    readFileSync(lab.configFile, "utf8").replace("proto=icmp icmptype=8", "proto=icmp icmptype=13"),
  );
  const { lines } = replay(files, "--compare", "--config", config);
  expect(lines).toContain("4 dropped: refused by rules");
  // Three requests that it sent on, three answers that it sent on, and three errors instead.
  const at = lines.findIndex((line) => line.startsWith("compared: "));
  expect(lines[at]).toMatch(/^compared: \d+ packets the same, 6 only by the router, 3 only by us$/);
  const [first] = lines.slice(at + 1).filter((line) => line.startsWith("only by the router: eth1"));
  expect(first).toMatch(
    /^only by the router: eth1 #\d+ at \d+\.\d{9}: 192\.0\.2\.254 > 198\.51\.100\.80 protocol 1, 428 bytes$/,
  );
});

test("captures without Ethernet headers, by tcpdump -i any and of raw IP, show the same", async () => {
  const ip = join(lab.folder, "ip.pcap");
  await lab.client.run(["tcpdump", "-r", files.eth0, "-Z", "root", "-w", ip, "ip"]);
  await lab.client.run(["editcap", "-C", "14", "-T", "rawip", "-F", "pcap", ip, `${ip}-raw`]);
  const judged = (file: string) => {
    const { status, lines } = replay({ eth0: file, eth1: files.eth1 }, "--compare");
    expect(status).toBe(0);
    return lines.filter((line) => /forwarded|dropped|compared/.test(line));
  };
  const expected = judged(files.eth0);
  expect(expected.length).toBe(3);
  for (const file of [`${ip}-raw`, cooked("LINUX_SLL"), cooked("LINUX_SLL2")]) expect(judged(file)).toEqual(expected);
});

test("one side alone is enough: next hops answer by themselves", () => {
  const { status, lines } = replay({ eth0: files.eth0 });
  expect(status).toBe(0);
  // Three pings, a question, and the first segment of a connection whose answer isn't there.
  expect(lines).toContain("5 forwarded");
  expect(lines.filter((line) => /queued|ARP/.test(line))).toEqual([]);
});
