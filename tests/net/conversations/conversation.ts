// Random conversations of all protocols. The same seed gives the same ones.
import type { Random } from "../../../lab/random.ts";
import { IcmpTalk, OtherTalk, UdpTalk } from "./datagrams.ts";
import type { Family } from "./family.ts";
import type { Conversation } from "./talk.ts";
import { TcpTalk } from "./tcp.ts";

const KINDS = [TcpTalk, TcpTalk, TcpTalk, UdpTalk, UdpTalk, IcmpTalk, OtherTalk];

/** @param number tells its client port and remote hosts from those of others */
export function conversation(family: Family, random: Random, number: number): Conversation {
  const talk = random.pick(KINDS);
  return new talk(family, random, number).hold();
}
