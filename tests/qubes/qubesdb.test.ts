// QubesDB's codec and client, over a vchan in plain memory, against a double of dom0's daemon.
import { afterEach, expect, test } from "bun:test";
import { toHex } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { QubesDb } from "../../src/qubes/qubesdb.ts";
import {
  decodeQdb,
  encodeQdb,
  QDB,
  QDB_HEADER_LENGTH,
  type QdbMessage,
  QUBESDB_PORT,
  qdbValueLength,
} from "../../src/qubes/qubesdb-wire.ts";
import { type ByteStream, Framer, ProtocolError, type StreamHandler } from "../../src/xen/byte-stream.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { Switchboard } from "../support/vchans.ts";

function decode(bytes: Uint8Array): QdbMessage[] {
  const messages: QdbMessage[] = [];
  new Framer(QDB_HEADER_LENGTH, qdbValueLength, (header, data) => messages.push(decodeQdb(header, data))).push(bytes);
  return messages;
}

/** A domain with its QubesDB; the double is there until `absent`. */
class Domain {
  readonly events: string[] = [];
  readonly board = new Switchboard();
  readonly db: QubesDb;
  serving = true;

  constructor(readonly double: QubesDbDouble) {
    void this.serve();
    this.db = new QubesDb((handler) => this.board.connect(QUBESDB_PORT, handler), {
      synchronised: () => this.events.push("synchronised"),
      written: (path) => this.events.push(`written ${path}`),
      removed: (path) => this.events.push(`removed ${path}`),
      trouble: (problem) => this.events.push(problem),
    });
  }

  private async serve(): Promise<void> {
    const handler = this.double.handler();
    const closed = Promise.withResolvers<void>();
    const stream = await this.board.serve(QUBESDB_PORT, {
      received: handler.received,
      closed: (reason) => {
        handler.closed(reason);
        closed.resolve();
      },
    });
    this.double.attach(stream);
  }

  restart(half = false): void {
    this.double.detach(half);
    void this.serve();
  }

  async until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 5000;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`it did not happen; but: ${this.events.join(", ")}`);
      await Bun.sleep(1);
    }
  }
}

const domains: Domain[] = [];
/** @param entries beside those without which it would not be complete */
function start(entries: Readonly<Record<string, string>> = {}): Domain {
  const domain = new Domain(new QubesDbDouble({ "/connected-ips": "", ...entries }));
  domains.push(domain);
  return domain;
}
afterEach(() => {
  for (const { db } of domains.splice(0)) db.close();
});

test("a message is 72 bytes of header, zeros behind the path, and the value", () => {
  const lines = toHex(encodeQdb({ type: QDB.WRITE, path: "/qubes-ip", value: "10.1" })).split("\n");
  expect(lines).toEqual([
    "01 2f 71 75 62 65 73 2d 69 70 00 00 00 00 00 00",
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    "00 00 00 00 04 00 00 00 31 30 2e 31",
  ]);
});

test("what stands behind the path's end and in the padding is arbitrary", () => {
  const bytes = encodeQdb({ type: QDB.RESP_MULTIREAD, path: "/a", value: "b" });
  bytes.fill(0xee, 4, 68);
  expect(decode(bytes)).toEqual([{ type: QDB.RESP_MULTIREAD, path: "/a", value: "b" }]);
});

test("paths and values that can't be in the database are refused on the way out", () => {
  const write = (path: string, value = "") => encodeQdb({ type: QDB.WRITE, path, value });
  expect(write(`/${"x".repeat(62)}`).length).toBe(72);
  expect(write("/a", "x".repeat(3071)).length).toBe(72 + 3071);
  expect(() => write(`/${"x".repeat(63)}`)).toThrow("is longer than 63 characters");
  expect(() => write("-a")).toThrow('path "-a" has characters that QubesDB doesn\'t allow');
  expect(() => write("/a b")).toThrow("has characters");
  expect(() => write("/a", "x".repeat(3072))).toThrow("QubesDB: /a: 3072 bytes are too long a value");
  expect(() => write("/a", "x\0y")).toThrow("QubesDB: /a: the value has a NUL in it");
});

test("a length or a path that can't be is a protocol error on the way in", () => {
  const long = encodeQdb({ type: QDB.WRITE, path: "/a", value: "" });
  long.set([0, 12, 0, 0], 68); // 3072
  const endless = encodeQdb({ type: QDB.WRITE, path: "/a", value: "" }).fill(0x61, 1, 65);
  const strange = encodeQdb({ type: QDB.WRITE, path: "/a", value: "" });
  strange[2] = 0x20;
  const value = encodeQdb({ type: QDB.WRITE, path: "/a", value: "xy" });
  value[72] = 0;
  for (const bytes of [long, endless, strange, value]) expect(() => decode(bytes)).toThrow(ProtocolError);
});

test("random bytes are decoded or refused, in any pieces", () => {
  const random = new Random(1);
  const outcomes = { decoded: 0, refused: 0 };
  for (let round = 0; round < 20_000; round++) {
    const bytes = encodeQdb({ type: random.below(16), path: "/qubes-firewall/10.137.0.9/0001", value: "action=drop" });
    for (let i = random.below(4); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256);
    try {
      for (const { path, value } of decode(bytes)) {
        expect(path.length).toBeLessThan(64);
        expect(value.length).toBeLessThan(3072);
      }
      outcomes.decoded++;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      outcomes.refused++;
    }
  }
  expect(outcomes.decoded).toBeGreaterThan(1000);
  expect(outcomes.refused).toBeGreaterThan(1000);
});

test("at the start everything is read; later changes are told one by one and acknowledged", async () => {
  const { db, double, events, until } = start({ "/qubes-ip": "10.137.0.5", "/name": "sys-firewall" });
  await until(() => db.synchronised);
  expect([db.get("/qubes-ip"), db.get("/name"), db.get("/nothing")]).toEqual(["10.137.0.5", "sys-firewall", undefined]);
  double.writeRules("10.137.0.9", ["action=accept proto=icmp", "action=accept specialtarget=dns"]);
  await until(() => double.unanswered === 0);
  expect(db.below("/qubes-firewall/10.137.0.9/")).toEqual([
    ["0000", "action=accept proto=icmp"],
    ["0001", "action=accept specialtarget=dns"],
    ["policy", "drop"],
  ]);
  double.remove("/qubes-firewall/10.137.0.9/");
  double.remove("/name");
  await until(() => double.unanswered === 0);
  expect(db.below("/qubes-firewall/")).toEqual([["10.137.0.9", ""]]);
  expect(db.get("/name")).toBeUndefined();
  expect(events).toEqual([
    "synchronised",
    "written /qubes-firewall/10.137.0.9/policy",
    "written /qubes-firewall/10.137.0.9/0000",
    "written /qubes-firewall/10.137.0.9/0001",
    "written /qubes-firewall/10.137.0.9",
    "removed /qubes-firewall/10.137.0.9/",
    "removed /name",
  ]);
});

test("our keys reach dom0, also those written before it was there, and again when it has lost them", async () => {
  const domain = start();
  const { db, double, until } = domain;
  db.write("/qubes-iptables-error", "");
  db.write("/features-request/qubes-firewall", "1");
  await until(() => double.entries.size === 3);
  db.write("/qubes-firewall-handled/10.137.0.9", "1");
  await until(() => double.entries.get("/qubes-firewall-handled/10.137.0.9") === "1");
  double.entries.clear();
  double.entries.set("/connected-ips", "");
  domain.restart();
  await until(() => double.entries.size === 4);
  db.remove("/qubes-iptables-error");
  db.remove("/never-written");
  await until(() => double.entries.size === 3);
  expect(double.mistakes).toEqual([]);
});

test("where dom0 has IPv6 on, the list of clients of that family is waited for too", async () => {
  for (const key of ["/qubes-ip6", "/qubes-netvm-gateway6"]) {
    const { db, double, until } = start({ [key]: "fd09:24ef:4179::a89:5" });
    await until(() => db.filling);
    double.write("/connected-ips", "10.137.0.9");
    await until(() => double.unanswered === 0);
    expect([db.filling, db.synchronised]).toEqual([true, false]);
    double.write("/connected-ips6", "");
    await until(() => db.synchronised);
    expect([db.get(key), db.get("/connected-ips")]).toEqual(["fd09:24ef:4179::a89:5", "10.137.0.9"]);
  }
});

test("while dom0 is away, even after half a message, the last state stays; then all is in step again", async () => {
  const domain = start({ "/qubes-ip": "10.137.0.5", "/qubes-gateway": "10.138.0.1" });
  const { db, double, events, until } = domain;
  await until(() => db.synchronised);
  domain.restart(true);
  double.entries.set("/qubes-ip", "10.137.0.6");
  double.entries.delete("/qubes-gateway");
  const left = performance.now();
  await until(() => !db.synchronised);
  expect([db.get("/qubes-ip"), db.get("/half")]).toEqual(["10.137.0.5", undefined]);
  await until(() => db.synchronised);
  expect(performance.now() - left).toBeLessThan(2000);
  expect([db.get("/qubes-ip"), db.get("/qubes-gateway")]).toEqual(["10.137.0.6", undefined]);
  expect(events).toEqual(["synchronised", "QubesDB: the peer closed the channel; connecting again", "synchronised"]);
});

test("a large database comes whole", async () => {
  const entries = Object.fromEntries(
    Array.from({ length: 300 }, (_, i) => [`/qubes-firewall/10.137.0.${i}/0000`, `action=drop ${"x".repeat(2900)}`]),
  );
  const { db, until } = start(entries);
  await until(() => db.synchronised);
  expect(db.below("/").length).toBe(301);
});

test("a peer that is no QubesDB is left, even before its stream was given, and tried again", async () => {
  const events: string[] = [];
  const opened: StreamHandler[] = [];
  const closed: number[] = [];
  const db = new QubesDb(
    async (handler): Promise<ByteStream> => {
      const number = opened.push(handler);
      return { send: () => {}, close: () => closed.push(number) };
    },
    { synchronised: () => {}, written: () => {}, removed: () => {}, trouble: (problem) => events.push(problem) },
  );
  while (opened.length < 1) await Bun.sleep(1);
  opened[0]?.received(new Uint8Array(100).fill(0xff));
  opened[0]?.received(new Uint8Array(100).fill(0xff));
  while (opened.length < 2) await Bun.sleep(1);
  expect([opened.length, closed]).toEqual([2, [1]]);
  expect(events).toEqual(["QubesDB: a value of 4294967295 bytes; connecting again"]);
  db.close();
});
