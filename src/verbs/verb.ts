// What a verb of the command line is made of. src/main.ts has the table of them.

export interface Verb {
  /** One line for the list of verbs. */
  readonly summary: string;
  /** What `firebreak VERB --help` prints, with the line end. */
  readonly help: string;
  /**
   * @param args what stands behind the verb; errors of parseArgs may pass through
   * @returns the exit status: 0 fine, 1 failed, 2 bad usage or configuration
   */
  run(args: readonly string[]): Promise<number>;
}

/** The command line asks for something that the verb doesn't have. */
export class UsageError extends Error {}
