// What commands have the dataplane's thread do, done once while nobody waits. A function is compiled when it runs for the first time,
// which takes longer than frames may have to wait. It is done over a router of its own, which forwards nothing.
import { MessageChannel } from "node:worker_threads";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { SYN } from "../../wire/tcp.ts";
import { concernedBy } from "../concerned.ts";
import { Router } from "../frame/router.ts";
import { type Kind, type Segment, trialFrame } from "../kernel/trial/frames.ts";
import { CLIENT, CLIENT_END, OUR_MACS, SERVER_END, trialSettings } from "../kernel/trial/settings.ts";
import { MemoryRing } from "../memory-ring.ts";
import { packRuleset } from "../rules/packed.ts";
import { compileRuleset } from "../rules/ruleset.ts";
import type { Settings } from "../settings.ts";
import { Commands } from "./commands.ts";
import { LONGEST_RULES, MAILBOX_LENGTH, Mailbox, RULES_MAILBOX_LENGTH, RULES_SIZE } from "./mailbox.ts";
import { type Command, MAIL } from "./protocol.ts";
import { work } from "./work.ts";

/** How often each thing is done. */
const ROUNDS = 2;
/** ms of the router's clock. */
const ROUND = 2000;
const SPOKEN: Segment = { sequence: 1000, acknowledgment: 0, flags: SYN };
const OPENING: readonly Kind[] = [PROTOCOL.TCP, PROTOCOL.UDP].map((protocol) => {
  return { what: "", protocol, payload: 0, checksum: "whole", isTaken: false };
});

/** Runs what commands of every kind run, over a few flows, a piece at a time. */
export function* rehearsing(): Generator<void> {
  const settings = trialSettings(["uplink", "client"], 1);
  const ring = new MemoryRing();
  const router = new Router(ring, settings, (words) => crypto.getRandomValues(words), undefined, {}, false);
  yield;
  const { port1, port2 } = new MessageChannel();
  const rules = new Mailbox(new SharedArrayBuffer(RULES_MAILBOX_LENGTH), RULES_SIZE);
  const commands = new Commands(port2, new Mailbox(new SharedArrayBuffer(MAILBOX_LENGTH)), rules, router, {
    configure: () => undefined,
    carriedOut() {},
    records() {},
    addresses() {},
    watch() {},
    report() {},
  });
  const packed = new Int32Array(LONGEST_RULES / 4);
  let posted = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    router.setTime(round * ROUND);
    for (const command of commandsOn(settings)) {
      for (const kind of OPENING) {
        const { bytes } = trialFrame(kind, CLIENT_END, { ...SERVER_END, mac: OUR_MACS[CLIENT] }, SPOKEN);
        router.receiveSlowly(CLIENT, ring.put(bytes), bytes.length);
      }
      ring.takeSent();
      port1.postMessage(command);
      posted++;
      if (command.type === "apply") concernedBy(settings, command.settings); // asked only where there is a kernel path
      if (command.type === "client") {
        const length = 4 * packRuleset(command.ruleset, packed);
        rules.put(MAIL.RULES, command.client, posted, new Uint8Array(packed.buffer), 0, length);
      }
      commands.wake();
      while (commands.isBusy || router.isBusy) {
        work(router, commands);
        yield;
      }
    }
  }
  router.close();
  port1.close();
  port2.close();
}

/** The same at once. */
export function rehearse(): void {
  for (const _ of rehearsing());
}

/** Each kind, and at the end the settings that there were. */
function commandsOn(settings: Settings): Command[] {
  const { interfaces, uplink, clients, nat } = settings;
  const [client] = clients;
  const ruleset = compileRuleset([], true);
  const { mac: _, ...common } = client;
  const other = { ...interfaces[CLIENT], name: "other", index: 9 };
  const network = client.network + 0x100;
  const all = [client, { ...common, name: "network", iface: 2, network, prefix: 24, gateway: network + 1 }];
  const forward = {
    protocol: PROTOCOL.TCP,
    portLow: 80,
    portHigh: 81,
    client: 0,
    to: client.network,
    toPort: 80,
    from: [],
  };
  const changes: Settings[] = [
    { ...settings, interfaces: [...interfaces, other], clients: all },
    { ...settings, interfaces: [...interfaces, other], clients: all, forwards: [forward] },
    {
      ...settings,
      interfaces: [interfaces[0], other, interfaces[1]],
      clients: all.map((one, i) => ({ ...one, iface: 2 - i })),
    },
    settings,
    { ...settings, interfaces: interfaces.map((iface) => ({ ...iface, isDown: true })) },
    { ...settings, clients: [{ ...client, ruleset: compileRuleset([], true) }] },
    { ...settings, nat: { ...nat, timeouts: { ...nat.timeouts, udp: 60 } } },
    { ...settings, uplink: { ...uplink, address: uplink.address + 1 } },
    settings,
  ];
  const applied = changes.map((changed): Command => ({ type: "apply", settings: changed, sockets: [], before: [] }));
  return [{ type: "client", client: 0, ruleset }, ...applied];
}
