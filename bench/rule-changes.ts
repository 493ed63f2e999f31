// What a change of rules costs while traffic flows, on frames in memory: `bun bench/rule-changes.ts`. First one client's
// change with 50 000 established flows to judge again, half of which end; then 1 000 clients' changes, one after the other,
// each with a packet between. Prints the whole time and the longest time that a packet could have had to wait.

import { ethernet, IPV4_TYPE, ip, udp } from "../lab/frames.ts";
import { ACCEPT_ALL, ANYTHING, HOST_MAC, OUR_MAC, SETTINGS, WORK_SETTINGS } from "../lab/router-lab.ts";
import { Router } from "../src/dataplane/frame/router.ts";
import { MemoryRing } from "../src/dataplane/memory-ring.ts";
import { compileRuleset } from "../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, Settings } from "../src/dataplane/settings.ts";
import { FLOW_STATE } from "../src/dataplane/tables/flow-state.ts";
import type { Flow } from "../src/dataplane/types.ts";
import { VERDICT } from "../src/dataplane/verdict.ts";

const FLOWS = 50_000;
const CLIENTS = 1000;
const CHANGES = 1000;
const ROUNDS = 7;
const FIRST_CLIENT = ip("10.137.0.10");
const CLIENT_MAC = HOST_MAC["10.137.0.10"];
/** Half of the remotes: those with an odd last bit are no prefix, so half of the address space is taken. */
const HALF = compileRuleset([{ ...ANYTHING, address: ip("198.18.0.0"), prefix: 16 }], false);

function text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

function settingsFor(clients: number, maxFlows: number): Settings {
  const pin = Uint8Array.from(CLIENT_MAC.split(":"), (byte) => Number.parseInt(byte, 16));
  return {
    ...SETTINGS,
    uplink: { ...SETTINGS.uplink, gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 1) },
    clients: Array.from({ length: clients }, (_, i): ClientSettings => {
      const limits = { flows: maxFlows, mappings: 100_000, flowsPerSecond: 1e9 };
      return { ...WORK_SETTINGS, name: `c${i}`, network: FIRST_CLIENT + i, mac: pin, ruleset: ACCEPT_ALL, limits };
    }),
    nat: { ...SETTINGS.nat, maxFlows },
  };
}

class Bench {
  readonly ring = new MemoryRing();
  readonly router: Router;
  now = 1000;

  constructor(readonly settings: Settings) {
    this.router = new Router(this.ring, settings, (words) => crypto.getRandomValues(words));
    this.router.advance(this.now);
  }

  /** @returns what became of a datagram of a client to a remote */
  send(client: number, remote: number, port: number): number {
    const packet = udp(
      { source: text(FIRST_CLIENT + client), destination: text(remote), sourcePort: port, destinationPort: 5000 },
      new Uint8Array(8),
    );
    const frame = ethernet(CLIENT_MAC, OUR_MAC[1], IPV4_TYPE, packet);
    const verdict = this.router.receive(1, this.ring.put(frame), frame.length);
    this.ring.takeSent();
    return verdict;
  }

  /** One slice of the sweep. @returns ms that it took */
  sweep(): number {
    const start = performance.now();
    this.router.advance(this.now);
    this.ring.takeSent();
    return performance.now() - start;
  }
}

function manyFlows(): string {
  const bench = new Bench(settingsFor(1, 65536));
  for (let i = 0; i < FLOWS; i++) bench.send(0, ip("198.18.0.0") + ((i & 1) << 16) + (i >> 1), 25_000 + (i % 40_000));
  if (bench.router.flows.size !== FLOWS) throw new Error(`${bench.router.flows.size} flows instead of ${FLOWS}`);
  const { flows } = bench.router;
  for (let flow = 0 as Flow; flow < FLOWS; flow++) flows.setState(flow, flows.state(flow) | FLOW_STATE.ASSURED);
  const start = performance.now();
  bench.router.setClient(0, { ...bench.settings.clients[0], ruleset: HALF });
  let longest = performance.now() - start;
  while (bench.router.isBusy) longest = Math.max(longest, bench.sweep());
  const whole = performance.now() - start;
  if (bench.router.flows.size !== FLOWS / 2) throw new Error(`${bench.router.flows.size} flows are left`);
  return `${FLOWS} flows judged again, half of them ended: ${whole.toFixed(1)} ms, longest slice ${longest.toFixed(2)} ms`;
}

function manyClients(): string {
  const bench = new Bench(settingsFor(CLIENTS, 65536));
  for (let client = 0; client < CLIENTS; client++) bench.send(client, ip("198.18.0.1"), 4000);
  let longest = 0;
  const start = performance.now();
  for (let change = 0; change < CHANGES; change++) {
    const from = performance.now();
    bench.router.setClient(change % CLIENTS, { ...bench.settings.clients[change % CLIENTS], ruleset: HALF });
    bench.router.advance(bench.now);
    if (bench.send(change % CLIENTS, ip("198.19.0.1"), 4001) !== VERDICT.REFUSED) throw new Error("an old rule held");
    longest = Math.max(longest, performance.now() - from);
  }
  const whole = performance.now() - start;
  return `${CHANGES} clients' rules changed one by one: ${whole.toFixed(0)} ms, longest time between packets ${longest.toFixed(2)} ms`;
}

for (let round = 1; round <= ROUNDS; round++) console.log(`round ${round}: ${manyFlows()}; ${manyClients()}`);
