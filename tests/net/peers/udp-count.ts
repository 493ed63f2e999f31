// udp-count.ts HOST PORT: counts numbered datagrams to that address until it gets SIGTERM, then says how many different
// ones came, how many came again, and which addresses they came from.
import { createSocket } from "node:dgram";

const numbers = new Set<number>();
const sources = new Set<string>();
let repeated = 0;
const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  const number = message.readUInt32BE();
  if (numbers.has(number)) repeated++;
  numbers.add(number);
  sources.add(`${from.address}:${from.port}`);
});
const [host, port] = [process.argv[2], Number(process.argv[3])];
socket.bind(port, host, () => console.log("listening"));
process.on("SIGTERM", async () => {
  await Bun.sleep(200); // what has come already is counted, too
  console.log(JSON.stringify({ received: numbers.size, repeated, sources: [...sources] }));
  process.exit();
});
