// The firewall's end of a virtual machine's port: a session for each client that the host's end tells of (attach.ts). The port is read
// and written now and then, without waiting: no thread is there for it, and while nobody is at the other end it costs four looks a second.
import type { Clock } from "../base/clock.ts";
import { encodeFrame, encodeFrames, FrameReader, RESET } from "./port-frames.ts";
import { type Outlet, type Services, Session } from "./session.ts";

/** A port, whose calls don't wait (linux/virtio-port.ts). */
export interface Port {
  /** @returns the bytes that have come; none yet: undefined; nobody at the other end: "away" */
  read(): Uint8Array | undefined | "away";
  /** @returns how many bytes it took */
  write(bytes: Uint8Array): number;
}

/** ms between two looks: while bytes come, while somebody is there, while nobody is. */
const SOON = 1;
const LATER = 25;
const SELDOM = 250;
/** Looks without bytes until they are less often. */
const PATIENCE = 100;
/** Bytes that wait for the port to take them, of all clients; beyond, nothing is read. */
const MOST_WAITING = 256 * 1024;

interface Client {
  readonly session: Session;
  readonly outlet: PortOutlet;
}

export class PortServer {
  private readonly clients = new Map<number, Client>();
  private readonly reader = new FrameReader((client, bytes) => this.hear(client, bytes));
  /** Of clients that we have ended: their numbers are free again when the other end has ended them too. */
  private readonly ending = new Set<number>();
  private readonly queue: { readonly bytes: Uint8Array; readonly outlet: PortOutlet | undefined }[] = [];
  private waiting = 0;
  private idle = 0;

  constructor(
    private readonly port: Port,
    private readonly services: Services,
    private readonly clock: Clock,
  ) {}

  /** Serves as long as the program runs. */
  start(): void {
    const look = () => {
      const wait = this.look();
      this.clock.after(wait, look);
    };
    look();
  }

  /** Takes and gives what can be. @returns ms until the next look */
  look(): number {
    this.flush();
    const bytes = this.waiting > MOST_WAITING ? undefined : this.port.read();
    if (bytes === "away") {
      this.reset();
      return SELDOM;
    }
    this.idle = bytes === undefined && this.queue.length === 0 ? this.idle + 1 : 0;
    if (bytes !== undefined) this.reader.push(bytes);
    this.flush();
    return this.idle < PATIENCE ? SOON : LATER;
  }

  /** @param outlet whose bytes these are; undefined: the server's own */
  send(bytes: Uint8Array, outlet?: PortOutlet): void {
    this.queue.push({ bytes, outlet });
    this.waiting += bytes.length;
    this.flush();
  }

  private hear(client: number, bytes: Uint8Array): void {
    if (client === RESET) {
      this.reset();
      this.send(encodeFrame(RESET, bytes));
      return;
    }
    if (this.ending.has(client)) {
      if (bytes.length === 0) this.ending.delete(client);
    } else if (bytes.length > 0) {
      this.clientOf(client).session.receive(bytes);
    } else {
      this.end(client);
      this.send(encodeFrame(client, bytes));
    }
  }

  private clientOf(number: number): Client {
    const known = this.clients.get(number);
    if (known !== undefined) return known;
    const outlet = new PortOutlet(number, this, () => {
      this.end(number);
      this.ending.add(number);
    });
    const client = { outlet, session: new Session(this.services, outlet) };
    this.clients.set(number, client);
    return client;
  }

  private end(number: number): void {
    const client = this.clients.get(number);
    this.clients.delete(number);
    client?.session.close();
    client?.outlet.close();
  }

  private reset(): void {
    for (const number of this.clients.keys()) this.end(number);
    this.ending.clear();
    for (const { outlet } of this.queue.splice(0)) outlet?.close();
    this.waiting = 0;
  }

  private flush(): void {
    for (let first = this.queue[0]; first !== undefined; first = this.queue[0]) {
      const taken = this.port.write(first.bytes);
      this.waiting -= taken;
      first.outlet?.taken(taken);
      if (taken < first.bytes.length) {
        this.queue[0] = { ...first, bytes: first.bytes.subarray(taken) };
        return;
      }
      this.queue.shift();
    }
  }
}

class PortOutlet implements Outlet {
  waiting = 0;
  private isClosed = false;
  private emptied = Promise.withResolvers<void>();

  constructor(
    private readonly number: number,
    private readonly server: PortServer,
    private readonly ended: () => void,
  ) {}

  write(bytes: Uint8Array): void {
    if (this.isClosed) return;
    for (const frame of encodeFrames(this.number, bytes)) {
      this.waiting += frame.length;
      this.server.send(frame, this);
    }
  }

  drained(): Promise<void> {
    return this.waiting === 0 ? Promise.resolve() : this.emptied.promise;
  }

  /** What this one says meanwhile is taken all the same: others share the line. Its session answers none of it before it has room. */
  pause(): void {}

  end(): void {
    this.server.send(encodeFrame(this.number, new Uint8Array(0)));
    this.ended();
  }

  taken(bytes: number): void {
    this.waiting -= bytes;
    if (this.waiting > 0) return;
    this.emptied.resolve();
    this.emptied = Promise.withResolvers();
  }

  close(): void {
    this.isClosed = true;
    this.waiting = 0;
    this.emptied.resolve();
  }
}
