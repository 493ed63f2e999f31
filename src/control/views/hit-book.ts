// How often each rule in force has decided something. The dataplane counts by numbers, which mean others after a change of the
// configuration: a rule that is still the same, of the same client and at the same place, keeps what it had; others begin with nothing.
import type { Clock } from "../../base/clock.ts";
import type { Config } from "../../config/config.ts";
import { dropClock } from "../../dataplane/tables/drop-records.ts";
import { RuleHits } from "../../dataplane/tables/rule-hits.ts";
import { formatRule } from "../../rules/parse.ts";

/** What a rule has decided since it came into force. */
export interface RuleUse {
  /** Packets that would open a flow: let through, or refused. */
  readonly hits: number;
  /** Unix time in seconds, of the last of them. */
  readonly last?: number;
}

interface Followed {
  readonly client: number;
  readonly rule: number;
  /** What it had when its numbers were others. */
  readonly before: RuleUse;
  /** What its numbers had counted when they became its own. */
  readonly counted: number;
}

const NOTHING: RuleUse = { hits: 0 };

export class HitBook {
  private readonly hits: RuleHits;
  private followed = new Map<string, Followed>();

  /**
   * @param memory the dataplane's counts
   * @param drops the drop ring's records, which have the router's clock
   */
  constructor(
    memory: SharedArrayBuffer,
    private readonly drops: Int32Array,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.hits = new RuleHits(memory);
    this.follow(config);
  }

  /** Another configuration has just been put in force. */
  follow({ clients }: Config): void {
    const next = new Map<string, Followed>();
    for (const [client, { name, rules, policy }] of clients.entries()) {
      for (const [rule, text] of [policy, ...rules.map(formatRule)].entries()) {
        const key = keyOf(name, rule, text);
        next.set(key, { client, rule, before: this.useOf(key), counted: this.hits.read(client, rule).count });
      }
    }
    this.followed = next;
  }

  /** @param rule its number, 0 for the policy @param text as formatRule has it; of the policy, its action */
  use(client: string, rule: number, text: string): RuleUse {
    return this.useOf(keyOf(client, rule, text));
  }

  private useOf(key: string): RuleUse {
    const known = this.followed.get(key);
    if (known === undefined) return NOTHING;
    const { client, rule, before, counted } = known;
    const { count, last } = this.hits.read(client, rule);
    if (count === counted) return before;
    const age = (dropClock(this.drops) - last) / 1000;
    return { hits: before.hits + count - counted, last: this.clock.unixTime() - age };
  }
}

function keyOf(client: string, rule: number, text: string): string {
  return `${client}\n${rule}\n${text}`;
}
