// Settings that change, one thing at a time, and flows that are opened meanwhile: what becomes of these is what tests ask.
import { ip, payload, tcp, udp } from "../../lab/frames.ts";
import type { Random } from "../../lab/random.ts";
import {
  ACCEPT_ALL,
  ANYTHING,
  GATEWAY,
  LAN,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  type Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  UPLINK_SETTINGS,
  WORK,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../lab/router-lab.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, ForwardSettings, Settings } from "../../src/dataplane/settings.ts";

const HOSTS = [WORK_HOST, LAN_HOST, LAN_HOST_2];
const REMOTES = [REMOTE, REMOTE_2, GATEWAY, NEIGHBOUR];
/** Somebody new, whose network has a remote host in it, or a client's host, or is elsewhere. */
function stranger(random: Random): ClientSettings {
  const network = ip(random.pick([REMOTE, LAN_HOST, "172.16.0.7"]));
  const gateway = ip(random.pick(["172.16.0.1", REMOTE_2]));
  return {
    ...WORK_SETTINGS,
    name: "stranger",
    iface: random.pick([WORK, LAN]),
    network,
    prefix: random.pick([24, 32]),
    gateway,
  };
}

const FORWARD: Omit<ForwardSettings, "client"> = {
  protocol: 17,
  portLow: 7000,
  portHigh: 7010,
  to: ip(WORK_HOST),
  toPort: 7000,
  from: [],
};

/** What may be new: one thing at a time, beside the name servers, which no flow depends on. */
const CHANGES: readonly ((settings: Settings, random: Random) => Partial<Settings>)[] = [
  () => ({}),
  ({ clients }) => ({ clients: clients.toReversed() }),
  ({ clients }, random) => ({ clients: clients.toSpliced(random.below(3), 0, stranger(random)) }),
  ({ clients }) => ({ clients: clients.filter(({ name }) => name !== "stranger") }),
  ({ clients }, random) => ({ clients: clients.filter(() => random.chance(0.7)) }),
  () => ({ clients: [WORK_SETTINGS, LAN_SETTINGS] }),
  (settings) => withEach(settings, () => ({ reach: settings.clients.map((_, number) => number) })),
  (settings) => withEach(settings, () => ({ reach: [] })),
  (settings, random) => withEach(settings, () => ({ openFilter: random.chance(0.5) })),
  (settings, random) => withEach(settings, ({ gateway }) => ({ gateway: gateway + random.below(2) })),
  (settings, random) => withEach(settings, () => ({ ruleset: random.pick([ACCEPT_ALL, NO_WEB]) })),
  (_, random) => ({ redirects: random.pick([[], [{ from: ip(REMOTE), to: ip(REMOTE_2) }]]) }),
  (_, random) => ({
    uplink: {
      ...UPLINK_SETTINGS,
      ...random.pick([{}, { prefix: 25 }, { gateway: ip(NEIGHBOUR) }, { inside: [ip(REMOTE)] }]),
    },
  }),
  ({ clients }, random) => {
    const client = clients.findIndex(({ name }) => name === "work");
    return {
      forwards: client < 0 ? [] : random.pick([[], [{ ...FORWARD, client }], [{ ...FORWARD, client, toPort: 7001 }]]),
    };
  },
];

const NO_WEB = compileRuleset([{ ...ANYTHING, accept: false, portLow: 80, portHigh: 80 }], true);

function withEach(settings: Settings, change: (client: ClientSettings) => Partial<ClientSettings>): Partial<Settings> {
  return { clients: settings.clients.map((client) => ({ ...client, ...change(client) })) };
}

/** @returns settings in which one thing is new. Numbers of clients are set right, wherever the clients are now. */
export function changed(settings: Settings, random: Random): Settings {
  const next: Settings = { ...settings, ...random.pick(CHANGES)(settings, random) };
  const work = next.clients.findIndex(({ name }) => name === "work");
  return {
    ...next,
    clients: next.clients.map((client) => ({
      ...client,
      reach: client.reach.filter((number) => number < next.clients.length),
    })),
    forwards: work < 0 ? [] : next.forwards.map((forward) => ({ ...forward, client: work })),
    uplink: { ...next.uplink, dns: [random.below(1 << 30)] },
  };
}

/** Opens some flows, the same in each. */
export function talk(labs: readonly Lab[], random: Random): void {
  for (let i = 0; i < 12; i++) {
    const ends = {
      source: random.pick(HOSTS),
      sourcePort: random.pick([5000, 7000, 7005]) + i,
      destination: random.pick([...REMOTES, ...HOSTS]),
      destinationPort: random.pick([53, 80, 443]),
    };
    const packet = random.chance(0.5) ? udp(ends, payload(5)) : tcp({ ...ends, flags: "S" });
    const inbound = udp(
      { source: REMOTE, sourcePort: 999 + i, destination: OUTSIDE, destinationPort: 7000 + random.below(12) },
      payload(5),
    );
    for (const lab of labs) {
      lab.from(ends.source, packet);
      lab.from(REMOTE, inbound);
    }
  }
}
