// Control's handle on the dataplane's thread: starts it, posts commands, hears reports.

import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { formatAddress6, formatMac } from "../base/address.ts";
import { MACHINE_CLOCK } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import { log } from "../base/log.ts";
import { concernedBy } from "../dataplane/concerned.ts";
import {
  CONTROL_INTERVAL,
  CONTROL_SIGN,
  DATAPLANE_SIGN,
  HUNG_AFTER,
  LIVENESS_LENGTH,
  Liveness,
  START_PATIENCE,
} from "../dataplane/io/liveness.ts";
import { LONGEST_RULES, MAILBOX_LENGTH, Mailbox, RULES_MAILBOX_LENGTH, RULES_SIZE } from "../dataplane/io/mailbox.ts";
import { type PacketSocket, PacketSockets } from "../dataplane/io/packet-sockets.ts";
import { type Command, MAIL, type Report, type Start } from "../dataplane/io/protocol.ts";
import type { CaptureOrder } from "../dataplane/io/tap.ts";
import { addAddressMap, drawKernelKeys } from "../dataplane/kernel/addresses6.ts";
import { Announcements } from "../dataplane/kernel/announcements.ts";
import {
  controlOf,
  entryCount,
  flowRecordsAt,
  KernelCounters,
  type KernelPrograms,
  loadKernelPrograms,
  mapFlows,
  unloadKernelPrograms,
} from "../dataplane/kernel/loader.ts";
import { addRecordMap } from "../dataplane/kernel/records.ts";
import { packRuleset } from "../dataplane/rules/packed.ts";
import { isLikeRuleset, type Ruleset } from "../dataplane/rules/ruleset.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import type { Client } from "../dataplane/types.ts";
import { readSkbLayout } from "../linux/bpf/skb-layout.ts";
import { openEvent, signalEvent } from "../linux/eventfd.ts";
import { libc } from "../linux/libc.ts";
import type { InterfaceBefore } from "../linux/net/take.ts";
import { threadFile } from "../linux/thread-file.ts";
import { TcpExchange } from "../names/tcp-exchange.ts";
import { CountMemory } from "./views/count-memory.ts";
import type { DataplaneState } from "./views/status.ts";

/** How long a name server may take, in ms: as long as glibc gives it. */
const ANSWER_TIMEOUT = 5000;

const STOPPED = new Error("the firewall is stopping");

/** What a question to a name server waits for: an answer, or over TCP one segment after the other. */
interface Question {
  receive(message: Uint8Array): void;
  fail(): void;
}

const NOTHING = new Uint8Array(0);

interface Waiter {
  resolve(report: Report): void;
  reject(error: Error): void;
}

export class Dataplane {
  /** Rejects when the thread ends although nobody stopped it, with the reason that it gave. Never resolves. */
  readonly failed: Promise<never>;
  /** Those who wait for a report, in the order of their commands. */
  private readonly waiters: Waiter[] = [];
  /** Lists of sockets that are in force, or will be once the dataplane has answered: the oldest, which is in force, first. */
  private readonly lists: (readonly PacketSocket[])[] = [];
  /**
   * Sees a name server's answer to a client whose rules have host names, before the client does, which gets it when this settles: what is
   * posted to the dataplane until then is in force by then. The dataplane waits three seconds for it at most.
   */
  onPassing: (client: number, answer: Uint8Array) => Promise<void> = async () => {};
  /** Why all frames come to the socket; undefined where the kernel path is in use. */
  kernelPathOff: string | undefined;
  /** Sees a name server's answers to clients, those of which are not held too. */
  onSeen: (client: number, answer: Uint8Array) => void = () => {};
  /** Those who wait for a name server's answer. */
  private readonly questions = new Map<number, Question>();
  private nextQuestion = 1;
  private isOver = false;
  private death: Error | undefined;
  private fail: (error: Error) => void = () => {};
  private readonly announcements: Announcements | undefined;
  /** Descriptors of the maps of the flow table's records, but for the first. */
  private readonly recordMaps: number[] = [];
  /** Descriptor of the map of IPv6's addresses, once a flow needed it. */
  private addressMap: number | undefined;
  /** Memory of the flows' counts, once it was asked for, and whether they are counted. */
  private counts: CountMemory | undefined;
  private isCounting = false;
  private readonly watch: ReturnType<typeof setInterval>;
  /** How many were posted so far, of 32 bits. */
  private commands = 0;
  private readonly packed = new Int32Array(LONGEST_RULES / 4);
  /** ms of silence. */
  private hungAfter = START_PATIENCE;
  private readonly conflict6: { mac: Uint8Array | undefined } = { mac: undefined };

  private constructor(
    private readonly worker: Worker,
    private readonly port: MessagePort,
    private readonly wake: number,
    private readonly sockets: PacketSockets,
    private readonly kernelPrograms: KernelPrograms | undefined,
    private readonly liveness: Liveness,
    /** To the thread, and from it. */
    private readonly outbox: Mailbox,
    private readonly inbox: Mailbox,
    private readonly rulesOutbox: Mailbox,
    /** What the thread has, or will have by the commands that are on their way, unless it refuses them. */
    private posted: Settings,
  ) {
    this.announcements = kernelPrograms && new Announcements(controlOf(kernelPrograms));
    this.failed = new Promise((_, reject) => {
      this.fail = reject;
    });
    this.failed.catch(() => {}); // nobody has to wait for it
    port.on("message", (report: Report) => this.hear(report));
    worker.on("error", (error) => this.die(error instanceof Error ? error : new Error(String(error))));
    worker.on("exit", () => this.die(new Error("the dataplane's thread ended")));
    this.watch = setInterval(() => this.look(), CONTROL_INTERVAL);
  }

  /**
   * @param settings whose interfaces are ours, as far as they are there
   * @param before what the interfaces were, for the thread to leave them so when control hangs
   * @throws Error where an interface can't be opened
   */
  static async start(
    settings: Settings,
    before: readonly InterfaceBefore[],
  ): Promise<{ dataplane: Dataplane; state: DataplaneState }> {
    const { port1, port2 } = new MessageChannel();
    const { maxFlows } = settings.nat;
    const loaded = settings.nat.kernelPath ? loadKernelPath(maxFlows) : "kernel_path = false";
    const kernelPrograms = typeof loaded === "string" ? undefined : loaded;
    const signs = new Int32Array(new SharedArrayBuffer(LIVENESS_LENGTH));
    const liveness = new Liveness(signs, CONTROL_SIGN, DATAPLANE_SIGN);
    const sockets = new PacketSockets(kernelPrograms, () => liveness.sign());
    const inForce = openSockets(sockets, settings, kernelPrograms);
    const wake = openEvent();
    const flows = mapFlows(maxFlows, kernelPrograms);
    const toDataplane = new SharedArrayBuffer(MAILBOX_LENGTH);
    const toControl = new SharedArrayBuffer(MAILBOX_LENGTH);
    const rules = new SharedArrayBuffer(RULES_MAILBOX_LENGTH);
    const memory = { toDataplane, toControl, rules, signs, flows };
    const start: Start = { settings, sockets: inForce, before, port: port2, wake, kernelPrograms, ...memory };
    const dataplane = new Dataplane(
      new Worker(threadFile("dataplane/io/worker"), { workerData: start, transferList: [port2] }),
      port1,
      wake,
      sockets,
      kernelPrograms,
      liveness,
      new Mailbox(toDataplane),
      new Mailbox(toControl),
      new Mailbox(rules, RULES_SIZE),
      settings,
    );
    dataplane.lists.push(inForce);
    if (typeof loaded === "string") dataplane.kernelPathOff = loaded;
    const report = await dataplane.answer();
    if (report.type === "ready") {
      dataplane.hungAfter = HUNG_AFTER;
      const kernel = new KernelCounters(kernelPrograms);
      const { conflict6 } = dataplane;
      return { dataplane, state: { ...report.state, flows: flowRecordsAt(flows, maxFlows), kernel, conflict6 } };
    }
    dataplane.end();
    throw unexpected(report);
  }

  /**
   * Puts new settings in force between two frames.
   * @param before as of `start`
   * @throws Error where they can't be: then the old ones stay in force
   */
  async apply(settings: Settings, before: readonly InterfaceBefore[]): Promise<void> {
    const sockets = this.sockets.open(settings.interfaces, queuedIndex(settings));
    this.lists.push(sockets);
    const posted = withKnownRulesets(settings, this.posted);
    this.announcements?.announce(concernedBy(this.posted, posted));
    this.posted = posted;
    const report = await this.command({ type: "apply", settings: posted, sockets, before });
    // Answers come in the order of commands, so the list that this one is about is the second oldest.
    this.lists.splice(report.type === "applied" ? 0 : 1, 1);
    this.sockets.keep(this.lists.flat());
    if (report.type !== "applied") throw unexpected(report);
  }

  /** @returns the kernel's numbers of interfaces in force that went; they may be there again, and nothing of ours on them */
  lostInterfaces(): Set<number> {
    return this.sockets.lost();
  }

  /** Gives one client other rules. @param client its number in the settings in force @param settings all else unchanged */
  async setClient(client: number, settings: ClientSettings): Promise<void> {
    this.announcements?.announce([client as Client]);
    this.posted = { ...this.posted, clients: this.posted.clients.with(client, settings) };
    const { ruleset } = settings;
    const report = await (this.mailRules(client, ruleset) ?? this.command({ type: "client", client, ruleset }));
    if (report.type !== "applied") throw unexpected(report);
  }

  /** @param captures all that there are from now on; when it settles, the memory of others is not touched any more */
  async setCaptures(captures: readonly CaptureOrder[]): Promise<void> {
    const report = await this.command({ type: "captures", captures });
    if (report.type !== "applied") throw unexpected(report);
  }

  /** Has flows counted from now on, all from zero. @returns memory of the counts, as long as the program runs */
  async beginCounting(): Promise<Int32Array> {
    this.counts ??= new CountMemory(this.posted.nat.maxFlows, this.kernelPrograms?.maps.counts);
    this.counts.begin(1 + this.recordMaps.length);
    this.isCounting = true;
    await this.setCounts(this.counts.address);
    return this.counts.words;
  }

  async endCounting(): Promise<void> {
    this.isCounting = false;
    await this.setCounts(0);
    this.counts?.end();
  }

  private async setCounts(address: number): Promise<void> {
    const report = await this.command({ type: "counts", address });
    if (report.type !== "applied") throw unexpected(report);
  }

  /**
   * Sends a DNS message to a name server out of the uplink, from a random port.
   * @returns the answer that came from that server to that port
   * @throws Error when none came in time
   */
  ask(server: IpAddress, question: Uint8Array): Promise<Uint8Array> {
    if (this.isOver) return Promise.reject(STOPPED);
    const id = this.nextQuestion++;
    this.mailTo(server, MAIL.ASK, MAIL.ASK6, id, question);
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const timer = setTimeout(() => {
      this.questions.delete(id);
      reject(new Error(`no answer in ${ANSWER_TIMEOUT} ms`));
    }, ANSWER_TIMEOUT);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      this.questions.delete(id);
      act();
    };
    this.questions.set(id, {
      receive: (answer) => settle(() => resolve(answer)),
      fail: () => settle(() => reject(STOPPED)),
    });
    return promise;
  }

  /** As `ask`, over TCP. */
  askByTcp(server: IpAddress, question: Uint8Array): Promise<Uint8Array> {
    if (this.isOver) return Promise.reject(STOPPED);
    const id = this.nextQuestion++;
    const way = {
      send: (segment: Uint8Array) => this.mailTo(server, MAIL.SEGMENT, MAIL.SEGMENT6, id, segment),
      hangUp: () => {
        this.questions.delete(id);
        this.mail(MAIL.HANG_UP, id, 0, NOTHING);
      },
    };
    const exchange = new TcpExchange(question, way, MACHINE_CLOCK);
    this.questions.set(id, {
      receive: (segment) => exchange.receive(segment),
      fail: () => exchange.fail(STOPPED.message),
    });
    return exchange.answer;
  }

  /**
   * Ends a flow, if it is there still.
   * @param protocol, key of what its originator sends: source, destination and ports
   * @returns whether there was room to ask for it
   */
  endFlow(protocol: number, key: Int32Array): boolean {
    if (this.isOver) return true;
    const bytes = new Uint8Array(key.buffer, key.byteOffset, key.byteLength); // the machine's order is the lowest byte first
    const isAsked = this.outbox.put(MAIL.END_FLOW, protocol, 0, bytes, 0, bytes.length);
    signalEvent(this.wake);
    return isAsked;
  }

  /** Ends the thread, and with it all forwarding. @throws when it had ended, or hangs; then too nothing is left of it */
  async stop(): Promise<void> {
    try {
      this.announcements?.announce();
      const report = await this.command({ type: "stop" });
      if (report.type !== "stopped") throw unexpected(report);
    } finally {
      this.end();
    }
  }

  /** Says that control is alive, and looks whether the thread is. */
  private look(): void {
    this.liveness.sign();
    if (this.liveness.silenceAt(performance.now()) >= this.hungAfter)
      this.die(new Error("the dataplane's thread hangs"));
  }

  /** @returns the answer to come; undefined where the mailbox has no room */
  private mailRules(client: number, ruleset: Ruleset): Promise<Report> | undefined {
    if (this.isOver) return undefined;
    const { packed, rulesOutbox } = this;
    const bytes = new Uint8Array(packed.buffer);
    const length = 4 * packRuleset(ruleset, packed);
    if (length === 0 || !rulesOutbox.put(MAIL.RULES, client, this.commands, bytes, 0, length)) return undefined;
    signalEvent(this.wake);
    return this.answer();
  }

  private command(command: Command): Promise<Report> {
    this.post(command);
    return this.answer();
  }

  private post(command: Command): void {
    if (this.isOver) return; // the event's number may be another file's by now
    this.commands = (this.commands + 1) | 0;
    this.port.postMessage(command);
    signalEvent(this.wake);
  }

  /** Puts a message into the thread's mailbox, as soon as there is room. */
  private mail(kind: number, id: number, number: number, bytes: Uint8Array): void {
    if (this.isOver) return;
    if (!this.outbox.put(kind, id, number, bytes, 0, bytes.length))
      setTimeout(() => this.mail(kind, id, number, bytes), 1);
    signalEvent(this.wake);
  }

  /** Mail about a name server: of one kind where that is of IPv4, of another where its address stands in front. */
  private mailTo(server: IpAddress, kind: number, kind6: number, id: number, bytes: Uint8Array): void {
    if (typeof server === "number") this.mail(kind, id, server, bytes);
    else this.mail(kind6, id, 0, Uint8Array.from([...server, ...bytes]));
  }

  private takeMail(): void {
    const { inbox } = this;
    inbox.looks();
    for (const until = inbox.count; inbox.take(until); ) {
      const { kind, id, number, at, length } = inbox;
      const answer = inbox.bytes.slice(at, at + length);
      if (kind === MAIL.ANSWERED) this.answered(id, answer);
      else if (kind === MAIL.SEEN) this.onSeen(number, answer);
      else void this.pass(id, number, answer);
    }
  }

  private answer(): Promise<Report> {
    if (this.death !== undefined) return Promise.reject(this.death);
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  private hear(report: Report): void {
    if (report.type === "failed") this.die(new Error(`the dataplane failed: ${report.reason}`));
    else if (report.type === "kernelPathOff") this.kernelPathOff = sayKernelPathIsOff(report.reason);
    else if (report.type === "kernelPath6Off") log(`kernel path: off for IPv6, because ${report.reason}`);
    else if (report.type === "recordsWanted") void this.giveRecords();
    else if (report.type === "addressesWanted") void this.giveAddresses();
    else if (report.type === "duplicated") this.takeDuplicate(report.address, report.mac);
    else if (report.type === "freed") this.conflict6.mac = undefined;
    else if (report.type === "mail") this.takeMail();
    else if (report.type === "answered") this.answered(report.id, report.answer);
    else if (report.type === "passing") void this.pass(report.id, report.client, report.answer);
    else this.waiters.shift()?.resolve(report);
  }

  /** Loudly: nothing else tells at once why no IPv6 passes. */
  private takeDuplicate(address: Uint8Array, mac: Uint8Array): void {
    const isLinkLocal = address[0] === 0xfe && (address[1] & 0xc0) === 0x80;
    if (!isLinkLocal) this.conflict6.mac = mac;
    const what = isLinkLocal
      ? "the firewall does without it (our interfaces' MAC addresses must be nobody else's)"
      : "the firewall forwards no IPv6 by the uplink (give it another address6, or take it from the other machine and restart the firewall)";
    log(`uplink: the IPv6 address ${formatAddress6(address)} is that of another machine, ${formatMac(mac)}: ${what}`);
  }

  /** Without memory for it, flows with higher numbers stay off the kernel path: it is not asked for again. */
  private async giveRecords(): Promise<void> {
    if (this.kernelPrograms === undefined || this.isOver) return;
    const at = 1 + this.recordMaps.length;
    try {
      const map = addRecordMap(this.kernelPrograms.maps.records, at);
      this.recordMaps.push(map);
      const counts = this.isCounting ? this.counts?.make(at) : undefined;
      await this.command({ type: "records", at, map, counts });
      if (counts !== undefined) this.counts?.put(at);
    } catch {} // a thread that died is reported by itself
  }

  /** Without memory for it, flows of IPv6 stay off the kernel path, which is said: it is not asked for again. */
  private async giveAddresses(): Promise<void> {
    if (this.kernelPrograms === undefined || this.isOver) return;
    let map: number;
    try {
      map = addAddressMap(this.kernelPrograms.maps.addresses, entryCount(this.kernelPrograms));
    } catch (error) {
      log(`kernel path: off for IPv6, because ${error instanceof Error ? error.message : error}`);
      return;
    }
    this.addressMap = map;
    try {
      await this.command({ type: "addresses", map });
    } catch {} // as above
  }

  private async pass(id: number, client: number, answer: Uint8Array): Promise<void> {
    this.onSeen(client, answer);
    await this.onPassing(client, answer);
    this.mail(MAIL.RELEASE, id, 0, NOTHING);
  }

  private answered(id: number, answer: Uint8Array): void {
    this.questions.get(id)?.receive(answer);
  }

  /** The first cause counts: what comes later follows from it. */
  private die(error: Error): void {
    this.death ??= error;
    this.announcements?.announce(); // it enters no flow any more, should it go on
    this.fail(error);
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }

  /**
   * Closes what the thread was given, once it has said its last: it touches none of it any more, and ends by itself. Nobody waits
   * for that: until its JavaScript engine has cleared itself away takes seconds where the machine is emulated.
   */
  private end(): void {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.watch);
    for (const question of this.questions.values()) question.fail();
    this.worker.removeAllListeners("exit");
    this.worker.unref();
    this.port.close();
    this.sockets.keep([]);
    if (this.kernelPrograms !== undefined) unloadKernelPrograms(this.kernelPrograms);
    for (const file of [...this.recordMaps, this.wake]) libc.close(file);
    if (this.addressMap !== undefined) libc.close(this.addressMap);
  }
}

/** The thread compares rule sets by their versions alone. @returns settings in which those that decide as before are the same ones */
function withKnownRulesets(settings: Settings, before: Settings): Settings {
  const known = new Map(before.clients.map(({ name, ruleset }) => [name, ruleset]));
  const clients = settings.clients.map((client) => {
    const ruleset = known.get(client.name);
    return ruleset !== undefined && isLikeRuleset(ruleset, client.ruleset) ? { ...client, ruleset } : client;
  });
  return { ...settings, clients };
}

/** @returns the programs; or why they can't be had: then all frames come to the dataplane's thread */
function loadKernelPath(maxFlows: number): KernelPrograms | string {
  const keys = drawKernelKeys(() => crypto.getRandomValues(new Int32Array(1))[0]);
  try {
    return loadKernelPrograms(maxFlows, keys, readSkbLayout());
  } catch (error) {
    return sayKernelPathIsOff(error instanceof Error ? error.message : String(error));
  }
}

function sayKernelPathIsOff(reason: string): string {
  log(`kernel path: off, because ${reason}`);
  return reason;
}

/** The first sockets. @throws Error where an interface can't be opened; then nothing is left of the kernel path either */
function openSockets(
  sockets: PacketSockets,
  settings: Settings,
  programs: KernelPrograms | undefined,
): readonly PacketSocket[] {
  try {
    return sockets.open(settings.interfaces, queuedIndex(settings));
  } catch (error) {
    if (programs !== undefined) unloadKernelPrograms(programs);
    throw error;
  }
}

/** @returns the kernel's number of the interface that is to have our queue in front of it */
function queuedIndex({ uplink, interfaces }: Settings): number | undefined {
  return uplink.rate === undefined ? undefined : interfaces[uplink.iface]?.index;
}

function unexpected(report: Report): Error {
  return new Error(report.type === "refused" ? report.reason : `the dataplane answered ${report.type}`);
}
