// The interfaces that are ours, and how they were before: taken from the kernel's own IP stack and from other firewalls, and
// given back.
import type { InterfaceSettings } from "../dataplane/settings.ts";
import { type InterfaceBefore, type TakenInterface, takeInterface } from "../linux/net/take.ts";

/** What names an interface: one that went and came again has the same name and another number. */
type Place = Pick<InterfaceSettings, "name" | "index">;

export class HeldInterfaces {
  /** By `keyOf`. */
  private readonly held = new Map<string, TakenInterface>();

  /** What they were before they were ours. */
  get before(): InterfaceBefore[] {
    return Array.from(this.held.values(), ({ before }) => before);
  }

  /** Lets go of those that went away: what comes again in their place has to be taken anew. @param there all that there are */
  forgetGone(there: readonly Place[]): void {
    this.keep(there);
  }

  /**
   * Makes interfaces ours, those that are not yet.
   * @param interfaces those with the number 0 are not there
   * @returns those that are newly ours
   * @throws Error with the remedy, with none newly ours: where another firewall has one, or the kernel uses it
   */
  take(interfaces: readonly Place[]): Place[] {
    const taken: Place[] = [];
    try {
      for (const { name, index } of interfaces) {
        const key = keyOf({ name, index });
        if (index === 0 || this.held.has(key)) continue;
        this.held.set(key, takeInterface(name));
        taken.push({ name, index });
      }
    } catch (error) {
      this.giveBack(taken);
      throw error;
    }
    return taken;
  }

  /** Leaves all as they were that are not among these. @throws the first error, after all have had their turn */
  keep(kept: readonly Place[]): void {
    const keys = new Set(kept.map(keyOf));
    this.release([...this.held.keys()].filter((key) => !keys.has(key)));
  }

  /** Leaves these as they were. @throws likewise */
  giveBack(places: readonly Place[]): void {
    this.release(places.map(keyOf));
  }

  /** Lets go of these, which went away and may have come again: they took with them what we had changed. @throws likewise */
  forget(places: readonly Place[]): void {
    this.release(places.map(keyOf), (taken) => taken.forget());
  }

  private release(keys: readonly string[], how = (taken: TakenInterface) => taken.release()): void {
    const errors: unknown[] = [];
    for (const key of keys) {
      try {
        const taken = this.held.get(key);
        if (taken !== undefined) how(taken);
      } catch (error) {
        errors.push(error);
      }
      this.held.delete(key);
    }
    if (errors.length > 0) throw errors[0];
  }
}

function keyOf({ name, index }: Place): string {
  return `${name} ${index}`;
}
