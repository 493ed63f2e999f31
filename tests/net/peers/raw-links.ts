// raw-links.ts INTERFACE…: for each line of standard input, a JSON list of frames, sends them out of these interfaces and says,
// as such a list, what came in until nothing more did. See tests/net/raw-peer.ts.
import { fromJson, RawLinks, toJson } from "../raw-links.ts";

/** How long is waited, in ms: for as many answers as frames, since a busy machine may be late with them, and then for another one. */
const LATE = 1000;
const QUIET = 100;

const links = new RawLinks(process.argv.slice(2));
console.log("ready");
for await (const line of console) {
  links.receive(); // what came before is not an answer
  const frames = fromJson(line);
  for (const frame of frames) links.send(frame);
  const answers = links.receive();
  const patience = () => (answers.length < Math.max(frames.length, 1) ? LATE : QUIET);
  for (let last = performance.now(); performance.now() - last < patience(); ) {
    const more = links.receive();
    answers.push(...more);
    if (more.length > 0) last = performance.now();
    else links.wait(QUIET);
  }
  console.log(toJson(answers));
}
