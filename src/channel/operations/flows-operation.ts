// The operation `flows`: those that match, in an order, a page of them; and to end them. The table may have a million records: it is looked
// at a piece at a time, so that others of the thread have their turn, control's sign of life among them.
import {
  FilterError,
  type Meaning,
  needsCounts,
  type Order,
  type Question,
  readFilter,
  readOrder,
} from "../../control/views/flow-filter.ts";
import { type FlowTableView, flowEntry } from "../../control/views/flow-list.ts";
import type { FlowRecords } from "../../dataplane/tables/flow-records.ts";
import type { Flow } from "../../dataplane/types.ts";
import { countOf, flagOf, requireKnown, textOf, textsOf } from "../arguments.ts";
import type { Fields, Value } from "../cbor.ts";
import { ChannelError } from "../messages.ts";
import type { Operation, Part } from "../session.ts";
import { usedFlows } from "./used-flows.ts";

/** What is asked of the firewall (control/firewall.ts). */
export interface FlowsAnswering extends Pick<Meaning, "addressesOf" | "addresses6Of"> {
  readonly flowTable: FlowTableView;
  endFlow(records: FlowRecords, flow: Flow): boolean;
  countFlows(): Promise<void>;
}

/** Flows that the dataplane's thread is asked to end in one go: it does so between two batches. */
const ENDED_AT_ONCE = 16;
/** ms until it is asked to end more. */
const PAUSE = 1;
/** More than a table's numbers: a sort's key is what flows are ordered by, times this, and the number. */
const NUMBERS = 2 ** 20;

const KNOWN = ["match", "sort", "offset", "limit", "count", "end", "bytes"];

export function flowsOperation(firewall: FlowsAnswering): Operation {
  return async function* (args, signal): AsyncGenerator<Part> {
    requireKnown(args, KNOWN);
    const isCounted = flagOf(args, "bytes") || needsCounts(textOf(args, "sort") ?? "");
    if (isCounted) await firewall.countFlows();
    const table = isCounted ? firewall.flowTable : { ...firewall.flowTable, counts: undefined };
    const { match, order } = readWords(args, table, firewall);
    const [offset, limit] = [countOf(args, "offset") ?? 0, countOf(args, "limit") ?? Number.POSITIVE_INFINITY];
    const [isCount, isEnd] = [flagOf(args, "count"), flagOf(args, "end")];
    const found = matching(table, match, signal);
    if (isCount) {
      yield { data: { flows: await count(found) } };
      return;
    }
    const isSame = (flow: Flow) => table.records.isUsed(flow) && match(table.records, flow);
    const numbers = order === undefined ? found : sorted(table, found, order);
    if (limit === 0) return;
    let seen = 0;
    for await (const flow of numbers) {
      if (!isSame(flow) || seen++ < offset) continue; // it has ended meanwhile, or is on an earlier page
      const data = flowEntry(table, flow) as unknown as Value;
      if (isEnd) await end(firewall, table.records, flow, seen);
      yield { data };
      if (seen >= offset + limit) return;
    }
  };
}

type ReadOrder = ReturnType<typeof readOrder>;

/** @throws ChannelError */
function readWords(args: Partial<Fields>, { settings }: FlowTableView, { addressesOf, addresses6Of }: FlowsAnswering) {
  try {
    const sort = textOf(args, "sort");
    const meaning = { settings, addressesOf, ...(addresses6Of && { addresses6Of }) };
    const match: Question = readFilter(textsOf(args, "match"), meaning);
    const order: ReadOrder | undefined = sort === undefined ? undefined : readOrder(sort);
    return { match, order };
  } catch (error) {
    if (error instanceof FilterError) throw new ChannelError("arguments", error.message);
    throw error;
  }
}

async function* matching(table: FlowTableView, match: Question, signal: AbortSignal): AsyncGenerator<Flow> {
  for await (const flow of usedFlows(table, signal)) if (match(table.records, flow)) yield flow;
}

async function count(flows: AsyncIterable<Flow>): Promise<number> {
  let sum = 0;
  for await (const _ of flows) sum++;
  return sum;
}

/** Flows that are equal stay in the table's order. */
async function* sorted(
  { records, counts }: FlowTableView,
  flows: AsyncIterable<Flow>,
  { order, isDescending }: ReadOrder,
): AsyncGenerator<Flow> {
  const key: Order = isDescending ? (...of) => 2 ** 32 - 1 - order(...of) : order;
  const keys: number[] = [];
  for await (const flow of flows) keys.push(key(records, flow, counts) * NUMBERS + flow);
  for (const one of Float64Array.from(keys).sort()) yield (one % NUMBERS) as Flow;
}

/** Asks for it as soon as there is room. */
async function end(firewall: FlowsAnswering, records: FlowRecords, flow: Flow, seen: number): Promise<void> {
  if (seen % ENDED_AT_ONCE === 0) await Bun.sleep(PAUSE);
  while (!firewall.endFlow(records, flow)) await Bun.sleep(PAUSE);
}
