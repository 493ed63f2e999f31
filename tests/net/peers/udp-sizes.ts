// udp-sizes.ts HOST PORT LOW HIGH: sends an echo server a datagram of random bytes of every size from LOW to HIGH, one
// after the other, and says what came back.
import { createSocket } from "node:dgram";

const [host = "", port, low, high] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const PATIENCE = 5000; // ms

const socket = createSocket("udp4");
const outcome = { intact: 0, changed: [] as number[], lost: [] as number[] };

for (let size = low; size <= high; size++) {
  const sent = crypto.getRandomValues(new Uint8Array(size));
  const answer = new Promise<Uint8Array | undefined>((resolve) => {
    socket.once("message", resolve);
    setTimeout(resolve, PATIENCE, undefined);
  });
  socket.send(sent, port, host);
  const received = await answer;
  socket.removeAllListeners("message");
  if (received === undefined) outcome.lost.push(size);
  else if (Buffer.compare(received, sent) !== 0) outcome.changed.push(size);
  else outcome.intact++;
}
console.log(JSON.stringify(outcome));
process.exit();
