// `firebreak rules`: the rules that a running firewall has in force, and what they do.
import { parseArgs } from "node:util";
import { type RuleEntry, ruleLines } from "../control/rule-list.ts";
import { ASKING_HELP, ASKING_OPTIONS, askAndShow, print, printJson, whereIs } from "./asking.ts";
import type { Verb } from "./verb.ts";

export const rules: Verb = {
  summary: "the rules of a running firewall, and what lives by them",
  help: `Usage: firebreak rules [--at WHERE] [--json]

Prints the rules that a running firewall has in force, by client, and each client's policy behind
them: where a rule stands; how many packets it decided about that would open a flow, and when the
last of them came; how many flows live by it, which addresses its host name has now, and why it
decides nothing, if so.

${ASKING_HELP}

Exit status: 0 printed, 1 it can't be asked, 2 bad usage.
`,
  async run(args) {
    const { values } = parseArgs({ args: [...args], options: ASKING_OPTIONS });
    return await askAndShow(whereIs(values.at), "rules", {}, (answer) => {
      if (values.json) return printJson(answer);
      const lines = ruleLines(answer.data as unknown as RuleEntry, Date.now() / 1000);
      return print(lines.map((line) => `${line}\n`).join(""));
    });
  },
};
