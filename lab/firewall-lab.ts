// A client, `firebreak run`, and an "internet" with a router and a server behind it, each in a namespace of its own.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Lab, type Namespace, type Program } from "./namespaces.ts";
import { becomeClient, becomeInternet, configuration } from "./places.ts";

const ROOT = join(import.meta.dir, "..");

/** Frames that the firewall saw, by what its log calls them, and its flows. */
export interface State {
  readonly ring: ReadonlyMap<string, number>;
  readonly frames: ReadonlyMap<string, number>;
  /** Those of the frames that took the kernel path. */
  readonly kernelPath: ReadonlyMap<string, number>;
  readonly flows: readonly string[];
}

export class FirewallLab {
  readonly client: Namespace;
  readonly firewall: Namespace;
  readonly internet: Namespace;
  /** For files of a test; removed at the end. */
  readonly folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  readonly configFile = join(this.folder, "firewall.toml");
  private readonly lab: Lab;
  private running: Program | undefined;

  /** @param name short, one for each test file */
  constructor(name: string) {
    this.lab = new Lab(name);
    this.client = this.lab.namespace("client");
    this.firewall = this.lab.namespace("firewall");
    this.internet = this.lab.namespace("internet");
    this.lab.cable(this.firewall, "eth0", this.client, "eth0");
    this.lab.cable(this.firewall, "eth1", this.internet, "eth0");
    becomeClient(this.client);
    becomeInternet(this.internet);
  }

  /** One more namespace, for a test of its own making. */
  namespace(name: string): Namespace {
    return this.lab.namespace(name);
  }

  cable(one: Namespace, oneInterface: string, other: Namespace, otherInterface: string): void {
    this.lab.cable(one, oneInterface, other, otherInterface);
  }

  /** The process of `firebreak run`. */
  get program(): Program {
    if (this.running === undefined) throw new Error("the firewall is not started");
    return this.running;
  }

  /** Writes the configuration: one client with these rules, or another text altogether. */
  configure(rules: readonly string[], policy: "accept" | "drop" = "drop"): void {
    this.writeConfig(configuration(rules, policy));
  }

  writeConfig(text: string): void {
    writeFileSync(this.configFile, text);
  }

  /** Starts the firewall and waits until it forwards. @param command of another build of it */
  async start(command: readonly string[] = firebreak()): Promise<Program> {
    this.running = this.firewall.start([...command, "run", "--config", this.configFile]);
    await this.running.says("ready in");
    return this.running;
  }

  /** Has the firewall read its configuration again, and waits until it has. */
  async reload(): Promise<void> {
    const said = this.program.text.length;
    this.program.signal("SIGHUP");
    await this.program.says("configuration reloaded", said);
  }

  /** @returns what the firewall says of itself now */
  async state(): Promise<State> {
    const said = this.program.text.length;
    this.program.signal("SIGUSR1");
    await this.program.says(/flows: (\d+)\n/, said);
    // Many lines come a part at a time.
    for (let length = 0; length < this.program.text.length; await Bun.sleep(5)) length = this.program.text.length;
    return readState(this.program.text.slice(said));
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** @param text the firewall's answer to SIGUSR1 */
export function readState(text: string): State {
  const lines = text.split("\n");
  const flows = lines.flatMap((line) => line.match(/flow: (.*)/)?.[1] ?? []);
  const [ring, frames, kernelPath] = ["ring", "frames", "kernel path"].map((title) => counters(lines, title));
  return { ring, frames, kernelPath, flows };
}

/** The command line of firebreak: from its sources, or as the environment says (build/trace-calls.ts). */
export function firebreak(...args: readonly string[]): string[] {
  const launcher = process.env.FIREBREAK_LAUNCHER?.split(" ") ?? [process.execPath, join(ROOT, "src/main.ts")];
  return [...launcher, ...args];
}

/** The command line of one of tests/net/peers. */
export function peer(name: string, ...args: readonly (string | number)[]): string[] {
  return [process.execPath, join(import.meta.dir, "../tests/net/peers", `${name}.ts`), ...args.map(String)];
}

function counters(lines: readonly string[], title: string): Map<string, number> {
  const found = lines.flatMap((line): [string, number][] => {
    const match = new RegExp(`${title}: (\\d+) (.*)`).exec(line);
    return match?.[1] && match[2] ? [[match[2], Number(match[1])]] : [];
  });
  return new Map(found);
}
