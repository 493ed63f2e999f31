// ask.ts HOST PORT: sends a datagram and says what was answered, and from where; or "no answer" after some seconds.
import { createSocket } from "node:dgram";

/** ms: on a busy machine answers are late. */
const PATIENCE = 3000;

const [host = "", port] = [process.argv[2], Number(process.argv[3])];
const socket = createSocket("udp4");
socket.on("message", (message, from) => {
  console.log(`${from.address}:${from.port} says ${message}`);
  process.exit();
});
socket.send("who?", port, host);
setTimeout(() => {
  console.log("no answer");
  process.exit();
}, PATIENCE);
