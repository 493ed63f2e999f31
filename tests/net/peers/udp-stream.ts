// udp-stream.ts HOST PORT COUNT RATE: sends COUNT numbered datagrams, RATE a second.
import { createSocket } from "node:dgram";

const [host = "", port, count, rate] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const socket = createSocket("udp4");
const message = Buffer.alloc(64);
const start = performance.now();
for (let sent = 0; sent < count; ) {
  const due = Math.min(count, Math.ceil(((performance.now() - start) / 1000) * rate));
  for (; sent < due; sent++) {
    message.writeUInt32BE(sent);
    await new Promise((resolve) => socket.send(Buffer.from(message), port, host, resolve));
  }
  await Bun.sleep(1);
}
console.log(JSON.stringify({ sent: count }));
process.exit();
