// tcp-sizes.ts HOST PORT LOW HIGH: over one connection sends an echo server random bytes, of every size from LOW to HIGH,
// each time waiting for the echo, and says how many came back as they were sent.
import { connect } from "node:net";

const [host = "", port, low, high] = [process.argv[2], ...process.argv.slice(3).map(Number)];

const socket = connect({ host, port, noDelay: true });
let intact = 0;
const received = socket[Symbol.asyncIterator]();

async function read(size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let length = 0; length < size; ) {
    const { value, done } = await received.next();
    if (done) throw new Error(`the connection ended after ${length} of ${size} bytes`);
    chunks.push(value);
    length += value.length;
  }
  return Buffer.concat(chunks);
}

for (let size = low; size <= high; size++) {
  const sent = crypto.getRandomValues(new Uint8Array(size));
  socket.write(sent);
  if (Buffer.compare(await read(size), sent) === 0) intact++;
}
console.log(JSON.stringify({ intact }));
process.exit();
