// source.ts HOST PORT LENGTH: sends LENGTH random bytes over a TCP connection, and says their SHA-256.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";

const [host = "", port, length] = [process.argv[2], ...process.argv.slice(3).map(Number)];

const socket = connect({ host, port });
const hash = createHash("sha256");
for (let left = length; left > 0; ) {
  const chunk = crypto.getRandomValues(new Uint8Array(Math.min(left, 65536)));
  hash.update(chunk);
  if (!socket.write(chunk)) await once(socket, "drain");
  left -= chunk.length;
}
socket.end();
console.log(JSON.stringify({ length, hash: hash.digest("hex") }));
