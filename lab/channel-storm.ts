// Clients of the control channel that are mad: many at once, each sends records that mean something, nearly something, or nothing,
// reads or doesn't, and goes away in the middle of a record. What the firewall loses by it, whoever starts this has to look at.
import { connect, type Socket } from "node:net";
import { encodeItem, type Fields, ItemReader, type Value } from "../src/channel/cbor.ts";
import { readReply } from "../src/channel/messages.ts";
import { Random } from "./random.ts";

export interface Storm {
  /** How many connect at once. */
  readonly clients: number;
  /** Mutated records that the firewall is sent, and takes. */
  readonly records: number;
  readonly seed: number;
}

export interface Stormed {
  readonly records: number;
  /** Those beside of clients that went without looking. */
  readonly unseen: number;
  /** Clients that were greeted, and those that were refused, for there were too many. */
  readonly greeted: number;
  readonly refused: number;
  /** What came back, all of it well-formed: records, ends, and errors by their code. */
  readonly replies: ReadonlyMap<string, number>;
}

const HELLO = encodeItem({ id: 0, op: "hello", args: { version: 1 } });
/** A configuration that is none: however it is changed, it is never in force. */
const BROKEN = Buffer.from('[uplink]\ninterface = "eth1"\n[[client]]\nname = "work"\nrules = ["action=accept"]\n');

/** Each operation, as somebody asks who means it. None changes what is in force. */
const GOOD: readonly Fields[] = [
  { op: "status" },
  { op: "flows", args: { match: ["client=work", "proto=icmp"], sort: "-bytes", offset: 1, limit: 5, bytes: true } },
  { op: "flows", args: { match: ["dst=198.51.100.0/24", "dstports=1-99"], end: true, limit: 3 } },
  { op: "flows", args: { count: true } },
  { op: "rules" },
  { op: "log", args: { follow: true, last: 3 }, credit: 5 },
  { op: "drops", args: { match: ["verdict=refused", "interface=eth0"], limit: 9 } },
  { op: "why", args: { source: "work", destination: "198.51.100.80:443", match: ["proto=tcp"] } },
  { op: "suggest", args: { client: "work", since: 600 } },
  { op: "trace", args: { match: ["client=work"], count: 2, seconds: 1 } },
  { op: "capture", args: { match: ["verdict=malformed"], snap: 64, count: 3 }, credit: 1 },
  { op: "record", args: { match: ["client=work"], snap: 60 } },
  { op: "record", args: { off: true } },
  { op: "capture", args: { last: 60, count: 9 } },
  { op: "configure", args: { text: BROKEN, name: "x.toml", dry_run: true } },
  { op: "configuration" },
  { op: "confirm" },
  { op: "bugreport" },
  { op: "credit", credit: 9 },
  { op: "cancel" },
];

/** What stands where something else belongs. */
const STRANGE: readonly Value[] = [
  ...[null, true, 0, 1, -1, 65_536, 2 ** 32, 2 ** 53, -1e300, Number.NaN, Number.POSITIVE_INFINITY, 0.5],
  ...["", "work", "x".repeat(10_000), "\u001b[2J", "\u202e=\u0000", "client=", "=", "dst=::ffff:1.2.3.4/129", "policy"],
  ...[[], ["client=work", "client=work"], [null], ["\u0000"], Array.from({ length: 500 }, () => "proto=tcp")],
  ...[{}, { match: [] }, { a: { b: { c: [[]] } } }, new Uint8Array(0), new Uint8Array(5000)],
];

/** Of ten clients one goes without looking whether anybody takes what it has sent, and one never reads. */
const HASTY = 0.1;
const DEAF = 0.1;
/** ms for the records to be taken of a client that can't be told: it is deaf, or what it sends last may never end. */
const PATIENCE = 50;
/** Records of a connection, at most: as many as may be open at once, and some that are refused. */
const MOST_RECORDS = 20;
/** The id of the last request of those that wait: whatever is said to it, all before it was taken. */
const LAST_ID = 4242;
/** ms that a client which was refused waits. */
const PAUSE = 2;

/** @param path of the socket @returns once all records are sent and all clients are gone */
export async function storm(path: string, { clients, records, seed }: Storm): Promise<Stormed> {
  const counts: Counts = { records: 0, unseen: 0, greeted: 0, refused: 0, replies: new Map() };
  const one = async (random: Random) => {
    while (counts.records < records) await visit(path, random, counts);
  };
  await Promise.all(Array.from({ length: clients }, (_, i) => one(new Random(seed * 1000 + i))));
  return counts;
}

interface Counts extends Stormed {
  records: number;
  unseen: number;
  greeted: number;
  refused: number;
  readonly replies: Map<string, number>;
}

async function visit(path: string, random: Random, counts: Counts): Promise<void> {
  const socket = connect(path);
  const [greeted, taken] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  let isRefused = true;
  const reader = new ItemReader((value) => {
    const reply = readReply(value);
    const kind = "error" in reply ? reply.error.code : "end" in reply ? "end" : "data";
    counts.replies.set(kind, (counts.replies.get(kind) ?? 0) + 1);
    if (reply.id === 0) isRefused = false;
    greeted.resolve();
    if (reply.id === LAST_ID || reply.id === null) taken.resolve();
  });
  socket.on("error", () => {});
  socket.on("data", (bytes: Buffer) => reader.push(bytes));
  socket.write(HELLO);
  await Promise.race([greeted.promise, closed]);
  if (isRefused) {
    counts.refused++;
    socket.destroy();
    await closed;
    await Bun.sleep(PAUSE);
    return;
  }
  counts.greeted++;
  const wanted = 1 + random.below(MOST_RECORDS);
  for (let i = 1; i < wanted; i++) socket.write(encodeItem(changed(random)));
  const isWhole = writeLast(socket, random);
  if (random.chance(HASTY)) {
    counts.unseen += wanted;
  } else {
    counts.records += wanted;
    const isDeaf = random.chance(DEAF);
    if (isDeaf) socket.pause();
    socket.write(encodeItem({ id: LAST_ID, op: "rules" }));
    await Promise.race([taken.promise, closed, ...(isDeaf || !isWhole ? [Bun.sleep(PATIENCE)] : [])]);
  }
  if (random.chance(0.5)) socket.write(encodeItem(changed(random)).subarray(0, 5 + random.below(20)));
  socket.destroy();
  await closed;
}

/** The last may be what ends the connection: bytes that are wrong, or a request that is none. @returns whether it is an item */
function writeLast(socket: Socket, random: Random): boolean {
  const request = changed(random);
  const way = random.below(3);
  const key = random.pick(["id", "op", "args", "credit", "x"]);
  const wrong = way === 0 ? { ...request, [key]: random.pick(STRANGE) } : request;
  socket.write(way === 1 ? damaged(encodeItem(wrong), random) : encodeItem(wrong));
  return way !== 1;
}

let nextId = LAST_ID + 1;

/** @returns a request that the firewall understands as one, with none to three arguments that are others than they should be */
function changed(random: Random): Fields {
  const { op = "", args = {}, ...more } = random.pick(GOOD);
  let changedOnes = args as Fields;
  for (let changes = random.below(4); changes > 0; changes--) changedOnes = changedArgs(changedOnes, random);
  return {
    id: nextId++,
    op: random.chance(0.02) ? String(random.pick(STRANGE)) : op,
    args: sparing(changedOnes),
    ...more,
  };
}

/**
 * A request to end flows ends those of TCP alone, whatever else it asks for: without a match it would end all, as it should, and the
 * answer to a ping that is on its way just then would be nobody's.
 */
function sparing(args: Fields): Fields {
  const { end, match = null } = args;
  if (end !== true || (match !== null && !Array.isArray(match))) return args;
  return { ...args, match: [...(match ?? []), "proto=tcp"] };
}

function changedArgs(args: Fields, random: Random): Fields {
  const keys = Object.keys(args);
  const way = random.below(5);
  if (way === 0)
    return { ...args, [random.pick(["match", "limit", "count", "x", "__proto__", ""])]: random.pick(STRANGE) };
  if (keys.length === 0) return args;
  const key = random.pick(keys);
  const value = args[key];
  if (way === 1) return Object.fromEntries(Object.entries(args).filter(([name]) => name !== key));
  if (way === 2 && typeof value === "string") return { ...args, [key]: damagedText(value, random) };
  if (way === 3 && Array.isArray(value)) {
    return { ...args, [key]: value.map((text) => damagedText(String(text), random)) };
  }
  return { ...args, [key]: random.pick(STRANGE) };
}

function damagedText(text: string, random: Random): string {
  return Buffer.from(damaged(Buffer.from(text), random)).toString("latin1");
}

/** Changes, drops, doubles and moves bytes. */
function damaged(bytes: Uint8Array, random: Random): Uint8Array {
  const all = Array.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(all.length);
    const way = random.below(4);
    if (way === 0) all[at] = random.below(256);
    else if (way === 1) all.splice(at, 1 + random.below(4));
    else if (way === 2) all.splice(at, 0, ...all.slice(at, at + random.below(9)));
    else all[at] = (all[at] ?? 0) ^ (1 << random.below(8));
  }
  return Uint8Array.from(all);
}
