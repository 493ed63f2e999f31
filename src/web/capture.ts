// A capture of the running firewall as a file that the browser downloads: for so many seconds, or until the browser has enough. It has a
// connection of its own, and is read only as fast as the browser takes it: what finds no room meanwhile the firewall counts.
import type { Fields } from "../channel/cbor.ts";
import { type Answer, type ChannelClient, connectTo } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import type { CapturePiece } from "../control/captures/live-capture.ts";
import type { Connection } from "../watch/connection.ts";
import { plainReply, type Reply, type Sink } from "../watch/http.ts";
import { wordsOf } from "../watch/top-state.ts";
import { LONGEST_CAPTURE } from "./messages.ts";
import { BadQuestion, numberOf, textOf } from "./questions.ts";

/** ms that the firewall has to begin. */
const PATIENCE = 5000;

/**
 * @param query `match`, `seconds`, and `snap`: bytes of each frame that are kept, 0 for all
 * @param headers for the answer
 * @throws BadQuestion
 */
export async function captureReply(
  { path }: Connection,
  query: URLSearchParams,
  headers: readonly string[],
): Promise<Reply> {
  const [seconds, snap] = [numberOf(query, "seconds"), numberOf(query, "snap")];
  if (seconds < 1 || seconds > LONGEST_CAPTURE) throw new BadQuestion("seconds is out of range");
  const args = { match: wordsOf(textOf(query, "match")), ...(snap > 0 && { snap }) };
  try {
    const { client, pieces, first } = await begin(path, args);
    const disposition = `Content-Disposition: attachment; filename="${fileName(new Date())}"`;
    const stream = (sink: Sink) => void run(client, pieces, first, seconds, sink);
    return { status: 200, type: "application/x-pcapng", headers: [...headers, disposition], stream };
  } catch (error) {
    const isBusy = error instanceof ChannelError && error.code === "busy";
    const isMeant = error instanceof ChannelError && error.code === "arguments";
    const text = error instanceof Error ? error.message : String(error);
    return plainReply(isMeant ? 400 : isBusy ? 503 : 500, `${text}\n`, headers);
  }
}

/** Waits for the first piece, which comes once the capture runs. @throws Error where it does not */
async function begin(path: string, args: Fields) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  let client: ChannelClient | undefined;
  try {
    ({ client } = await connectTo(path, abort.signal, "Capture"));
    const pieces = client.ask("capture", args);
    const first = await pieces.next();
    if (first.done === true) throw new Error("the firewall's answer can't be understood: an empty capture");
    return { client, pieces, first: first.value };
  } catch (error) {
    client?.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Sends what comes, until the time is over or either end is gone. */
async function run(
  client: ChannelClient,
  pieces: AsyncGenerator<Answer, void>,
  first: Answer,
  seconds: number,
  sink: Sink,
): Promise<void> {
  const timer = setTimeout(() => {
    client.close();
    sink.end(); // also where the browser takes nothing
  }, seconds * 1000);
  sink.onEnd(() => client.close());
  try {
    await sink.send(bytesOf(first));
    for await (const piece of pieces) await sink.send(bytesOf(piece));
  } catch {
    // The time is over, the browser has enough, or the firewall has ended: what has come is whole blocks.
  }
  clearTimeout(timer);
  client.close();
  sink.end();
}

function bytesOf({ data }: Answer): Uint8Array {
  return (data as unknown as CapturePiece).bytes;
}

/** `firebreak-20260102-150405.pcapng` */
function fileName(time: Date): string {
  const [date, clock] = time.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").split("T");
  return `firebreak-${date}-${clock}.pcapng`;
}
