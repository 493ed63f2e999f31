// A small network on this machine: namespaces, cables (veth) and taps between them, programs in them. All of it is gone
// after `close`, also when the program that made it ends early. Needs root.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";

/** How long a command may take, in ms, unless told otherwise. */
const PATIENCE = 60_000;

/** Standard input of a program: nothing, or what `type` writes. */
type Input = "ignore" | "pipe";

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program running in a namespace. */
export class Program {
  private readonly output: { text: string; ended: boolean } = { text: "", ended: false };
  private readonly reading: Promise<void>;

  constructor(
    readonly command: readonly string[],
    readonly process: Subprocess<Input, "pipe", "pipe">,
  ) {
    this.reading = Promise.all([this.read(process.stdout), this.read(process.stderr)]).then(() => {
      this.output.ended = true;
    });
  }

  get pid(): number {
    return this.process.pid;
  }

  /** Standard output and standard error so far, as they came. */
  get text(): string {
    return this.output.text;
  }

  /** Waits until its output has what `pattern` matches, from the character `from` on. */
  async says(pattern: string | RegExp, from = 0, patience = PATIENCE): Promise<void> {
    const deadline = performance.now() + patience;
    for (;;) {
      const text = this.text.slice(from);
      if (typeof pattern === "string" ? text.includes(pattern) : pattern.test(text)) return;
      if (this.output.ended || performance.now() > deadline) {
        const how = this.output.ended ? "ended" : "went on";
        throw new Error(`${this.command.join(" ")} ${how} without saying ${pattern}:\n${this.text}`);
      }
      await Bun.sleep(5);
    }
  }

  /** Writes to its standard input, which must be a pipe. */
  type(text: string): void {
    const { stdin } = this.process;
    if (stdin === undefined) throw new Error(`${this.command.join(" ")} was started without standard input`);
    stdin.write(text);
    stdin.flush();
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Waits until it has ended. @returns its exit status, 128 + signal where a signal ended it */
  async end(): Promise<number> {
    const status = await this.process.exited;
    await this.reading;
    return status;
  }

  private async read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.output.text += decoder.decode(chunk, { stream: true });
  }
}

export class Namespace {
  constructor(
    /** As ip(8) knows it. */
    readonly name: string,
    private readonly lab: Lab,
  ) {}

  /** ip(8) in this namespace. */
  ip(...args: readonly string[]): void {
    ip("-n", this.name, ...args);
  }

  /** Runs a command to its end. @throws with its output, when it fails */
  async run(command: readonly string[], patience = PATIENCE): Promise<string> {
    const { status, stdout, stderr } = await this.attempt(command, patience);
    if (status !== 0) throw new Error(`${command.join(" ")} exited ${status}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** Runs a command to its end, which may be a failure. */
  async attempt(command: readonly string[], patience = PATIENCE): Promise<Outcome> {
    const options = { stdout: "pipe", stderr: "pipe", env: this.lab.environment() } as const;
    const process = Bun.spawn(this.inside(command), { ...options, timeout: patience });
    const [stdout, stderr] = await Promise.all([process.stdout.text(), process.stderr.text()]);
    return { status: await process.exited, stdout, stderr };
  }

  /** Starts a program that runs until it ends or the lab is closed. */
  start(command: readonly string[], stdin: Input = "ignore"): Program {
    const options = { stdout: "pipe", stderr: "pipe", env: this.lab.environment() } as const;
    const process = Bun.spawn(this.inside(command), { stdin, ...options });
    return this.lab.keep(new Program(command, process));
  }

  private inside(command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.name, ...command];
  }
}

export class Lab {
  private readonly namespaces: Namespace[] = [];
  private readonly programs: Program[] = [];
  /** For sockets of firewalls. */
  private readonly folder = mkdtempSync(join(tmpdir(), "firebreak-run-"));
  private started = 0;
  private readonly onExit = () => this.demolish();

  /** @param name short: namespaces are called firebreak-NAME-PID-… */
  constructor(private readonly name: string) {
    if (process.getuid?.() !== 0)
      throw new Error("this test needs root: it makes network namespaces (run it with sudo)");
    process.on("exit", this.onExit);
  }

  /** A new namespace with its loopback up, and IPv6 off so that nothing but what a test sends is on its cables. */
  namespace(name: string): Namespace {
    const namespace = new Namespace(`firebreak-${this.name}-${process.pid}-${name}`, this);
    ip("netns", "add", namespace.name);
    this.namespaces.push(namespace);
    const silence = "for group in all default; do echo 1 >/proc/sys/net/ipv6/conf/$group/disable_ipv6; done";
    command("ip", "netns", "exec", namespace.name, "sh", "-c", silence);
    namespace.ip("link", "set", "lo", "up");
    return namespace;
  }

  /** A cable between two namespaces; its ends are up. */
  cable(one: Namespace, oneInterface: string, other: Namespace, otherInterface: string): void {
    ip("link", "add", oneInterface, "netns", one.name, "type", "veth", "peer", otherInterface, "netns", other.name);
    one.ip("link", "set", oneInterface, "up");
    other.ip("link", "set", otherInterface, "up");
  }

  /** Of a new program: firewalls of the same name, in other namespaces and other tests, are not in each other's way. */
  environment(): NodeJS.ProcessEnv {
    return { RUNTIME_DIRECTORY: join(this.folder, String(this.started++)), ...process.env };
  }

  keep(program: Program): Program {
    this.programs.push(program);
    return program;
  }

  /** Ends all programs and removes all namespaces, with what is in them. */
  async close(): Promise<void> {
    this.demolish();
    await Promise.all(this.programs.splice(0).map((program) => program.end()));
    process.off("exit", this.onExit);
  }

  /** Programs may have started others, so whatever runs in the namespaces ends. */
  private demolish(): void {
    for (const program of this.programs) program.signal("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
    for (const { name } of this.namespaces.splice(0)) {
      for (const pid of command("ip", "netns", "pids", name).split("\n").filter(Boolean)) kill(Number(pid));
      ip("netns", "delete", name);
    }
  }
}

/** Ends a process, if it has not ended meanwhile. */
function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** @returns the MAC address of an interface, as text */
export async function macOf(namespace: Namespace, name: string): Promise<string> {
  const [link] = JSON.parse(await namespace.run(["ip", "-json", "link", "show", name]));
  return link.address;
}

function ip(...args: readonly string[]): void {
  command("ip", ...args);
}

/** @returns its standard output */
function command(...words: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...words], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr.toString().trim()}`);
  return stdout.toString();
}
