// `firebreak flows`: the flows of a running firewall, those that match; and to end them.
import { parseArgs } from "node:util";
import type { Fields } from "../channel/cbor.ts";
import { FILTER_KEYS } from "../control/views/flow-filter.ts";
import { type FlowEntry, flowLine } from "../control/views/flow-list.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, readCount, whereIs } from "./asking.ts";
import { UsageError, type Verb } from "./verb.ts";

export const flows: Verb = {
  summary: "the flows of a running firewall: those that match, or end them",
  help: `Usage: firebreak flows [FILTER…] [OPTIONS]

Prints the flows of a running firewall for which every FILTER holds, a line each: who opened it, to
whom, what the other end sees of it, of TCP its state, the client that it counts for, and the rule
that let it through. A FILTER is KEY=VALUE, in the words of rules where they have one:

  client=NAME            it counts for that client
  proto=tcp              or udp, icmp, or a number
  src=ADDRESS[/LENGTH]   who opened it
  dst=ADDRESS[/LENGTH]   to whom, or where that was sent on to; dst4 and dst6 are the same
  dsthost=NAME           of a rule: to one of its addresses
  srcports=LOW[-HIGH]    of TCP and UDP; dstports likewise
  icmptype=TYPE          of the query
  rule=NUMBER            or policy
  state=STATE            of TCP: ESTABLISHED and so on

  --bytes SECONDS  count bytes and packets of each for so long, and print them: of IP packets that were
                 sent on, from who opened it and back. They are counted from the first who asks until
                 a minute after the last
  --sort=ORDER   client, proto, src, dst, dstports, rule, bytes or packets; with - in front, the
                 largest first: --sort=-bytes
  --offset N     leave out the first N
  --limit N      print N at most
  --count        print only how many there are
  --end          end those that are printed: their TCP clients get a RST. What the rules allow may be
                 opened anew at once
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...ASKING_OPTIONS,
        sort: { type: "string" },
        bytes: { type: "string" },
        offset: { type: "string" },
        limit: { type: "string" },
        count: { type: "boolean", default: false },
        end: { type: "boolean", default: false },
      },
    });
    if (values.end && values.count) throw new UsageError("--end and --count exclude each other (write one of them)");
    const isBare = positionals.length === 0 && values.offset === undefined && values.limit === undefined;
    if (values.end && isBare)
      throw new UsageError(`--end ends what it is told (write a filter: ${FILTER_KEYS.join(", ")})`);
    const path = whereIs(values.at);
    const seconds = values.bytes ?? (/^-?(?:bytes|packets)$/.test(values.sort ?? "") ? "1" : undefined);
    if (seconds !== undefined) {
      const time = readCount(seconds, "--bytes") * 1000;
      const status = await askAndShow(path, "flows", { bytes: true, limit: 0 }, () => {});
      if (status !== 0) return status;
      await Bun.sleep(time);
    }
    const asked: Fields = {
      match: positionals,
      ...(seconds !== undefined && { bytes: true }),
      ...(values.sort !== undefined && { sort: values.sort }),
      ...(values.offset !== undefined && { offset: readCount(values.offset, "--offset") }),
      ...(values.limit !== undefined && { limit: readCount(values.limit, "--limit") }),
      ...(values.count && { count: true }),
      ...(values.end && { end: true }),
    };
    return await askAndShow(path, "flows", asked, (answer) => {
      if (values.json) return printJson(answer);
      if (values.count) return print(`flows: ${(answer.data as { readonly flows: number }).flows}\n`);
      return print(`${flowLine(answer.data as unknown as FlowEntry)}\n`);
    });
  },
};
