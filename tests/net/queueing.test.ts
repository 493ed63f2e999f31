// The uplink's queue, with real programs: whoever uploads as much as he can gets no more than his part of the line's rate while others
// want theirs, and delays nobody's packets, also where the slow line is beyond the firewall; and the queue follows what changes.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { firebreak } from "../../lab/firewall-lab.ts";
import { CLIENT_GATEWAY, ROUTER, UPLINK } from "../../lab/places.ts";
import { FAR, QueueLab, RATE } from "../../lab/queue-lab.ts";

const lab = new QueueLab("queueing");
const { client, firewall, internet } = lab.lab;
const { guest, far } = lab;
const lan = lab.lab.namespace("lan");
const LAN_HOSTS = ["192.168.7.2", "192.168.7.3"] as const;
const LAN = `
[[client]]
name = "lan"
interface = "eth3"
network = "192.168.7.0/24"
gateway = "192.168.7.1"
policy = "accept"

`;

/** Classes of the queue, by number. */
const [LINE, UNMARKED, OUTSIDE, OWN, WORK, GUEST] = [1, 2, 16, 17, 18, 19];
/** Seconds that uploads may go on: they are ended when they have served. */
const ENDLESS = 600;
/** Bytes that are enough to tell who gets how much. */
const ENOUGH = 3_000_000;
/** ms; what 1.6 MB that wait for a line of 20 Mbit/s take is three times as much. */
const LONG = 200;

beforeAll(async () => {
  await lab.build();
  lab.lab.cable(firewall, "eth3", lan, "eth0");
  for (const host of LAN_HOSTS) lan.ip("address", "add", `${host}/24`, "dev", "eth0");
  lan.ip("route", "add", "default", "via", "192.168.7.1");
  lab.configure(RATE);
  await lab.lab.start();
});

afterAll(() => lab.close());

/** Waits for the queue to have as many classes; 0: for the kernel's own. */
async function untilClasses(count: number): Promise<void> {
  while ((await lab.classes()).size !== count) await Bun.sleep(20);
}

/** @returns bytes that leave by classes while both together send ENOUGH */
async function share(one: number, other: number): Promise<[number, number]> {
  const sent = async () => {
    const classes = await lab.classes();
    return [one, other].map((number) => classes.get(number)?.bytes ?? 0);
  };
  const [oneBefore, otherBefore] = await sent();
  for (;;) {
    await Bun.sleep(100);
    const [oneNow, otherNow] = await sent();
    if (oneNow - oneBefore + otherNow - otherBefore >= ENOUGH) return [oneNow - oneBefore, otherNow - otherBefore];
  }
}

test("each frame is counted to whom it is of: clients' pings, and answers to pings from outside", async () => {
  const count = async () => {
    const classes = await lab.classes();
    return [UNMARKED, WORK, GUEST, OUTSIDE].map((number) => classes.get(number)?.packets ?? -1);
  };
  const pings = ["ping", "-c", "10", "-i", "0.01"];
  for (const [pinging, target, expected] of [
    [client, FAR, [0, 10, 0, 0]],
    [guest, FAR, [0, 0, 10, 0]],
    [far, UPLINK, [0, 0, 0, 10]],
    [client, CLIENT_GATEWAY, [0, 0, 0, 0]],
  ] as const) {
    const before = await count();
    await pinging.run([...pings, target]);
    const after = await count();
    expect(after.map((packets, i) => packets - before[i])).toEqual([...expected]);
  }
});

test("without a rate, one client's upload delays all others' packets; with one, it does not", async () => {
  lab.configure(undefined);
  await lab.lab.reload();
  let upload = await lab.upload(client, ENDLESS, "--parallel", "16");
  let rtt = 0;
  while (rtt < LONG) [rtt] = await lab.pings(guest, 1);
  upload.signal("SIGKILL");
  await upload.end();

  lab.configure(RATE);
  await lab.lab.reload();
  expect([...(await lab.classes()).keys()].toSorted((a, b) => a - b)).toEqual([
    LINE,
    UNMARKED,
    OUTSIDE,
    OWN,
    WORK,
    GUEST,
  ]);
  upload = await lab.upload(client, ENDLESS, "--parallel", "16");
  const [before] = await share(WORK, GUEST);
  expect(before).toBeGreaterThan(ENOUGH * 0.9);
  const rtts = await lab.pings(guest, 40);
  const [after] = await share(WORK, GUEST);
  expect(after).toBeGreaterThan(ENOUGH * 0.9);
  upload.signal("SIGKILL");
  await upload.end();
  console.log(`without a rate ${rtt} ms and rising; with one, median ${rtts[20]} ms, longest ${rtts.at(-1)} ms`);
  expect(rtts[20]).toBeLessThan(LONG / 4);
}, 300_000);

test.each(["true", "false"])(
  "two who upload as much as they can have half each, however many connections one opens, and a flood beside; kernel_path = %s",
  async (kernelPath) => {
    lab.configure(RATE, `[nat]\nkernel_path = ${kernelPath}\n`);
    await lab.lab.reload();
    const uploads = [
      await lab.upload(client, ENDLESS, "--parallel", "16"),
      await lab.upload(client, ENDLESS, "--udp", "--bitrate", "40M", "--length", "1400"),
      await lab.upload(guest, ENDLESS),
    ];
    await share(WORK, GUEST); // until all have begun
    const unmarked = async () => (await lab.classes()).get(UNMARKED)?.packets;
    const before = await unmarked();
    const [work, theirs] = await share(WORK, GUEST);
    const after = await unmarked();
    for (const upload of uploads) upload.signal("SIGKILL");
    for (const upload of uploads) await upload.end();
    console.log(`kernel_path = ${kernelPath}: ${((100 * theirs) / (work + theirs)).toFixed(1)} % for one connection`);
    expect(theirs / (work + theirs)).toBeGreaterThan(0.4);
    expect(theirs / (work + theirs)).toBeLessThan(0.6);
    expect(after).toBe(before);
  },
  300_000,
);

test.each(["true", "false"])(
  "hosts of a network have half each of what it has, however many connections one opens, and a flood beside; kernel_path = %s",
  async (kernelPath) => {
    lab.configure(RATE, `${LAN}[nat]\nkernel_path = ${kernelPath}\n`);
    await lab.lab.reload();
    const uploads = [
      await lab.upload(lan, ENDLESS, "--bind", LAN_HOSTS[0], "--parallel", "16"),
      await lab.upload(lan, ENDLESS, "--bind", LAN_HOSTS[0], "--udp", "--bitrate", "40M", "--length", "1400"),
      await lab.upload(lan, ENDLESS, "--bind", LAN_HOSTS[1]),
    ];
    const hosts = LAN_HOSTS.map((host) => 16 + (Number(host.split(".")[3]) & 15));
    const of = async () => {
      const classes = await lab.classes("2014");
      return hosts.map((host) => classes.get(host)?.bytes ?? 0);
    };
    const shared = async () => {
      const before = await of();
      for (;;) {
        await Bun.sleep(100);
        const bytes = (await of()).map((now, i) => now - before[i]);
        if (bytes[0] + bytes[1] >= ENOUGH) return bytes[1] / (bytes[0] + bytes[1]);
      }
    };
    await shared(); // until all have begun
    const part = await shared();
    for (const upload of uploads) upload.signal("SIGKILL");
    for (const upload of uploads) await upload.end();
    console.log(`kernel_path = ${kernelPath}: ${(100 * part).toFixed(1)} % for one connection of another host`);
    expect(part).toBeGreaterThan(0.4);
    expect(part).toBeLessThan(0.6);
  },
  300_000,
);

test("classes come and go with clients, the queue with its rate; and packets pass all the while", async () => {
  const more = (address: string) => `
[[client]]
name = "c${address.replaceAll(".", "-")}"
interface = "eth2"
address = "${address}"
gateway = "${CLIENT_GATEWAY}"
`;
  const all = ["10.137.0.20", "10.137.0.21", "10.137.0.22"];
  const ping = guest.start(["ping", "-n", "-i", "0.02", FAR]);
  await ping.says("icmp_seq=5");
  for (const [rate, others, classes] of [
    [RATE, all, 9],
    ["1.5 Gbit", all, 9],
    [RATE, all.slice(2), 7],
    [undefined, [], 0],
    ["100 kbit", [], 6],
  ] as const) {
    lab.configure(rate, others.map(more).join(""));
    await lab.lab.reload();
    expect((await lab.classes()).size).toBe(classes);
    const said = ping.text.length;
    await ping.says(/icmp_seq=\d+ .*\n.*icmp_seq=/, said);
  }
  ping.signal("SIGINT");
  await ping.end();
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(ping.text) ?? [];
  expect(Number(received)).toBeGreaterThanOrEqual(Number(sent) - 5); // what waited in a queue that was taken away
}, 60_000);

test("an uplink that is made anew gets a queue, too", async () => {
  firewall.ip("link", "delete", "eth1");
  await untilClasses(0);
  lab.lab.cable(firewall, "eth1", internet, "eth0");
  internet.ip("address", "add", `${ROUTER}/24`, "dev", "eth0");
  await untilClasses(6);
  while ((await lab.pings(guest, 1))[0] === Number.POSITIVE_INFINITY);
}, 60_000);

test("somebody else's qdisc is not touched: the start is refused, and says what to do; ended, ours is gone", async () => {
  const { program } = lab.lab;
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  const kinds = () => firewall.run(["tc", "qdisc", "show", "dev", "eth1"]);
  expect(await kinds()).toMatch(/^qdisc noqueue 0: root refcnt \d+ \n$/);
  await firewall.run(["tc", "qdisc", "add", "dev", "eth1", "root", "handle", "7:", "pfifo"]);
  const refused = firewall.start(firebreak("run", "--config", lab.lab.configFile));
  expect(await refused.end()).not.toBe(0);
  expect(refused.text).toContain(
    "eth1: traffic control has a qdisc of its own there, pfifo 7: (remove it: tc qdisc del dev eth1 root, or leave out [uplink] rate)",
  );
  expect(await kinds()).toMatch(/^qdisc pfifo 7: /);
}, 60_000);
