// echo.ts HOST PORT: sends back what comes in to that address, by UDP and TCP.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const [host, port] = [process.argv[2], Number(process.argv[3])];
const udp = createSocket("udp4");
udp.on("message", (message, from) => udp.send(message, from.port, from.address));
udp.bind(port, host, () => {
  const tcp = createServer({ noDelay: true }, (socket) => socket.pipe(socket));
  tcp.listen(port, host, () => console.log("listening"));
});
