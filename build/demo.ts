// `build/appliance.sh demo`: the appliance between a client and an "internet", with real programs on both sides. Everything
// it makes is gone afterwards, also when it is interrupted, but for the captures in dist/demo.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "../lab/machine.ts";
import { Lab, type Namespace, type Program } from "../lab/namespaces.ts";
import {
  becomeClient,
  becomeInternet,
  CLIENT,
  configuration,
  ROUTER,
  SERVER,
  serveDns,
  serveHttp,
} from "../lab/places.ts";

const CAPTURES = "dist/demo";
const FILE_LENGTH = 100_000_000;
/** A port that the server listens on and no rule allows. */
const REFUSED_PORT = 8080;
const RULES = [
  "accept proto=icmp icmptype=8",
  "accept specialtarget=dns",
  `accept dst4=${SERVER} proto=tcp dstports=80`,
];

/** Something that the demo is there to show did not happen. */
class Disappointment extends Error {}

interface Place {
  /** What a command's prompt says. */
  readonly name: string;
  readonly namespace: Namespace;
}

interface Stage {
  readonly lab: Lab;
  readonly folder: string;
  readonly client: Place;
  readonly internet: Place;
}

function heading(text: string): void {
  console.log(`\n-- ${text}`);
}

/** What the appliance said on its console from the character `from` on. */
function showConsole(machine: Machine, from = 0): void {
  console.log(machine.console.text.slice(from).replaceAll("\r", "").trimEnd());
}

/** Runs a command before the audience. @returns its standard output */
async function show({ name, namespace }: Place, command: readonly string[]): Promise<string> {
  console.log(`${name}$ ${command.map((word) => (/\s|%/.test(word) ? `'${word.trim()}'` : word)).join(" ")}`);
  const output = await namespace.run(command);
  console.log(output.trim());
  return output;
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Disappointment(otherwise);
}

function prepare(): Stage {
  const lab = new Lab("demo");
  const folder = mkdtempSync(join(tmpdir(), "firebreak-demo-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));
  mkdirSync(CAPTURES, { recursive: true });
  const client = { name: "client", namespace: lab.namespace("client") };
  const internet = { name: "internet", namespace: lab.namespace("internet") };
  return { lab, folder, client, internet };
}

async function boot({ lab, folder, client, internet }: Stage): Promise<Machine> {
  const config = join(folder, "firebreak.toml");
  writeFileSync(config, configuration(RULES));
  heading("The configuration");
  console.log(configuration(RULES).trimEnd());
  heading("Boot, emulated: the appliance's console");
  const machine = await Machine.boot(lab, folder, [client.namespace, internet.namespace], { config });
  becomeClient(client.namespace);
  becomeInternet(internet.namespace);
  await machine.says("ready in");
  showConsole(machine);
  return machine;
}

/** Starts the internet's servers. @returns the SHA-256 of the file that they serve */
async function serve({ folder, internet }: Stage): Promise<string> {
  const www = join(folder, "www");
  mkdirSync(www);
  const content = Buffer.alloc(FILE_LENGTH);
  for (let at = 0; at < FILE_LENGTH; at += 65536) crypto.getRandomValues(content.subarray(at, at + 65536));
  writeFileSync(join(www, "file"), content);
  writeFileSync(join(www, "index.html"), "the internet\n");
  serveHttp(internet.namespace, www);
  serveHttp(internet.namespace, www, REFUSED_PORT);
  await serveDns(internet.namespace);
  return createHash("sha256").update(content).digest("hex");
}

/** Starts to capture at a place's end of its cable: whole frames, so that `firebreak replay` can judge them. */
async function capture({ name, namespace }: Place): Promise<Program> {
  const file = join(CAPTURES, `${name === "client" ? "client" : "uplink"}.pcap`);
  // Longer than any frame. tcpdump's own snapshot length is four times that, and then its buffer has room for few.
  const whole = ["--snapshot-length=65550", "--buffer-size=131072"];
  const quick = ["--immediate-mode", ...whole, "-Z", "root"];
  const tcpdump = namespace.start(["tcpdump", "-i", "eth0", ...quick, "-w", file]);
  await tcpdump.says("listening on");
  return tcpdump;
}

async function endCapture(tcpdump: Program): Promise<void> {
  tcpdump.signal("SIGINT");
  await tcpdump.end();
  check(tcpdump.text.includes("\n0 packets dropped by kernel"), `tcpdump missed packets:\n${tcpdump.text}`);
}

async function useNetwork({ client, internet, folder }: Stage, hash: string): Promise<void> {
  heading("Ping");
  await show(client, ["ping", "-c", "3", "-i", "0.3", SERVER]);

  heading("A name from the internet's DNS server");
  const answer = await show(client, ["dig", "+noall", "+answer", "+stats", `@${ROUTER}`, "www.example"]);
  check(answer.includes(SERVER), "the name was not resolved");

  heading("100 MB by HTTP");
  const fetched = join(folder, "fetched");
  const report = "%{size_download} bytes in %{time_total} s: %{speed_download} bytes/s\n";
  await show(client, ["curl", "-sS", "-o", fetched, "-w", report, `http://${SERVER}/file`]);
  const hasher = createHash("sha256").update(await Bun.file(fetched).bytes());
  check(hasher.digest("hex") === hash, "what arrived is not what was sent");
  console.log("what arrived is what was sent: same SHA-256");

  heading(`A port that no rule allows, though the server listens there`);
  const url = `http://${SERVER}:${REFUSED_PORT}/`;
  await show(internet, ["curl", "-sS", "-o", "/dev/null", "-w", "HTTP status %{http_code}\n", url]);
  console.log(`client$ curl -sS --max-time 5 ${url}`);
  const refused = await client.namespace.attempt(["curl", "-sS", "--max-time", "5", url]);
  console.log(refused.stderr.trim());
  check(refused.status !== 0, "a port was reached that no rule allows");
}

/** Reads what tcpdump wrote. @returns a line for each packet that matches */
async function packets({ namespace }: Place, file: string, filter: string): Promise<string[]> {
  const output = await namespace.run(["tcpdump", "-n", "-t", "-r", join(CAPTURES, file), filter]);
  return output.split("\n").filter((line) => line !== "");
}

async function comparePackets({ client, internet }: Stage): Promise<void> {
  heading("The fetch's first packets, as the client saw them …");
  const fetch = `tcp port 80 and host ${SERVER}`;
  const inside = await packets(client, "client.pcap", fetch);
  console.log(inside.slice(0, 5).join("\n"));
  heading("… and as the internet saw them");
  const outside = await packets(internet, "uplink.pcap", fetch);
  console.log(outside.slice(0, 5).join("\n"));
  check(inside.length > 0 && outside.length > 0, "the captures don't have the fetch");

  const leaks = await packets(internet, "uplink.pcap", `host ${CLIENT}`);
  check(leaks.length === 0, `${CLIENT} was seen outside:\n${leaks.join("\n")}`);
  console.log(`\n${CLIENT} is in none of the uplink's packets, asked for with: tcpdump -r uplink.pcap host ${CLIENT}`);
}

/** The same frames through the same dataplane, by replay: what the appliance sent is what it says that it would send. */
async function replay({ client }: Stage): Promise<void> {
  heading("Both captures replayed, and compared with what the appliance sent");
  const config = join(CAPTURES, "firebreak.toml");
  writeFileSync(config, configuration(RULES));
  const inputs = ["--in", `eth0=${CAPTURES}/client.pcap`, "--in", `eth1=${CAPTURES}/uplink.pcap`];
  const out = ["--out", join(CAPTURES, "replayed")];
  await show({ name: "here", namespace: client.namespace }, [
    "dist/firebreak",
    "replay",
    "--config",
    config,
    ...inputs,
    ...out,
    "--quiet",
    "--compare",
  ]);
}

async function main(): Promise<void> {
  const stage = prepare();
  const machine = await boot(stage);
  const hash = await serve(stage);
  const captures = await Promise.all([capture(stage.client), capture(stage.internet)]);
  await useNetwork(stage, hash);

  heading("Counters and flows, as the appliance prints them when Enter is pressed on its console");
  console.log(await machine.state());

  await Promise.all(captures.map(endCapture));
  await comparePackets(stage);
  await replay(stage);

  heading("The power button");
  const said = machine.console.text.length;
  check((await machine.powerOff()) === 0, "QEMU failed");
  showConsole(machine, said);
  await stage.lab.close();
  console.log(`\nOpen both sides in Wireshark: ${CAPTURES}/client.pcap and ${CAPTURES}/uplink.pcap`);
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`\ndemo: ${error instanceof Disappointment ? error.message : error}`);
    process.exit(1);
  },
);
