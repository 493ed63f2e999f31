// The page that explains a capture: one HTML file that needs nothing else, runs nothing but its own script, and works without that.
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { formatHosts, formatIp } from "../base/ip.ts";
import sharedStyle from "../base/pages.css" with { type: "text" };
import type { Client6Settings, Settings } from "../dataplane/settings.ts";
import { VERDICT_NAMES } from "../dataplane/verdict.ts";
import { sinceStart } from "../replay/moment.ts";
import type { Totals } from "../replay/report.ts";
import { episodeHtml, gapHtml, type Scene } from "./episode-html.ts";
import { Html, html } from "./html.ts";
import script from "./script.js" with { type: "text" };
import { type Leg, MOST_OF_FLOW, MOST_SHOWN, type Story } from "./story.ts";
import ownStyle from "./style.css" with { type: "text" };

const style = `${sharedStyle}\n${ownStyle}`;

/** Conversations in the table of the firewall's notes. */
const MOST_FLOWS = 50;

/** @param paths the captures' @returns the page, whole */
export function pageHtml(story: Story, settings: Settings, totals: Totals, paths: readonly string[]): string {
  const names = paths.map((path) => (path === "-" ? "standard input" : basename(path)));
  const [first] = story.episodes;
  const start = first?.came ?? first?.sent[0];
  const moment = (leg: Leg) => (start === undefined ? "" : momentText(leg, start));
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>What the firewall did with ${names.join(", ")}</title>
<style>${new Html(style)}</style>
</head>
<body>
<header>
<h1>What the firewall did with ${names.map((name, i) => html`${i > 0 && ", "}<bdi>${name}</bdi>`)}</h1>
${introHtml(settings)}
</header>
<main>
${storyHtml(story, { settings, moment })}
${notesHtml(story)}
${totalsHtml(totals)}
</main>
<script>${new Html(script)}</script>
</body>
</html>
`.text;
}

/** Nothing from anywhere; only these very bytes of style and script. */
function policy(): string {
  const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  return `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script)}; base-uri 'none'; form-action 'none'`;
}

function introHtml({ uplink, clients, interfaces }: Settings): Html {
  const inside = clients.map(({ name, network: address, prefix, iface, ipv6 }) => {
    const hosts = [{ address, prefix }, ...(ipv6?.nat === "masquerade" ? [prefixOf(ipv6)] : [])].map(formatHosts);
    return `${name} (${hosts.join(" and ")}, on ${interfaces[iface].name})`;
  });
  const own = [uplink.address, ...(uplink.ipv6 ? [uplink.ipv6.address] : [])].map(formatIp);
  const both = own.map((address, i) => html`${i > 0 && " or, of IPv6, "}<b>${address}</b>`);
  return html`<div class="intro">
<p>Machines inside (here ${inside.join(", ")}) have addresses that only their own network knows. A packet from such an address could reach
a server on the internet, but no answer would find the way back.</p>
<p>So the firewall between them does <dfn>network address translation</dfn>, NAT. On the way out it writes its own address,
${both}, in place of the sender's, and notes whose it was. When the answer comes to that address, it looks into its notes and writes
the address inside back. It is a guard, too: each packet gets a <b>verdict</b>, and what nobody asked for, or the rules forbid, is dropped.</p>
${ipv6Html(clients)}
</div>
<ul class="legend" aria-label="How to read this page">
<li><mark>marked</mark> is what the firewall rewrote</li>
<li class="passed"><span class="sign" aria-hidden="true">✓</span> sent on</li>
<li class="waits"><span class="sign" aria-hidden="true">…</span> waits</li>
<li class="taken"><span class="sign" aria-hidden="true">↩</span> for the firewall itself</li>
<li class="dropped"><span class="sign" aria-hidden="true">✕</span> dropped</li>
</ul>
<p class="hint">Open a packet to see why, and its bytes before and after. <span class="scripted" hidden>With the keyboard: <kbd>j</kbd> and
<kbd>k</kbd> go to the next and the one before, <kbd>Enter</kbd> opens it.
<button type="button" id="open">Open all</button> <button type="button" id="close">Close all</button></span></p>`;
}

const prefixOf = ({ network, prefix }: Client6Settings) => ({ address: network, prefix });

/** Why there is NAT where there are addresses enough, and who goes without. */
function ipv6Html(clients: Settings["clients"]): (Html | false)[] {
  const having = (nat: Client6Settings["nat"]) => clients.filter(({ ipv6 }) => ipv6?.nat === nat);
  const [translated, routed] = [having("masquerade"), having("route")];
  const names = (some: Settings["clients"]) => some.map(({ name }) => name).join(", ");
  const addresses = routed.flatMap(({ name, ipv6 }) => (ipv6 ? [`${name} (${formatHosts(prefixOf(ipv6))})`] : []));
  return [
    translated.length > 0 &&
      html`<p>Why also of <b>IPv6</b>, which has addresses enough for every machine? Because the configuration says so of ${names(translated)}: mostly
where addresses are private ones, which one may give to oneself, as Qubes OS does. No provider has to hand out a range of others and route
it here; but nobody outside knows the way to them. So it is as with IPv4: from outside nobody can begin a conversation, unless a port is opened.
NAT of IPv6 is called <dfn>NAT66</dfn>.</p>`,
    routed.length > 0 &&
      html`<p>By <b>IPv6</b> ${addresses.join(", ")} ${routed.length === 1 ? "goes" : "go"} without: the addresses are known outside, so they stay in the packets, and
only what every router changes is rewritten. The guard is the same: what nobody inside asked for is dropped.</p>`,
  ];
}

function storyHtml(story: Story, scene: Scene): Html {
  const { episodes, received, left } = story;
  const ifaces = (isUplink: boolean) =>
    scene.settings.interfaces
      .flatMap(({ name }, i) => ((i === scene.settings.uplink.iface) === isUplink ? [name] : []))
      .join(", ");
  const came = episodes.filter((episode) => episode.came !== undefined).length;
  const choice =
    came < received &&
    html`<p class="choice"><strong>${came} of ${received} frames are shown</strong>, so that the page can still be read: of each
conversation the first ${MOST_OF_FLOW}, and beside these what opens or closes a connection and what was not simply sent on; ${MOST_SHOWN} in all.</p>`;
  return html`<section aria-label="Packets">${choice}
<div class="lanes" aria-hidden="true"><span class="inside">Inside <small>${ifaces(false)}</small></span><span class="middle">Firewall</span><span class="outside">Outside <small>${ifaces(true)}</small></span></div>
<ol class="story">${episodes.map((episode, i) => html`${episodeHtml(episode, i + 1, scene)}\n`)}${
    left > 0 && gapHtml(left)
  }</ol>${episodes.length === 0 && html`<p>There was nothing to see: no frame came in.</p>`}</section>`;
}

function notesHtml({ flows }: Story): Html | undefined {
  if (flows.size === 0) return undefined;
  const more = flows.size - MOST_FLOWS;
  return html`<section><h2>The firewall's notes</h2>
<p>For each conversation it notes who inside has it, and what that looks like from outside. The last column is what an answer is sent to:
the firewall finds the line by it, and so the machine inside.</p>
<div class="scroll"><table><thead><tr><th scope="col">Protocol</th><th scope="col">Who began it</th><th scope="col">With whom</th><th scope="col">Seen by them as</th></tr></thead><tbody>${Array.from(
    flows.values(),
  )
    .slice(0, MOST_FLOWS)
    .map(
      ({ protocol, source, destination, mapped, reached }) =>
        html`<tr><td>${protocol}</td><td>${source}</td><td>${destination}${reached !== undefined && ` (in truth ${reached})`}</td><td>${
          mapped === source ? mapped : html`<mark>${mapped}</mark>`
        }</td></tr>`,
    )}</tbody></table></div>${more > 0 && html`<p>And ${more} more.</p>`}</section>`;
}

function totalsHtml(totals: Totals): Html {
  const rows = Array.from(totals.verdicts, (count, code): [number, string] => [count, VERDICT_NAMES[code]]);
  const others: [number, string][] = [
    [totals.byRouter, "sent by the router that was there when this was captured, so left out"],
  ];
  return html`<section><h2>All verdicts</h2><div class="scroll"><table><thead><tr><th scope="col" class="count">Frames</th><th scope="col">Verdict</th></tr></thead><tbody>${[
    ...rows,
    ...others,
  ]
    .filter(([count]) => count > 0)
    .map(
      ([count, name]) => html`<tr><td class="count">${count}</td><td>${name}</td></tr>`,
    )}</tbody></table></div></section>`;
}

function momentText({ seconds, nanoseconds }: Leg, start: Leg): string {
  return sinceStart({ seconds, nanoseconds, startSeconds: start.seconds, startNanoseconds: start.nanoseconds }, "us");
}
