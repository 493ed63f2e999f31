// Two routers that must do the same with the same frames, in the same state, by different ways; and frames for them: talks by UDP
// and TCP with much that is wrong or unusual, and settings, neighbours and a clock that change meanwhile.
import { expect } from "bun:test";
import { checksum, mac, payload, type TcpFields, tcp, type UdpFields, udp } from "../../lab/frames.ts";
import { GSO, leaveChecksum, vnet } from "../../lab/offload.ts";
import { TCP, UDP } from "../../lab/protocols.ts";
import { Random } from "../../lab/random.ts";
import {
  ANYTHING,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  interfaceOf,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  type Lab,
  NEIGHBOUR,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  UPLINK,
  WORK_HOST,
  WORK_SETTINGS,
  withRules,
} from "../../lab/router-lab.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { sentPort } from "./nat.ts";

const CLIENTS = [WORK_HOST, LAN_HOST, LAN_HOST_2];
const REMOTES = [REMOTE, REMOTE_2, GATEWAY, NEIGHBOUR, OUTSIDE];
const TALKS = 24;

/**
 * The uplink has a rate. "work" has a pinned MAC address; "lan" may be reached by it and, at ports that it uses, by anyone; its packets must be
 * smaller.
 */
export const PINNED: Settings = {
  ...SETTINGS,
  uplink: { ...SETTINGS.uplink, rate: 100_000_000 },
  interfaces: SETTINGS.interfaces.map((iface, i) => ({ ...iface, mtu: i === 2 ? 600 : iface.mtu, clampMss: i === 1 })),
  clients: [
    { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]), reach: [1] },
    { ...LAN_SETTINGS, openFilter: true },
  ],
};

/** "work" has its packets changed by all that there is. */
export const SCRUBBED: Settings = {
  ...PINNED,
  clients: PINNED.clients.map((client) =>
    client.name === "work"
      ? { ...client, scrub: { dropOptions: true, randomId: true, minTtl: 64, clearDscp: true } }
      : client,
  ),
};

export interface Frame {
  readonly iface: number;
  readonly bytes: Uint8Array;
  readonly vnet?: Uint8Array;
}

/** Two ends that talk by UDP or TCP, and what the remote one knows the client as. */
interface Talk {
  readonly isTcp: boolean;
  readonly client: string;
  readonly clientPort: number;
  readonly remote: string;
  readonly remotePort: number;
  outsidePort: number;
  /** The next sequence numbers of both. */
  sequence: number;
  remoteSequence: number;
}

export class Twins {
  frames = 0;

  /**
   * @param tried the router whose path is on trial
   * @param slow one whose frames all take the slow path
   */
  constructor(
    readonly tried: Lab,
    readonly slow: Lab,
  ) {
    for (const lab of [tried, slow]) lab.verifiesChecksums = false;
  }

  /** Has both do something. @throws where they differ */
  do<T>(what: string, act: (lab: Lab) => T): T {
    const [tried, slow] = [this.tried, this.slow].map((lab) => {
      const result = act(lab);
      // Whose part of the line they are on is asked of frames to the uplink.
      const shares = lab.last.filter(({ iface }) => iface === UPLINK).map(({ share }) => share);
      return { result, rule: lab.rule, flow: lab.flow, shares };
    });
    if (!Bun.deepEquals(tried, slow)) {
      throw new Error(`${what}: tried ${JSON.stringify(tried)}, slow path ${JSON.stringify(slow)}`);
    }
    return tried.result;
  }

  /** @returns whether both forwarded it, to the same place */
  receive(frame: Frame): boolean {
    this.frames++;
    const what = `${frame.iface} ${frame.vnet} ${frame.bytes}`;
    return this.do(what, (lab) => lab.receive(frame.iface, frame.bytes, frame.vnet)).verdict === "forwarded";
  }

  compareTables(): void {
    expect(this.tried.counts()).toEqual(this.slow.counts());
    const [tried, slow] = [this.tried, this.slow].map(({ router }) => router.flows.words);
    if (Buffer.compare(bytesOf(tried), bytesOf(slow)) !== 0) expect(tried).toEqual(slow);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** A talk between random ends, opened as far as the firewall lets it. */
function open(twins: Twins, talks: readonly Talk[], random: Random): Talk {
  const remote = random.pick(random.chance(0.15) ? CLIENTS : REMOTES);
  const ports = [53, 80, 443, 5000];
  const talk: Talk = {
    isTcp: random.chance(0.5),
    client: random.pick(CLIENTS),
    // Where another client has it already, the firewall has to take another one.
    clientPort: random.chance(0.4) ? 40_000 : 1024 + random.below(60000),
    remote,
    // At our own address others' ports are to be found.
    remotePort: random.pick(
      remote === OUTSIDE && talks.length > 0 ? talks.map(({ outsidePort }) => outsidePort) : ports,
    ),
    outsidePort: 0,
    sequence: random.next(),
    remoteSequence: random.next(),
  };
  if (!twins.receive(clientFrame(talk, { flags: "S" }, 0))) return talk;
  const isDirect = CLIENTS.includes(talk.remote);
  talk.outsidePort = isDirect ? talk.clientPort : sentPort(twins.tried);
  talk.sequence += 1;
  twins.receive(remoteFrame(talk, { flags: "S." }, 0));
  talk.remoteSequence += 1;
  twins.receive(clientFrame(talk, { flags: "." }, 0));
  return talk;
}

function clientFrame(talk: Talk, fields: Partial<TcpFields>, length: number): Frame {
  const { client, clientPort, remote, remotePort, sequence, remoteSequence } = talk;
  const ends = { source: client, sourcePort: clientPort, destination: remote, destinationPort: remotePort };
  return packetFrom(talk, { sequence, acknowledgment: remoteSequence, ...ends, flags: ".", ...fields }, length);
}

function remoteFrame(talk: Talk, fields: Partial<TcpFields>, length: number): Frame {
  const { client, outsidePort, remote, remotePort, sequence, remoteSequence } = talk;
  const destination = CLIENTS.includes(remote) ? client : OUTSIDE;
  const ends = { source: remote, sourcePort: remotePort, destination, destinationPort: outsidePort };
  return packetFrom(
    talk,
    { sequence: remoteSequence, acknowledgment: sequence, ...ends, flags: ".", ...fields },
    length,
  );
}

function packetFrom(talk: Talk, fields: TcpFields & UdpFields, length: number): Frame {
  const sequence = (fields.sequence ?? 0) >>> 0;
  const acknowledgment = fields.flags === "S" ? 0 : (fields.acknowledgment ?? 0) >>> 0;
  const content = payload(length);
  const packet = talk.isTcp ? tcp({ ...fields, sequence, acknowledgment }, content) : udp(fields, content);
  return { iface: interfaceOf(fields.source), bytes: frameFrom(fields.source, packet) };
}

/** A packet that goes the talk on, or nearly. */
function nextFrame(talk: Talk, random: Random): Frame {
  const length = random.pick([0, 1, 100, 300, 560, 580, 1400, 1460, 1480]);
  const isLast = random.chance(0.02);
  const isOdd = !isLast && random.chance(0.2);
  const fields = isLast ? { flags: random.pick(["F.", "F.", "R."]) } : isOdd ? oddFields(talk, random) : {};
  const fromClient = random.chance(0.5);
  const frame = fromClient ? clientFrame(talk, fields, length) : remoteFrame(talk, fields, length);
  const advance = isOdd ? 0 : length + (isLast ? 1 : 0);
  if (fromClient) talk.sequence += advance;
  else talk.remoteSequence += advance;
  return frame;
}

function oddFields(talk: Talk, random: Random): Partial<TcpFields> {
  const off = random.pick([-70_000, -1, 1, 65_535, 70_000, 200_000]);
  return random.pick<Partial<TcpFields>>([
    { ttl: random.below(3) },
    { options: Uint8Array.of(1, 1, 1, 0) },
    { tos: random.below(256), identification: random.below(65536), fragment: 0 },
    { fragment: random.pick([0x2000, 0x6000, 0x0005, 0x8000]) },
    { flags: random.pick(["S", "F.", "R", "R.", "P.", "S.", "FS", "", "F", "PUE.", "W."]) },
    { sequence: talk.sequence + off },
    { acknowledgment: talk.sequence + off },
    { window: random.pick([0, 1, 1000]), tcpOptions: Uint8Array.of(1, 1, 1, 1) },
  ]);
}

/** The frame with something wrong or unusual about it. */
function changed({ iface, bytes }: Frame, random: Random): Frame {
  const copy = bytes.slice();
  switch (random.below(16)) {
    case 0: // bits of the headers, with checksums that are right for them or not
      for (let bits = 1 + random.below(3); bits > 0; bits--) copy[random.below(60)] ^= 1 << random.below(8);
      return { iface, bytes: random.chance(0.7) ? withHeaderChecksum(copy) : copy };
    case 1:
      return { iface, bytes: copy.subarray(0, random.below(copy.length)) };
    case 2: {
      const padded = new Uint8Array(copy.length + random.below(30));
      padded.set(copy);
      return { iface, bytes: padded };
    }
    case 3: {
      const other = random.below(3);
      if (random.chance(0.5)) copy.set(mac(OUR_MAC[other]), 0);
      return { iface: other, bytes: copy };
    }
    case 4:
    case 10:
    case 11:
    case 12: {
      const isCut = copy[23] === TCP && random.chance(0.6);
      const cut = {
        gsoType: random.pick([GSO.TCPV4, GSO.TCPV4 | 0x80]),
        gsoSize: random.pick([0, 7, 8, 10, 11, 12, 100, 540, 560, 561, 1400]),
      };
      const { frame, vnet } = leaveChecksum(copy, isCut ? cut : {});
      return { iface, bytes: frame, vnet };
    }
    case 5: {
      const fields = {
        flags: random.below(4),
        gsoType: random.pick([0, 0, 0, 1, 3, 4, 5, 0x81]),
        gsoSize: random.pick([0, 100, 1400]),
        checksumStart: random.pick([34, 34, 34, 33, 38, 0, random.below(65536)]),
        checksumOffset: random.pick([6, 16, 0, 18, random.below(65536)]),
      };
      return { iface, bytes: copy, vnet: vnet(fields) };
    }
    case 6: // from a group, or from or to somebody else
      if (random.chance(0.3)) copy[6] |= 1;
      else copy[random.below(12)] ^= 1 << random.below(8);
      return { iface, bytes: copy };
    case 7: // lengths
      copy.set([0, random.below(80)], 16);
      return { iface, bytes: withHeaderChecksum(copy) };
    case 13:
    case 14:
    case 15: // a bit of what says what it is: EtherType, version, fragment, TTL, protocol, and TCP's header length and flags
      copy[random.pick([12, 13, 14, 20, 21, 22, 23, 46, 46, 47])] ^= 1 << random.below(8);
      return { iface, bytes: withHeaderChecksum(copy) };
    case 8:
      copy.set([0, random.below(20)], 38);
      return { iface, bytes: copy };
    default: // no UDP checksum; for TCP a wrong one
      copy.set([0, 0], copy[23] === UDP ? 40 : 50);
      return { iface, bytes: copy };
  }
}

function withHeaderChecksum(bytes: Uint8Array): Uint8Array {
  bytes.set([0, 0], 24);
  const sum = checksum(bytes.subarray(14, 14 + Math.min((bytes[14] & 15) * 4, bytes.length - 14)));
  bytes.set([sum >>> 8, sum & 255], 24);
  return bytes;
}

/** What is not a frame. */
function somethingElse(twins: Twins, settings: Settings, random: Random): void {
  const step = random.below(5);
  if (step === 0) {
    const host = random.pick([LAN_HOST, LAN_HOST_2]);
    twins.do(
      `${host} answers, or not any more`,
      ({ answering }) => answering.delete(host) || answering.add(host).has(host),
    );
    twins.do("the next probes", (lab) => lab.wait(70_000));
  } else if (step < 3) {
    const ms = random.pick([1, 300, 4000, 31_000]);
    twins.do(`${ms} ms`, (lab) => lab.leap(ms));
  } else if (step === 3) {
    const port = random.pick([53, 80, 443]);
    const { ruleset } = withRules([{ ...ANYTHING, accept: false, protocol: TCP, portLow: port, portHigh: port }], true)
      .clients[0];
    twins.do(`rules without ${port}`, (lab) =>
      lab.command((router) => router.setClient(0, { ...settings.clients[0], ruleset })),
    );
  } else {
    const uplink = { ...settings.uplink, dns: random.chance(0.5) ? [] : settings.uplink.dns };
    const interfaces = settings.interfaces.map((iface) => ({
      ...iface,
      mtu: random.pick([600, 1500]),
      isDown: random.chance(0.1),
    }));
    twins.do("other settings", (lab) => lab.apply({ ...settings, uplink, interfaces }));
  }
}

/**
 * Has both routers forward what random talks say.
 * @param steps frames, less those that open a talk
 * @param settings that both have, PINNED but for the interfaces' indexes
 * @returns how many frames were forwarded
 */
export function converse(twins: Twins, steps: number, settings = PINNED): number {
  const random = new Random(2026);
  let talks: Talk[] = [];
  let forwarded = 0;
  for (let step = 0; step < steps; step++) {
    if (talks.length < TALKS || random.chance(0.02)) talks = [open(twins, talks, random), ...talks.slice(0, TALKS - 1)];
    const frame = nextFrame(random.pick(talks), random);
    if (twins.receive(random.chance(0.75) ? frame : changed(frame, random))) forwarded++;
    if (random.chance(0.005)) somethingElse(twins, settings, random);
    if (step % 10 === 0) twins.compareTables();
  }
  twins.compareTables();
  return forwarded;
}
