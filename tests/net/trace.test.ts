// `firebreak trace` of a running firewall: the steps of real packets, of a connection that goes through and of what is refused, and that
// nothing is left of it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { CLIENT, SERVER, serveHttp, UPLINK } from "../../lab/places.ts";

const lab = new FirewallLab("trace");
const run = join(lab.folder, "run");
const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${run}`, ...command];
const verb = (...args: readonly string[]) => lab.firewall.attempt(inFolder(firebreak(...args)));

beforeAll(async () => {
  lab.configure(["accept proto=tcp dstports=80", "drop proto=udp dstports=9", "accept proto=icmp"]);
  await lab.start(inFolder(firebreak()));
  serveHttp(lab.internet, lab.folder);
  await lab.client.run(["ping", "-c", "1", "-W", "10", SERVER]);
}, 60_000);
afterAll(() => lab.close());

/** Starts a trace, and waits until it runs. @param cause makes packets, again and again until the trace has seen its own */
async function traced(cause: () => Promise<unknown>, ...args: readonly string[]): Promise<Program> {
  const program = lab.firewall.start(inFolder(firebreak("trace", ...args)));
  let isOver = false;
  const over = program.process.exited.then(() => {
    isOver = true;
  });
  while (!isOver) {
    await cause();
    await Promise.race([over, Bun.sleep(20)]);
  }
  expect(await program.end()).toBe(0);
  return program;
}

const fetchOnce = () => lab.client.attempt(["curl", "-sS", "-o", "/dev/null", "-m", "5", `http://${SERVER}/`]);

test("a connection's first packets: interface, checks, rule, rewriting, egress; then those of its flow", async () => {
  const program = await traced(fetchOnce, "client=work", "proto=tcp", "--count", "30");
  const text = program.text.replaceAll(/^\d{4}-\S+Z /gm, "");
  const all = text.split("  = forwarded\n");
  const opening = all.find((entry) => /^tcp .* SYN\n/.test(entry));
  const answer = all.find((entry) => /^tcp .* SYN ACK\n/.test(entry));
  expect(opening).toMatch(
    new RegExp(
      [
        `^tcp ${CLIENT}:(\\d+) > ${SERVER}:80 SYN`,
        "  received on eth0, client work, 74 bytes",
        "  check frame: passed: .*",
        "  check format: passed: .*",
        "  check fragments: passed: .*",
        "  check sender: passed: .*",
        "  check destination: passed: .*",
        "  check flow: passed: .*",
        `  opens flow tcp ${CLIENT}:\\1 > ${SERVER}:80 as ${UPLINK}:(\\d+)`,
        `  rule 1 of work: action=accept proto=tcp dstports=80 \\(${lab.configFile}:14\\)`,
        "  check ttl: passed: .*",
        "  check room: passed: .*",
        "  check egress: passed: .*",
        `  source: ${CLIENT}:\\1 -> ${UPLINK}:\\2`,
        "  ttl: 64 -> 63",
        "  source mac: \\S+ -> \\S+",
        "  destination mac: \\S+ -> \\S+",
        "  sent on eth1",
        "$",
      ].join("\n"),
    ),
  );
  expect(answer).toMatch(new RegExp(`^tcp ${SERVER}:80 > ${UPLINK}:\\d+ SYN ACK\n  received on eth1, client work, `));
  expect(answer).toMatch(/^ {2}belongs to flow tcp .*\n {2}let in by rule 1 of work: .*$/m);
  expect(answer).toMatch(new RegExp(`^  destination: ${UPLINK}:\\d+ -> ${CLIENT}:\\d+$`, "m"));
  expect(answer).toMatch(/^ {2}sent on eth0$/m);
}, 60_000);

const DATAGRAM = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("${SERVER}", 9))`;
const sendRefused = () => lab.client.attempt(["/usr/bin/python3", "-c", DATAGRAM]);

test("what is refused has the rule that did it, and the answer; as JSON too, and without its payload", async () => {
  const program = await traced(sendRefused, "verdict=refused", "--count", "1", "--json");
  const entry = JSON.parse(program.text);
  expect(entry).toMatchObject({ verdict: "refused", frame: expect.stringContaining(`> ${SERVER}:9`) });
  const steps: Record<string, unknown>[] = entry.steps;
  expect(steps.filter(({ step }) => step === "check").at(-1)).toEqual({
    ...{ step: "check", check: "rules", passed: false },
    text: "dropped: refused by rules",
  });
  expect(steps).toContainEqual({
    ...{ step: "rule", asked: true, client: "work", rule: 2, place: `${lab.configFile}:15` },
    text: "rule 2 of work: action=drop proto=udp dstports=9",
  });
  expect(steps.at(-1)).toMatchObject({
    step: "answered",
    interface: "eth0",
    text: expect.stringContaining("prohibited"),
  });
  expect(program.text).not.toContain("secret");
}, 60_000);

test("a packet that is dropped before any rule is asked says at which check", async () => {
  const ping = () => lab.client.attempt(["ping", "-c", "1", "-W", "1", "169.254.7.7"]);
  const program = await traced(ping, "dst=169.254.7.7", "--count", "1");
  expect(program.text).toMatch(
    / {2}check sender: passed: .*\n {2}check destination: failed: dropped: destination not routable\n/,
  );
  expect(program.text).not.toContain("rule");
  expect(program.text).toMatch(/ {2}= dropped: destination not routable\n$/);
}, 60_000);

test("it ends after its time, and flows take the kernel path again", async () => {
  expect(await verb("trace", "client=work", "proto=47", "--for", "1s")).toEqual({ status: 0, stdout: "", stderr: "" });
  const inKernel = async () => JSON.parse((await verb("status", "--json")).stdout).kernel_path?.forwarded ?? 0;
  const before = await inKernel();
  for (let i = 0; (await inKernel()) === before; i++) {
    if (i === 100) throw new Error("nothing is forwarded in the kernel");
    await fetchOnce();
  }
}, 60_000);

test("what is asked wrongly is told", async () => {
  expect((await verb("trace", "nonsense")).status).toBe(2);
  expect((await verb("trace", "--count", "0")).stderr).toContain("count is not a number from 1 to 1000");
  expect((await verb("trace", "--for", "ever")).stderr).toContain('--for "ever" is not a time');
});
