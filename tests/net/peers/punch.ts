// punch.ts HOST PORT COUNT: meets another such peer through a rendezvous server, as WebRTC's ICE does (RFC 8445): both send
// to each other until they hear each other, then exchange COUNT numbered datagrams. Says where the other is, how many came
// from it, and how often it had knocked before it was heard.
import { createSocket } from "node:dgram";

const KNOCK = "knock";
const KNOCK_INTERVAL = 20; // ms
const BURST = 5;

const [host = "", port, count] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const socket = createSocket("udp4");
const numbers = new Set<number>();
const sources = new Set<string>();
let peer = { address: "", port: 0 };
let knocks = 0;
let told = false;
let knocking: Timer | undefined;

function knock(): void {
  knocks++;
  socket.send(KNOCK, peer.port, peer.address);
}

async function sendNumbers(): Promise<void> {
  for (let number = 0; number < count; number++) {
    const message = Buffer.alloc(100);
    message.writeUInt32BE(number);
    await new Promise((resolve) => socket.send(message, peer.port, peer.address, resolve));
    if (number % BURST === BURST - 1) await Bun.sleep(BURST);
  }
}

socket.on("message", async (message, from) => {
  if (from.address === host) {
    peer = JSON.parse(message.toString());
    knock();
    knocking = setInterval(knock, KNOCK_INTERVAL);
    return;
  }
  sources.add(`${from.address}:${from.port}`);
  if (message.length > KNOCK.length) numbers.add(message.readUInt32BE());
  if (knocking !== undefined) {
    clearInterval(knocking);
    knocking = undefined;
    knock(); // the other one may not have heard us yet
    await sendNumbers();
  }
  if (numbers.size === count && !told) {
    told = true;
    console.log(JSON.stringify({ peer, sources: [...sources], received: numbers.size, knocks }));
  }
});
socket.bind(() => socket.send("here", port, host));
