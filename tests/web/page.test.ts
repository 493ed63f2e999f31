// The page in a real browser: that it shows what the firewall answers, that keys alone lead everywhere, that 65 536 flows stay usable, that
// nothing of a stranger's becomes more than text, and that the browser has nothing to complain of. With FIREBREAK_PICTURES=FOLDER it leaves
// pictures there, for people to look at.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ChannelError } from "../../src/channel/messages.ts";
import type { DropEntry } from "../../src/control/views/drops.ts";
import { Connection } from "../../src/watch/connection.ts";
import { type Site, serveSite } from "../../src/web/site.ts";
import { Browser, type Page } from "../support/browser.ts";
import { FakeFirewall, manyFlows } from "../support/fake-firewall.ts";
import { HOSTILE } from "../support/hostile-text.ts";

const scratch = mkdtempSync(join(tmpdir(), "firebreak-"));
const PICTURES = process.env.FIREBREAK_PICTURES ?? scratch;

const firewall = new FakeFirewall("page");
const connection = new Connection(firewall.path);
let site: Site;
let browser: Browser;
let page: Page;

const seconds = () => Date.now() / 1000;
/** When frames first came: a row is known by that. */
const BEGAN = seconds();
const text = (selector: string) => page.value<string>(`document.querySelector(${JSON.stringify(selector)}).innerText`);
const rows = (list: string) => `document.querySelectorAll("table.${list} tbody tr:not(.below)")`;
const rowTexts = (list: string) => page.value<string[]>(`[...${rows(list)}].map((row) => row.innerText)`);
const focused = () => page.value<string>(`document.activeElement.id || document.activeElement.innerText`);
const shows = (list: string, says: string) =>
  page.until(
    `!document.querySelector("#panel-${list}").hidden && document.querySelector("#panel-${list} .says").innerText.includes(${JSON.stringify(says)})`,
  );

function drop(change: Partial<DropEntry> = {}): DropEntry {
  return {
    ...{ verdict: "refused", count: 12, first: BEGAN - 90, last: seconds() - 3, interface: "eth0", client: "work" },
    ...{ ethertype: 0x0800, protocol: 6, proto: "tcp", flags: ["SYN"], rule: 6, place: "firewall.toml:14" },
    source: { address: "10.137.0.10", port: 40_000 },
    destination: { address: "203.0.113.7", port: 25 },
    ...change,
  };
}

function ordinary(): void {
  firewall.flows = manyFlows(65_536);
  firewall.drops = [drop(), drop({ verdict: "unsolicited", interface: "eth1", count: 1, first: BEGAN - 40 })];
  firewall.causes = [drop()];
  const rule = { client: "work", place: "firewall.toml:12", hits: 0, flows: 0 };
  firewall.rules = [
    { ...rule, rule: 1, text: "action=accept proto=tcp dstports=443", hits: 3412, last: seconds() - 2, flows: 120 },
    { ...rule, rule: 2, text: "action=accept dsthost=www.example proto=tcp", addresses: null },
    { ...rule, rule: 3, text: "action=accept proto=tcp dstports=443", problem: "never decides: rule 1 does all of it" },
    { client: "work", rule: 0, text: "action=drop", hits: 88, last: seconds() - 60, flows: 0 },
  ];
  firewall.change = {
    clients: [
      { name: "work", flows: 43_691, most_flows: 65_536 },
      { name: "personal", flows: 7900, most_flows: 8192 },
    ],
  };
}

/** A page that was opened with the address that is printed. */
async function opened(url = site.url): Promise<Page> {
  const made = await browser.open();
  await made.resize(1280, 900);
  await made.goTo(url);
  return made;
}

beforeAll(async () => {
  ordinary();
  site = await serveSite("home", connection, 0);
  browser = await Browser.start();
  page = await opened();
  await page.until(`document.querySelector("#inside-down").innerText.endsWith("Mbit/s")`);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  site?.stop();
  connection.close();
  rmSync(scratch, { recursive: true });
});

test("the picture has live numbers, in words that need no colour, and the key is gone from the address", async () => {
  expect(await text("h1")).toBe("Firebreak home");
  expect(await text("#state")).toBe("● live, each second.");
  expect(await text("#facts")).toMatch(
    /^version 1\.2\.3 · running for \d+ min · configuration from its file, .* · 72 MB of memory$/,
  );
  expect(await text("#machines")).toMatch(/^work\s+43.691 open\npersonal\s+7.900 open$/);
  expect(await text("#flows")).toMatch(/^65.536$/);
  expect(await text("#own")).toBe("192.0.2.254");
  expect(await text("#uplink")).toBe("by eth1, router 192.0.2.1");
  for (const [id, rate] of [
    ["outside-up", firewall.up],
    ["inside-up", firewall.up],
    ["outside-down", firewall.down],
    ["inside-down", firewall.down],
  ] as const) {
    expect(await text(`#${id}`)).toMatch(/^[\d.]+ Mbit\/s$/);
    expect(Math.abs(Number.parseFloat(await text(`#${id}`)) / (rate / 1e6) - 1)).toBeLessThan(0.05);
  }
  expect(await page.value<string>("location.search + document.cookie")).toBe("");
});

test("a configuration that is not what the file has, or is on trial, is told with what becomes of it", async () => {
  const time = seconds();
  firewall.change = {
    ...firewall.change,
    configuration: { by: "channel", time, differs: true, trial_until: time + 60 },
  };
  await page.until(`document.querySelector("#facts").innerText.includes("⚠ on trial until ")`);
  expect(await text("#facts")).toMatch(
    /configuration from firebreak configure, in force for \d s · ⚠ which is not what its file has: a restart undoes it · ⚠ on trial until \d\d:\d\d:\d\d: unless it is confirmed/,
  );
  ordinary();
}, 60_000);

test("the charts say what they show to who does not see them, and their lines differ by more than colours", async () => {
  const label = (id: string) => page.value<string>(`document.querySelector("#${id}").getAttribute("aria-label")`);
  await page.until(`document.querySelector("#packets-chart").getAttribute("aria-label").includes("passed on 5")`);
  expect(await label("bits-chart")).toMatch(
    /^Bits a second: to the internet [\d.]+ Mbit\/s, at most .*; from the internet .*$/,
  );
  expect(await text("#bits-numbers")).toMatch(/▲ to the internet.*\n.*▼ from the internet/s);
  const painted = `[...document.querySelectorAll("canvas")].every((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value !== 0);
  })`;
  await page.until(painted);
  await page.value(`document.querySelector("#ranges button:nth-of-type(3)").click()`);
  expect(
    await page.value<string[]>(`[...document.querySelectorAll("#ranges button")].map((one) => one.ariaPressed)`),
  ).toEqual([...["false", "false", "true"]]);
});

test("who points at a chart is told the numbers of that moment, and those of now when he leaves", async () => {
  await page.until(`document.querySelector("#bits-numbers thead").innerText.includes("now")`);
  await page.pointAt("#bits-chart .u-over");
  await page.until(`/\\d\\d:\\d\\d:\\d\\d/.test(document.querySelector("#bits-numbers thead").innerText)`);
  await page.pointAt("h1");
  await page.until(`document.querySelector("#bits-numbers thead").innerText.includes("now")`);
});

test("keys alone lead through the lists, to the filter and through the pages of 65 536 flows", async () => {
  await page.press("2");
  await shows("flows", "1–50 of 65");
  expect((await rowTexts("flows")).length).toBe(50);
  await page.press("/");
  expect(
    await page.value<boolean>(`document.activeElement === document.querySelector("#panel-flows input[type=search]")`),
  ).toBeTrue();
  await page.type("proto=udp");
  await page.press("Enter");
  await shows("flows", "of 21");
  expect((await rowTexts("flows")).every((row) => row.includes("udp"))).toBeTrue();
  expect(await page.value<string>("location.hash")).toBe("#flows?proto%3Dudp");
  for (let i = 0; i < 9; i++) await page.press("Backspace");
  await page.press("Enter");
  await shows("flows", "of 65");
  const reach = async (name: string) => {
    for (let i = 0; i < 40; i++) {
      if ((await focused()) === name) return;
      await page.press("Tab");
    }
    throw new Error(`Tab never led to ${name}`);
  };
  await reach("From");
  await page.press("Enter");
  await page.press("Enter");
  await page.until(`document.querySelector("table.flows th[aria-sort=descending]") !== null`);
  await page.until(`${rows("flows")}[0].innerText.includes(":65535")`);
  await reach("Last");
  await page.press("Enter");
  await shows("flows", `65\u202f501–65\u202f536 of`);
  await page.until(`${rows("flows")}.length === 36`);
  await page.value(`document.querySelector("#tab-flows").focus()`);
  await page.press("ArrowRight");
  await shows("drops", "1–2 of 2");
  expect(await focused()).toBe("tab-drops");
}, 120_000);

test("flows tell their bytes, and how fast they come; by the first press those with most come first", async () => {
  firewall.flows = manyFlows(3);
  await page.press("2");
  await shows("flows", "1–3 of 3");
  await page.value(
    `[...document.querySelectorAll("table.flows th button")].find((one) => one.innerText === "Bytes").click()`,
  );
  await page.until(`document.querySelector("table.flows th[aria-sort=descending]")?.innerText.startsWith("Bytes")`);
  const bytes = `[...${rows("flows")}].map((row) => row.querySelector("td.count").innerText.replace(/\\n.*/, ""))`;
  await page.until(`JSON.stringify(${bytes}) === '["8 kB","4 kB","0 B"]'`);
  firewall.flows = firewall.flows.map((flow) => ({
    ...flow,
    received: { bytes: (flow.received?.bytes ?? 0) + 1e6, packets: 9 },
  }));
  await page.until(`/1\\.01 MB\\n[\\d.]+ Mbit\\/s/.test(${rows("flows")}[0].querySelector("td.count").innerText)`);
  await page.value(
    `[...document.querySelectorAll("table.flows th button")].find((one) => one.innerText.startsWith("Bytes")).click()`,
  );
  await page.until(`document.querySelector("table.flows th[aria-sort=ascending]")?.innerText.startsWith("Bytes")`);
  await page.value(
    `[...document.querySelectorAll("table.flows th button")].find((one) => one.innerText.startsWith("Bytes")).click()`,
  );
  await page.until(
    `document.querySelector("table.flows th:is([aria-sort=ascending], [aria-sort=descending])") === null`,
  );
  ordinary();
}, 60_000);

test("a list that is held still does not change, and goes on after that", async () => {
  await page.press("1");
  await shows("clients", "1–2 of 2");
  await page.press("p");
  firewall.change = { clients: [{ name: "work", flows: 7, most_flows: 10 }] };
  await page.until(`document.querySelector("#machines").innerText.startsWith("work 7")`);
  expect((await rowTexts("clients")).length).toBe(2);
  await page.press("p");
  await shows("clients", "1–1 of 1");
  ordinary();
}, 60_000);

test("what was dropped is explained where it stands, and stays open when the list is looked at again", async () => {
  await page.press("3");
  await shows("drops", "1–2 of 2");
  const [first = ""] = await rowTexts("drops");
  expect(first).toMatch(
    /^12\s+\d+ s ago\s+refused by rules\s+10\.137\.0\.10:40000\s+203\.0\.113\.7:25\s+tcp SYN\s+work\s+rule 6, firewall\.toml:14/,
  );
  await page.value(`document.querySelector("table.drops tbody button").click()`);
  await page.until(
    `document.querySelector("table.drops .below").innerText.includes("refused by rules: tcp 10.137.0.10")`,
  );
  expect(firewall.asked.find(({ op }) => op === "why")?.args).toEqual({
    ...{ source: "10.137.0.10", destination: "203.0.113.7:25", match: ["proto=tcp"] },
  });
  firewall.drops = [drop({ verdict: "ttl", first: BEGAN - 1 }), ...firewall.drops];
  await shows("drops", "1–3 of 3");
  expect(await text("table.drops .below:not([hidden])")).toContain("12 times, last");
  expect(await text("#panel-drops")).toContain("Since the start: ");
}, 60_000);

test("rules that nothing has hit, and those that decide nothing, are marked by signs and words", async () => {
  await page.press("4");
  await shows("rules", "1–4 of 4");
  const all = await rowTexts("rules");
  expect(all.map((row) => row.includes("○ never hit"))).toEqual([false, true, true, false]);
  expect(all[1]).toContain("addresses unknown");
  expect(await text("table.rules .below:not([hidden])")).toBe("⚠ Rule 3 never decides: rule 1 does all of it");
  await page.press("/");
  await page.type("idle");
  await shows("rules", "1–1 of 1");
  expect((await rowTexts("rules"))[0]).toContain("dstports=443");
  for (let i = 0; i < 4; i++) await page.press("Backspace");
  await shows("rules", "1–4 of 4");
  await page.value(`document.querySelector("table.rules a").click()`);
  // This firewall has no word "rule".
  await page.until(`document.querySelector("#panel-flows .problem").innerText.includes("is no filter")`);
  expect(firewall.asked.find(({ op }) => op === "flows")?.args.match).toEqual(["client=work", "rule=1"]);
}, 60_000);

test("a capture is downloaded, and what is wrong with its filter is told before", async () => {
  await page.press("5");
  expect(await text("#panel-capture .soft")).toContain("as a file for Wireshark");
  await page.press("/");
  await page.type("frobnicate=1");
  firewall.refusal = new ChannelError("arguments", '"frobnicate=1" is no filter');
  await page.press("Enter");
  await page.until(`document.querySelector("#panel-capture .problem").innerText === '✕ "frobnicate=1" is no filter'`);
  firewall.refusal = undefined;
  for (let i = 0; i < "frobnicate=1".length; i++) await page.press("Backspace");
  await page.type("proto=tcp");
  await page.value(`document.querySelector("#panel-capture button").click()`);
  const files = () => readdirSync(page.downloads).filter((name) => name.endsWith(".pcapng"));
  const deadline = performance.now() + 30_000;
  while (files().length === 0 && performance.now() < deadline) await Bun.sleep(20);
  expect(files()).toEqual([expect.stringMatching(/^firebreak-\d{8}-\d{6}\.pcapng$/)]);
  expect(readFileSync(join(page.downloads, files()[0] ?? ""), "utf8")).toBe("a capture");
  expect(firewall.asked.find(({ op }) => op === "capture")?.args).toEqual({ match: ["proto=tcp"], snap: 128 });
  expect(await text("#panel-capture .says")).toStartWith("It goes on for 10 s, and your browser has it");
}, 60_000);

test("what strangers have named is text, wherever it stands, and what can't be seen in it is written out", async () => {
  const stranger = await opened();
  firewall.change = { clients: HOSTILE.map((name) => ({ name, flows: 1, most_flows: 10 })), version: HOSTILE[2] ?? "" };
  firewall.flows = HOSTILE.map((client, i) => ({
    ...manyFlows(1)[0],
    client,
    mapped: { address: "192.0.2.254", port: i },
  }));
  firewall.drops = HOSTILE.map((name, i) =>
    drop({ client: name, interface: name, place: name, proto: name, verdict: name, first: i }),
  );
  firewall.causes = HOSTILE.map((client) => drop({ client }));
  firewall.rules = HOSTILE.map((name, i) => ({
    client: name,
    rule: i,
    text: name,
    place: name,
    hits: 0,
    flows: 1,
    problem: name,
    addresses: [name],
  }));
  firewall.refusal = undefined;
  for (const [key, list] of [
    ["1", "clients"],
    ["2", "flows"],
    ["3", "drops"],
    ["4", "rules"],
  ] as const) {
    await stranger.press(key);
    const filled = `document.querySelectorAll("table.${list} tbody tr:not(.below)").length === ${HOSTILE.length}`;
    await stranger.until(
      `${filled} && document.querySelector("table.${list} tbody").innerText.includes("<script>alert(1)</script>")`,
    );
    if (list === "drops") {
      await stranger.value(`[...document.querySelectorAll("table.drops tbody button")].forEach((one) => one.click())`);
      await stranger.until(`document.querySelectorAll("table.drops .why").length > ${HOSTILE.length}`);
    }
    const shown = await stranger.value<string>(`document.querySelector("#panel-${list}").textContent`);
    expect(shown).toContain("\\u{202e}gnp.exe");
    expect(shown).toContain("\\u{1b}[2J");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(shown).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200f\u202a-\u202e\u2066-\u2069\ufeff]/);
  }
  expect(await stranger.value<string>("document.title")).not.toContain("\u202e");
  const elements = `[...document.querySelectorAll("script, img, svg, iframe, object, [onload], [onerror], b b, bdi *")].map((one) => one.outerHTML)`;
  expect(await stranger.value<string[]>(elements)).toEqual(['<script src="/page.js" defer=""></script>']);
  expect(stranger.complaints).toEqual([]);
  await stranger.picture(join(PICTURES, "hostile.png"));
  ordinary();
}, 120_000);

test("text that becomes HTML, scripts and styles in the text, and other origins are refused by the browser itself", async () => {
  const other = await opened();
  const attempt = (code: string) =>
    other.value<string>(`(() => { try { ${code}; return "done"; } catch (error) { return error.name; } })()`);
  expect(await attempt(`document.body.innerHTML = "<b>x</b>"`)).toBe("TypeError");
  expect(await attempt(`new Function("return 1")()`)).toBe("EvalError");
  const fetched = await other.value<string>(
    `fetch("http://localhost:${site.endpoint.port}/").then(() => "had", (error) => error.name)`,
  );
  expect(fetched).toBe("TypeError");
  await other.value(`document.body.setAttribute("style", "color: red")`);
  expect(await other.value<string>("document.body.style.color")).toBe("");
  expect(other.complaints.length).toBeGreaterThan(2);
});

test("without the key, or with another site's page around it, the browser shows nothing", async () => {
  const stranger = await browser.open();
  await stranger.goTo(`http://127.0.0.1:${site.endpoint.port}/`);
  expect(await stranger.value<string>("document.body.innerText")).toContain("This page needs its key");
  const framed = await browser.open();
  const html = `<iframe src="${site.url}"></iframe><script src="http://127.0.0.1:${site.endpoint.port}/page.js"></script>`;
  await framed.goTo(`data:text/html,${encodeURIComponent(html)}`);
  await framed.until(`document.querySelector("iframe") !== null`);
  expect(framed.complaints.join("\n")).toMatch(/403|Refused|frame/);
});

test("a firewall that does not answer is told, with when that was which is shown; and it goes on by itself", async () => {
  firewall.isSilent = true;
  await page.until(
    `document.querySelector("#state").innerText.startsWith("✕ The firewall does not answer, trying again: the firewall does not answer. What is shown is of ")`,
  );
  firewall.isSilent = false;
  await page.until(`document.querySelector("#state").innerText === "● live, each second."`);
}, 60_000);

test("firebreak web that ends is told, and that one which was started anew wants its own key", async () => {
  const first = await serveSite("home", connection, 0);
  const orphan = await opened(first.url);
  const says = (text: string) =>
    orphan.until(`document.querySelector("#state").innerText.startsWith(${JSON.stringify(text)})`);
  await says("● live");
  first.stop();
  await says("✕ firebreak web does not answer, trying again. What is shown is of ");
  await orphan.until(`document.querySelector("#panel-clients .says").innerText.includes("of 2")`); // what was known stays
  const second = await serveSite("home", connection, first.endpoint.port);
  await says("✕ firebreak web was started anew: open the address that it printed. What is shown is of ");
  await orphan.goTo(second.url);
  await says("● live");
  second.stop();
}, 60_000);

test("a page that is loaded again is where it was, with all of the past", async () => {
  await page.value("document.activeElement.blur()"); // where keys are typed into a filter
  await page.press("3");
  await shows("drops", "of 2");
  const { port } = site.endpoint;
  const address = await page.value<string>("location.href");
  expect(address).toBe(`http://127.0.0.1:${port}/#drops`);
  await page.goTo("about:blank");
  await page.goTo(address);
  await shows("drops", "of 2");
  await page.until(`/at most [\\d.]+ Mbit/.test(document.querySelector("#bits-chart").getAttribute("aria-label"))`);
}, 60_000);

test.each([
  ["light", 1280, "1"],
  ["dark", 1280, "3"],
  ["light", 800, "2"],
  ["dark", 800, "4"],
  ["light", 420, "1"],
  ["dark", 420, "5"],
] as const)(
  "%s, %i pixels wide: nothing is cut off, and all text has contrast enough",
  async (scheme, width, key) => {
    await page.prefer(scheme);
    await page.resize(width, 900);
    await page.press(key);
    await page.until(`document.querySelector("#panels .panel:not([hidden]) :is(tbody tr, select)") !== null`);
    await page.picture(join(PICTURES, `${scheme}-${width}.png`));
    expect(await page.value<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
    expect(await page.value<string[]>(FAINT)).toEqual([]);
  },
  60_000,
);

test("the browser had nothing to complain of, and was led nowhere else", () => {
  expect(page.complaints).toEqual([]);
  expect([...new Set(page.requests.map((url) => new URL(url).origin))]).toEqual([new URL(site.url).origin]);
});

/** Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3), but for what is switched off. */
const FAINT = `(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].flatMap((element) => {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (own.length === 0 || element.checkVisibility() === false || element.closest(":disabled") !== null) return [];
    const [one, other] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    return contrast < 4.5 ? [element.outerHTML + " " + contrast.toFixed(2)] : [];
  });
})()`;
