// What a client of the channel needs of the way to a firewall, whatever that is.

/** Bytes to a firewall. */
export interface Line {
  write(bytes: Uint8Array): void;
  close(): void;
}

/** What hears of a line: bytes from the firewall, and that nothing comes any more. */
export interface LineEvents {
  receive(bytes: Uint8Array): void;
  fail(error: Error): void;
}
