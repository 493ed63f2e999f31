// What runs in the guest of the vchan tests: our end of two vchans with dom0, one that we serve and one that dom0 serves.
// Each message is sent back as it came, some of them after a pause: so each side sleeps until the other wakes it.

import { Random } from "../../../../lab/random.ts";
import { type ByteStream, Framer, type StreamHandler } from "../../../../src/xen/byte-stream.ts";
import { Xen } from "../../../../src/xen/xen.ts";
import { bodyLengthOf, ECHO_PORTS, frame, HEADER, pauseOf } from "./echo-wire.ts";

const DOM0 = 0;

const xen = Xen.open((error) => {
  throw error;
});

class Echo {
  private readonly random = new Random(7);
  private readonly replies: Uint8Array[] = [];
  private isSending = false;
  private stream: ByteStream | undefined;

  readonly handler: StreamHandler = {
    received: (bytes) => this.framer.push(bytes),
    closed: (reason) => console.log(`echo: ${this.name} ended: ${reason}`),
  };

  private readonly framer = new Framer(HEADER, bodyLengthOf, (_header, body) => {
    this.replies.push(frame(body));
    if (!this.isSending) void this.send();
  });

  constructor(private readonly name: string) {}

  attach(stream: ByteStream): void {
    this.stream = stream;
    console.log(`echo: ${this.name} is open`);
  }

  private async send(): Promise<void> {
    this.isSending = true;
    for (let reply = this.replies.shift(); reply !== undefined; reply = this.replies.shift()) {
      const pause = pauseOf(this.random);
      if (pause > 0) await Bun.sleep(pause);
      this.stream?.send(reply);
    }
    this.isSending = false;
  }
}

const server = new Echo("server");
server.attach(await xen.serve(DOM0, ECHO_PORTS.guest, server.handler));
const client = new Echo("client");
client.attach(await xen.connect(DOM0, ECHO_PORTS.dom0, client.handler));
