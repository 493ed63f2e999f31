// A connection to a firewall that is asked again and again: made anew when it is lost, given up when nothing comes in time.
import { type ChannelClient, connectTo } from "../channel/client.ts";

/** ms that the firewall has for what is asked of it at once. */
const PATIENCE = 5000;

export class Connection {
  private opened: Promise<ChannelClient> | undefined;

  /** @param path of the firewall's socket */
  constructor(readonly path: string) {}

  /**
   * Asks; others may meanwhile.
   * @throws ChannelError where the firewall refuses that; Error where it does not answer, or not in time: then the others fail likewise
   */
  async ask<T>(asked: (client: ChannelClient) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const opened = this.opened ?? connectTo(this.path, abort.signal, "Watch").then(({ client }) => client);
    this.opened = opened;
    const timer = setTimeout(() => {
      abort.abort();
      opened.then((client) => client.fail(new Error("the firewall does not answer"))).catch(() => {});
    }, PATIENCE);
    let client: ChannelClient | undefined;
    try {
      client = await opened;
      return await asked(client);
    } finally {
      clearTimeout(timer);
      if ((client === undefined || client.hasEnded) && this.opened === opened) this.opened = undefined;
    }
  }

  close(): void {
    this.opened?.then((client) => client.close()).catch(() => {});
    this.opened = undefined;
  }
}
