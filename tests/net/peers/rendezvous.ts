// rendezvous.ts HOST PORT DELAY: tells two peers behind NAT, once both have sent it a datagram, where it sees the other:
// first the one that came first, the other one DELAY ms later. Says how many have come.
import { createSocket, type RemoteInfo } from "node:dgram";

const [host, port, delay] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const socket = createSocket("udp4");
const peers: RemoteInfo[] = [];

function introduce(one: RemoteInfo, other: RemoteInfo): void {
  socket.send(JSON.stringify({ address: other.address, port: other.port }), one.port, one.address);
}

socket.on("message", (_, from) => {
  peers.push(from);
  console.log(`${peers.length} here`);
  const [first, second] = peers;
  if (first === undefined || second === undefined) return;
  introduce(first, second);
  setTimeout(() => introduce(second, first), delay);
});
socket.bind(port, host, () => console.log("listening"));
