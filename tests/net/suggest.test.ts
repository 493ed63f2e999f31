// `firebreak suggest` with a real client and a real name server: what was refused to it passes under what is suggested, by the name that it
// was told, and what else is refused stays so.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import { configuration, ROUTER, SERVER, serveDns, serveHttp } from "../../lab/places.ts";

const lab = new FirewallLab("suggest");
const run = join(lab.folder, "run");
const www = join(lab.folder, "www");
const RULES = ["accept specialtarget=dns", "drop proto=tcp dstports=25"];

const verb = (...args: readonly string[]) =>
  lab.firewall.attempt(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak(...args)]);

/** @returns the exit status of curl's, whose client looks the name up itself */
async function fetchFrom(url: string): Promise<number> {
  const resolvConf = join(lab.folder, "resolv.conf");
  writeFileSync(resolvConf, `nameserver ${ROUTER}\n`);
  const script = `mount --bind ${resolvConf} /etc/resolv.conf && exec curl -sS -o /dev/null --connect-timeout 5 ${url}`;
  return (await lab.client.attempt(["sh", "-c", script])).status;
}

beforeAll(async () => {
  mkdirSync(www);
  writeFileSync(join(www, "index.html"), "fetched\n");
  lab.configure(RULES);
  await serveDns(lab.internet);
  serveHttp(lab.internet, www);
  await lab.start(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak()]);
}, 60_000);
afterAll(() => lab.close());

test("nothing was refused: it says so", async () => {
  expect(await verb("suggest", "--client", "work")).toEqual({
    status: 0,
    stdout: "# client work: rules refused nothing in the last 10m\n",
    stderr: "",
  });
});

test("what was refused is suggested by the name that the client was told, as TOML, for dom0, and as JSON", async () => {
  expect(await fetchFrom("http://www.example/")).not.toBe(0);
  expect(await fetchFrom(`http://${SERVER}:25/`)).not.toBe(0);
  const { stdout, status } = await verb("suggest", "--client", "work", "--since", "1h", "dstports=80");
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /^# client work: in front of its other rules, for what was refused in the last 1h\n {2}"action=accept dsthost=www\.example proto=tcp dstports=80", {2}# \d+ packets?, last \d+ s ago\n$/,
  );
  expect((await verb("suggest", "--client", "work", "--qvm")).stdout.split("\n").toSorted()).toEqual([
    "",
    "qvm-firewall work add --before 0 accept dsthost=www.example proto=tcp dstports=25",
    "qvm-firewall work add --before 0 accept dsthost=www.example proto=tcp dstports=80",
  ]);
  const [entry] = (await verb("suggest", "--client", "work", "--json", "dstports=25")).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(entry).toMatchObject({ client: "work", against: [{ rule: 2, place: `${lab.configFile}:15` }] });

  const suggested = stdout.split("\n").filter((line) => line.startsWith('  "'));
  const other = join(lab.folder, "other.toml");
  writeFileSync(other, configuration(RULES).replace("rules = [\n", `rules = [\n${suggested.join("\n")}\n`));
  expect((await verb("configure", other)).stdout).toBe("in force\n");
  expect(await fetchFrom("http://www.example/")).toBe(0);
  expect(await fetchFrom(`http://${SERVER}:25/`)).not.toBe(0);
}, 60_000);

test("what is asked wrongly is told", async () => {
  expect((await verb("suggest")).stderr).toContain("needs --client NAME");
  expect(await verb("suggest", "--client", "nobody")).toEqual({
    status: 2,
    stdout: "",
    stderr: 'firebreak: client "nobody" is not there (there are work)\n',
  });
  expect((await verb("suggest", "--client", "work", "--since", "now")).stderr).toContain('--since "now" is not a time');
  expect((await verb("suggest", "--client", "work", "client=work")).status).toBe(2);
});
