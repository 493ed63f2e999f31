// The page of `firebreak web`: brings together what comes, the picture, the charts and the lists.

import { visible } from "../../base/quote.ts";
import { INTERVAL, KEPT_RATES, type NamedStatus, type News, RATES, type Rates } from "../messages.ts";
import { CaptureForm } from "./capture-form.ts";
import { Chart } from "./charts.ts";
import { clientsList } from "./clients-list.ts";
import { button, byId, setText } from "./dom.ts";
import { dropsList } from "./drops-list.ts";
import { flowsList } from "./flows-list.ts";
import { formatBits, formatBytes, formatCount, formatRate, formatSpan, formatTime } from "./format.ts";
import { ListView } from "./list-view.ts";
import { showPicture } from "./picture.ts";
import { rulesList } from "./rules-list.ts";
import { follow, type Way } from "./stream.ts";
import { Tabs } from "./tabs.ts";

/** ms between two looks at a list. */
const LIST_INTERVAL = 2000;
/** How far back the charts can show, in seconds. */
const RANGES = [
  { seconds: 300, label: "5 minutes" },
  { seconds: 900, label: "15 minutes" },
  { seconds: KEPT_RATES * (INTERVAL / 1000), label: "1 hour" },
] as const;

const rates: Rates[] = [];
let latest: NamedStatus | undefined;
let range = 0;
let way: Way = "trying";
let trouble: string | undefined;
let lost = 0;

// The key is not needed again: the cookie is there, and an address is seen, copied and kept.
if (location.search !== "") history.replaceState(null, "", location.pathname + location.hash);

const bits = new Chart(
  byId("bits-chart"),
  byId("bits-numbers"),
  "Bits a second",
  [
    { label: "to the internet", sign: "▲", field: RATES.UP, colour: "--up", dash: [] },
    { label: "from the internet", sign: "▼", field: RATES.DOWN, colour: "--down", dash: [6, 3] },
  ],
  formatBits,
);
const packets = new Chart(
  byId("packets-chart"),
  byId("packets-numbers"),
  "Packets a second",
  [
    { label: "passed on", sign: "✓", field: RATES.FORWARDED, colour: "--passed", dash: [] },
    { label: "dropped", sign: "✕", field: RATES.DROPPED, colour: "--dropped", dash: [2, 3] },
  ],
  formatRate,
);

/** Unix time, by the firewall's clock, as its last look had it. */
const now = () => latest?.time ?? Date.now() / 1000;
const toFlows = (words: string) => tabs.goTo("flows", words);
const changed = () => tabs.write();
const tabs: Tabs = new Tabs([
  new ListView(
    clientsList(() => latest, toFlows),
    changed,
  ),
  new ListView(flowsList(), changed),
  new ListView(
    dropsList(() => latest, now),
    changed,
  ),
  new ListView(rulesList(now, toFlows), changed),
  new CaptureForm(changed),
]);

const rangeButtons = RANGES.map(({ label }, i) =>
  button(label, () => {
    range = i;
    showRange();
    showCharts();
  }),
);
byId("ranges").append(...rangeButtons);
showRange();

follow(hear, (state) => {
  way = state;
  showState();
});
setInterval(() => {
  if (!document.hidden && way !== "refused") tabs.list.tick();
}, LIST_INTERVAL);
document.addEventListener("keydown", press);

function hear(news: News): void {
  if (news.type === "begin") {
    rates.splice(0, rates.length, ...news.past);
    lost = 0;
    setText(byId("name"), news.firewall);
    document.title = `${visible(news.firewall)} – Firebreak`;
    return;
  }
  lost += news.lost;
  trouble = news.type === "trouble" ? news.text : undefined;
  if (news.type === "look") {
    const isFirst = latest === undefined;
    latest = news.status;
    if (news.rates !== undefined) rates.push(news.rates);
    if (rates.length > KEPT_RATES) rates.shift();
    showPicture(news.status, news.rates ?? rates.at(-1));
    setText(byId("facts"), factsOf(news.status));
    showCharts();
    if (isFirst) void tabs.list.refresh();
  }
  showState();
}

function showCharts(): void {
  const to = now();
  const from = to - RANGES[range].seconds;
  const shown = rates.filter((point) => point[RATES.TIME] >= from);
  bits.show(shown, from, to);
  packets.show(shown, from, to);
}

function showRange(): void {
  for (const [i, one] of rangeButtons.entries()) one.setAttribute("aria-pressed", String(i === range));
}

/** In signs and words: whether what is shown is what is. */
function showState(): void {
  const state = byId("state");
  const seen = latest === undefined ? "" : ` What is shown is of ${formatTime(latest.time)}.`;
  const left = lost === 0 ? "" : ` ${formatCount(lost)} looks were left out: this page was too slow for them.`;
  const isFine = way === "open" && trouble === undefined;
  state.className = isFine ? "fine" : "trouble";
  if (way === "refused") setText(state, `✕ firebreak web was started anew: open the address that it printed.${seen}`);
  else if (way === "trying") setText(state, `✕ firebreak web does not answer, trying again.${seen}`);
  else if (trouble !== undefined) setText(state, `✕ The firewall does not answer, trying again: ${trouble}.${seen}`);
  else setText(state, `● live, each second.${left}`);
}

function factsOf({ version, uptime, configuration, memory }: NamedStatus): string {
  const from = configuration.by === "file" ? "its file" : "firebreak configure";
  const trial = configuration.trial_until;
  const parts = [
    `version ${version}`,
    `running for ${formatSpan(uptime)}`,
    `configuration from ${from}, in force for ${formatSpan(now() - configuration.time)}`,
    configuration.differs && "⚠ which is not what its file has: a restart undoes it",
    trial !== undefined && `⚠ on trial until ${formatTime(trial)}: unless it is confirmed, the one before comes back`,
    `${formatBytes(memory.resident)} of memory`,
  ];
  return parts.filter((part) => part !== false).join(" · ");
}

/** Keys of the page, but where somebody is typing. */
function press(event: KeyboardEvent): void {
  const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") tabs.list.focusFilter();
  else if (event.key === "p") tabs.list.hold();
  else if (/^[1-5]$/.test(event.key)) tabs.show(Number(event.key) - 1);
  else return;
  event.preventDefault();
}
