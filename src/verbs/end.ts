// The end of a verb whatever else would keep the program running: timers, a thread that hangs, a file that is being read.
import { libc } from "../linux/libc.ts";

/** ms for what is still to be written: whoever should read it may not. */
const PATIENCE = 1000;

/** Ends the program when all that it said has been written, or soon. @param status its exit status */
export async function endProgram(status: number): Promise<never> {
  const written = [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write("", resolve)));
  await Promise.race([Promise.all(written), Bun.sleep(PATIENCE)]);
  libc._exit(status);
  throw new Error("not reached");
}
