// Talks of random hosts for two routers that must do the same (twins.ts), of either family: opened as far as the firewall lets
// them, gone on with, and nearly so. What frames of a family look like, and what may be odd about them, the family says.
import { mac } from "../../lab/frames.ts";
import type { Random } from "../../lab/random.ts";
import { OUR_MAC } from "../../lab/router-lab.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import type { Frame, Twins } from "./twins.ts";

const TALKS = 24;

export type Kind = "tcp" | "udp" | "echo";

/** Two ends that talk, and what the remote one knows the client as. */
export interface Talk {
  readonly kind: Kind;
  readonly client: string;
  readonly clientPort: number;
  readonly remote: string;
  readonly remotePort: number;
  /** Where the remote's packets go to. */
  readonly outside: string;
  outsidePort: number;
  /** The next sequence numbers of both. */
  sequence: number;
  remoteSequence: number;
}

/** What a packet says, as far as it is of its kind: of echo the type, and the word of identifier and number. */
export interface Said {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: string;
  readonly type: number;
  readonly rest: number;
}

/** @typeParam F fields that packets of the family may have */
export interface Family<F extends Partial<Said>> {
  readonly kinds: readonly Kind[];
  readonly clients: readonly string[];
  readonly remotes: readonly string[];
  /** Our address on the uplink: at it others' ports are to be found. */
  readonly ours: string;
  /** Types of an echo request and of its reply. */
  readonly echo: readonly [request: number, reply: number];
  /** Bytes of payload, some of which make a packet too large. */
  readonly lengths: readonly number[];
  /** @returns the address that a remote sees a client by */
  outsideOf(client: string, remote: string): string;
  /** @returns the frame of a packet, from its source */
  frame(kind: Kind, fields: Said & Partial<F>, length: number): Frame;
  /** @returns the source port, or echo's identifier, of the frame that was sent last */
  sentPort(twins: Twins, kind: Kind): number;
  /** What may be odd about a packet that goes a talk on. */
  oddFields(talk: Talk, random: Random): Partial<F>;
  /** The frame with something wrong or unusual about it. */
  changed(frame: Frame, random: Random): Frame;
  /** What is not a frame. */
  somethingElse(twins: Twins, settings: Settings, random: Random): void;
}

/**
 * Has both routers forward what random talks say.
 * @param steps frames, less those that open a talk
 * @param settings that both have
 * @returns how many frames were forwarded
 */
export function talkOn<F extends Partial<Said>>(
  twins: Twins,
  steps: number,
  settings: Settings,
  family: Family<F>,
  random: Random,
): number {
  let talks: Talk[] = [];
  let forwarded = 0;
  for (let step = 0; step < steps; step++) {
    if (talks.length < TALKS || random.chance(0.02)) {
      talks = [open(twins, talks, family, random), ...talks.slice(0, TALKS - 1)];
    }
    const frame = nextFrame(random.pick(talks), family, random);
    if (twins.receive(random.chance(0.75) ? frame : family.changed(frame, random))) forwarded++;
    if (random.chance(0.005)) family.somethingElse(twins, settings, random);
    if (step % 10 === 0) twins.compareTables();
  }
  twins.compareTables();
  return forwarded;
}

/** A talk between random ends, opened as far as the firewall lets it. */
function open<F extends Partial<Said>>(twins: Twins, talks: readonly Talk[], family: Family<F>, random: Random): Talk {
  const client = random.pick(family.clients);
  const remote = random.pick(random.chance(0.15) ? family.clients : family.remotes);
  const known = talks.map(({ outsidePort }) => outsidePort);
  const talk: Talk = {
    kind: random.pick(family.kinds),
    client,
    // Where another client has it already, the firewall has to take another one.
    clientPort: random.chance(0.4) ? 40_000 : 1024 + random.below(60000),
    remote,
    remotePort: random.pick(remote === family.ours && known.length > 0 ? known : [53, 80, 443, 5000]),
    outside: family.outsideOf(client, remote),
    outsidePort: 0,
    sequence: random.next(),
    remoteSequence: random.next(),
  };
  if (!twins.receive(frameOf(family, talk, true, 0, { flags: "S" }))) return talk;
  talk.outsidePort = talk.outside === client ? talk.clientPort : family.sentPort(twins, talk.kind);
  talk.sequence += 1;
  twins.receive(frameOf(family, talk, false, 0, { flags: "S." }));
  talk.remoteSequence += 1;
  twins.receive(frameOf(family, talk, true, 0));
  return talk;
}

/** A packet that goes the talk on, or nearly. */
function nextFrame<F extends Partial<Said>>(talk: Talk, family: Family<F>, random: Random): Frame {
  const length = random.pick(family.lengths);
  const isLast = random.chance(0.02);
  const isOdd = !isLast && random.chance(0.2);
  const odd = isOdd ? family.oddFields(talk, random) : undefined;
  const usual = isLast ? { flags: random.pick(["F.", "F.", "R."]) } : {};
  const fromClient = random.chance(0.5);
  const frame = frameOf(family, talk, fromClient, length, usual, odd);
  const advance = isOdd ? 0 : length + (isLast ? 1 : 0);
  if (fromClient) talk.sequence += advance;
  else talk.remoteSequence += advance;
  return frame;
}

/** @param other, odd fields in place of those that talks have */
function frameOf<F extends Partial<Said>>(
  family: Family<F>,
  talk: Talk,
  fromClient: boolean,
  length: number,
  other: Partial<Said> = {},
  odd?: Partial<F>,
): Frame {
  const usual = fromClient ? clientSays(talk, family.echo) : remoteSays(talk, family.echo);
  const said = { flags: ".", ...usual, ...other, ...odd } as Said & Partial<F>; // what is odd is not undefined
  const acknowledgment = said.flags === "S" ? 0 : said.acknowledgment >>> 0;
  return family.frame(talk.kind, { ...said, sequence: said.sequence >>> 0, acknowledgment }, length);
}

function clientSays(talk: Talk, [type]: readonly [number, number]): Omit<Said, "flags"> {
  const { client, clientPort, remote, remotePort, sequence, remoteSequence } = talk;
  const ends = { source: client, sourcePort: clientPort, destination: remote, destinationPort: remotePort };
  return { ...ends, sequence, acknowledgment: remoteSequence, type, rest: clientPort * 65536 + 7 };
}

function remoteSays(talk: Talk, [, type]: readonly [number, number]): Omit<Said, "flags"> {
  const { outside, outsidePort, remote, remotePort, sequence, remoteSequence } = talk;
  const ends = { source: remote, sourcePort: remotePort, destination: outside, destinationPort: outsidePort };
  return { ...ends, sequence: remoteSequence, acknowledgment: sequence, type, rest: outsidePort * 65536 + 7 };
}

/** @returns bytes, longer than they were by some that nobody asked for */
export function padded(bytes: Uint8Array, random: Random): Uint8Array {
  const longer = new Uint8Array(bytes.length + random.below(30));
  longer.set(bytes);
  return longer;
}

/** @returns the frame on another interface, or on the same, to our MAC address there or not */
export function elsewhere(bytes: Uint8Array, random: Random): Frame {
  const iface = random.below(OUR_MAC.length);
  if (random.chance(0.5)) bytes.set(mac(OUR_MAC[iface]), 0);
  return { iface, bytes };
}

/** @returns bytes, from a group's MAC address, or from or to somebody else's */
export function ofAnother(bytes: Uint8Array, random: Random): Uint8Array {
  if (random.chance(0.3)) bytes[6] |= 1;
  else bytes[random.below(12)] ^= 1 << random.below(8);
  return bytes;
}
