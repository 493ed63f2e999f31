// QEMU's control socket, as far as starting a machine and pressing its power button go: the QEMU Machine Protocol, one JSON
// object a line.
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";

/** How long QEMU may take to listen, in ms. */
const PATIENCE = 60_000;

export class Monitor {
  private readonly lines: AsyncIterator<string>;

  private constructor(private readonly socket: Socket) {
    this.lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  /** @param path the Unix socket, which QEMU may yet have to make */
  static async connect(path: string): Promise<Monitor> {
    const monitor = new Monitor(await connect(path));
    await monitor.execute("qmp_capabilities");
    return monitor;
  }

  /** Runs a command without arguments. @throws when QEMU refuses it */
  async execute(command: string): Promise<void> {
    this.socket.write(`${JSON.stringify({ execute: command })}\n`);
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`QEMU ended before it answered ${command}`);
      const answer: unknown = JSON.parse(value);
      if (typeof answer !== "object" || answer === null) continue;
      if ("error" in answer) throw new Error(`QEMU refused ${command}: ${value}`);
      if ("return" in answer) return; // everything else is the greeting, or an event
    }
  }

  close(): void {
    this.socket.destroy();
  }
}

async function connect(path: string): Promise<Socket> {
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    const socket = createConnection(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await Bun.sleep(10);
    }
  }
}
