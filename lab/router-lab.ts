// A firewall on a bench: the router over plain memory, an uplink and two clients whose hosts the bench plays. Frames go in,
// the verdict and all frames that came out are compared whole. Everything that leaves has its checksums added up anew.

import { type ControlEvents, type KernelSide, Router } from "../src/dataplane/frame/router.ts";
import { MemoryRing, type SentFrame } from "../src/dataplane/memory-ring.ts";
import { ANY_ICMP_TYPE, type Match } from "../src/dataplane/rules/match.ts";
import { compileRuleset } from "../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, InterfaceSettings, Settings, UplinkSettings } from "../src/dataplane/settings.ts";
import { NO_FLOW } from "../src/dataplane/types.ts";
import { VERDICT_NAMES } from "../src/dataplane/verdict.ts";
import { DEFAULT_NAT, NO_SCRUB } from "./defaults.ts";
import { ARP_TYPE, arp, ethernet, IPV4_TYPE, ip, mac, toHex, wrongChecksums } from "./frames.ts";
import { IPV6_TYPE, wrongChecksums6 } from "./frames6.ts";
import { completeChecksum } from "./offload.ts";
import { Random } from "./random.ts";

/** Interfaces by number. */
export const UPLINK = 0;
export const WORK = 1;
export const LAN = 2;
const NAMES = ["uplink", "work", "lan"];

/** The firewall's own addresses: on the uplink, as "work" and as "lan" see it. */
export const OUTSIDE = "192.0.2.254";
export const WORK_GATEWAY = "10.137.0.1";
export const LAN_GATEWAY = "192.168.1.1";
/** Hosts around it, and one far away. */
export const GATEWAY = "192.0.2.1";
export const NEIGHBOUR = "192.0.2.77";
export const WORK_HOST = "10.137.0.10";
export const LAN_HOST = "192.168.1.20";
export const LAN_HOST_2 = "192.168.1.21";
export const REMOTE = "198.51.100.7";
export const REMOTE_2 = "203.0.113.99";

/** The firewall's MAC address on each interface. */
export const OUR_MAC = ["52:54:00:00:00:00", "52:54:00:00:00:01", "52:54:00:00:00:02"] as const;
/** MAC addresses of the hosts. */
export const HOST_MAC: Readonly<Record<string, string>> = {
  [GATEWAY]: "02:00:00:00:00:01",
  [NEIGHBOUR]: "02:00:00:00:00:77",
  [WORK_HOST]: "02:00:00:00:01:10",
  [LAN_HOST]: "02:00:00:00:02:20",
  [LAN_HOST_2]: "02:00:00:00:02:21",
};
export const BROADCAST = "ff:ff:ff:ff:ff:ff";
const NO_MAC = "00:00:00:00:00:00";
const OUR_ADDRESS = [OUTSIDE, WORK_GATEWAY, LAN_GATEWAY] as const;

/** A match of anything, to change where a test wants it. */
export const ANYTHING: Match = {
  rule: 1,
  accept: true,
  address: 0,
  prefix: 0,
  protocol: 0,
  portLow: 0,
  portHigh: 65535,
  icmpType: ANY_ICMP_TYPE,
};
export const ACCEPT_ALL = compileRuleset([], true);

export const INTERFACES: readonly InterfaceSettings[] = NAMES.map((name, i) => ({
  name,
  index: i + 1,
  mac: mac(OUR_MAC[i]),
  anyMac: false,
  mtu: 1500,
  clampMss: false,
}));

export const UPLINK_SETTINGS: UplinkSettings = {
  iface: UPLINK,
  address: ip(OUTSIDE),
  prefix: 24,
  gateway: ip(GATEWAY),
  dns: [ip(GATEWAY)],
};

/** What clients have but for their names and addresses: no limit that a test meets by chance. */
const CLIENT = {
  ruleset: ACCEPT_ALL,
  reach: [],
  openFilter: false,
  limits: { flows: 100_000, mappings: 100_000, flowsPerSecond: 100_000 },
  refuse: "icmp",
  log: false,
  scrub: NO_SCRUB,
  watchNames: false,
} as const;

export const WORK_SETTINGS: ClientSettings = {
  ...CLIENT,
  name: "work",
  iface: WORK,
  network: ip(WORK_HOST),
  prefix: 32,
  gateway: ip(WORK_GATEWAY),
};

export const LAN_SETTINGS: ClientSettings = {
  ...CLIENT,
  name: "lan",
  iface: LAN,
  network: ip("192.168.1.0"),
  prefix: 24,
  gateway: ip(LAN_GATEWAY),
};

export const SETTINGS: Settings = {
  interfaces: INTERFACES,
  uplink: UPLINK_SETTINGS,
  clients: [WORK_SETTINGS, LAN_SETTINGS],
  forwards: [],
  redirects: [],
  nat: { ...DEFAULT_NAT, maxFlows: 1024 },
};

/** What became of a frame. Frames that were sent are text, as `shown` makes it, so that a difference shows its place. */
export interface Outcome {
  readonly verdict: string;
  readonly sent: readonly string[];
}

export interface LabOptions {
  readonly settings?: Settings;
  /** Whose ARP requests the bench answers; all hosts' by default. */
  readonly answering?: readonly string[];
  /** The clock at the start, in ms. */
  readonly now?: number;
  readonly seed?: number;
  /** All frames take the slow path. */
  readonly slow?: boolean;
  /** What the router shares with the kernel. */
  readonly kernel?: KernelSide;
  /** Hears of DNS answers; without it, clients' answers are not held. */
  readonly control?: ControlEvents;
}

export class Lab {
  readonly ring = new MemoryRing();
  readonly router: Router;
  /** Hosts that answer ARP. */
  readonly answering: Set<string>;
  now: number;
  /** Of the frame last put in: the number of the rule that decided it, and its flow. */
  rule = -1;
  flow = NO_FLOW;
  /** The frames last sent, as they were. */
  last: readonly SentFrame[] = [];
  /** Switched off by tests that send wrong checksums on purpose. */
  verifiesChecksums = true;

  private readonly isSlow: boolean;

  constructor(options: LabOptions = {}) {
    this.isSlow = options.slow ?? false;
    this.answering = new Set(options.answering ?? Object.keys(HOST_MAC));
    this.now = options.now ?? 1_000_000;
    const random = new Random(options.seed ?? 1);
    const fillRandom = (words: Uint32Array) => {
      for (let i = 0; i < words.length; i++) words[i] = random.next();
    };
    this.router = new Router(this.ring, options.settings ?? SETTINGS, fillRandom, options.control, options.kernel);
    this.router.advance(this.now);
    this.last = this.answerArp(this.ring.takeSent());
  }

  /** Puts a frame on an interface. @returns what became of it, and all that was sent but ARP between us and the hosts */
  receive(iface: number, frame: Uint8Array, vnet?: Uint8Array): Outcome {
    const at = this.ring.put(frame, vnet);
    const { router } = this;
    const { length } = frame;
    const code = this.isSlow ? router.receiveSlowly(iface, at, length) : router.receive(iface, at, length);
    const verdict = VERDICT_NAMES[code];
    this.rule = this.router.lastRule;
    this.flow = this.router.lastFlow;
    return { verdict, sent: this.takeSent() };
  }

  /** The packet comes from that host on its interface, in a frame to us. */
  from(host: string, packet: Uint8Array): Outcome {
    return this.receive(interfaceOf(host), frameFrom(host, packet));
  }

  /** Lets time go by, in steps as the worker makes them. @returns what was sent meanwhile */
  wait(ms: number): string[] {
    const sent: string[] = [];
    for (const end = this.now + ms; this.now < end; ) sent.push(...this.leap(Math.min(100, end - this.now)));
    return sent;
  }

  /** Lets time go by at once, as for a worker that had nothing to do. @returns what was sent then */
  leap(ms: number): string[] {
    this.now += ms;
    this.router.advance(this.now);
    return this.takeSent();
  }

  /** Puts new settings in force. @returns what was sent at that */
  apply(settings: Settings): string[] {
    this.router.apply(settings);
    return this.takeSent();
  }

  /** Has the router do what control asks of it. @returns what was sent at that */
  command(ask: (router: Router) => void): string[] {
    ask(this.router);
    return this.takeSent();
  }

  /** @returns how many frames had each verdict, by name, zeros left out */
  counts(): Record<string, number> {
    const all = Array.from(this.router.counters, (count, verdict) => [VERDICT_NAMES[verdict], count] as const);
    return Object.fromEntries(all.filter(([, count]) => count > 0));
  }

  private takeSent(): string[] {
    this.last = this.answerArp(this.ring.takeSent());
    if (this.verifiesChecksums) for (const frame of this.last) verify(frame);
    return this.last.map(({ iface, bytes, vnet }) => shown(iface, bytes, vnet));
  }

  /** Plays the hosts: answers requests for them. @returns the frames that are left, and those that the answers freed */
  private answerArp(sent: readonly SentFrame[]): SentFrame[] {
    return sent.flatMap((frame) => {
      const host = askedHost(frame);
      if (host === undefined || !this.answering.has(host)) return [frame];
      const reply = arpReply(host, frame.bytes);
      this.router.receive(frame.iface, this.ring.put(reply), reply.length);
      return this.answerArp(this.ring.takeSent());
    });
  }
}

function askedHost({ bytes }: SentFrame): string | undefined {
  const isRequest = bytes[12] * 256 + bytes[13] === ARP_TYPE && bytes[21] === 1;
  return isRequest ? bytes.subarray(38, 42).join(".") : undefined;
}

/** @returns a host's answer to an ARP request */
export function arpReply(host: string, request: Uint8Array): Uint8Array {
  const senderMac = HOST_MAC[host];
  const targetMac = Array.from(request.subarray(22, 28), (byte) => byte.toString(16).padStart(2, "0")).join(":");
  const targetIp = request.subarray(28, 32).join(".");
  const packet = arp({ operation: "reply", senderMac, senderIp: host, targetMac, targetIp });
  return ethernet(senderMac, targetMac, ARP_TYPE, packet);
}

function verify(sent: SentFrame): void {
  const type = sent.bytes[12] * 256 + sent.bytes[13];
  if (type !== IPV4_TYPE && type !== IPV6_TYPE) return;
  const packet = completeChecksum({ frame: sent.bytes, vnet: sent.vnet }).subarray(14);
  const wrong = type === IPV6_TYPE ? wrongChecksums6(packet) : wrongChecksums(packet);
  if (wrong.length > 0) throw new Error(`sent with wrong checksums of ${wrong}:\n${shown(sent.iface, sent.bytes)}`);
}

/** @returns the interface that a host is on: remote ones are behind the uplink */
export function interfaceOf(host: string): number {
  if (host === WORK_HOST) return WORK;
  return host.startsWith("192.168.1.") ? LAN : UPLINK;
}

function macOf(host: string): string {
  return HOST_MAC[host] ?? HOST_MAC[GATEWAY];
}

/** @returns the packet in a frame from that host, or for a remote one from the gateway, to us */
export function frameFrom(host: string, packet: Uint8Array): Uint8Array {
  return ethernet(macOf(host), OUR_MAC[interfaceOf(host)], IPV4_TYPE, packet);
}

/** @returns the packet in a frame from us to that host, or for a remote one to the gateway */
export function frameTo(host: string, packet: Uint8Array): Uint8Array {
  return ethernet(OUR_MAC[interfaceOf(host)], macOf(host), IPV4_TYPE, packet);
}

/** @returns a sent frame as text: its interface, what is left to the NIC, and its bytes */
export function shown(iface: number, frame: Uint8Array, vnet: Uint8Array = new Uint8Array(10)): string {
  const offload = vnet.some((byte) => byte !== 0) ? ` offload ${toHex(vnet)}` : "";
  return `${NAMES[iface]}${offload}\n${toHex(frame)}`;
}

/** @returns text of the packet in a frame to that host */
export function shownTo(host: string, packet: Uint8Array): string {
  return shown(interfaceOf(host), frameTo(host, packet));
}

/** @returns how we tell everybody on an interface of our address and MAC address there, as text (RFC 5227 section 2.3) */
export function announcement(
  iface: number,
  ourMac: string = OUR_MAC[iface],
  senderIp: string = OUR_ADDRESS[iface],
): string {
  const packet = arp({ operation: "request", senderMac: ourMac, senderIp, targetMac: NO_MAC, targetIp: senderIp });
  return shown(iface, ethernet(ourMac, BROADCAST, ARP_TYPE, packet));
}

/** The outcome of a packet that went on to that host, changed to `packet`. */
export function forwarded(host: string, packet: Uint8Array): Outcome {
  return { verdict: "forwarded", sent: [shownTo(host, packet)] };
}

/** The outcome of a packet that we answered with `packet`. */
export function answered(host: string, packet: Uint8Array): Outcome {
  return { verdict: "answered", sent: [shownTo(host, packet)] };
}

/** The outcome of a packet that was dropped in silence. */
export function dropped(reason: string): Outcome {
  return { verdict: `dropped: ${reason}`, sent: [] };
}

/** The outcome of a packet that was dropped, of which its sender was told by `packet`. */
export function refused(reason: string, host: string, packet: Uint8Array): Outcome {
  return { verdict: `dropped: ${reason}`, sent: [shownTo(host, packet)] };
}

/** Settings like `SETTINGS` but for one client. */
export function withClient(client: ClientSettings): Settings {
  return { ...SETTINGS, clients: SETTINGS.clients.map((other) => (other.name === client.name ? client : other)) };
}

/** Settings like `SETTINGS` but for the rules of "work". */
export function withRules(matches: readonly Match[], accept = false): Settings {
  return withClient({ ...WORK_SETTINGS, ruleset: compileRuleset(matches, accept) });
}
