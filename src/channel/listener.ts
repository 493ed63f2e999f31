// The running firewall's end of the Unix socket: takes connections, so many at a time, and gives each a session.
import { createServer, type Socket } from "node:net";
import { log } from "../base/log.ts";
import { ChannelError } from "./messages.ts";
import { type Outlet, type Services, Session } from "./session.ts";
import type { OpenSocket } from "./socket-file.ts";

/** Connections at a time. Each holds at most one request, and what one client does not take (session.ts). */
const MOST_CONNECTIONS = 32;
/** ms that a client has to take the last of what is for it. */
const PATIENCE = 1000;

/** Serves as long as the program runs. @param socket that listens */
export function serveSocket({ fd }: OpenSocket, services: Services): void {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    const outlet = outletOf(socket);
    const session = new Session(services, outlet);
    if (connections.size >= MOST_CONNECTIONS) {
      socket.on("error", () => {});
      session.fail(new ChannelError("busy", `${MOST_CONNECTIONS} clients are connected already`));
      return;
    }
    connections.add(socket);
    socket.on("data", (bytes: Buffer) => session.receive(bytes));
    socket.on("error", () => {}); // its end is told by "close"
    socket.on("close", () => {
      connections.delete(socket);
      session.close();
    });
  });
  server.on("error", (error) => log(`control channel: ${error.message}`));
  server.listen({ fd });
}

function outletOf(socket: Socket): Outlet {
  return {
    write: (bytes) => void socket.write(bytes),
    get waiting() {
      return socket.destroyed ? 0 : socket.writableLength;
    },
    drained: () =>
      new Promise((resolve) => {
        if (socket.destroyed || socket.writableLength === 0) resolve();
        const done = () => {
          socket.off("drain", done);
          socket.off("close", done);
          resolve();
        };
        socket.on("drain", done);
        socket.on("close", done);
      }),
    pause: (isPaused) => void (isPaused ? socket.pause() : socket.resume()),
    end: () => {
      socket.end();
      const timer = setTimeout(() => socket.destroy(), PATIENCE);
      timer.unref();
      socket.on("close", () => clearTimeout(timer));
    },
  };
}
