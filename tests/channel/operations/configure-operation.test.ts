// The operation `configure`, from a file's text to what ends: a dry run over a router's live flows says exactly those that end when the
// same text is put in force. And what stays, goes back, or is taken for saved.

import { expect, test } from "bun:test";
import { icmp, payload, tcp, udp } from "../../../lab/frames.ts";
import { Random } from "../../../lab/random.ts";
import {
  GATEWAY,
  INTERFACES,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { type Configurable, configureOperation } from "../../../src/channel/operations/configure-operation.ts";
import { type Config, parseConfig } from "../../../src/config/config.ts";
import { Provenance } from "../../../src/control/provenance.ts";
import { makeSettings } from "../../../src/control/settings.ts";
import { type FlowEntry, flowLine, listFlows } from "../../../src/control/views/flow-list.ts";
import { foresee } from "../../../src/control/views/forecast.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { sound } from "../../support/sound.ts";

const DEVICES = INTERFACES.map((device) => ({ ...device, isUp: true }));
const HOSTS = [WORK_HOST, LAN_HOST, LAN_HOST_2];
const REMOTES = [REMOTE, REMOTE_2, GATEWAY, NEIGHBOUR];
const PORTS = [22, 53, 80, 443, 8080, 8443];

/** A firewall without a machine: its router over plain memory. */
class Bench implements Configurable {
  readonly provenance: Provenance;
  readonly lab: Lab;
  private settings: Settings;

  constructor(text: string) {
    this.settings = settingsOf(configOf(text));
    this.lab = new Lab({ settings: this.settings });
    this.provenance = new Provenance(new SimulatedClock(), configOf(text), () => {}, {
      inTurn: (change) => change(),
      replace: async (config) => this.enforce(config),
    });
  }

  async apply(config: Config): Promise<void> {
    this.enforce(config);
    this.provenance.follow(config, "channel");
  }

  async foresee(config: Config) {
    return { table: this.table, ends: foresee(this.lab.router.flows, this.settings, settingsOf(config)) };
  }

  /** @returns each flow there is, by what it is known by */
  get flows(): string[] {
    return [...listFlows(this.table)].map(known);
  }

  private get table() {
    const { flows } = this.lab.router;
    return { records: flows, capacity: flows.capacity, settings: this.settings };
  }

  private enforce(config: Config): void {
    this.settings = settingsOf(config);
    this.lab.apply(this.settings);
    while (this.lab.router.isBusy) this.lab.leap(0);
  }
}

/** A flow's ends: what new rules do not change of it. */
function known(entry: FlowEntry): string {
  return flowLine(entry).replace(/, (?:client|SYN|EST).*/, "");
}

function configOf(text: string): Config {
  return sound(parseConfig(text, "firewall.toml")).config;
}

function settingsOf(config: Config): Settings {
  return sound(makeSettings(config, DEVICES, { now: 1.8e9 })).settings;
}

function randomRule(random: Random): string {
  const action = random.pick(["accept", "accept", "drop"]);
  const to = random.pick(["", "", ` dst4=${random.pick(REMOTES)}`, " dst4=198.51.100.0/24", " dst4=128.0.0.0/1"]);
  const port = random.pick(PORTS);
  const what = random.pick([
    "",
    " proto=icmp",
    " proto=icmp icmptype=8",
    " specialtarget=dns",
    ` proto=tcp dstports=${port}`,
    ` proto=udp dstports=${random.pick(PORTS)}`,
    ` dstports=${port}-${port + random.below(9000)}`,
    " proto=tcp",
    " expire=1700000000",
  ]);
  return `action=${action}${to}${what}`;
}

/** A configuration whose clients have random rules, and now and then another forward. */
function randomText(random: Random): string {
  const rules = () => JSON.stringify(Array.from({ length: random.below(7) }, () => randomRule(random)));
  const policy = () => random.pick(["accept", "drop"]);
  const forward = random.pick([
    "",
    `[[forward]]\nproto = "udp"\nport = "7000-7010"\nto = "work"\n`,
    `[[forward]]\nproto = "udp"\nport = "7000-7010"\nto = "work"\nfrom = ["${REMOTE_2}"]\n`,
  ]);
  return `[uplink]
interface = "uplink"
address = "${OUTSIDE}/24"
gateway = "${GATEWAY}"
dns = ["${GATEWAY}"]
[[client]]
name = "work"
interface = "work"
address = "${WORK_HOST}"
gateway = "${WORK_GATEWAY}"
policy = "${policy()}"
rules = ${rules()}
[[client]]
name = "lan"
interface = "lan"
network = "192.168.1.0/24"
gateway = "${LAN_GATEWAY}"
policy = "${policy()}"
rules = ${rules()}
${random.pick(["", 'reach = ["work"]'])}
${forward}[nat]
max_flows = 1024
`;
}

/** Opens flows: TCP, UDP and pings of clients, and from outside. */
function talk({ lab }: Bench, random: Random): void {
  for (let i = 0; i < 12; i++) {
    const source = random.pick(HOSTS);
    const destination = random.pick([...REMOTES, ...REMOTES, ...HOSTS]);
    const ends = { source, destination, sourcePort: 1024 + random.below(60_000), destinationPort: random.pick(PORTS) };
    const kinds = [
      () => udp(ends, payload(4)),
      () => tcp({ ...ends, flags: "S" }),
      () => icmp({ source, destination, type: 8, code: 0, rest: random.below(65536) << 16 }, payload(8)),
    ];
    lab.from(source, random.pick(kinds)());
  }
  const inbound = { source: random.pick([REMOTE, REMOTE_2]), sourcePort: 1024 + random.below(60_000) };
  lab.from(inbound.source, udp({ ...inbound, destination: OUTSIDE, destinationPort: 7000 }, payload(4)));
}

async function ask(bench: Bench, text: string, more: { readonly dry_run: boolean }) {
  const records: Record<string, unknown>[] = [];
  const answers = configureOperation(bench, () => {})(
    { text: Buffer.from(text), ...more },
    new AbortController().signal,
  );
  for (let part = await answers.next(); part.done !== true; part = await answers.next()) {
    records.push(part.value.data as Record<string, unknown>);
  }
  return records;
}

test("of a thousand random pairs of rule sets a dry run says exactly which flows end", async () => {
  const random = new Random(1919);
  const bench = new Bench(randomText(random));
  let [mixed, ended] = [0, 0];
  for (let round = 0; round < 1000; round++) {
    talk(bench, random);
    const next = randomText(random);
    const before = bench.flows;
    const foretold = await ask(bench, next, { dry_run: true });
    expect(bench.flows).toEqual(before);
    const outcome = foretold.pop();
    const ends = foretold.map(({ flow }) => known(flow as FlowEntry));
    expect(outcome?.flows).toEqual({ used: before.length, ended: ends.length });
    expect(await ask(bench, next, { dry_run: false })).toMatchObject([{ in_force: true }]);
    const after = new Set(bench.flows);
    expect(ends.toSorted()).toEqual(before.filter((flow) => !after.has(flow)).toSorted());
    ended += ends.length;
    if (ends.length > 0 && after.size > 0) mixed++;
  }
  expect(mixed).toBeGreaterThan(300);
  expect(ended).toBeGreaterThan(3000);
}, 120_000);
