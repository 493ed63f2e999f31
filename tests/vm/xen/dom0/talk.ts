// The test of a vchan against the echo in a guest: messages of random lengths, as many under way as chance will have, which
// must come back in order and whole. With one under way, a wake-up that is lost is a talk that stops.

import { Random } from "../../../../lab/random.ts";
import { type ByteStream, Framer, type StreamHandler } from "../../../../src/xen/byte-stream.ts";
import { bodyLengthOf, frame, HEADER, pauseOf } from "../guest/echo-wire.ts";
import type { Talked } from "./mail.ts";

/** Bytes: now and then more than both rings hold together. */
const LENGTHS = [1, 16, 300, 4092, 12_000];
/** Messages under way at once. */
const WINDOWS = [1, 1, 2, 8];
/** For which so many are under way. */
const STRETCH = 20;
/** ms without an answer: it will never come. */
const PATIENCE = 60_000;

export class Talk {
  readonly handler: StreamHandler;
  private readonly random: Random;
  private readonly underWay: Uint8Array[] = [];
  private readonly done = Promise.withResolvers<Talked>();
  private returned = 0;
  private bytes = 0;
  private wake: () => void = () => {};

  constructor(
    private readonly messages: number,
    seed: number,
  ) {
    this.random = new Random(seed);
    const framer = new Framer(HEADER, bodyLengthOf, (_header, body) => this.hear(body));
    this.handler = {
      received: (bytes) => framer.push(bytes),
      closed: (reason) => this.fail(reason),
    };
  }

  async over(stream: ByteStream): Promise<Talked> {
    void this.send(stream);
    try {
      return await this.done.promise;
    } finally {
      stream.close();
    }
  }

  private async send(stream: ByteStream): Promise<void> {
    let window = 1;
    for (let sent = 0; sent < this.messages; sent++) {
      if (sent % STRETCH === 0) window = this.random.pick(WINDOWS);
      while (this.underWay.length >= window) await this.answer();
      const pause = pauseOf(this.random);
      if (pause > 0) await Bun.sleep(pause);
      const body = new Uint8Array(1 + this.random.below(this.random.pick(LENGTHS)));
      for (let i = 0; i < body.length; i++) body[i] = this.random.next();
      this.underWay.push(body);
      stream.send(frame(body));
    }
    while (this.underWay.length > 0) await this.answer();
    this.done.resolve({ messages: this.returned, bytes: this.bytes });
  }

  private async answer(): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    const timer = setTimeout(() => this.fail("no answer came any more"), PATIENCE);
    await heard;
    clearTimeout(timer);
  }

  private hear(body: Uint8Array): void {
    const expected = this.underWay.shift();
    if (expected === undefined || !Buffer.from(expected).equals(body)) this.fail("another message came than was sent");
    this.returned++;
    this.bytes += body.length;
    this.wake();
  }

  private fail(reason: string): void {
    this.done.reject(new Error(`after ${this.returned} of ${this.messages} messages: ${reason}`));
  }
}
