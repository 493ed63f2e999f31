// ask.ts HOST PORT: sends a datagram and says what was answered, and from where; or "no answer" after half a second.
import { createSocket } from "node:dgram";

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
}, 500);
