// A server of one page, over HTTP/1.1 (RFC 9112), for programs on this machine: GET of one path, an answer, and the connection ends. Whoever
// can reach it may be a browser that a stranger's page leads here, so the Host header must be an address, not a name (DNS rebinding). All
// that a client decides is bounded: bytes, time, connections.
import { createServer, isIP, type Server, type Socket } from "node:net";

/** Connections at a time. Those beyond are closed. */
const MOST_CONNECTIONS = 16;
/** Bytes of a request, up to the end of its header. */
const MOST_REQUEST = 8192;
/** ms in which a request has to be there, and then again to take the answer. */
const PATIENCE = 5000;

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
} as const;
type Status = keyof typeof REASONS;

export interface Page {
  /** `/metrics` */
  readonly path: string;
  readonly type: string;
  /** Made anew for each request. */
  make(): Promise<string>;
}

/** Where to listen. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** @returns undefined where it is no [ADDRESS:]PORT. Without an address it is that of this machine alone. */
export function readEndpoint(text: string): Endpoint | undefined {
  const [, bracketed, plain, digits = ""] = /^(?:\[([0-9a-fA-F:.]+)\]:|([0-9.]+):|:)?(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "127.0.0.1";
  const port = Number(digits);
  if (digits === "" || port > 65_535 || isIP(host) === 0 || (bracketed !== undefined && isIP(host) !== 6))
    return undefined;
  return { host, port };
}

/** @returns `http://127.0.0.1:9474/metrics` */
export function pageUrl({ path }: Page, { host, port }: Endpoint): string {
  return `http://${isIP(host) === 6 ? `[${host}]` : host}:${port}${path}`;
}

/** @returns the server, and where it listens: with port 0 the kernel chooses one. @throws Error where it can't */
export function servePage(page: Page, { host, port }: Endpoint): Promise<{ server: Server; endpoint: Endpoint }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ server: Server; endpoint: Endpoint }>();
  let connections = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {}); // its end is told by "close"
    if (connections >= MOST_CONNECTIONS) {
      socket.destroy();
      return;
    }
    connections++;
    socket.on("close", () => connections--);
    serve(socket, page);
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

function serve(socket: Socket, page: Page): void {
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
    void answer(end < 0 || end > MOST_REQUEST ? 431 : judge(header, page), page).then((reply) => {
      timer = setTimeout(() => socket.destroy(), PATIENCE);
      socket.end(reply);
    });
  };
  socket.on("data", receive);
}

/** @param header a request, without the empty line at its end */
function judge(header: string, page: Page): Status {
  const [first = "", ...lines] = header.split("\r\n");
  const [, method, target = ""] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(first) ?? [];
  const fields = lines.map((line) => /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line));
  if (method === undefined || fields.some((field) => field === null)) return 400;
  const hosts = fields.flatMap((field) => (field?.[1]?.toLowerCase() === "host" ? [field[2] ?? ""] : []));
  if (hosts.length !== 1) return 400;
  if (!isAddress(hosts[0])) return 421;
  if (target.split("?")[0] !== page.path) return 404;
  return method === "GET" ? 200 : 405;
}

/** Whether a Host header is an address, or what every machine calls itself; with a port or without. */
function isAddress(host: string): boolean {
  const [, bracketed, plain = ""] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d*)?$/.exec(host) ?? [];
  return bracketed === undefined ? plain.toLowerCase() === "localhost" || isIP(plain) === 4 : isIP(bracketed) === 6;
}

async function answer(status: Status, page: Page): Promise<Uint8Array> {
  if (status !== 200) return response(status, "text/plain", `${REASONS[status]}\n`);
  try {
    return response(200, page.type, await page.make());
  } catch {
    return response(500, "text/plain", `${REASONS[500]}\n`);
  }
}

function response(status: Status, type: string, body: string): Uint8Array {
  const bytes = Buffer.from(body);
  const header = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Content-Type: ${type}`,
    `Content-Length: ${bytes.length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    ...(status === 405 ? ["Allow: GET"] : []),
    "Connection: close",
  ];
  return Buffer.concat([Buffer.from(`${header.join("\r\n")}\r\n\r\n`), bytes]);
}
