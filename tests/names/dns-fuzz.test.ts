// 100 000 answers spoiled at random: none does any harm, and no address is taken that a second, plainer reader of DNS messages
// does not find where it must be.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { formatIp, type IpAddress } from "../../src/base/ip.ts";
import { Lookup } from "../../src/names/dns-lookup.ts";
import { CONFIRMATION, Resolver } from "../../src/names/resolver.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const ROUNDS = 100_000;
const NAME = "www.example";
const SERVER = 0x0a8b0101;
const AAAA_TYPE = 28;

/** Records behind the question for NAME, which is at offset 12, in hex. Each is [answers, authorities, additionals]. */
const A = (owner: string, address: string) => `${owner} 0001 0001 0000003c 0004 ${address}`;
/** @param end of the address */
const AAAA = (owner: string, end: string) => `${owner} 001c 0001 0000003c 0010 20010db8 00000000 00000000 ${end}`;
const OPT = "00 0029 04d0 00000000 0000";
const SOA = "c010 0006 0001 0000003c 001b 026e73 c010 c010 00000001 00000002 00000003 00000004 00000005";
const TXT = "c00c 0010 0001 0000003c 0006 0568656c6c6f";
const SEEDS: readonly (readonly [string[], string[], string[]])[] = [
  [[A("c00c", "c0000207")], [], []],
  [[A("c00c", "c0000207"), A("c00c", "c0000208"), A("03777777076578616d706c6500", "c0000209")], [], [OPT]],
  [["c00c 0005 0001 0000003c 0006 0363646e c010", A("c029", "c0000207"), A("c029", "c0000208")], [], [OPT]],
  [
    ["c00c 0005 0001 0000003c 0006 0363646e c010", "c029 0005 0001 0000003c 0004 0161 c029", A("c03b", "c0000207")],
    [],
    [],
  ],
  [[TXT, A("c00c", "c0000207"), TXT], [SOA], [A("c010", "c0000201"), OPT]],
  [[], [SOA], [OPT]],
];

const SEEDS6: typeof SEEDS = [
  [[AAAA("c00c", "c0000207")], [], []],
  [[AAAA("c00c", "c0000207"), A("c00c", "c0000209"), AAAA("c00c", "c0000208")], [], [OPT]],
  [["c00c 0005 0001 0000003c 0006 0363646e c010", AAAA("c029", "c0000207"), A("c029", "c0000208")], [], [OPT]],
  [[TXT, AAAA("c00c", "c0000207"), TXT], [SOA], [AAAA("c010", "c0000201"), OPT]],
  [[], [SOA], [OPT]],
];

function hex(text: string): Uint8Array {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

/** @returns a true answer to the question with one of its family's SEEDS' records */
function answerTo(question: Uint8Array, random: Random): Uint8Array {
  const sections = random.pick(question[endOf(question) - 3] === AAAA_TYPE ? SEEDS6 : SEEDS);
  const counts = sections.map((section) => section.length.toString(16).padStart(4, "0"));
  const header = hex(`${Buffer.from(question.subarray(0, 2)).toString("hex")} 8180 0001 ${counts.join("")}`);
  return Buffer.concat([header, question.subarray(12, endOf(question)), hex(sections.flat().join(""))]);
}

/** @returns where the question that a message of ours asks ends: behind it there may be EDNS0's eleven bytes */
function endOf(question: Uint8Array): number {
  return question.length - 11 * question[11];
}

const INTERESTING = [0, 1, 2, 4, 5, 0x0c, 0x10, 0x1d, 0x29, 0x3f, 0x40, 0x80, 0xc0, 0xff];

function spoil(message: Uint8Array, random: Random): Uint8Array {
  let bytes = Uint8Array.from(message);
  for (let left = 1 + random.below(3); left > 0 && bytes.length > 0; left--) {
    const at = random.below(bytes.length);
    switch (random.below(7)) {
      case 0:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.pick(INTERESTING);
        break;
      case 2:
        bytes[at] = random.below(256);
        break;
      case 3:
        bytes.set([0xc0, random.below(bytes.length)].slice(0, bytes.length - at), at);
        break;
      case 4:
        bytes = bytes.slice(0, at);
        break;
      case 5:
        bytes = Uint8Array.from([...bytes.slice(0, at), random.below(256), ...bytes.slice(at)]);
        break;
      default:
        bytes[random.below(Math.min(12, bytes.length))] = random.pick(INTERESTING);
    }
  }
  return bytes;
}

/** Reads one message from front to back, and throws a RangeError behind its end. */
class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(): number {
    this.at += 2;
    return this.view.getUint16(this.at - 2);
  }

  u32(): number {
    return this.u16() * 65536 + this.u16();
  }

  /** Labels joined by a character that can't be typed into a rule, in lower case. */
  name(jumps = 0): string {
    const length = this.view.getUint8(this.at++);
    if (length === 0) return "";
    if (length >= 0xc0) {
      if (jumps > 127) throw new RangeError("circles");
      const end = this.at + 1;
      this.at = (length - 0xc0) * 256 + this.view.getUint8(this.at);
      const name = this.name(jumps + 1);
      this.at = end;
      return name;
    }
    let label = "";
    for (let i = 0; i < length; i++) label += String.fromCharCode(this.view.getUint8(this.at++));
    return `${label.replace(/[A-Z]/g, (letter) => letter.toLowerCase())}\n${this.name(jumps)}`;
  }
}

/** @returns all addresses, in hex, that an answer may give the name that it is about; none where anything is wrong with it */
function permitted(message: Uint8Array): Set<string> {
  try {
    const reader = new Reader(message);
    reader.u16();
    const flags = reader.u16();
    const [questions, answers] = [reader.u16(), reader.u16()];
    reader.u32();
    if ((flags & 0xf80f) !== 0x8000 || questions !== 1) return new Set();
    const asked = reader.name();
    const wanted = reader.u16();
    if ((wanted !== 1 && wanted !== AAAA_TYPE) || reader.u16() !== 1) return new Set();
    const names = new Map([[asked, new Set<string>()]]);
    const aliases: [string, string][] = [];
    for (let i = 0; i < answers; i++) {
      const owner = reader.name();
      const [type, place, , length] = [reader.u16(), reader.u16(), reader.u32(), reader.u16()];
      const end = reader.at + length;
      if (type === wanted && place === 1 && length === (wanted === 1 ? 4 : 16)) {
        const address = Buffer.from(message.subarray(reader.at, end)).toString("hex");
        names.set(owner, (names.get(owner) ?? new Set()).add(address));
      } else if (type === 5 && place === 1) aliases.push([owner, reader.name()]);
      reader.at = end;
    }
    const chain = new Set([asked]);
    for (let i = 0; i < aliases.length; i++) {
      for (const [owner, target] of aliases) if (chain.has(owner)) chain.add(target);
    }
    return new Set([...chain].flatMap((name) => [...(names.get(name) ?? [])]));
  } catch (error) {
    if (error instanceof RangeError) return new Set();
    throw error;
  }
}

/** @returns whether number and question are the question's own; of one without capitals, in whatever letters */
function repeats(question: Uint8Array, message: Uint8Array): boolean {
  const part = (bytes: Uint8Array, from: number, to: number) =>
    Buffer.from(bytes.subarray(from, to)).toString("latin1");
  const asked = part(question, 12, endOf(question));
  const repeated = part(message, 12, endOf(question));
  if (part(question, 0, 2) !== part(message, 0, 2)) return false;
  return (
    asked === repeated ||
    (!/[A-Z]/.test(asked) && asked === repeated.replace(/[A-Z]/g, (letter) => letter.toLowerCase()))
  );
}

function hexOf(address: IpAddress): string {
  return typeof address === "number" ? address.toString(16).padStart(8, "0") : Buffer.from(address).toString("hex");
}

test.each([4, 6] as const)(
  `${ROUNDS} spoiled answers to us, about IPv%d`,
  async (family) => {
    const random = new Random(20_401);
    let permittedNow = new Set<string>();
    const way = {
      askByTcp: () => Promise.reject(new Error("no")),
      ask: async (_: unknown, question: Uint8Array) => {
        const message = spoil(answerTo(question, random), random);
        if (repeats(question, message)) for (const address of permitted(message)) permittedNow.add(address);
        return message;
      },
    };
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      permittedNow = new Set();
      const lookup = new Lookup(way, new SimulatedClock()); // one that knows nothing of its server
      lookup.setServers([SERVER]);
      const outcome = await lookup.resolve(NAME, family);
      if (outcome.type !== "addresses") continue;
      accepted++;
      const wrong = outcome.addresses.filter((address) => !permittedNow.has(hexOf(address)));
      if (wrong.length > 0) throw new Error(`round ${round}: ${wrong.map(formatIp)} must not be taken`);
    }
    expect(accepted).toBeGreaterThan(ROUNDS / 20);
    expect(accepted).toBeLessThan(ROUNDS / 2);
  },
  60_000,
);

test(`${ROUNDS} spoiled answers to a client teach us nothing, and cause a bounded number of questions`, async () => {
  const random = new Random(20_402);
  const clock = new SimulatedClock();
  let asked = 0;
  const ask = async (_: unknown, question: Uint8Array) => {
    asked++;
    const header = hex(`${Buffer.from(question.subarray(0, 2)).toString("hex")} 8180 0001 0001 0000 0000`);
    return Buffer.concat([header, question.subarray(12, endOf(question)), hex(A("c00c", "c6336407"))]);
  };
  const resolver = new Resolver({ ask, askByTcp: ask }, clock, { changed() {}, say() {} });
  resolver.setServers([SERVER]);
  resolver.setNames(new Map([[NAME, new Set(["work"])]]));
  await clock.advance(0);
  const question = hex("1234 0100 0001 0000 0000 0000 03777777076578616d706c6500 0001 0001");
  for (let round = 0; round < ROUNDS; round++) {
    await resolver.observe("work", spoil(answerTo(question, random), random));
    if (round % 1000 === 0) expect(resolver.addressesOf(NAME)).toEqual([0xc6336407]);
  }
  expect(asked).toBeGreaterThan(CONFIRMATION.burst / 2);
  expect(asked).toBeLessThanOrEqual(1 + CONFIRMATION.burst);
}, 60_000);
