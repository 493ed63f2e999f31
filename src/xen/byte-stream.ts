// What the protocols of Qubes OS and Xen run over: bytes to and from one peer, in order. Devices, vchans and the tests'
// plain memory are byte streams; the protocols know nothing of what is below.

export interface ByteStream {
  /** Queues bytes for the peer. They are copied, or gone, when this returns; after the end it does nothing. */
  send(bytes: Uint8Array): void;
  /** Ends the stream once the peer has what was sent. The handler hears nothing any more. */
  close(): void;
}

/** A stream whose sender can keep pace with its peer. */
export interface PacedStream extends ByteStream {
  /** Settles once the peer has room for all that was sent, or the stream has ended. */
  flushed(): Promise<void>;
}

export interface StreamHandler {
  /** @param bytes the handler's own from here on */
  received(bytes: Uint8Array): void;
  /** The stream came to its end without our asking for it. @param reason for people to read */
  closed(reason: string): void;
}

/** The peer does not keep to the protocol: the stream is of no use any more. */
export class ProtocolError extends Error {}

/** Cuts a stream into messages, each a header of fixed length, which says the length of the body behind it. */
export class Framer {
  private pending: Uint8Array = new Uint8Array(0);

  /**
   * @param headerLength bytes
   * @param bodyLength of the body behind a header; throws ProtocolError for one that can't be
   * @param deliver takes one message
   */
  constructor(
    private readonly headerLength: number,
    private readonly bodyLength: (header: DataView) => number,
    private readonly deliver: (header: DataView, body: Uint8Array) => void,
  ) {}

  /** @throws ProtocolError, as soon as it shows */
  push(bytes: Uint8Array): void {
    let rest = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    while (rest.length >= this.headerLength) {
      const header = new DataView(rest.buffer, rest.byteOffset, this.headerLength);
      const end = this.headerLength + this.bodyLength(header);
      if (rest.length < end) break;
      const body = rest.subarray(this.headerLength, end);
      rest = rest.subarray(end);
      this.deliver(header, body);
    }
    this.pending = rest;
  }
}
