// name-server.ts HOST: a DNS server whose ways the name's first label says. It answers with 198.51.100.99 and a TTL of 1 s, over TCP too,
// where it sends the answer in pieces. `true` is answered truly, and these are odd:
// `rotate`: each answer has the next of the addresses 198.51.100.1 to .30;
// `question`, `number`: it answers another question, or with another number;
// `forged`: who asks without EDNS, as clients do, gets 198.51.100.98: like somebody who sends a client answers in this server's name;
// `capitals`, `small`: it repeats the question in other capitals, or in none;
// `silent`, `formerr`, `servfail`, `notimp`: that is what it says to EDNS;
// `truncated`: over UDP its answers are empty and truncated, and over TCP they have 300 addresses, 198.51.100.99 among them;
// `deaf`: so they are with one address, and it does not answer over TCP;
// `bytes`: it appends bytes; `slow`: it takes 2.5 s; `lost`: each second question gets lost;
// `odd`: its alias leads over names that are no host names.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { type Answer, decode, encode, TRUNCATED_RESPONSE } from "dns-packet";

const [, , host = ""] = process.argv;
const RCODES: Readonly<Record<string, number>> = { formerr: 1, servfail: 2, notimp: 4 };
/** What is appended, and how long it takes, in ms. */
const TAIL = Buffer.from([0xde, 0xad, 0xbe, 0xef]);
const SLOW = 2500;
/** Bytes of a piece. */
const PIECE = 700;

let turn = 0;

/** @returns undefined for silence */
function answerTo(message: Buffer, byTcp: boolean): { readonly answer: Buffer; readonly delay: number } | undefined {
  const { id = 0, questions = [], additionals = [] } = decode(message);
  const [question] = questions;
  const [kind = ""] = question.name.toLowerCase().split(".");
  const hasEdns = additionals.length > 0;
  if ((kind === "silent" && hasEdns) || (kind === "lost" && turn++ % 2 === 0)) return undefined;
  const rcode = hasEdns ? (RCODES[kind] ?? 0) : 0;
  const isCut = !byTcp && (kind === "truncated" || kind === "deaf");
  const name = kind === "question" ? "other.example" : repeated(question.name, kind);
  const answers = question.type !== "A" || rcode !== 0 ? [] : recordsOf(question.name, kind, hasEdns);
  const answer = encode({
    type: "response",
    id: kind === "number" ? id ^ 1 : id,
    flags: rcode | (isCut ? TRUNCATED_RESPONSE : 0),
    questions: [{ ...question, name }],
    answers: isCut && kind === "truncated" ? [] : answers,
  });
  const bytes = kind === "bytes" ? Buffer.concat([answer, TAIL]) : answer;
  return { answer: bytes, delay: kind === "slow" ? SLOW : 0 };
}

function recordsOf(name: string, kind: string, hasEdns: boolean): Answer[] {
  const a = (owner: string, data: string): Answer => ({ type: "A", name: owner, ttl: 1, data });
  if (kind === "rotate") return [a(name, `198.51.100.${(turn++ % 30) + 1}`)];
  if (kind === "forged" && !hasEdns) return [a(name, "198.51.100.98")];
  if (kind === "truncated") {
    const others = Array.from({ length: 299 }, (_, i) => a(name, `203.0.${113 + (i >> 8)}.${i & 255}`));
    return [a(name, "198.51.100.99"), ...others];
  }
  if (kind !== "odd") return [a(name, "198.51.100.99")];
  const chain = [name, "two words.example", "*.star/slash.example", "end.example"];
  const aliases = chain.slice(1).map((data, i): Answer => ({ type: "CNAME", name: chain[i], ttl: 1, data }));
  return [...aliases, a("end.example", "198.51.100.99")];
}

function repeated(name: string, kind: string): string {
  if (kind === "small") return name.toLowerCase();
  return kind === "capitals" ? name.replace(/[a-z]/gi, swapCase) : name;
}

function swapCase(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}

const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  const said = answerTo(message, false);
  if (said !== undefined) setTimeout(() => socket.send(said.answer, from.port, from.address), said.delay);
});

const server = createServer((connection) => {
  connection.setNoDelay(true);
  connection.on("error", () => {});
  connection.on("data", async (bytes: Buffer) => {
    const question = bytes.subarray(2); // behind its length
    const said = answerTo(question, true);
    if (said === undefined || decode(question).questions?.[0].name.toLowerCase().startsWith("deaf.")) return;
    const length = Buffer.from([said.answer.length >> 8, said.answer.length & 255]);
    const whole = Buffer.concat([length, said.answer]);
    for (const [from, to] of [
      [0, 1],
      [1, 5],
      [5, PIECE],
    ]) {
      connection.write(whole.subarray(from, to));
      await Bun.sleep(5);
    }
    connection.end(whole.subarray(PIECE));
  });
});

server.listen(53, host, () => socket.bind(53, host, () => console.log("listening")));
