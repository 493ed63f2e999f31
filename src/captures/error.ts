// Why a capture can't be read, and what to do about it: the messages of all readers.

/** The message says at which byte of the file (decompressed, where it is compressed), what is wrong, and the remedy. */
export class CaptureError extends Error {
  override name = "CaptureError";

  constructor(offset: number, problem: string, remedy: string) {
    super(`byte ${offset}: ${problem} (${remedy})`);
  }
}

export const CUT_SHORT =
  "the file is cut short: copy or capture it anew, or keep the whole records with `editcap FILE NEW`";
export const DAMAGED = "the file is damaged: copy or capture it anew";
