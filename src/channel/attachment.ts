// The host's end of a virtual machine's port (port.ts has the other): each client of a Unix socket gets a number, and its bytes go to the
// firewall in the machine and back as they are. A client that does not take what is for it is cut off, so that it keeps nobody.
import type { Socket } from "node:net";
import { encodeFrame, encodeFrames, FrameReader, MOST_CLIENTS, RESET } from "./port-frames.ts";

/** Bytes that may wait for a client: as many as it has given credit for, as a rule. */
const MOST_WAITING = 4 * 1024 * 1024;
/** ms until a machine that does not answer is asked again: it may be booting. */
const AGAIN = 1000;
const TOKEN_LENGTH = 8;
const NOTHING = new Uint8Array(0);

/** A client, from its number's first byte to the last word about it from both ends. */
interface Client {
  readonly socket: Socket;
  hasEnded: boolean;
  wasEnded: boolean;
}

export class Attachment {
  /** Settles when the firewall in the machine answers. */
  readonly answered: Promise<void>;
  private readonly reader = new FrameReader((client, bytes) => this.hear(client, bytes));
  private readonly clients = new Map<number, Client>();
  private readonly token = crypto.getRandomValues(new Uint8Array(TOKEN_LENGTH));
  private readonly asking: ReturnType<typeof setInterval>;
  private isAnswered = false;
  private answer = () => {};

  /** @param write gives bytes to the port */
  constructor(private readonly write: (bytes: Uint8Array) => void) {
    this.answered = new Promise((resolve) => {
      this.answer = resolve;
    });
    const ask = () => this.write(encodeFrame(RESET, this.token));
    this.asking = setInterval(ask, AGAIN);
    ask();
  }

  /** Bytes came from the port. */
  receive(bytes: Uint8Array): void {
    this.reader.push(bytes);
  }

  /** Takes a client. One for whom there is no number is cut off. */
  take(socket: Socket): void {
    const number = this.freeNumber();
    socket.on("error", () => {}); // its end is told by "close"
    if (number === undefined) {
      socket.destroy();
      return;
    }
    const client = { socket, hasEnded: false, wasEnded: false };
    this.clients.set(number, client);
    socket.on("data", (bytes: Buffer) => {
      if (!client.wasEnded) for (const frame of encodeFrames(number, bytes)) this.write(frame);
    });
    socket.on("close", () => this.end(number, client));
  }

  /** The port is gone. */
  close(): void {
    clearInterval(this.asking);
    for (const { socket } of this.clients.values()) socket.destroy();
  }

  private freeNumber(): number | undefined {
    for (let number = RESET + 1; number < MOST_CLIENTS; number++) if (!this.clients.has(number)) return number;
    return undefined;
  }

  private hear(number: number, bytes: Uint8Array): void {
    if (number === RESET) {
      if (this.isAnswered || Buffer.compare(bytes, this.token) !== 0) return;
      this.isAnswered = true;
      clearInterval(this.asking);
      this.answer();
      return;
    }
    const client = this.clients.get(number);
    if (!this.isAnswered || client === undefined) return;
    if (bytes.length === 0) {
      client.wasEnded = true;
      client.socket.end();
      this.end(number, client);
    } else if (!client.hasEnded) {
      client.socket.write(bytes);
      if (client.socket.writableLength > MOST_WAITING) client.socket.destroy();
    }
  }

  /** Says, once, that a client is gone; its number is free when the other end has said so too. */
  private end(number: number, client: Client): void {
    if (!client.hasEnded) this.write(encodeFrame(number, NOTHING));
    client.hasEnded = true;
    if (client.wasEnded && this.clients.get(number) === client) this.clients.delete(number);
  }
}
