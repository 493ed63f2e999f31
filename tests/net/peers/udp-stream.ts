// udp-stream.ts HOST PORT COUNT RATE: sends COUNT numbered datagrams, RATE a second, or as many as until SIGTERM.
import { createSocket } from "node:dgram";

const [host = "", port, count, rate] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const socket = createSocket("udp4");
socket.on("error", () => {}); // that a router refuses them: the next one is sent all the same
const message = Buffer.alloc(64);
let stopped = false;
process.on("SIGTERM", () => {
  stopped = true;
});
const start = performance.now();
let sent = 0;
while (sent < count && !stopped) {
  const due = Math.min(count, Math.ceil(((performance.now() - start) / 1000) * rate));
  for (; sent < due; sent++) {
    message.writeUInt32BE(sent);
    await new Promise((resolve) => socket.send(Buffer.from(message), port, host, resolve));
  }
  await Bun.sleep(1);
}
console.log(JSON.stringify({ sent }));
process.exit();
