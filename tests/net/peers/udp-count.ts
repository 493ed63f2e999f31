// udp-count.ts HOST PORT: counts numbered datagrams to that address until it gets SIGTERM, then says how many different
// ones came, how many came again, how many the kernel had no room for because this program got no turn, and which addresses
// they came from.
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";

const numbers = new Set<number>();
const sources = new Set<string>();
let repeated = 0;
const overrunBefore = receiveBufferErrors();
const socket = createSocket("udp4");

/** Datagrams to all sockets of this network namespace that found no room. */
function receiveBufferErrors(): number {
  const [names = [], values = []] = readFileSync("/proc/self/net/snmp", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("Udp:"))
    .map((line) => line.split(" "));
  return Number(values[names.indexOf("RcvbufErrors")]);
}

socket.on("message", (message, from) => {
  const number = message.readUInt32BE();
  if (numbers.has(number)) repeated++;
  numbers.add(number);
  sources.add(`${from.address}:${from.port}`);
});
const [host, port] = [process.argv[2], Number(process.argv[3])];
socket.bind(port, host, () => console.log("listening"));
process.on("SIGTERM", async () => {
  // What is still on its way is counted, too.
  for (let before = -1; before < numbers.size; ) {
    before = numbers.size;
    await Bun.sleep(200);
  }
  const overrun = receiveBufferErrors() - overrunBefore;
  console.log(JSON.stringify({ received: numbers.size, repeated, overrun, sources: [...sources] }));
  process.exit();
});
