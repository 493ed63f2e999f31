// What is in force on trial goes back by itself, unless it is confirmed, to what was in force before all trials; and what came from where.
import { expect, test } from "bun:test";
import { type Config, parseDocumentBytes } from "../../src/config/config.ts";
import { Provenance } from "../../src/control/provenance.ts";
import { EPOCH, SimulatedClock } from "../support/simulated-clock.ts";

function configOf(policy: string, comment = ""): Config {
  const text = `${comment}
[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
policy = "${policy}"
`;
  const result = parseDocumentBytes(Buffer.from(text), "firewall.toml");
  if (!("config" in result)) throw new Error("not a configuration");
  return result.config;
}

const FILE = configOf("drop");
const OTHER = configOf("accept");
/** Other bytes, which mean the same. */
const THIRD = configOf("accept", "# third");

/** A firewall whose changes take as long as the test likes. */
function made(fail: () => string | undefined = () => undefined) {
  const clock = new SimulatedClock();
  const said: string[] = [];
  const put: Config[] = [];
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = (change: () => Promise<void>) => {
    const done = turn.then(change);
    turn = done;
    return done;
  };
  const provenance = new Provenance(clock, FILE, (line) => said.push(line), {
    inTurn,
    async replace(config) {
      const problem = fail();
      if (problem !== undefined) throw new Error(problem);
      put.push(config);
    },
  });
  return { clock, said, put, provenance, inTurn };
}

test("what nobody confirms goes back when its time is up, to what was there before", async () => {
  const { clock, said, put, provenance } = made();
  await clock.advance(5000);
  provenance.follow(OTHER, "channel", 60);
  expect(provenance.configured).toMatchObject({
    by: "channel",
    time: EPOCH + 5,
    trial_until: EPOCH + 65,
    differs: true,
  });
  await clock.advance(59_999);
  expect([put, said]).toEqual([[], []]);
  await clock.advance(1);
  expect([put, said]).toEqual([[FILE], ["configuration not confirmed in time: the one before is in force again"]]);
  expect(provenance.configured).toMatchObject({ by: "file", time: EPOCH + 65, differs: false });
  expect(provenance.configured.trial_until).toBeUndefined();
  expect(provenance.confirm()).toBe(false);
  expect(clock.pending).toBe(0);
});

test("what is confirmed stays", async () => {
  const { clock, put, provenance } = made();
  provenance.follow(OTHER, "channel", 60);
  await clock.advance(59_000);
  expect(provenance.confirm()).toBe(true);
  expect(provenance.confirm()).toBe(false);
  await clock.advance(600_000);
  expect(put).toEqual([]);
  expect(provenance.configured).toMatchObject({ by: "channel", differs: true });
});

test("one trial after the other goes back to what was confirmed last, and only after the last one's time", async () => {
  const { clock, put, provenance } = made();
  provenance.follow(OTHER, "channel", 60);
  await clock.advance(50_000);
  provenance.follow(THIRD, "channel", 60);
  await clock.advance(59_000);
  expect(put).toEqual([]);
  await clock.advance(1000);
  expect(put).toEqual([FILE]);
});

test("a reload, or another one for good, ends a trial", async () => {
  for (const by of ["file", "channel"] as const) {
    const { clock, put, provenance } = made();
    provenance.follow(OTHER, "channel", 60);
    provenance.follow(THIRD, by);
    await clock.advance(120_000);
    expect(put).toEqual([]);
    expect(provenance.configured).toMatchObject({ by, differs: by === "channel" });
    expect(clock.pending).toBe(0);
  }
});

test("one that is put in force while the time runs out is not taken back", async () => {
  const { clock, put, provenance, inTurn } = made();
  provenance.follow(OTHER, "channel", 60);
  const change = Promise.withResolvers<void>();
  const changed = inTurn(async () => {
    await change.promise;
    provenance.follow(THIRD, "channel");
  });
  await clock.advance(61_000);
  change.resolve();
  await changed;
  await clock.advance(1);
  expect(put).toEqual([]);
  expect(provenance.configured.sha256).toBe(
    new Bun.CryptoHasher("sha256").update(provenance.bytes ?? "").digest("hex"),
  );
  expect(provenance.bytes).toBe(THIRD.source?.bytes as Uint8Array);
});

test("once it goes back it is too late to confirm", async () => {
  const change = Promise.withResolvers<void>();
  const clock = new SimulatedClock();
  const provenance = new Provenance(clock, FILE, () => {}, {
    inTurn: (act) => act(),
    replace: () => change.promise,
  });
  provenance.follow(OTHER, "channel", 1);
  await clock.advance(1000);
  expect(provenance.confirm()).toBe(false);
  change.resolve();
  await clock.advance(1);
  expect(provenance.configured.by).toBe("file");
});

test("where going back fails it is tried again, and said once", async () => {
  let failures = 3;
  const { clock, put, said, provenance } = made(() => (failures-- > 0 ? "no such interface" : undefined));
  provenance.follow(OTHER, "channel", 60);
  await clock.advance(62_000);
  expect(put).toEqual([]);
  expect(provenance.configured).toMatchObject({ by: "channel" });
  await clock.advance(2000);
  expect(put).toEqual([FILE]);
  expect(said).toEqual([
    "configuration not confirmed, but the one before can't be put in force again: no such interface",
    "configuration not confirmed in time: the one before is in force again",
  ]);
});

test("the same bytes by the channel differ in nothing; written to the file they have come from there", () => {
  const { provenance } = made();
  provenance.follow(configOf("drop"), "channel");
  expect(provenance.configured).toMatchObject({ by: "channel", differs: false });
  provenance.follow(OTHER, "channel");
  expect(provenance.saved(FILE)).toBe(false);
  expect(provenance.configured).toMatchObject({ by: "channel", differs: true });
  expect(provenance.saved(configOf("accept"))).toBe(true);
  expect(provenance.configured).toMatchObject({ by: "file", differs: false });
  provenance.follow(THIRD, "channel", 60);
  expect(provenance.saved(THIRD)).toBe(false); // what may go back is not saved
  provenance.stop();
});
