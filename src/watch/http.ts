// A server over HTTP/1.1 (RFC 9112) for programs on this machine: a request without a body, an answer, and the connection ends. Whoever can
// reach it may be a browser that a stranger's page leads here, so the Host header must be an address, not a name (DNS rebinding). All that
// a client decides is bounded: bytes, time, connections, what waits for it.
import { createServer, isIP, type Server, type Socket } from "node:net";

/** Bytes of a request, up to the end of its header. */
const MOST_REQUEST = 8192;
/** ms in which a request has to be there, and then again to take the answer. */
const PATIENCE = 5000;

const REASONS = {
  200: "OK",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
} as const;
export type Status = keyof typeof REASONS;

/** Where to listen. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface Request {
  readonly method: string;
  /** What stands before a "?" in the target, and what behind it. */
  readonly path: string;
  readonly query: string;
  /** @param name in small letters @returns its values, a header line each */
  header(name: string): readonly string[];
}

/** An answer, whole; or one that goes on until either end has enough. */
export type Reply = {
  readonly status: Status;
  readonly type: string;
  /** More header lines. */
  readonly headers?: readonly string[];
} & ({ readonly body: string } | { readonly stream: (sink: Sink) => void });

/** Takes the pieces of an answer that goes on. */
export interface Sink {
  /** @returns false where the client has not taken the last one yet: then this one is left out */
  offer(text: string): boolean;
  /** @returns once the client has taken it, or is gone */
  send(bytes: Uint8Array): Promise<void>;
  /** That was all. */
  end(): void;
  /** Calls back once, when the connection has ended. */
  onEnd(ended: () => void): void;
}

/** What an answer is made by. An error of it is answered too, and nobody is told which. */
export type Answering = (request: Request) => Reply | Promise<Reply>;

/**
 * @param most connections at a time; those beyond are closed
 * @returns the server, and where it listens: with port 0 the kernel chooses one. @throws Error where it can't
 */
export function serveHttp(
  { host, port }: Endpoint,
  most: number,
  answer: Answering,
): Promise<{ server: Server; endpoint: Endpoint }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ server: Server; endpoint: Endpoint }>();
  let connections = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {}); // its end is told by "close"
    if (connections >= most) {
      socket.destroy();
      return;
    }
    connections++;
    socket.on("close", () => connections--);
    serve(socket, answer);
  });
  server.once("error", reject);
  server.listen({ host, port }, () => {
    const address = server.address();
    resolve({
      server,
      endpoint: { host, port: typeof address === "object" && address !== null ? address.port : port },
    });
  });
  return promise;
}

/** @returns an answer that says what its status means, to people */
export function plainReply(status: Status, body = `${REASONS[status]}\n`, headers: readonly string[] = []): Reply {
  return { status, type: "text/plain; charset=utf-8", headers, body };
}

/** @returns `http://127.0.0.1:9474` */
export function originOf({ host, port }: Endpoint): string {
  return `http://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

function serve(socket: Socket, answer: Answering): void {
  let timer = setTimeout(() => socket.destroy(), PATIENCE);
  socket.on("close", () => clearTimeout(timer));
  let text = "";
  const receive = (bytes: Buffer) => {
    text += bytes.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0 && text.length <= MOST_REQUEST) return;
    clearTimeout(timer);
    socket.off("data", receive);
    socket.on("data", () => {}); // a body, that nobody asked for
    const header = text.slice(0, Math.max(end, 0));
    void replyTo(end < 0 || end > MOST_REQUEST ? 431 : readRequest(header), answer).then((reply) => {
      if ("stream" in reply) {
        socket.write(headOf(reply));
        reply.stream(sinkOf(socket));
        return;
      }
      timer = setTimeout(() => socket.destroy(), PATIENCE);
      const body = Buffer.from(reply.body);
      socket.end(Buffer.concat([headOf(reply, body.length), body]));
    });
  };
  socket.on("data", receive);
}

async function replyTo(request: Request | Status, answer: Answering): Promise<Reply> {
  if (typeof request === "number") return plainReply(request);
  try {
    return await answer(request);
  } catch {
    return plainReply(500);
  }
}

/** @param header a request, without the empty line at its end */
function readRequest(header: string): Request | Status {
  const [first = "", ...lines] = header.split("\r\n");
  const [, method, target = ""] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(first) ?? [];
  const fields = lines.map((line) => /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line));
  if (method === undefined || fields.some((field) => field === null)) return 400;
  const valuesOf = (name: string) =>
    fields.flatMap((field) => (field?.[1]?.toLowerCase() === name ? [field[2] ?? ""] : []));
  const hosts = valuesOf("host");
  if (hosts.length !== 1) return 400;
  if (!isAddress(hosts[0])) return 421;
  const mark = target.indexOf("?");
  const [path, query] = mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark + 1)];
  return { method, path, query, header: valuesOf };
}

/** Whether a Host header is an address, or what every machine calls itself; with a port or without. */
function isAddress(host: string): boolean {
  const [, bracketed, plain = ""] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d*)?$/.exec(host) ?? [];
  return bracketed === undefined ? plain.toLowerCase() === "localhost" || isIP(plain) === 4 : isIP(bracketed) === 6;
}

/** @param length of the body, where it is known */
function headOf({ status, type, headers = [] }: Reply, length?: number): Buffer {
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Content-Type: ${type}`,
    ...(length === undefined ? [] : [`Content-Length: ${length}`]),
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    ...headers,
    "Connection: close",
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}

function sinkOf(socket: Socket): Sink {
  let isFree = true;
  socket.on("drain", () => {
    isFree = true;
  });
  return {
    offer(text) {
      if (!isFree || socket.destroyed) return false;
      isFree = socket.write(text);
      return true;
    },
    async send(bytes) {
      if (socket.destroyed || socket.write(bytes)) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          socket.off("drain", done);
          socket.off("close", done);
          resolve();
        };
        socket.on("drain", done);
        socket.on("close", done);
      });
    },
    end() {
      const timer = setTimeout(() => socket.destroy(), PATIENCE);
      socket.on("close", () => clearTimeout(timer));
      socket.end();
    },
    onEnd(ended) {
      if (socket.destroyed) ended();
      else socket.once("close", ended);
      socket.once("end", () => socket.destroy()); // the client has closed its half: it wants no more
    },
  };
}
