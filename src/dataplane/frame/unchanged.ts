// New settings mostly are about others: a client comes or goes, and to judge every flow of all the others anew takes long. Here it is
// worked out once what of the settings is as it was; a flow whose client, and all else that it was judged by, is the same lives on,
// and has only its client's number changed. Whatever there is any doubt about is not kept here, but judged (readmission.ts).
import { type Address, maskOf, toAddress } from "../../wire/ipv4.ts";
import { isSameRuleset } from "../rules/ruleset.ts";
import type { ClientSettings, ForwardSettings, Settings } from "../settings.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import type { FlowTable } from "../tables/flows.ts";
import { type Client, type Column, column, type Flow } from "../types.ts";

/** In place of the new number of a client who is gone, or about whom something is new. */
const CHANGED = -1 as Client;

export class Unchanged {
  /** By the client's old number: the new one. */
  private readonly now: Column<Client, Client>;
  /** Of clients who are new, or about whom something is: where they are, and our addresses as they see them. */
  private readonly networks: Int32Array;
  private readonly masks: Int32Array;
  private readonly gateways: Int32Array;

  /** @param renumber the new number of each old interface, or -1 where it is gone */
  constructor(before: Settings, after: Settings, renumber: Int32Array) {
    const images = before.clients.map((client) => imageOf(client, after, renumber));
    const others = after.clients.filter((_, number) => !images.includes(number as Client));
    const isSame = isSameAround(before, after, renumber, images);
    this.now = column(
      Int32Array.from(before.clients, (client, number) =>
        isSame && isAlone(client, images[number], after) ? images[number] : CHANGED,
      ),
    );
    this.masks = Int32Array.from(others, ({ prefix }) => maskOf(prefix));
    this.networks = Int32Array.from(others, ({ network, prefix }) => network & maskOf(prefix));
    this.gateways = Int32Array.from(others, ({ gateway }) => gateway);
  }

  /**
   * @param flow judged by the rules that were in force
   * @returns whether it lives on, as it would if it were judged anew; then its client is numbered anew
   */
  keeps(flows: FlowTable, flow: Flow): boolean {
    const now = this.now[flows.client(flow)];
    if (now === CHANGED || flows.hasState(flow, FLOW_STATE.DIRECT)) return false;
    const isInbound = flows.hasState(flow, FLOW_STATE.INBOUND);
    if (this.isOfOthers(isInbound ? flows.source(flow, 0) : flows.source(flow, 1))) return false;
    if (!isInbound && this.isOfOthers(flows.destination(flow, 0))) return false;
    flows.setClientRule(flow, now, flows.rule(flow));
    return true;
  }

  private isOfOthers(address: Address): boolean {
    const { networks, masks, gateways } = this;
    for (let i = 0; i < networks.length; i++) {
      if ((address & masks[i]) === networks[i] || address === gateways[i]) return true;
    }
    return false;
  }
}

/** @returns the number of the client who is the same in new settings, or CHANGED */
function imageOf(client: ClientSettings, { clients }: Settings, renumber: Int32Array): Client {
  const number = clients.findIndex(
    (other) =>
      other.iface === renumber[client.iface] && other.network === client.network && other.prefix === client.prefix,
  );
  if (number < 0) return CHANGED;
  const other = clients[number];
  const isSame =
    other.gateway === client.gateway &&
    other.openFilter === client.openFilter &&
    isSameRuleset(other.ruleset, client.ruleset);
  return isSame ? (number as Client) : CHANGED;
}

/** Whether uplink, forwards and redirects are the same. */
function isSameAround(before: Settings, after: Settings, renumber: Int32Array, images: readonly Client[]): boolean {
  const { uplink } = before;
  if (renumber[uplink.iface] !== after.uplink.iface) return false;
  const route = ({ address, prefix, gateway, inside }: Settings["uplink"]) =>
    JSON.stringify([address, prefix, gateway, inside]);
  const forwards = (list: readonly ForwardSettings[], numberOf: (client: number) => number) =>
    JSON.stringify(list.map((forward) => ({ ...forward, client: numberOf(forward.client) })));
  return (
    route(uplink) === route(after.uplink) &&
    forwards(before.forwards, (client) => images[client]) === forwards(after.forwards, (client) => client) &&
    JSON.stringify(before.redirects) === JSON.stringify(after.redirects)
  );
}

/** Whether no other client has any address of the client's: then nobody else can be who a flow's is. */
function isAlone(client: ClientSettings, image: Client, { clients }: Settings): boolean {
  return clients.every((other, number) => number === image || !overlap(client, other));
}

function overlap(one: ClientSettings, other: ClientSettings): boolean {
  const mask = maskOf(one.prefix) & maskOf(other.prefix);
  return toAddress(one.network & mask) === toAddress(other.network & mask);
}
