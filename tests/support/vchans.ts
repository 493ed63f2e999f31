// Vchans without Xen: both ends on one buffer in this program, signals as turns of the event loop.
import type { PacedStream, StreamHandler } from "../../src/xen/byte-stream.ts";
import { formatPage, layOut, PAGE, ringPages, VchanEnd, type VchanMemory } from "../../src/xen/vchan.ts";
import { VchanStream } from "../../src/xen/vchan-stream.ts";

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
  private readonly offers = new Map<number, (client: StreamHandler) => VchanStream>();
  private readonly waiting = new Map<number, Set<() => void>>();

  /** Ports that are served and have no client yet, as XenStore has keys of them; and those that somebody waits for. */
  get offered(): number[] {
    return [...this.offers.keys()];
  }

  get awaited(): number[] {
    return [...this.waiting].flatMap(([port, { size }]) => Array<number>(size).fill(port));
  }

  /** @returns the server's end as soon as it has a client */
  async serve(port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
    const come = Promise.withResolvers<VchanStream>();
    const offer = (clientHandler: StreamHandler) => {
      this.offers.delete(port);
      const { server, client } = streamPair(handler, clientHandler);
      come.resolve(server);
      return client;
    };
    this.offers.set(port, offer);
    for (const look of this.waiting.get(port) ?? []) look();
    this.waiting.delete(port);
    return until(signal, come, () => {
      if (this.offers.get(port) === offer) this.offers.delete(port);
    });
  }

  /** Whoever waits for a port gets it, whoever serves it: the first to have come, as with Xen. */
  async connect(port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
    const found = Promise.withResolvers<VchanStream>();
    const look = () => {
      const offer = this.offers.get(port);
      if (offer !== undefined) found.resolve(offer(handler));
      else this.waiting.set(port, (this.waiting.get(port) ?? new Set()).add(look));
    };
    look();
    return until(signal, found, () => this.waiting.get(port)?.delete(look));
  }
}

/** @returns the stream, which ends with the signal; so does the wait for it */
async function until(
  signal: AbortSignal | undefined,
  stream: PromiseWithResolvers<VchanStream>,
  callOff: () => void,
): Promise<PacedStream> {
  signal?.addEventListener("abort", () => {
    callOff();
    stream.reject(signal.reason);
    void stream.promise.then((opened) => opened.abort("called off")).catch(() => {});
  });
  return stream.promise;
}
