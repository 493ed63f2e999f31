// victim.ts SERVER PORT NAME-SERVER SECONDS: a client that goes about its business: each 100 ms it asks the name server for www.example,
// and opens a TCP connection to the server. Then says how many of each went wrong. As resolvers do, it asks again where no answer comes.
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { decode, encode } from "dns-packet";

const EVERY_MS = 100;
/** ms until a question is asked again, and how often it is asked in all. */
const ANSWER_MS = 2000;
const ATTEMPTS = 3;
const CONNECT_MS = 10_000;

const [server = "", port = "", nameServer = "", seconds = ""] = process.argv.slice(2);
let repeated = 0;

/** @returns whether the name server answered */
function ask(id: number): Promise<boolean> {
  const question = encode({ type: "query", id, flags: 256, questions: [{ type: "A", name: "www.example" }] });
  const socket = createSocket("udp4");
  return new Promise<boolean>((resolve) => {
    const send = (attempt: number) => {
      if (attempt === ATTEMPTS) return resolve(false);
      if (attempt > 0) repeated++;
      socket.send(question, 53, nameServer);
      timer = setTimeout(send, ANSWER_MS, attempt + 1);
    };
    let timer: ReturnType<typeof setTimeout>;
    socket.on("message", (message) => {
      clearTimeout(timer);
      const { answers = [] } = decode(message);
      resolve(answers.some((answer) => answer.type === "A" && answer.data === server));
    });
    socket.on("error", () => resolve(false));
    send(0);
  }).finally(() => socket.close());
}

/** @returns whether a connection came about */
function open(): Promise<boolean> {
  const socket = connect({ host: server, port: Number(port), timeout: CONNECT_MS });
  return new Promise<boolean>((resolve) => {
    socket.on("connect", () => resolve(true));
    socket.on("timeout", () => resolve(false));
    socket.on("error", () => resolve(false));
  }).finally(() => socket.destroy());
}

const questions: Promise<boolean>[] = [];
const connections: Promise<boolean>[] = [];
const started = performance.now();
for (let i = 0; performance.now() - started < Number(seconds) * 1000; i++) {
  questions.push(ask(i & 0xffff));
  connections.push(open());
  await Bun.sleep(Math.max(0, started + (i + 1) * EVERY_MS - performance.now()));
}
const failures = async (outcomes: readonly Promise<boolean>[]) =>
  (await Promise.all(outcomes)).filter((succeeded) => !succeeded).length;
const lost = await failures(questions);
const refused = await failures(connections);
console.log(JSON.stringify({ questions: questions.length, repeated, lost, connections: connections.length, refused }));
process.exit();
