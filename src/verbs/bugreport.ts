// `firebreak bugreport`: all that somebody else needs to find a fault of a running firewall, as one text.
import { parseArgs } from "node:util";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import { readInputs } from "./manifest.ts";
import type { Verb } from "./verb.ts";

interface Piece {
  readonly section: string;
  readonly text: string;
}

export const bugreport: Verb = {
  summary: "all that somebody else needs to find a fault, as one text",
  help: `Usage: firebreak bugreport [--mask] [--at WHERE] [--json]

Prints a report of a running firewall, in sections: versions, the configuration in force, settings, numbers,
the kernel path's state, how many flows there are of each kind, rules, drops, the log's last lines. There is
no payload of packets in it. Read it before you give it away:

  --mask       addresses (IPv4, IPv6, MAC) and host names of rules are made unrecognisable: the same ones
               in the same way, so that networks stay networks and it can be followed; comments in the
               configuration are left out. Names of clients and interfaces stay
${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { ...ASKING_OPTIONS, mask: { type: "boolean", default: false } },
    });
    let section = "";
    const show = async ({ section: next, text }: Piece) => {
      const title = next === section ? "" : `${section === "" ? "" : "\n"}== ${next}\n`;
      section = next;
      await print(title + text);
    };
    const status = await askAndShow(whereIs(values.at), "bugreport", { mask: values.mask }, (answer) =>
      values.json ? printJson(answer) : show(answer.data as unknown as Piece),
    );
    if (status !== 0) return status;
    const own = { section: "asked by", text: await readInputs() };
    await (values.json ? printJson({ data: own }) : show(own));
    return 0;
  },
};
