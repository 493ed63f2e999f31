// A firewall that only answers: the control channel's own server over a socket, with made-up values behind it, as many and as strange as a
// test wants them.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Fields, Value } from "../../src/channel/cbor.ts";
import { serveSocket } from "../../src/channel/listener.ts";
import { ChannelError } from "../../src/channel/messages.ts";
import type { NamedStatus } from "../../src/channel/operations/services.ts";
import type { Operation } from "../../src/channel/session.ts";
import { openSocketFile } from "../../src/channel/socket-file.ts";
import type { CapturePiece } from "../../src/control/captures/live-capture.ts";
import type { RuleEntry } from "../../src/control/rule-list.ts";
import type { DropEntry } from "../../src/control/views/drops.ts";
import type { FlowEntry } from "../../src/control/views/flow-list.ts";
import type { Cause } from "../../src/why/why.ts";

const BEGAN = Date.now() / 1000 - 4000;

export class FakeFirewall {
  readonly path: string;
  flows: FlowEntry[] = [];
  drops: DropEntry[] = [];
  rules: RuleEntry[] = [];
  causes: Cause[] = [];
  /** What a capture has; then it ends, or goes on with nothing. */
  pieces: CapturePiece[] = [{ bytes: Buffer.from("a capture"), frames: 1, lost: 0 }];
  goesOn = false;
  change: Partial<NamedStatus> = {};
  /** Bits a second from now on. */
  up = 2_500_000;
  down = 41_000_000;
  private counted = { uptime: 0, up: 0, down: 0 };
  /** What was asked, the last first. */
  readonly asked: { readonly op: string; readonly args: Partial<Fields> }[] = [];
  /** Whether answers never come. */
  isSilent = false;
  /** What each operation but status is refused with, if so. */
  refusal: ChannelError | undefined;

  constructor(name: string) {
    const before = process.env.RUNTIME_DIRECTORY;
    process.env.RUNTIME_DIRECTORY = join(mkdtempSync(join(tmpdir(), "firebreak-")), "run");
    const socket = openSocketFile(name);
    if (before === undefined) delete process.env.RUNTIME_DIRECTORY;
    else process.env.RUNTIME_DIRECTORY = before;
    this.path = socket.path;
    const all = (op: string, make: (args: Partial<Fields>) => readonly unknown[]): [string, Operation] => [
      op,
      async function* (this: FakeFirewall, args: Partial<Fields>, signal: AbortSignal) {
        this.asked.unshift({ op, args });
        if (this.isSilent) await new Promise((resolve) => signal.addEventListener("abort", resolve));
        if (this.refusal !== undefined && op !== "status") throw this.refusal;
        for (const data of make(args)) yield { data: data as Value };
        if (this.goesOn) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      }.bind(this),
    ];
    const operations = new Map([
      all("status", () => [this.status]),
      all("flows", (args) => this.flowRows(args)),
      all("drops", () => this.drops),
      all("rules", () => this.rules),
      all("capture", () => this.pieces),
      all("log", () => [{ time: BEGAN, uptime: 0, text: "began" }]),
      all("trace", () => []),
      all("why", () => this.causes.map((cause) => ({ cause }))),
    ]);
    serveSocket(socket, { greeting: { name, program: "firebreak" }, operations });
  }

  get status(): NamedStatus {
    const time = Date.now() / 1000;
    const uptime = time - BEGAN;
    const passed = uptime - this.counted.uptime;
    const { up, down } = this.counted;
    this.counted = { uptime, up: up + this.up * passed, down: down + this.down * passed };
    const traffic = (bits: number) => ({ frames: Math.round(bits / 8000), bytes: Math.round(bits / 8) });
    return {
      ...{ name: "home", version: "1.2.3", uptime, time, cpu: uptime / 50 },
      configuration: { by: "file", time: BEGAN + 60, differs: false },
      memory: { resident: 72_000_000, anonymous: 30_000_000 },
      interfaces: [
        {
          ...{ name: "eth1", state: "up", mac: "02:00:00:00:00:02", mtu: 1500, clients: [] },
          uplink: { address: "192.0.2.254/24", gateway: "192.0.2.1" },
          ...{ received: traffic(this.counted.down), transmitted: traffic(this.counted.up) },
        },
        {
          ...{ name: "eth0", state: "up", mac: "02:00:00:00:00:01", mtu: 1500, clients: ["work"] },
          ...{ received: traffic(this.counted.up), transmitted: traffic(this.counted.down) },
        },
      ],
      ring: {},
      frames: {
        forwarded: Math.round(uptime * 5200),
        refused: Math.round(uptime * 3),
        unsolicited: Math.round(uptime),
      },
      kernel_path: {},
      flows: { used: this.flows.length, most: 65_536 },
      clients: [{ name: "work", flows: this.flows.length, most_flows: 65_536 }],
      resolver: { names: 0, unknown: 0, failing: 0, addresses: 0, lookups: 0, failures: 0 },
      ...this.change,
    };
  }

  /** With the filters that tests use: `client=` and `proto=`. */
  private flowRows({ match = [], sort, offset = 0, limit, count }: Partial<Fields>): readonly unknown[] {
    const words = (match as string[]).map((word) => word.split("="));
    const unknown = words.find(([key]) => key !== "client" && key !== "proto");
    if (unknown !== undefined)
      throw new ChannelError("arguments", `"${unknown.join("=")}" is no filter (write KEY=VALUE)`);
    const found = this.flows.filter((flow) => words.every(([key, value]) => flow[key as "client" | "proto"] === value));
    if (count === true) return [{ flows: found.length }];
    if (sort === "-bytes") found.sort((one, other) => (other.sent?.bytes ?? 0) - (one.sent?.bytes ?? 0));
    if (sort === "-src") found.sort((one, other) => (other.source.port ?? 0) - (one.source.port ?? 0));
    if (sort === "src") found.sort((one, other) => (one.source.port ?? 0) - (other.source.port ?? 0));
    return found.slice(Number(offset), Number(offset) + Number(limit ?? found.length));
  }
}

/** @returns so many flows of a client's, no two the same */
export function manyFlows(count: number, client = "work"): FlowEntry[] {
  return Array.from({ length: count }, (_, i): FlowEntry => {
    const isTcp = i % 3 !== 0;
    return {
      ...{ protocol: isTcp ? 6 : 17, proto: isTcp ? "tcp" : "udp", client, rule: i % 5 },
      ...(isTcp && { state: i % 7 === 0 ? "TIME-WAIT" : "ESTABLISHED" }),
      source: { address: `10.137.0.${10 + (i % 3)}`, port: i % 65_536 },
      destination: { address: `203.0.113.${i % 200}`, port: isTcp ? 443 : 53 },
      mapped: { address: "192.0.2.254", port: i % 65_536 },
      sent: { bytes: 1000 * i, packets: i },
      received: { bytes: 3000 * i, packets: 2 * i },
    };
  });
}
