// attack.ts INTERFACE NAME OUR-MAC THEIR-MAC [RATE]: sends the frames of an attack (lab/attacks.ts), RATE or as many a second as that
// says, until SIGTERM; then says how many, and how many a second.
import { ATTACKS } from "../../../lab/attacks.ts";
import { Random } from "../../../lab/random.ts";
import { RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { RawLinks } from "../raw-links.ts";

/** Frames between two looks at the clock: what the ring has places for. */
const AT_ONCE = 64;

const [on = "", name = "", ours = "", theirs = "", wanted = ""] = process.argv.slice(2);
const attack = ATTACKS[name];
if (attack === undefined) throw new Error(`no attack is called ${name}`);
const rate = Number(wanted) || attack.rate;
const random = new Random(8);
const frames = Array.from({ length: attack.count }, (_, i) => {
  const { frame, vnet } = attack.frame(i, random, { ours, theirs });
  return { on, frame, header: vnet };
});
const links = new RawLinks([on]);
let stopped = false;
process.on("SIGTERM", () => {
  stopped = true;
});
console.log("attacking");
const started = performance.now();
let sent = 0;
while (!stopped) {
  const due = ((performance.now() - started) / 1000) * rate;
  for (let i = 0; i < AT_ONCE && sent < due; i++) links.send(frames[sent++ % frames.length]);
  links.flush();
  await Bun.sleep(sent < due ? 0 : 1);
}
const seconds = (performance.now() - started) / 1000;
const transmitted = links.counters[RING_COUNTERS.indexOf("transmitted")];
console.log(JSON.stringify({ sent: transmitted, rate: Math.round(transmitted / seconds) }));
process.exit();
