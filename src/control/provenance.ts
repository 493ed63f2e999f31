// Where the configuration in force came from: the place that the firewall reads by itself, or a client of the control channel; whether it
// is what was read there; and whether it stays. One that is on trial goes back by itself to the one before, unless somebody confirms it:
// who has locked himself out by it need do nothing.
import type { Clock } from "../base/clock.ts";
import { printable } from "../base/quote.ts";
import type { Config } from "../config/config.ts";

/** The one that the firewall was started with, or has read again; or that a client of the channel has given it. */
export type Origin = "file" | "channel";

/** The keys are those of `configuration` in `firebreak status --json`: docs/CONTROL.md has them. Times are Unix time in seconds. */
export interface Configured {
  readonly by: Origin;
  /** Since when it is in force. */
  readonly time: number;
  /** What it is called, and the SHA-256 of its bytes, where it has any: a qube's has none. */
  readonly name?: string;
  readonly sha256?: string;
  /** Likewise, of what was last read where the firewall looks by itself; `path`, where that is a file that can be written. */
  readonly read?: { readonly name: string; readonly sha256: string; readonly time: number; readonly path?: string };
  /** Whether what is in force is something else than what was read. */
  readonly differs: boolean;
  /** When it goes back to the one before, unless it is confirmed. */
  readonly trial_until?: number;
}

/** What was in force before one that is on trial. */
interface Before {
  readonly config: Config;
  readonly by: Origin;
}

interface Trial {
  readonly before: Before;
  readonly until: number;
  cancel: () => void;
  /** Then it is too late to confirm it. */
  isGoingBack: boolean;
  /** What was said last of why it can't. */
  trouble?: string;
}

/** How the firewall changes what is in force. */
export interface Changes {
  /** After what is being changed now. */
  inTurn(change: () => Promise<void>): Promise<void>;
  /** In turn. @throws where it can't be; then what was in force stays so */
  replace(config: Config): Promise<void>;
}

/** ms until going back is tried again, where that failed. */
const RETRY = 1000;

export class Provenance {
  /** The file that the firewall reads, as whoever writes it finds it; undefined where there is none. */
  path: string | undefined;
  private config: Config;
  private by: Origin = "file";
  private since: number;
  private read: { readonly config: Config; readonly time: number };
  private trial: Trial | undefined;

  /**
   * @param config that the firewall starts with, from its file
   */
  constructor(
    private readonly clock: Clock,
    config: Config,
    private readonly say: (line: string) => void,
    private readonly changes: Changes,
  ) {
    this.config = config;
    this.since = clock.unixTime();
    this.read = { config, time: this.since };
  }

  /**
   * Another configuration has just been put in force, in turn.
   * @param trial seconds, of one that goes back unless it is confirmed: to the last one that was not on trial itself
   */
  follow(config: Config, by: Origin, trial?: number): void {
    const before = this.trial?.before ?? { config: this.config, by: this.by };
    this.endTrial();
    this.inForce(config, by);
    if (by === "file") this.read = { config, time: this.since };
    if (trial === undefined) return;
    const until = this.since + trial;
    const cancel = this.clock.after(trial * 1000, () => void this.revert());
    this.trial = { before, until, cancel, isGoingBack: false };
  }

  /** What is on trial stays. @returns whether there was anything */
  confirm(): boolean {
    if (this.trial === undefined || this.trial.isGoingBack) return false;
    this.endTrial();
    return true;
  }

  /**
   * Somebody has written the firewall's file.
   * @param config what is read there now
   * @returns whether that is what is in force: then it has come from there
   */
  saved(config: Config): boolean {
    if (this.trial !== undefined || digestOf(config) !== digestOf(this.config)) return false;
    this.read = { config, time: this.clock.unixTime() };
    this.by = "file";
    return true;
  }

  stop(): void {
    this.endTrial();
  }

  /** The bytes of what is in force. */
  get bytes(): Uint8Array | undefined {
    return this.config.source?.bytes;
  }

  get configured(): Configured {
    const { config, by, since, read, path, trial } = this;
    const [name, sha256] = [config.source?.name, digestOf(config)];
    const place = read.config.source;
    const [readDigest, time] = [digestOf(read.config), read.time];
    return {
      by,
      time: since,
      ...(name !== undefined && sha256 !== undefined && { name, sha256 }),
      ...(place !== undefined &&
        readDigest !== undefined && {
          read: { name: place.name, sha256: readDigest, time, ...(path !== undefined && { path }) },
        }),
      differs: sha256 !== readDigest,
      ...(trial !== undefined && { trial_until: trial.until }),
    };
  }

  private inForce(config: Config, by: Origin): void {
    this.config = config;
    this.by = by;
    this.since = this.clock.unixTime();
  }

  private endTrial(): void {
    this.trial?.cancel();
    this.trial = undefined;
  }

  /** Where the one before does not fit the machine any more, it is tried again: until then what is in force stays so. */
  private revert(): Promise<void> {
    const { trial } = this;
    return this.changes.inTurn(async () => {
      if (trial === undefined || this.trial !== trial) return; // it was confirmed, or there is another one meanwhile
      const { before } = trial;
      trial.isGoingBack = true;
      try {
        await this.changes.replace(before.config);
      } catch (error) {
        if (this.trial !== trial) return; // the firewall stops
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== trial.trouble) {
          this.say(`configuration not confirmed, but the one before can't be put in force again: ${printable(reason)}`);
        }
        trial.trouble = reason;
        trial.isGoingBack = false;
        trial.cancel = this.clock.after(RETRY, () => void this.revert());
        return;
      }
      this.trial = undefined;
      this.inForce(before.config, before.by);
      this.say("configuration not confirmed in time: the one before is in force again");
    });
  }
}

const digests = new WeakMap<Config, string>();

/** @returns the SHA-256 of what a configuration was made of, in hexadecimal */
function digestOf(config: Config): string | undefined {
  if (config.source === undefined) return undefined;
  const known = digests.get(config);
  if (known !== undefined) return known;
  const digest = new Bun.CryptoHasher("sha256").update(config.source.bytes).digest("hex");
  digests.set(config, digest);
  return digest;
}
