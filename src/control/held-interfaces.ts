// The interfaces that are ours, and how they were before: taken from the kernel's own IP stack and from other firewalls, and
// given back.
import type { InterfaceSettings } from "../dataplane/settings.ts";
import { kernelAddresses, kernelAddresses6 } from "../linux/net/interfaces.ts";
import { type Shape, shapeInterface, unshapeInterface } from "../linux/net/shaping.ts";
import { type InterfaceBefore, type TakenInterface, takeInterface } from "../linux/net/take.ts";

/** What names an interface: one that went and came again has the same name and another number. */
type Place = Pick<InterfaceSettings, "name" | "index">;

/** A queue in front of an interface. */
export interface Queue {
  readonly place: Place;
  readonly shape: Shape;
}

export class HeldInterfaces {
  /** By `keyOf`. */
  private readonly held = new Map<string, TakenInterface>();
  /** Key of the one that has our queue in front of it, and what that is made for. */
  private shaped: { readonly key: string; readonly shape: Shape } | undefined;

  /** Addresses on these that were told of, as `NAME ADDRESS`. */
  private told: ReadonlySet<string> = new Set();

  /** @returns those of some devices that are ours: one that came since they were taken is not */
  among<T extends Place>(devices: readonly T[]): T[] {
    return devices.filter((device) => this.held.has(keyOf(device)));
  }

  /** @returns a line for each address that the kernel has got on one of these since it is ours; one that stays, once */
  addressNews(): string[] {
    const told = this.told;
    const now = new Map(Array.from(this.held.values(), ({ before: { name } }) => addressLines(name)).flat());
    this.told = new Set(now.keys());
    return [...now].filter(([key]) => !told.has(key)).map(([, line]) => line);
  }

  /** What they were before they were ours. */
  get before(): InterfaceBefore[] {
    return Array.from(this.held.values(), ({ before }) => before);
  }

  /**
   * Puts a queue in front of one of ours that shares its line (linux/net/shaping.ts), and takes away what was before another.
   * @param queue undefined: there is to be none; nor is there while the interface is not ours
   * @throws Error with the remedy, where the kernel can't, or somebody else has a queue there
   */
  shape(queue: Queue | undefined): void {
    const key = queue && keyOf(queue.place);
    if (key !== this.shaped?.key) this.unshape();
    if (queue === undefined || key === undefined || !this.held.has(key)) return;
    if (Bun.deepEquals(this.shaped?.shape, queue.shape)) return;
    shapeInterface(queue.place.name, queue.place.index, queue.shape);
    this.shaped = { key, shape: queue.shape };
  }

  private unshape(): void {
    const taken = this.shaped && this.held.get(this.shaped.key);
    this.shaped = undefined;
    if (taken !== undefined) unshapeInterface(taken.before.index);
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
        if (key === this.shaped?.key) this.unshape();
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

/** @returns of each address that the kernel has on an interface of ours, which it should not: `NAME ADDRESS`, and what is said of it */
function addressLines(name: string): (readonly [key: string, line: string])[] {
  const ipv4 = kernelAddresses(name).map((ip) => {
    const line =
      `${name}: somebody has given the kernel the address ${ip} there: it may send beside the firewall, and what comes in ` +
      `for it the firewall has (take it away: ip address flush dev ${name})`;
    return [`${name} ${ip}`, line] as const;
  });
  const ipv6 = kernelAddresses6(name).map(({ ip }) => {
    const line =
      `${name}: somebody has switched on the kernel's own IPv6 there, and it has the address ${ip}: it sends neighbour discovery ` +
      `beside the firewall (switch it off: sysctl net.ipv6.conf.${name}.disable_ipv6=1)`;
    return [`${name} ${ip}`, line] as const;
  });
  return [...ipv4, ...ipv6];
}
