// who.ts NAME PORT…: answers HTTP on these TCP ports, and any datagram on these UDP ports, with NAME, the port, and the
// asker's address.
import { createSocket } from "node:dgram";

const [name, ...ports] = process.argv.slice(2);
for (const port of ports.map(Number)) {
  Bun.serve({
    port,
    hostname: "0.0.0.0",
    fetch: (request, server) => new Response(`${name}:${port} asked by ${server.requestIP(request)?.address}`),
  });
  const socket = createSocket("udp4");
  socket.on("message", (_, from) => socket.send(`${name}:${port} asked by ${from.address}`, from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(port, "0.0.0.0", resolve));
}
console.log("listening");
