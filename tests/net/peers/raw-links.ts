// raw-links.ts INTERFACE…: for each line of standard input, a JSON list of frames, sends them out of these interfaces and says,
// as such a list, what came in until nothing more did. See tests/net/raw-peer.ts.
import { fromJson, RawLinks, toJson } from "../raw-links.ts";

const QUIET = 50; // ms

const links = new RawLinks(process.argv.slice(2));
console.log("ready");
for await (const line of console) {
  links.receive(); // what came before is not an answer
  for (const frame of fromJson(line)) links.send(frame);
  const answers = links.receive();
  for (let last = performance.now(); performance.now() - last < QUIET; ) {
    const more = links.receive();
    answers.push(...more);
    if (more.length > 0) last = performance.now();
    else links.wait(QUIET);
  }
  console.log(toJson(answers));
}
