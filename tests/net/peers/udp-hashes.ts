// udp-hashes.ts HOST PORT [REMOTE REMOTE-PORT]: says length and SHA-256 of each datagram that comes to that address. With a
// remote it sends that one an empty datagram first, so that a NAT between them lets answers in.
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";

const [host, port, remote, remotePort] = process.argv.slice(2);
const socket = createSocket("udp4");
socket.on("message", (message) => {
  console.log(JSON.stringify({ length: message.length, hash: createHash("sha256").update(message).digest("hex") }));
});
socket.bind(Number(port), host, () => {
  if (remote === undefined) console.log("listening");
  else socket.send("", Number(remotePort), remote, () => console.log("listening"));
});
