// What dom0's user says by qvm-features, while the program of a qube runs: with real interfaces and programs, and doubles in place of
// Xen and dom0. Needs root.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace, type Program } from "../../lab/namespaces.ts";
import { becomeClient, becomeInternet, SERVER, UPLINK } from "../../lab/places.ts";

setDefaultTimeout(120_000);

const [WORK, GAME] = ["10.137.0.9", "10.137.0.10"];
const FORWARDED = `http://${UPLINK}:8080/`;
const REFUSED = `http://${SERVER}:81/`;

const lab = new Lab("features");
let work: Namespace;
let internet: Namespace;
let program: Program;

beforeAll(async () => {
  work = lab.namespace("work");
  const game = lab.namespace("game");
  const firewall = lab.namespace("firewall");
  internet = lab.namespace("internet");
  lab.cable(firewall, "vif1.0", work, "eth0");
  lab.cable(firewall, "vif2.0", game, "eth0");
  lab.cable(firewall, "eth0", internet, "eth0");
  becomeClient(work, WORK);
  becomeClient(game, GAME);
  becomeInternet(internet);
  work.start(["busybox", "httpd", "-f", "-p", `${WORK}:80`, "-h", "/usr/share/common-licenses"]);
  program = firewall.start(peer("qube-features"));
  await program.says("step nothing\n");
});
afterAll(() => lab.close());

/** curl's exit status: 0 fetched, 7 refused at once, 28 nothing in a second. */
async function fetched(from: Namespace, url: string): Promise<number> {
  return (await from.attempt(["curl", "-s", "-m", "1", "-o", "/dev/null", "-f", `${url}GPL-3`])).status;
}

const pinged = async () => (await work.attempt(["ping", "-c", "1", "-W", "1", GAME])).status;

/** What happens now, by forwards, reach and refuse. */
async function outcome(): Promise<readonly number[]> {
  return [await fetched(internet, FORWARDED), await pinged(), await fetched(work, REFUSED)];
}

/** @returns the outcome, as soon as it is what is expected, or what it was after a while */
async function outcomeAtLast(expected: readonly number[]): Promise<readonly number[]> {
  for (let attempt = 1; ; attempt++) {
    const now = await outcome();
    if (attempt === 10 || Bun.deepEquals(now, expected)) return now;
  }
}

async function next(step: string): Promise<void> {
  program.signal("SIGUSR2");
  await program.says(`step ${step}\n`);
}

test("without any, nothing comes in, no client reaches another, and what is refused is told so", async () => {
  expect(await outcomeAtLast([28, 1, 7])).toEqual([28, 1, 7]);
  expect(program.text).not.toContain("refused: client");
});

test("a port is forwarded, a client reaches another, what is refused is not answered, and printed", async () => {
  await next("all");
  expect(await outcomeAtLast([0, 0, 28])).toEqual([0, 0, 28]);
  await program.says(new RegExp(`refused: client ${WORK}, policy: tcp ${WORK}:\\d+ to ${SERVER}:81`));
});

test("of a value with a mistake nothing is in force, and dom0 is told; the others stay", async () => {
  await next("mistakes");
  expect(await outcomeAtLast([28, 0, 7])).toEqual([28, 0, 7]);
  const line =
    '/vm-config/firebreak-forwards: "tcp:8080" is not PROTO:PORTS>ADDRESS, and behind it :PORT and @FROM, so none of it is in force ' +
    "(write tcp:8443>10.137.0.9:443, with spaces between)";
  expect(program.text).toContain(`${line}\n`);
  await next("none");
  expect(program.text).toContain(`told after mistakes: ${JSON.stringify(line)}\n`);
});

test("what is taken away is as if it had never been", async () => {
  expect(await outcomeAtLast([28, 1, 7])).toEqual([28, 1, 7]);
  program.signal("SIGUSR2");
  expect(await program.end()).toBe(0);
  expect(program.text).toContain('told after none: ""\n');
  expect(program.text).toContain("mistakes []\n");
});
