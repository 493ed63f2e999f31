// One name server, asked about one name: what it turns out not to know of the protocol is left out, at once and for a while
// (RFC 6891 section 7 and RFC 8906 of EDNS0, RFC 7766 of TCP; of capitals, draft-vixie-dnsext-dns0x20 and what Unbound does).

import type { Clock } from "../base/clock.ts";
import type { Family, IpAddress } from "../base/ip.ts";
import { RCODE } from "../wire/dns.ts";
import { bareError, type DnsAnswer, fitOf, makeQuestion, readAnswer } from "./dns-message.ts";
import { firstGood } from "./staggered.ts";
import { TcpRefusal } from "./tcp-exchange.ts";

/** The way to the name servers. */
export interface NameServers {
  /**
   * Sends one datagram from a random port.
   * @returns the datagram that comes back from that server to that port; rejects when none does for about five seconds
   */
  ask(server: IpAddress, question: Uint8Array): Promise<Uint8Array>;
  /** As `ask`, over TCP: an answer of up to 64 kB; rejects where the server does not answer that way. */
  askByTcp(server: IpAddress, question: Uint8Array): Promise<Uint8Array>;
}

/** UDP payload size that gets through everywhere. */
const PAYLOAD = 1232;

/** ms of silence after which a server is asked once more, while it may still answer: datagrams get lost, and EDNS0 is dropped. */
export const RETRY = 1500;

/** For how long it is remembered what a server does not know, in ms; then it is tried again (Unbound's infra-host-ttl). */
export const MEMORY = 15 * 60_000;

/** For how long TCP is left out after two connections in a row that nothing came of, in ms: twice as long each time, up to MEMORY. */
export const SILENCE = 60_000;

/** Errors that servers say to EDNS0. */
const COMPLAINTS: readonly number[] = [RCODE.FORMAT_ERROR, RCODE.SERVER_FAILURE, RCODE.NOT_IMPLEMENTED];

type Ask = (question: Uint8Array) => Promise<Uint8Array>;

/** An answer, or what is wrong with it; and whether that was asked with EDNS0. */
interface Reply {
  readonly answer: DnsAnswer | string;
  readonly withEdns: boolean;
}

export class NameServer {
  /** Whether it has answered a question with EDNS0. */
  private hasAnsweredEdns = false;
  /** Until when, in ms, it counts as one that does not know EDNS0, does not repeat capitals as they are, or does not answer over TCP. */
  private withoutEdns = Number.NEGATIVE_INFINITY;
  private withoutCapitals = Number.NEGATIVE_INFINITY;
  private withoutTcp = Number.NEGATIVE_INFINITY;
  /** For how long TCP is left out when nothing comes of it again, in ms. */
  private silence = SILENCE;

  constructor(
    private readonly way: NameServers,
    private readonly clock: Clock,
    private readonly address: IpAddress,
  ) {}

  /** @param name as `nameAt` makes it @returns the answer, or what is wrong with it. Never rejects. */
  async lookUp(name: string, family: Family): Promise<DnsAnswer | string> {
    const answer = await this.overUdp(name, family);
    const isWhole = typeof answer === "string" || !answer.truncated || answer.rcode !== RCODE.NO_ERROR;
    return isWhole ? answer : this.overTcp(name, family, answer);
  }

  /** @param part what came over UDP: better than nothing */
  private async overTcp(name: string, family: Family, part: DnsAnswer): Promise<DnsAnswer> {
    // One connection may fail for reasons that are not the server's; and a part is not to be taken for all sooner than need be.
    for (let connections = 0; connections < 2; connections++) {
      if (this.clock.now() < this.withoutTcp) return part;
      let error: unknown;
      const { answer } = await this.exchange(name, family, false, async (question) => {
        try {
          return await this.way.askByTcp(this.address, question);
        } catch (failure) {
          error = failure;
          throw failure;
        }
      });
      if (typeof answer !== "string" && answer.rcode === RCODE.NO_ERROR) {
        this.silence = SILENCE;
        return answer;
      }
      // It has said something: that it does not take TCP, or what can't be used.
      if (error === undefined || error instanceof TcpRefusal) {
        this.withoutTcp = this.clock.now() + MEMORY;
        return part;
      }
    }
    this.withoutTcp = Math.max(this.withoutTcp, this.clock.now() + this.silence);
    this.silence = Math.min(2 * this.silence, MEMORY);
    return part;
  }

  private async overUdp(name: string, family: Family): Promise<DnsAnswer | string> {
    const ask = (question: Uint8Array) => this.way.ask(this.address, question);
    let hasComplained = false;
    const first = async () => {
      const reply = await this.exchange(name, family, this.clock.now() >= this.withoutEdns, ask);
      hasComplained = isComplaint(reply);
      return reply;
    };
    const second = () => {
      const withEdns = this.hasAnsweredEdns && !hasComplained && this.clock.now() >= this.withoutEdns;
      return this.exchange(name, family, withEdns, ask);
    };
    // Whoever answers for others may know EDNS0 where they don't.
    const third = () => this.exchange(name, family, false, ask);
    const isGood = (reply: Reply) => typeof reply.answer !== "string" && !isComplaint(reply);
    const { good, results } = await firstGood(this.clock, RETRY, [first, second, third], isGood);
    const reply = good ?? results.find(({ answer }) => typeof answer !== "string") ?? results[0];
    if (good !== undefined) this.learn(good, results);
    return reply.answer;
  }

  /** @param good the answer that counts @param bad those that came before it */
  private learn({ answer, withEdns }: Reply, bad: readonly Reply[]): void {
    if (withEdns) this.hasAnsweredEdns = true;
    if (withEdns || typeof answer === "string" || this.clock.now() < this.withoutEdns) return;
    const isUseful = answer.rcode === RCODE.NO_ERROR || answer.rcode === RCODE.NAME_ERROR;
    if (!isUseful || (bad.length > 0 && !bad.some(isComplaint))) return;
    // One that has known EDNS0 before has to fail twice: it may have been somebody behind it.
    if (!this.hasAnsweredEdns) this.withoutEdns = this.clock.now() + MEMORY;
    this.hasAnsweredEdns = false;
  }

  /** One question, and once more in small letters where the server does not repeat capitals. */
  private async exchange(name: string, family: Family, withEdns: boolean, ask: Ask): Promise<Reply> {
    const withCapitals = this.clock.now() >= this.withoutCapitals;
    const answer = await askOnce(name, family, withEdns, withCapitals, ask);
    if (answer !== OTHER_CAPITALS) return { answer, withEdns };
    this.withoutCapitals = this.clock.now() + MEMORY;
    return { answer: await askOnce(name, family, withEdns, false, ask), withEdns };
  }
}

async function askOnce(
  name: string,
  family: Family,
  withEdns: boolean,
  withCapitals: boolean,
  ask: Ask,
): Promise<DnsAnswer | string> {
  const question = makeQuestion(name, family, withEdns ? PAYLOAD : undefined, withCapitals);
  let message: Uint8Array;
  try {
    message = await ask(question);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return understand(question, family, message, withCapitals);
}

const REFUSED = "its answer is not accepted";
const OTHER_CAPITALS = `${REFUSED}: it repeats the question in other capitals`;

function understand(
  question: Uint8Array,
  family: Family,
  message: Uint8Array,
  withCapitals: boolean,
): DnsAnswer | string {
  const rcode = bareError(question, message);
  if (rcode !== undefined)
    return { name: "", family, rcode, truncated: false, addresses: new Map(), aliases: new Map() };
  const answer = readAnswer(message);
  if (typeof answer === "string") return `${REFUSED}: ${answer}`;
  const fit = fitOf(question, message);
  if (fit === "number") return `${REFUSED}: it has another number than the question`;
  if (fit === "question") return `${REFUSED}: it repeats another question`;
  return fit === "capitals" && withCapitals ? OTHER_CAPITALS : answer;
}

function isComplaint({ answer, withEdns }: Reply): boolean {
  return withEdns && typeof answer !== "string" && COMPLAINTS.includes(answer.rcode);
}
