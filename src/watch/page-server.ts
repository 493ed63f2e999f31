// A server of one page, for programs on this machine: GET of one path, and nothing else (http.ts has what all of it is bounded by).
import { isIP, type Server } from "node:net";
import { type Endpoint, originOf, plainReply, serveHttp } from "./http.ts";

/** Connections at a time. */
const MOST_CONNECTIONS = 16;

export interface Page {
  /** `/metrics` */
  readonly path: string;
  readonly type: string;
  /** Made anew for each request. */
  make(): Promise<string>;
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
export function pageUrl({ path }: Page, endpoint: Endpoint): string {
  return originOf(endpoint) + path;
}

/** @returns the server, and where it listens: with port 0 the kernel chooses one. @throws Error where it can't */
export function servePage(page: Page, endpoint: Endpoint): Promise<{ server: Server; endpoint: Endpoint }> {
  return serveHttp(endpoint, MOST_CONNECTIONS, async ({ method, path }) => {
    if (path !== page.path) return plainReply(404);
    if (method !== "GET") return plainReply(405, undefined, ["Allow: GET"]);
    return { status: 200, type: page.type, body: await page.make() };
  });
}
