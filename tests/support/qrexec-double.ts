// Dom0's qrexec daemon as far as one domain's agent sees it: greets, calls services there, and lets the domain call some.
// It shares with the agent only the codec.
import { type ByteStream, Framer, type StreamHandler } from "../../src/qubes/byte-stream.ts";
import type { QrexecChannels } from "../../src/qubes/qrexec.ts";
import {
  decodeNumber,
  decodeQrexec,
  encodeExec,
  encodeNumber,
  encodeQrexec,
  QREXEC,
  QREXEC_HEADER_LENGTH,
  type QrexecMessage,
  qrexecBodyLength,
  textOf,
} from "../../src/qubes/qrexec-wire.ts";

export interface CallResult {
  readonly status: number;
  readonly output: string;
  readonly error: string;
  /** Lengths of the messages with output. */
  readonly chunks: readonly number[];
}

function messages(hear: (message: QrexecMessage) => void, closed: (reason: string) => void): StreamHandler {
  const framer = new Framer(QREXEC_HEADER_LENGTH, qrexecBodyLength, (header, body) => hear(decodeQrexec(header, body)));
  return { received: (bytes) => framer.push(bytes), closed };
}

export class QrexecDouble {
  readonly handler: StreamHandler;
  /** What the domain has called: `target service`. */
  readonly triggered: string[] = [];
  /** Ports whose connection the agent has reported as ended. */
  readonly terminated: number[] = [];
  /** What becomes of calls of the domain's. Ignored: not even refused; abandoned: announced, and then nobody comes. */
  onCall: "answered" | "refused" | "ignored" | "abandoned" = "answered";
  readonly greeted: Promise<number>;
  private control: ByteStream | undefined;
  private port = 1024;

  /**
   * @param channels from dom0's side
   * @param version of the protocol that this dom0 speaks
   */
  constructor(
    private readonly domain: number,
    private readonly channels: QrexecChannels,
    private readonly version = 3,
  ) {
    const greeted = Promise.withResolvers<number>();
    this.greeted = greeted.promise;
    this.handler = messages(
      (message) => {
        if (message.type === QREXEC.HELLO) greeted.resolve(decodeNumber(message.body));
        else void this.hear(message);
      },
      (reason) => greeted.reject(new Error(reason)),
    );
  }

  attach(control: ByteStream): void {
    this.control = control;
    control.send(encodeNumber(QREXEC.HELLO, this.version));
  }

  /** Announces a call, whose caller is gone before it serves the port. @returns the port */
  abandon(command: string): number {
    const port = this.port++;
    this.control?.send(encodeExec(QREXEC.EXEC_CMDLINE, { domain: 0, port, text: command }));
    return port;
  }

  /** Goes away, as the daemon does when it is restarted. */
  detach(): void {
    this.control?.close();
  }

  /** Runs a command line there, as qvm-run does. */
  async call(command: string, input = "", type: number = QREXEC.EXEC_CMDLINE): Promise<CallResult> {
    const port = this.port++;
    const done = Promise.withResolvers<CallResult>();
    const result = { output: "", error: "", chunks: [] as number[] };
    const handler = messages(
      ({ type: kind, body }) => {
        if (kind === QREXEC.DATA_STDOUT) {
          result.output += textOf(body);
          result.chunks.push(body.length);
        } else if (kind === QREXEC.DATA_STDERR) result.error += textOf(body);
        else if (kind === QREXEC.DATA_EXIT_CODE) done.resolve({ status: decodeNumber(body), ...result });
      },
      (reason) => done.reject(new Error(reason)),
    );
    const serving = this.channels.serve(this.domain, port, handler);
    this.control?.send(encodeExec(type, { domain: 0, port, text: command }));
    const stream = await serving;
    stream.send(encodeNumber(QREXEC.HELLO, this.version));
    if (input !== "") stream.send(encodeQrexec(QREXEC.DATA_STDIN, new TextEncoder().encode(input)));
    stream.send(encodeQrexec(QREXEC.DATA_STDIN));
    try {
      return await done.promise;
    } finally {
      stream.close();
    }
  }

  private async hear({ type, body }: QrexecMessage): Promise<void> {
    if (type === QREXEC.CONNECTION_TERMINATED) {
      this.terminated.push(new DataView(body.buffer, body.byteOffset).getUint32(4, true));
    } else if (type === QREXEC.TRIGGER_SERVICE3) {
      await this.answer(textOf(body.subarray(0, 64)), textOf(body.subarray(96)), body.subarray(64, 96));
    } else if (type === QREXEC.TRIGGER_SERVICE) {
      await this.answer(textOf(body.subarray(64, 96)), textOf(body.subarray(0, 64)), body.subarray(96, 128));
    }
  }

  /** Lets the domain's call succeed, with its input as output. */
  private async answer(target: string, service: string, ident: Uint8Array): Promise<void> {
    this.triggered.push(`${target} ${service}`);
    if (this.onCall === "ignored") return;
    if (this.onCall === "refused") {
      this.control?.send(encodeQrexec(QREXEC.SERVICE_REFUSED, ident));
      return;
    }
    const port = this.port++;
    this.control?.send(encodeExec(QREXEC.SERVICE_CONNECT, { domain: 0, port, text: textOf(ident) }));
    if (this.onCall === "abandoned") return;
    const stream: ByteStream = await this.channels.connect(
      this.domain,
      port,
      messages(
        ({ type, body }) => {
          if (type !== QREXEC.DATA_STDIN) return;
          stream.send(encodeQrexec(QREXEC.DATA_STDOUT, body));
          if (body.length === 0) stream.send(encodeNumber(QREXEC.DATA_EXIT_CODE, 0));
        },
        () => {},
      ),
    );
    stream.send(encodeNumber(QREXEC.HELLO, this.version));
  }
}
