// Name servers for tests of the resolver, in simulated time: each question is answered as the test says, or not at all.
import { type Answer, decode, encode, RECURSION_DESIRED, TRUNCATED_RESPONSE } from "dns-packet";
import type { IpAddress } from "../../src/base/ip.ts";
import type { NameServers } from "../../src/names/name-server.ts";
import { TcpRefusal } from "../../src/names/tcp-exchange.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** A question as a name server sees it. */
export interface Asked {
  readonly server: IpAddress;
  /** What it is for: A or AAAA records. */
  readonly type: "A" | "AAAA";
  readonly at: number;
  readonly id: number;
  /** In the capitals that it was asked in, and in lower case. */
  readonly written: string;
  readonly name: string;
  /** EDNS0's payload size, or undefined without. */
  readonly payloadSize: number | undefined;
  readonly byTcp: boolean;
  readonly message: Uint8Array;
}

/** What comes back; undefined: nothing. */
export type Answerer = (asked: Asked) => Uint8Array | undefined;

/** How long a name server is waited for, in ms. */
export const PATIENCE = 5000;

export class FakeNameServers implements NameServers {
  /** All questions so far. */
  readonly asked: Asked[] = [];
  /** How long they take, in ms. */
  latency = 20;
  /** Whether they refuse TCP. */
  refusesTcp = false;
  underWay = 0;
  mostUnderWay = 0;

  constructor(
    private readonly clock: SimulatedClock,
    public answer: Answerer,
  ) {}

  ask(server: IpAddress, message: Uint8Array): Promise<Uint8Array> {
    return this.take(server, message, false);
  }

  async askByTcp(server: IpAddress, message: Uint8Array): Promise<Uint8Array> {
    if (this.refusesTcp) {
      await this.clock.sleep(this.latency);
      throw new TcpRefusal("it refuses TCP");
    }
    return this.take(server, message, true);
  }

  private async take(server: IpAddress, message: Uint8Array, byTcp: boolean): Promise<Uint8Array> {
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    const asked = readQuestion(server, this.clock.now(), message, byTcp);
    this.asked.push(asked);
    const answer = this.answer(asked);
    await this.clock.sleep(answer === undefined ? PATIENCE : this.latency);
    this.underWay--;
    if (answer === undefined) throw new Error("no answer");
    return answer;
  }

  /** @returns when each question for a name was asked */
  times(name: string): number[] {
    return this.asked.filter((asked) => asked.name === name).map(({ at }) => at);
  }
}

export interface ReplyFields {
  readonly rcode?: number;
  readonly truncated?: boolean;
  readonly authorities?: Answer[];
  readonly additionals?: Answer[];
}

/** @returns a true answer with these records */
export function reply(asked: Asked, answers: Answer[], fields: ReplyFields = {}): Uint8Array {
  const { rcode = 0, truncated = false, authorities = [], additionals = [] } = fields;
  return encode({
    type: "response",
    id: asked.id,
    flags: RECURSION_DESIRED | rcode | (truncated ? TRUNCATED_RESPONSE : 0),
    questions: [{ type: asked.type, class: "IN", name: asked.written }],
    answers,
    authorities,
    additionals,
  });
}

/** @returns a record for each address, under one name */
export function hosts(name: string, addresses: readonly string[], ttl = 60): Answer[] {
  return addresses.map((data) => ({ type: data.includes(":") ? "AAAA" : "A", class: "IN", name, ttl, data }));
}

export function alias(name: string, data: string, ttl = 60): Answer {
  return { type: "CNAME", class: "IN", name, ttl, data };
}

/** @param at when it was asked */
export function readQuestion(server: IpAddress, at: number, message: Uint8Array, byTcp = false): Asked {
  const { id = 0, questions = [], additionals = [] } = decode(Buffer.from(message));
  const [option] = additionals;
  const { name: written, type } = questions[0];
  if (type !== "A" && type !== "AAAA") throw new Error(`a question for ${type} records`);
  const payloadSize = option?.type === "OPT" ? option.udpPayloadSize : undefined;
  return { server, type, at, id, written, name: written.toLowerCase(), payloadSize, byTcp, message };
}
