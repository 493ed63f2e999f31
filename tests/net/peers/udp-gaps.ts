// udp-gaps.ts HOST PORT: receives datagrams to that address; at each SIGUSR1 says how long none came at most since the last one.
import { createSocket } from "node:dgram";

let last = Number.NaN;
let longest = 0;
const socket = createSocket("udp4");
socket.on("message", () => {
  const now = performance.now();
  if (now - last > longest) longest = now - last;
  last = now;
});
const [host, port] = [process.argv[2], Number(process.argv[3])];
socket.bind(port, host, () => console.log("listening"));
process.on("SIGUSR1", () => {
  console.log(`${longest.toFixed(1)} ms`);
  longest = 0;
});
