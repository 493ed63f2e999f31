// The log of refused packets, for real: a client's refused connection is named, and its flood doesn't flood the console.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { macOf } from "../../lab/namespaces.ts";
import { CLIENT, configuration, SERVER } from "../../lab/places.ts";

const SYNS = 100_000;
const FLOOD_MS = 5000;
const LINES_A_SECOND = 10;
/** ms until all packets have been told of. */
const PATIENCE = 60_000;

const lab = new FirewallLab("refusals");

beforeAll(async () => {
  const rules = ["drop proto=tcp dstports=25", "accept proto=icmp"];
  lab.writeConfig(configuration(rules).replace("policy =", "log = true\npolicy ="));
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

/** The log's lines about refused packets: when each was printed, in seconds, and its text. */
function lines(): { readonly time: number; readonly text: string }[] {
  return Array.from(
    lab.program.text.matchAll(/^\[ *([\d.]+)[^\]]*\] ((?:refused: client|… and) .*)$/gm),
    ([, time, text]) => ({
      time: Number(time),
      text,
    }),
  );
}

function toldBy(text: string): number {
  return Number(/(\d+) more/.exec(text)?.[1] ?? 1);
}

test("a refused connection is named, with the rule that refused it", async () => {
  const attempt = await lab.client.attempt(["curl", "-sS", "--local-port", "40000", `http://${SERVER}:25/`]);
  expect(attempt.status).not.toBe(0);
  await lab.client.attempt(["curl", "-sS", "--local-port", "40001", `http://${SERVER}:80/`]);
  await lab.program.says("refused: client work, policy");
  expect(lines().map(({ text }) => text)).toEqual([
    `refused: client work, rule 1: tcp ${CLIENT}:40000 to ${SERVER}:25`,
    `refused: client work, policy: tcp ${CLIENT}:40001 to ${SERVER}:80`,
  ]);
});

test("a flood prints ten lines a second at most, which tell of every packet", async () => {
  const [ours, theirs] = [await macOf(lab.client, "eth0"), await macOf(lab.firewall, "eth0")];
  const before = lines().length;
  const flood = lab.client.start(peer("flood", "eth0", ours, theirs, CLIENT, SYNS));
  await flood.says("flooding");
  await Bun.sleep(FLOOD_MS);
  flood.signal("SIGTERM");
  await flood.says("sent");
  const refused = async () => (await lab.state()).frames.get("dropped: refused by rules") ?? 0;
  const told = () => lines().reduce((sum, { text }) => sum + toldBy(text), 0);
  // Whatever flow had more than one packet is told of in the end.
  const deadline = performance.now() + PATIENCE;
  while (told() !== (await refused()) && performance.now() < deadline) await Bun.sleep(200);
  const printed = lines().slice(before);
  console.log(`${await refused()} packets refused, ${printed.length} lines printed`);
  // Three seconds' worth of lines: on a busy machine one is printed up to a second after it was decided on.
  const crowd = printed.find(
    ({ time }, i) => (printed[i + 3 * LINES_A_SECOND]?.time ?? Number.POSITIVE_INFINITY) - time < 2,
  );
  expect(crowd).toBeUndefined();
  expect(printed.length).toBeGreaterThan(3 * LINES_A_SECOND);
  expect(await refused()).toBeGreaterThan(SYNS / 2);
  expect(told()).toBe(await refused());
}, 120_000);
