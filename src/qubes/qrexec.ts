// Qrexec's agent: what dom0 calls in this domain, and what we call there. One control channel, on which dom0 asks, and for
// each call a channel of its own for the data. There is no shell here and no user: only the services that we are given.
// Nothing waits for ever: a call ends with its limit or with the control channel, and dom0 is told so that its port is free.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { type ByteStream, ProtocolError, type StreamHandler } from "../xen/byte-stream.ts";
import { CALL_LIMIT, CallPlaces, RunningCall } from "./call-places.ts";
import { type AgentChannels, type Answer, conversation, makeCall, type Service, serveCall } from "./qrexec-calls.ts";
import {
  decodeExec,
  type ExecParams,
  encodeTerminated,
  encodeTrigger,
  QREXEC,
  type QrexecMessage,
  textOf,
} from "./qrexec-wire.ts";

/** A call of ours that dom0 has not answered yet. */
interface Outgoing {
  readonly input: string;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

export class QrexecAgent {
  /** Bytes from dom0 on the control channel go here. */
  readonly handler: StreamHandler;
  private readonly begin: (stream: ByteStream) => void;
  private control: ByteStream | undefined;
  private version = 0;
  private readonly outgoing = new Map<string, Outgoing>();
  private lastIdent = 0;
  private readonly places = new CallPlaces();

  /**
   * For one control channel: when that ends, so does the agent.
   * @param greeted hears that dom0 is there, and calls can be made
   * @param closed hears that the channel has ended, once nobody waits any more for who was called by it
   */
  constructor(
    private readonly services: ReadonlyMap<string, Service>,
    private readonly channels: AgentChannels,
    greeted: () => void,
    closed: (reason: string) => void,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {
    const { handler, begin } = conversation(
      (message) => this.hear(message),
      (reason) => {
        for (const call of this.outgoing.values()) call.reject(new Error(`qrexec: ${reason}`));
        this.outgoing.clear();
        // The next daemon gives its calls the same ports: whoever still waits there would get another's. So all of those have
        // ended before it is served. Calls that have met their partner need no daemon any more.
        const waiting = this.places.endWaiting(reason);
        if (waiting.length === 0) closed(reason);
        else void Promise.all(waiting.map(({ ended }) => ended)).then(() => closed(reason));
      },
      (version) => {
        this.version = version;
        greeted();
      },
    );
    this.handler = handler;
    this.begin = begin;
  }

  /** @param control the channel that was opened with `handler` */
  start(control: ByteStream): void {
    this.control = control;
    this.begin(control);
  }

  /** Calls a service of another domain. @returns its answer; rejects when dom0 refuses, goes, or takes too long */
  call(target: string, service: string, input = ""): Promise<Answer> {
    const ident = `firebreak-${++this.lastIdent}`;
    const trigger = encodeTrigger(this.version, target, service, ident);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.outgoing.set(ident, { input, resolve, reject });
    this.control?.send(trigger);
    const callOff = this.clock.after(CALL_LIMIT, () => {
      this.take(ident)?.reject(new Error(`qrexec: dom0 did not answer within ${CALL_LIMIT / 1000} s`));
    });
    return promise.finally(callOff);
  }

  private hear({ type, body }: QrexecMessage): void {
    switch (type) {
      case QREXEC.EXEC_CMDLINE:
      case QREXEC.JUST_EXEC:
        void this.execute(decodeExec(body), type === QREXEC.JUST_EXEC);
        return;
      case QREXEC.SERVICE_CONNECT:
        void this.converse(decodeExec(body));
        return;
      case QREXEC.SERVICE_REFUSED:
        this.take(textOf(body))?.reject(new Error("qrexec: dom0 refused the call"));
        return;
      default:
        throw new ProtocolError(`qrexec: a message of type ${type} from dom0`);
    }
  }

  /** Runs what dom0 asks for, on a channel of the call's own. A call that can't be talked about just ends. */
  private execute(params: ExecParams, alone: boolean): Promise<void> {
    return this.run(params, (running) => serveCall(params, alone, this.services, this.channels, running));
  }

  /** Dom0 has found whom we called. */
  private async converse(params: ExecParams): Promise<void> {
    const call = this.take(params.text);
    await this.run(params, async (running) => {
      try {
        if (call !== undefined) call.resolve(await makeCall(params, call.input, this.channels, running));
      } catch (error) {
        call?.reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Does a call's part, and tells dom0 that its port is free. */
  private async run({ domain, port }: ExecParams, act: (running: RunningCall) => Promise<void>): Promise<void> {
    const running = new RunningCall(domain, this.clock);
    try {
      if (this.places.take(running)) await act(running);
    } catch {
      // The partner went away, or never came: nobody is left to be told.
    } finally {
      running.end();
      this.places.leave(running);
      this.control?.send(encodeTerminated(domain, port));
    }
  }

  private take(ident: string): Outgoing | undefined {
    const call = this.outgoing.get(ident);
    this.outgoing.delete(ident);
    return call;
  }
}
