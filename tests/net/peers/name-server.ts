// name-server.ts HOST: a DNS server that answers as the name's first label says: `rotate` with the next of the addresses
// 198.51.100.1 to .30 and a TTL of 1 s, all others with 198.51.100.99, but to another `question`, with another `number`, or
// in other `capitals`; `true` truly; and `forged` to who asks without EDNS, as clients do, with 198.51.100.98: like somebody who
// sends a client answers in this server's name.
import { createSocket } from "node:dgram";
import { decode, encode } from "dns-packet";

let turn = 0;
const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  const { id = 0, questions = [], additionals = [] } = decode(message);
  const [question] = questions;
  const [kind] = question.name.toLowerCase().split(".");
  const host = kind === "rotate" ? (turn++ % 30) + 1 : kind === "forged" && additionals.length === 0 ? 98 : 99;
  const data = `198.51.100.${host}`;
  const answer = encode({
    type: "response",
    id: kind === "number" ? id ^ 1 : id,
    questions: [{ ...question, name: kind === "question" ? "other.example" : written(question.name, kind) }],
    answers: question.type === "A" ? [{ type: "A", name: question.name, ttl: 1, data }] : [],
  });
  socket.send(answer, from.port, from.address);
});
socket.bind(53, process.argv[2], () => console.log("listening"));

function written(name: string, kind: string | undefined): string {
  return kind === "capitals" ? name.replace(/[a-z]/gi, swapCase) : name;
}

function swapCase(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
}
