// A client that keeps flows for no other purpose than that others should not have what they keep: places on the kernel path.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { ethernet, IPV4_TYPE, payload, udp } from "../../lab/frames.ts";
import { macOf } from "../../lab/namespaces.ts";
import { CLIENT, configuration, SERVER } from "../../lab/places.ts";

/** Of a map; and flows that are more. */
const RECORDS = 4096;
const SQUATTED = 4400;
const PORT = 5000;

const lab = new FirewallLab("squatting");
const bench = lab.namespace("bench");

beforeAll(() => {
  lab.cable(bench, "a0", bench, "a1");
  lab.cable(bench, "b0", bench, "b1");
});

afterAll(() => lab.close());

test("in a small machine, more flows than the kernel path has places for do not keep others from it", async () => {
  const program = ["taskset", "--cpu-list", "0", ...peer("kernel-squatters", "a0", "a1", "b0")];
  const { places, before, got, kept, after } = JSON.parse(await bench.run(program, 120_000));
  expect(places).toBe(100);
  expect(before).toBeGreaterThan(90);
  expect({ got, kept }).toEqual({ got: 20, kept: 20 });
  expect(after).toBeGreaterThan(70);
}, 120_000);

test("a flow behind thousands of others takes the kernel path too, whose programs learn of its record", async () => {
  lab.writeConfig(`${configuration([], "accept")}\nflows_per_second = 100000\n`);
  await lab.start();
  const macs = [await macOf(lab.client, "eth0"), await macOf(lab.firewall, "eth0")] as const;
  const frames = Array.from({ length: SQUATTED }, (_, i) => {
    const ends = { source: CLIENT, sourcePort: 10_000 + i, destination: SERVER, destinationPort: 9 };
    return Buffer.from(ethernet(...macs, IPV4_TYPE, udp(ends, payload(8)))).toString("hex");
  });
  const file = join(lab.folder, "frames");
  writeFileSync(file, frames.join("\n"));
  const state = async () => {
    await Bun.sleep(500); // the one before it is told to its end
    return lab.state();
  };
  // A machine that is busy loses some of them, each time others.
  do await lab.client.run(peer("inject", "eth0", file));
  while ((await state()).flows.length <= RECORDS);
  const stream = lab.client.start(peer("udp-stream", SERVER, PORT, 1_000_000, 200));
  for (let last = await state(), before = 0, after = 0; after - before < 50; ) {
    const next = await state();
    [before, after] = [last, next].map(({ kernelPath }) => kernelPath.get("forwarded") ?? 0);
    last = next;
  }
  stream.signal("SIGTERM");
  await stream.end();
}, 120_000);
