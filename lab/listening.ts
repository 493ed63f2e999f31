// Hears what a machine sends: tcpdump on the other ends of its cables, in that direction only.
import type { Namespace } from "./namespaces.ts";

export interface Listening {
  /** What each side has heard so far: a line for each frame, as tcpdump tells it, without its time. */
  heard(): string[][];
  /** Stops. @returns all that each side has heard */
  stop(): Promise<string[][]>;
}

/** What tcpdump says beside frames. */
const REMARK = /^(tcpdump: |listening on |\d+ packets? |dropped privs )/;

/**
 * @param sides whose eth0 are those other ends
 * @returns once all of them listen
 */
export async function listen(sides: readonly Namespace[]): Promise<Listening> {
  const command = ["tcpdump", "-n", "-t", "-l", "--immediate-mode", "-Q", "in", "-i", "eth0"];
  const dumps = sides.map((side) => side.start(command));
  for (const dump of dumps) await dump.says("listening on");
  const heard = () => dumps.map(({ text }) => text.split("\n").filter((line) => line !== "" && !REMARK.test(line)));
  return {
    heard,
    async stop() {
      for (const dump of dumps) dump.signal("SIGINT");
      for (const dump of dumps) await dump.end();
      return heard();
    },
  };
}
