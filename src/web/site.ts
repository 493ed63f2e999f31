// The site that `firebreak web` serves: the page with its files, the news and the questions, to whom the guard lets in.
import type { Server } from "node:net";
import { formatJson } from "../base/quote.ts";
import type { Connection } from "../watch/connection.ts";
import { type Endpoint, originOf, plainReply, type Reply, type Request, serveHttp } from "../watch/http.ts";
import { bundlePage } from "./bundle.ts" with { type: "macro" };
import { captureReply } from "./capture.ts";
import { Feed } from "./feed.ts";
import { Guard } from "./guard.ts";
import { PATHS } from "./messages.ts";
import { BadQuestion, QUESTIONS } from "./questions.ts";

/** Connections at a time: a browser makes six. */
const MOST_CONNECTIONS = 64;
/** Pages that get the news at a time. */
const MOST_READERS = 16;
/** This machine, and nobody else. */
const HOST = "127.0.0.1";

const PAGE = bundlePage();

/** By path: what does not change. */
const FILES: ReadonlyMap<string, { readonly type: string; readonly body: string }> = new Map([
  ["/", { type: "text/html; charset=utf-8", body: PAGE.html }],
  [PATHS.script, { type: "text/javascript; charset=utf-8", body: PAGE.script }],
  [PATHS.style, { type: "text/css; charset=utf-8", body: PAGE.style }],
  [PATHS.icon, { type: "image/svg+xml", body: PAGE.icon }],
]);

export interface Site {
  /** What a browser is to be opened with. */
  readonly url: string;
  readonly endpoint: Endpoint;
  /** Ends it: no more looks, no news, and no new connections. */
  stop(): void;
}

/**
 * @param firewall its name
 * @param connection to it; who gives it closes it
 * @param port 0: the kernel chooses one
 * @throws Error where it can't listen there
 */
export async function serveSite(firewall: string, connection: Connection, port: number): Promise<Site> {
  const feed = new Feed(firewall, connection);
  let guard: Guard | undefined;
  const answer = async (request: Request): Promise<Reply> => {
    if (guard === undefined) return plainReply(503);
    const admitted = guard.admit(request);
    return "refusal" in admitted ? admitted.refusal : await replyTo(request, feed, connection, admitted.headers);
  };
  const { server, endpoint }: { server: Server; endpoint: Endpoint } = await serveHttp(
    { host: HOST, port },
    MOST_CONNECTIONS,
    answer,
  );
  guard = new Guard(endpoint.port);
  feed.start();
  const stop = () => {
    feed.stop();
    server.close();
  };
  return { url: `${originOf(endpoint)}/?token=${guard.token}`, endpoint, stop };
}

async function replyTo(
  { path, query }: Request,
  feed: Feed,
  connection: Connection,
  headers: readonly string[],
): Promise<Reply> {
  const file = FILES.get(path);
  if (file !== undefined) return { status: 200, headers, ...file };
  if (path === PATHS.events) {
    if (feed.readerCount >= MOST_READERS) return plainReply(503, undefined, headers);
    return { status: 200, headers, type: "text/event-stream", stream: (sink) => feed.join(sink) };
  }
  const question = QUESTIONS.get(path);
  try {
    if (path === PATHS.capture) return await captureReply(connection, new URLSearchParams(query), headers);
    if (question === undefined) return plainReply(404, undefined, headers);
    const found = await question(connection, new URLSearchParams(query));
    return { status: 200, headers, type: "application/json", body: formatJson(found) };
  } catch (error) {
    if (error instanceof BadQuestion) return plainReply(400, `${error.message}\n`, headers);
    throw error;
  }
}
