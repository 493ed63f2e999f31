// raw-links.ts INTERFACE…: for each line of standard input, a JSON list of frames, sends them out of these interfaces and says,
// as such a list, what came in until nothing more did. See tests/net/raw-peer.ts.
import { fromJson, RawLinks, toJson } from "../raw-links.ts";

/** How long is waited, in ms: for the first answer, which a busy machine may be late with, and then for another one. */
const FIRST = 1000;
const QUIET = 100;

const links = new RawLinks(process.argv.slice(2));
console.log("ready");
for await (const line of console) {
  links.receive(); // what came before is not an answer
  for (const frame of fromJson(line)) links.send(frame);
  const answers = links.receive();
  for (let last = performance.now(); performance.now() - last < (answers.length > 0 ? QUIET : FIRST); ) {
    const more = links.receive();
    answers.push(...more);
    if (more.length > 0) last = performance.now();
    else links.wait(QUIET);
  }
  console.log(toJson(answers));
}
