// What control asks of the dataplane's thread, done a little at a time: between two steps the thread looks for frames. A command is
// answered once it has been carried out; the next one is not looked at before. What has come by mail was put there after the
// commands that it depends on, so it is taken when there are none. Rules by mail say between which commands they come.
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { Router } from "../frame/router.ts";
import { packedLength } from "../rules/packed.ts";
import type { Ruleset } from "../rules/ruleset.ts";
import { Collector, LEFT_BY_ALL, LEFT_BY_CLIENT } from "./collector.ts";
import type { Mailbox } from "./mailbox.ts";
import { type Command, MAIL, type Report } from "./protocol.ts";

/**
 * Words of rules that count as a piece. They are shared memory, which is not this thread's, but the engine counts it for each message that it
 * comes in, and after some dozen megabytes collects by itself, all at once.
 */
const RULES_PIECE = 8192;
/** Messages by mail that one step takes. */
const MAIL_AT_ONCE = 16;

const APPLIED: Report = { type: "applied" };

export type WatchCommand = Extract<Command, { type: "captures" | "counts" }>;
type ApplyCommand = Extract<Command, { type: "apply" }>;

/** What the thread does at that. */
export interface CommandEvents {
  /** Puts the interfaces of settings in force, right before these. @returns why that can't be, if it can't: then nothing has changed */
  configure(command: ApplyCommand): string | undefined;
  /** A command that changes what may pass has been carried out, or refused. @param applied whose settings are in force now, if that is new */
  carriedOut(applied: ApplyCommand | undefined): void;
  /** Another map of the flow table's records is to be known. */
  records(command: Extract<Command, { type: "records" }>): void;
  /** The map of the addresses of the kernel path's entries of IPv6 is to be known. */
  addresses(command: Extract<Command, { type: "addresses" }>): void;
  /** Others capture than before, or ask for counts of flows. */
  watch(command: WatchCommand): void;
  report(report: Report): void;
}

export class Commands {
  /** Whether it has been stopped: nothing more is to be done. */
  isStopped = false;
  /** Whether there may be something to do. */
  private hasMore = true;
  /** The one in hand, and how it goes on once it has begun. */
  private command: Command | undefined;
  private job: Generator<void> | undefined;
  /** Why it can't be carried out. */
  private refusal: string | undefined;
  /** How many have come so far. */
  private received = 0;
  /** Whether `rules` has a message in hand. */
  private hasRules = false;

  constructor(
    private readonly port: MessagePort,
    private readonly inbox: Mailbox,
    private readonly rules: Mailbox,
    private readonly router: Router,
    private readonly events: CommandEvents,
    private readonly collector = new Collector(),
  ) {}

  /** There may be something new. */
  wake(): void {
    this.hasMore = true;
  }

  /** Whether `step` has something to do. */
  get isBusy(): boolean {
    if (this.collector.isBusy) return true;
    if (!this.hasMore) return false;
    if (this.job !== undefined) return true;
    if (this.isRulesTurn()) return this.router.mayApply(this.rules.id);
    return this.command === undefined || this.mayBegin(this.command);
  }

  /** Whether there are rules by mail that were put before the command in hand was posted; or before the next one, if there is none in hand. */
  private isRulesTurn(): boolean {
    const { rules } = this;
    if (!this.hasRules) this.hasRules = rules.take(rules.count);
    const before = this.command === undefined ? this.received : this.received - 1;
    return this.hasRules && ((rules.number - before) | 0) <= 0;
  }

  step(): void {
    if (this.collector.isBusy) {
      this.collector.step();
      return;
    }
    if (this.job !== undefined && this.command !== undefined) {
      if (this.job.next().done === true) this.finish(this.command);
      return;
    }
    const mail = this.inbox.count;
    if (this.isRulesTurn()) {
      if (this.router.mayApply(this.rules.id)) this.takeRules();
      return;
    }
    if (this.command === undefined) {
      const received: { message: Command } | undefined = receiveMessageOnPort(this.port);
      if (received === undefined) {
        this.takeMail(mail);
      } else {
        this.command = received.message;
        this.received = (this.received + 1) | 0;
      }
      return; // what it takes to receive a large one is enough for once
    }
    if (this.mayBegin(this.command)) this.begin(this.command);
  }

  /** Some have to wait until all flows have been looked at. */
  private mayBegin(command: Command): boolean {
    if (command.type !== "apply" && command.type !== "client") return true;
    return this.router.mayApply(command.type === "client" ? command.client : undefined);
  }

  private begin(command: Command): void {
    if (command.type === "stop") {
      this.isStopped = true;
    } else if (command.type === "records" || command.type === "addresses") {
      if (command.type === "records") this.events.records(command);
      else this.events.addresses(command);
      this.command = undefined;
      this.events.report(APPLIED);
    } else if (command.type === "captures" || command.type === "counts") {
      this.events.watch(command);
      this.command = undefined;
      this.events.report(APPLIED);
      this.collector.note(leftBy(command));
    } else if (command.type === "client") {
      this.router.setClient(command.client, command);
      this.finish(command);
    } else {
      this.job = this.router.applying(command.settings, () => {
        this.refusal = this.events.configure(command);
        return this.refusal === undefined;
      });
    }
  }

  private finish(command: Command): void {
    const { refusal } = this;
    this.command = undefined;
    this.job = undefined;
    this.refusal = undefined;
    this.events.report(refusal === undefined ? APPLIED : { type: "refused", reason: refusal });
    this.events.carriedOut(command.type === "apply" && refusal === undefined ? command : undefined);
    this.collector.note(leftBy(command));
  }

  /** Nothing is left in memory by these. */
  private takeRules(): void {
    const { rules, router, events } = this;
    this.hasRules = false;
    router.takeClientRules(rules.id, rules.words, rules.at >> 2);
    events.report(APPLIED);
    events.carriedOut(undefined);
  }

  /** @param until what the mailbox's `count` was before there was no command */
  private takeMail(until: number): void {
    const { inbox, router } = this;
    for (let i = 0; i < MAIL_AT_ONCE; i++) {
      if (!inbox.take(until)) {
        this.hasMore = false;
        return;
      }
      const { kind, id, number, bytes, at, length } = inbox;
      if (kind === MAIL.RELEASE) router.releaseAnswer(id);
      else if (kind === MAIL.SEGMENT) router.sendSegment(id, number, bytes, at, length);
      else if (kind === MAIL.ASK6) router.ask6(id, bytes, at, length);
      else if (kind === MAIL.SEGMENT6) router.sendSegment6(id, bytes, at, length);
      else if (kind === MAIL.HANG_UP) router.hangUp(id);
      else if (kind === MAIL.END_FLOW) router.endFlow(id, bytes, at);
      else router.ask(id, number, bytes, at, length);
    }
  }
}

/** @returns pieces of memory that nobody needs when such a command has been carried out. What others decide the number of comes by mail. */
function leftBy(command: Command): number {
  if (command.type === "client") return LEFT_BY_CLIENT + piecesOf(command.ruleset);
  if (command.type !== "apply") return LEFT_BY_CLIENT;
  const { interfaces, clients } = command.settings;
  const rulesets = new Set(clients.map(({ ruleset }) => ruleset));
  const ofRules = [...rulesets].reduce((sum, ruleset) => sum + piecesOf(ruleset), 0);
  return LEFT_BY_ALL + interfaces.length + clients.length + ofRules;
}

function piecesOf(ruleset: Ruleset): number {
  return Math.floor(packedLength(ruleset) / RULES_PIECE);
}
