// `firebreak capture`: frames of a running firewall as they come and go, with verdicts, to a file or to Wireshark.
import { fstatSync } from "node:fs";
import { isatty } from "node:tty";
import { parseArgs } from "node:util";
import { parseDuration } from "../base/duration.ts";
import { printable, quote } from "../base/quote.ts";
import { CaptureFiles, type Rotation } from "../captures/rotation.ts";
import { appendBlocks, NotWritten } from "../captures/whole-blocks.ts";
import type { Fields } from "../channel/cbor.ts";
import { connectTo } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import type { CapturePiece } from "../control/captures/live-capture.ts";
import { AT_HELP, askAndShow, print, readCount, whereIs } from "./asking.ts";
import { onReaderGone, onStopSignal } from "./stopping.ts";
import { UsageError, type Verb } from "./verb.ts";

const STANDARD_OUTPUT = 1;
const MEGABYTE = 1_000_000;

export const capture: Verb = {
  summary: "capture from a running firewall, with verdicts: to a file, or to Wireshark",
  help: `Usage: firebreak capture [FILTER…] [OPTIONS]
       firebreak capture --record [FILTER…] [--snap N] | --record-off | --last DURATION [OPTIONS]
       firebreak capture client=work proto=tcp dstports=443 | wireshark -k -i -

Captures what a running firewall receives and sends, on all its interfaces, from now on and until it
is stopped (Ctrl-C). What comes out is pcapng. Each frame's comment says what became of it, the rule
and the flow, with its translation; a packet has the same packet id on both sides of the firewall.
Those for which every FILTER holds, KEY=VALUE, in the words of rules where they have one:

  client=NAME            that client sent it, or it is of a flow of its
  interface=NAME         where it came in, or went out
  proto=tcp              or udp, icmp, or a number
  src=ADDRESS[/LENGTH]   who opened the flow; of what has no flow, who sent it; dst likewise;
                         dst4 and dst6 are the same
  dsthost=NAME           of a rule: to one of the addresses that it has now
  srcports=LOW[-HIGH]    of TCP and UDP; dstports likewise
  icmptype=TYPE
  rule=NUMBER            or policy: which let it through, or refused it
  verdict=SLUG           docs/VERDICTS.md has them; malformed is all that begin so

Both ways of a flow match: filters are about who opened it. While frames of a flow are captured they
do not take the kernel path, and so cost what it saves.

  -w FILE      write to a file, open to its user alone, and not to standard output
  --size N     begin another file after N MB: FILE-00001.pcapng and so on
  --files N    keep the last N of these
  --snap N     keep N bytes of each frame
  --count N    end after N frames
  --record     have the firewall keep the first 128 bytes of frames from now on, or as many as --snap says,
               the newest, in memory, until --record-off or its end. It keeps what comes to the program:
               of flows on the kernel path, beginnings and ends
  --last 60s   capture what was recorded in so long, and end
${AT_HELP}

The firewall waits for nobody: what can't be taken fast enough is lost, told at the end, and noted in
the capture, with the next frame.

Exit status: 0 captured, 1 it can't be asked, or has ended, or the file can't be written, 2 bad usage.
`,
  async run(args) {
    const { values, positionals: match } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        at: { type: "string" },
        write: { type: "string", short: "w" },
        size: { type: "string" },
        files: { type: "string" },
        snap: { type: "string" },
        count: { type: "string" },
        record: { type: "boolean", default: false },
        "record-off": { type: "boolean", default: false },
        last: { type: "string" },
      },
    });
    const { write, snap, count, last } = values;
    if (count !== undefined && readCount(count, "--count") === 0) {
      throw new UsageError(`--count ${quote(count)} is nothing to capture (write 1 or more)`);
    }
    if (values.record || values["record-off"]) {
      requireRecordOptions(values, match);
      const kept: Fields = values["record-off"]
        ? { off: true }
        : { match, ...(snap !== undefined && { snap: readCount(snap, "--snap") }) };
      return await askAndShow(whereIs(values.at), "record", kept, () => {});
    }
    if (last !== undefined && (match.length > 0 || snap !== undefined)) {
      throw new UsageError("--last has what --record was told: a FILTER and --snap go there");
    }
    const asked: Fields = {
      ...(last === undefined ? { match } : { last: readSeconds(last) }),
      ...(snap !== undefined && { snap: readCount(snap, "--snap") }),
      ...(count !== undefined && { count: readCount(count, "--count") }),
    };
    const rotation = readRotation(values);
    if (write === undefined && rotation !== undefined) throw new UsageError("--size and --files need -w FILE");
    const isFile = write !== undefined && write !== "-";
    if (!isFile && isatty(STANDARD_OUTPUT)) throw new UsageError("a capture is not for a terminal (write -w FILE)");
    return await run(whereIs(values.at), asked, isFile ? new FileSink(write, rotation) : outputSink());
  },
};

/** @throws UsageError where there is what --record or --record-off do nothing about */
function requireRecordOptions(
  values: Readonly<Record<string, string | boolean | undefined>>,
  match: readonly string[],
) {
  const isOff = values["record-off"] === true;
  const foreign = ["write", "size", "files", "count", "last", ...(isOff ? ["record", "snap"] : [])].find(
    (name) => values[name] !== undefined && values[name] !== false,
  );
  const what = isOff ? "--record-off" : "--record";
  if (foreign !== undefined) throw new UsageError(`${what} and --${foreign} exclude each other (write one of them)`);
  if (isOff && match.length > 0) throw new UsageError("--record-off takes no FILTER");
}

function readSeconds(text: string): number {
  const duration = parseDuration(text);
  if (duration === undefined) throw new UsageError(`--last ${quote(text)} is not a duration (write 60s)`);
  return duration;
}

function readRotation({ size, files }: { readonly size?: string; readonly files?: string }): Rotation | undefined {
  if (files !== undefined && size === undefined) throw new UsageError("--files needs --size");
  if (size === undefined) return undefined;
  const [megabytes, kept] = [readCount(size, "--size"), files === undefined ? undefined : readCount(files, "--files")];
  if (megabytes === 0 || kept === 0) throw new UsageError(`--size ${quote(size)} or --files is 0`);
  return { size: megabytes * MEGABYTE, files: kept };
}

/** Where a capture goes. */
interface Sink {
  /** @throws NotWritten, Error */
  write(piece: CapturePiece): void | Promise<void>;
  /** @param gone hears when nobody reads any more */
  onGone?(gone: () => void): void;
  close(): void;
}

class FileSink implements Sink {
  private readonly files: CaptureFiles;

  constructor(path: string, rotation: Rotation | undefined) {
    this.files = new CaptureFiles(path, rotation);
  }

  write({ bytes, head }: CapturePiece): void {
    this.files.write(bytes, head);
  }

  close(): void {
    this.files.close();
  }
}

/** Standard output that is a file. */
class RedirectedSink implements Sink {
  write({ bytes }: CapturePiece): void {
    appendBlocks(STANDARD_OUTPUT, bytes, "standard output");
  }

  close(): void {}
}

/** Standard output that somebody reads. */
class OutputSink implements Sink {
  private endWatch = () => {};

  onGone(gone: () => void): void {
    process.stdout.on("error", gone);
    process.stdout.on("close", gone);
    this.endWatch = onReaderGone(gone);
  }

  write({ bytes }: CapturePiece): Promise<void> {
    return print(bytes);
  }

  close(): void {
    this.endWatch();
  }
}

function outputSink(): Sink {
  return fstatSync(STANDARD_OUTPUT).isFile() ? new RedirectedSink() : new OutputSink();
}

async function run(path: string, asked: Fields, sink: Sink): Promise<number> {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  onStopSignal(stop);
  sink.onGone?.(stop);
  let [frames, lost, status] = [0, 0, 0];
  try {
    const { client } = await connectTo(path, stopping.signal, "Capture");
    try {
      for await (const { data } of client.ask("capture", asked)) {
        const piece = data as unknown as CapturePiece;
        lost += piece.lost;
        await sink.write(piece);
        frames += piece.frames;
        if (stopping.signal.aborted) break;
      }
    } finally {
      client.close();
    }
  } catch (error) {
    if (!stopping.signal.aborted) {
      process.stderr.write(`firebreak: ${printable(error instanceof Error ? error.message : String(error))}\n`);
      status = error instanceof ChannelError && error.code === "arguments" ? 2 : 1;
    }
    if (error instanceof NotWritten) frames += error.frames;
  } finally {
    sink.close();
  }
  // Of a capture that has not begun there is nothing to tell.
  if (status === 0 || frames > 0) process.stderr.write(`firebreak: ${frames} frames captured, ${lost} lost\n`);
  return status;
}
