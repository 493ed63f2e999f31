// Vchans without Xen: both ends on one buffer in this program, signals as turns of the event loop.
import type { ByteStream, StreamHandler } from "../../src/qubes/byte-stream.ts";
import { formatPage, layOut, PAGE, ringPages, VchanEnd, type VchanMemory } from "../../src/qubes/vchan.ts";
import { VchanStream } from "../../src/qubes/vchan-stream.ts";

/** @returns memory as a server that waits for its client has it */
export function vchanMemory(leftOrder: number, rightOrder: number): VchanMemory {
  const pages = ringPages(leftOrder) + ringPages(rightOrder);
  const memory = new Uint8Array(PAGE * (1 + pages));
  const page = memory.subarray(0, PAGE);
  formatPage(page, leftOrder, rightOrder);
  return layOut(page, leftOrder, rightOrder, memory.subarray(PAGE));
}

export interface StreamPair {
  readonly server: VchanStream;
  readonly client: VchanStream;
  readonly memory: VchanMemory;
  /** How many ends have given their memory back. */
  readonly released: () => number;
}

export function streamPair(
  serverHandler: StreamHandler,
  clientHandler: StreamHandler,
  orders: readonly [number, number] = [10, 11],
): StreamPair {
  const memory = vchanMemory(...orders);
  let released = 0;
  const release = () => {
    released++;
  };
  const serverEnd = new VchanEnd(memory, "server", () => setImmediate(() => client.look()));
  const server = new VchanStream(serverEnd, serverHandler, release);
  const clientEnd = new VchanEnd(memory, "client", () => setImmediate(() => server.look()));
  const client = new VchanStream(clientEnd, clientHandler, release);
  setImmediate(() => client.look());
  return { server, client, memory, released: () => released };
}

/** One machine's vchans: who serves a port, and who connects to it. */
export class Switchboard {
  private readonly offers = new Map<number, (client: StreamHandler) => ByteStream>();
  private readonly waiting = new Map<number, () => void>();

  /** @returns the server's end as soon as it has a client */
  serve(port: number, handler: StreamHandler): Promise<ByteStream> {
    return new Promise((resolve) => {
      this.offers.set(port, (clientHandler) => {
        this.offers.delete(port);
        const { server, client } = streamPair(handler, clientHandler);
        resolve(server);
        return client;
      });
      this.waiting.get(port)?.();
      this.waiting.delete(port);
    });
  }

  async connect(port: number, handler: StreamHandler): Promise<ByteStream> {
    const offer = this.offers.get(port);
    if (offer !== undefined) return offer(handler);
    await new Promise<void>((resolve) => this.waiting.set(port, resolve));
    return this.connect(port, handler);
  }
}
