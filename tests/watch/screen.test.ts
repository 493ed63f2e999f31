// The screens of `firebreak top`, whole, from states that are made up: what is on them, that they fit any terminal, and that nothing of a
// stranger's reaches it as a command. And keys: what they change, and ask for.
import { describe, expect, test } from "bun:test";
import type { NamedStatus } from "../../src/channel/operations/services.ts";
import type { DropEntry } from "../../src/control/views/drops.ts";
import type { FlowEntry } from "../../src/control/views/flow-list.ts";
import { History } from "../../src/watch/history.ts";
import { listRows, renderOnce, renderTop, type Size } from "../../src/watch/screen.ts";
import { firstState, lengthOf, press, type Seen, settle, type TopState } from "../../src/watch/top-state.ts";

const SIZE: Size = { columns: 80, rows: 24, isUnicode: true };
const ROWS = listRows(SIZE);
/** What a stranger would like to be: a command to the terminal, a new line, writing that turns round. */
const HOSTILE = "a\x1b[2J\n\x9b31m\u202e<b>";

const status = (uptime: number, change: Partial<NamedStatus> = {}): NamedStatus => ({
  ...{ name: "home", version: "1.2.3", uptime, time: Date.UTC(2026, 0, 1, 12, 0, uptime) / 1000, cpu: uptime / 4 },
  configuration: { by: "file", time: 0, differs: false },
  memory: { resident: 72_000_000, anonymous: 30_000_000 },
  interfaces: [],
  ring: {},
  frames: { forwarded: 100 * uptime * uptime, refused: 3 * uptime, ttl: 5 },
  kernel_path: { forwarded: 50 * uptime * uptime },
  flows: { used: 3, most: 65_536 },
  clients: [
    { name: "work", flows: 2, most_flows: 10 },
    { name: "personal", flows: 1, most_flows: 1000 },
  ],
  resolver: { names: 2, unknown: 1, failing: 1, addresses: 3, lookups: 9, failures: 4 },
  ...change,
});

const flow = (port: number): FlowEntry => ({
  ...{ protocol: 6, proto: "tcp", client: "work", rule: 1, state: "ESTABLISHED" },
  source: { address: "10.137.0.10", port },
  destination: { address: "198.51.100.7", port: 443 },
  mapped: { address: "192.0.2.254", port },
});
const PING: FlowEntry = {
  ...{ protocol: 1, proto: "icmp", client: "personal", rule: 0 },
  source: { address: "10.137.0.11", id: 7 },
  destination: { address: "198.51.100.7" },
  mapped: { address: "192.0.2.254", id: 7 },
};
const DROP: DropEntry = {
  ...{
    verdict: "refused",
    count: 12,
    first: 0,
    last: Date.UTC(2026, 0, 1, 12, 0, 1) / 1000,
    interface: "eth0",
    client: "work",
  },
  ...{ ethertype: 0x0800, protocol: 17, proto: "udp", rule: 3, place: "firewall.toml:14" },
  source: { address: "10.137.0.10", port: 5000 },
  destination: { address: "203.0.113.7", port: 53 },
};

function seenAfter(...answers: readonly NamedStatus[]): Seen {
  const history = new History();
  for (const answer of answers) history.add(answer);
  const flows = [flow(40_000), flow(40_001), PING];
  return { status: answers[answers.length - 1], history, flows, flowsFrom: 0, matching: 3, drops: [DROP] };
}

const START: TopState = { ...firstState("home"), seen: seenAfter(status(1), status(2), status(3)) };
const keyed = (state: TopState, ...keys: readonly string[]) =>
  keys.reduce((now, key) => press(now, key, ROWS).state, state);
const shown = (state: TopState, size = SIZE) => renderTop(state, size).map(({ text }) => text.trimEnd());

test("clients: a whole screen", () => {
  expect(shown(START, { ...SIZE, rows: 12 })).toEqual([
    "firebreak home, version 1.2.3, up 3 s                                   12:00:03",
    `forwarded 500/s           ${`${" ".repeat(52)}▅█`}`,
    `dropped   3.0/s           ${`${" ".repeat(52)}██`}`,
    `flows     3 of 65536      ${`${" ".repeat(51)}███`}`,
    "kernel path 50 %, memory 72 MB, processor 25 %, names 2: 1 fail, 1 unknown",
    "[clients]  flows   verdicts   drops   2 in all",
    " CLIENT                             FLOWS      OF   USED",
    ">work                                   2      10   20 %                     ███",
    " personal                               1    1000    0 %                     ███",
    "",
    "",
    "q quit  Tab view  s sort  r reverse  / filter  e end  w why  ? help",
  ]);
});

test("flows, verdicts and drops: their rows", () => {
  expect(shown(keyed(START, "2")).slice(5, 11)).toEqual([
    " clients  [flows]  verdicts   drops   3 in all",
    " PROTO SOURCE                DESTINATION           BYTE/s STATE  RULE   CLIENT",
    ">tcp   10.137.0.10:40000     198.51.100.7:443             ESTAB~ 1      work",
    " tcp   10.137.0.10:40001     198.51.100.7:443             ESTAB~ 1      work",
    " icmp  10.137.0.11 id 7      198.51.100.7                        policy personal",
    "",
  ]);
  expect(shown(keyed(START, "3")).slice(6, 11)).toEqual([
    " FRAMES                                                 /s         TOTAL",
    ">forwarded                                             500           900      ▅█",
    " dropped: refused by rules                             3.0             9      ██",
    " dropped: TTL exceeded                                   0             5",
    "",
  ]);
  expect(shown(keyed(START, "4")).slice(6, 8)).toEqual([
    "  COUNT  LAST  VERDICT AND FRAME",
    ">    12    2s  refused by rules: udp 10.137.0.10:5000 to 203.0.113.7:53 on eth0,",
  ]);
});

test("flows of IPv6 have the columns that a wide terminal has to spare; where they are few, the middle of an address is left out", () => {
  const six: FlowEntry = {
    ...flow(40_000),
    source: { address: "2001:db8:1:0:5054:ff:fe12:3456", port: 40_000 },
    destination: { address: "2001:db8:7::80", port: 443 },
  };
  const uplink = { address: "192.0.2.254/24", gateway: "192.0.2.1", address6: "2001:db8::2/64", gateway6: "fe80::1" };
  const both = status(3, { interfaces: [{ name: "eth1", state: "up", uplink, clients: [] }] });
  const state = keyed({ ...START, seen: { ...seenAfter(status(2), both), flows: [six, flow(40_001)] } }, "2");
  expect(shown(state).slice(6, 9)).toEqual([
    " PROTO SOURCE                DESTINATION           BYTE/s STATE  RULE   CLIENT",
    ">tcp   [2001:d~2:3456]:40000 [2001:db8:7::80]:443         ESTAB~ 1      work",
    " tcp   10.137.0.10:40001     198.51.100.7:443             ESTAB~ 1      work",
  ]);
  expect(shown(state, { ...SIZE, columns: 120 }).slice(6, 9)).toEqual([
    " PROTO SOURCE                                    DESTINATION                               BYTE/s STATE  RULE   CLIENT",
    ">tcp   [2001:db8:1:0:5054:ff:fe12:3456]:40000    [2001:db8:7::80]:443                             ESTAB~ 1      work",
    " tcp   10.137.0.10:40001                         198.51.100.7:443                                 ESTAB~ 1      work",
  ]);
});

test("what is selected is marked, in reverse and by a sign; and so is trouble, with what was known last", () => {
  const lines = renderTop(keyed(START, "down"), SIZE);
  expect(lines.flatMap(({ isReversed }, i) => (isReversed ? [i] : []))).toEqual([6, 8]);
  expect(lines[8].text).toStartWith(">personal ");
  const lost = renderTop({ ...START, trouble: "no firewall listens there" }, SIZE);
  expect(lost[0]).toEqual({
    text: "NOT ANSWERING, trying again: no firewall listens there".padEnd(80),
    isReversed: true,
  });
  expect(lost[7].text).toStartWith(">work ");
  expect(shown({ ...firstState("home"), trouble: "no firewall listens there" })[1]).toBe(
    "does not answer, trying again: no firewall listens there",
  );
});

test("without Unicode there is none, and --once has no marks", () => {
  const screens = ["1", "2", "3", "4", "?"].map((key) => shown(keyed(START, key), { ...SIZE, isUnicode: false }));
  expect(screens.flat().join("\n")).toMatch(/^[ -~\n]*$/);
  expect(screens[0][7]).toEndWith(" @@@");
  expect(renderOnce(START, false).slice(5)).toEqual([
    "",
    " CLIENT                             FLOWS      OF   USED",
    " work                                   2      10   20 %                     @@@",
    " personal                               1    1000    0 %                     @@@",
    "",
    " FRAMES                                                 /s         TOTAL",
    " forwarded                                             500           900      +@",
    " dropped: refused by rules                             3.0             9      @@",
    " dropped: TTL exceeded                                   0             5",
  ]);
});

test("every view fits every terminal, to the line and to the column", () => {
  const many = { ...START, why: ["x".repeat(300)], message: "m".repeat(300) };
  const views: TopState[] = [
    ...["1", "2", "3", "4", "?"].map((key) => keyed(many, key)),
    { ...many, view: "why" },
    { ...many, prompt: { type: "filter", text: "f".repeat(200) } },
    { ...many, trouble: "t".repeat(300) },
    { ...firstState("home"), trouble: "t".repeat(300) },
    firstState("home"),
  ];
  for (const state of views) {
    for (let rows = 1; rows <= 40; rows++) {
      for (const columns of [1, 2, 10, 27, 40, 79, 80, 81, 132, 300]) {
        const lines = renderTop(state, { columns, rows, isUnicode: true });
        const fits = lines.length === rows && lines.every(({ text }) => text.length <= columns);
        expect({ rows, columns, fits }).toEqual({ rows, columns, fits: true });
      }
    }
  }
});

test("names of strangers reach no terminal as commands, in any view", () => {
  const seen: Seen = {
    ...seenAfter(
      status(1),
      status(2, {
        ...{ name: HOSTILE, version: HOSTILE, frames: { [HOSTILE]: 9 } },
        clients: [{ name: HOSTILE, flows: 1, most_flows: 1 }],
      }),
    ),
    flows: [{ ...flow(1), client: HOSTILE }],
    drops: [{ ...DROP, client: HOSTILE, interface: HOSTILE, place: HOSTILE }],
  };
  const state: TopState = { ...START, seen, message: HOSTILE };
  const looks = { ...state.looks, clients: { ...state.looks.clients, filter: "a" } };
  const screens = ["1", "2", "3", "4"].map((key) =>
    renderTop({ ...keyed({ ...state, looks }, key), message: HOSTILE }, { ...SIZE, columns: 400 }),
  );
  const others = [
    { ...state, trouble: HOSTILE },
    { ...firstState(HOSTILE), trouble: HOSTILE },
  ].map((one) => renderTop(one, SIZE));
  const led = keyed(state, "enter", "/");
  expect(led.prompt).toEqual({ type: "filter", text: `client=${HOSTILE}` });
  others.push(renderTop(led, SIZE));
  const text = [...screens, ...others]
    .flat()
    .map((line) => line.text)
    .join("");
  expect(text).toMatch(/^[ -~▁▂▃▄▅▆▇█]*$/);
  expect(text).toContain("a\\u001b[2J\\u000a\\u009b31m\\u202e<b>");
});

describe("keys", () => {
  test("select, scroll by pages, and stop at both ends, of 65 536 flows too", () => {
    const full: TopState = { ...keyed(START, "2"), seen: { ...seenAfter(status(1)), matching: 65_536 } };
    const look = (state: TopState) => [state.looks.flows.selected, state.looks.flows.offset];
    expect(look(keyed(full, "up"))).toEqual([0, 0]);
    expect(look(keyed(full, "page-down"))).toEqual([ROWS, 1]);
    expect(look(keyed(full, "end"))).toEqual([65_535, 65_536 - ROWS]);
    expect(look(keyed(full, "end", "down", "home"))).toEqual([0, 0]);
    expect(press(full, "j", ROWS).wish).toEqual({ type: "look" });
    const fewer = settle({ ...keyed(full, "end"), seen: seenAfter(status(1)) }, ROWS);
    expect(look(fewer)).toEqual([2, 2]);
    expect(lengthOf(fewer, "flows")).toBe(3);
  });

  test("sort and turn round: clients here, flows by the firewall", () => {
    const names = (state: TopState) =>
      shown(state)
        .slice(7, 9)
        .map((line) => line.slice(1, 9).trim());
    expect(names(keyed(START, "s"))).toEqual(["personal", "work"]);
    expect(names(keyed(START, "s", "r"))).toEqual(["work", "personal"]);
    expect(names(keyed(START, "s", "s"))).toEqual(["personal", "work"]);
    const { state, wish } = press(keyed(START, "2", "s", "s", "s"), "r", ROWS);
    expect(state.looks.flows).toMatchObject({ order: "proto", isDescending: true });
    expect(wish).toEqual({ type: "look" });
    expect(shown(state)[5]).toContain("3 in all, by -proto");
  });

  test("filter: typed, corrected, left, applied", () => {
    const typed = keyed(START, "/", ..."perx", "backspace");
    expect(shown(typed).at(-1)).toBe("filter: per_  (Enter: apply, Escape: leave it)");
    expect(shown(keyed(typed, "escape"))[5]).toContain("2 in all");
    const applied = keyed(typed, "enter");
    expect(shown(applied)[5]).toContain("1 in all, only per");
    expect(shown(applied)[7]).toStartWith(">personal ");
    expect(keyed(START, "/", "q").prompt).toEqual({ type: "filter", text: "q" });
  });

  test("Enter leads from a client to its flows", () => {
    const { state, wish } = press(keyed(START, "down"), "enter", ROWS);
    expect({ view: state.view, filter: state.looks.flows.filter, wish }).toEqual({
      ...{ view: "flows", filter: "client=personal", wish: { type: "look" } },
    });
  });

  test("a flow is ended once that is agreed to, and it is said which", () => {
    const asked = keyed(START, "2", "down", "e");
    expect(shown(asked).at(-1)).toBe("end tcp 10.137.0.10:40001 to 198.51.100.7:443? (y: yes)");
    const match = ["proto=tcp", "src=10.137.0.10", "dst=198.51.100.7", "srcports=40001", "dstports=443"];
    expect(press(asked, "y", ROWS).wish).toEqual({ type: "end", match });
    const not = press(asked, "x", ROWS);
    expect({ wish: not.wish, message: not.state.message }).toEqual({ wish: undefined, message: "nothing was ended" });
    expect(shown(keyed(START, "2", "end", "e")).at(-1)).toBe("end all icmp 10.137.0.11 to 198.51.100.7? (y: yes)");
    expect(keyed(START, "e").message).toBe("only flows can be ended: 2 leads to them");
  });

  test("why is asked of a flow and of a drop, and shown until the next key", () => {
    const why = { type: "why", source: "10.137.0.10", destination: "203.0.113.7:53", match: ["proto=udp"] } as const;
    expect(press(keyed(START, "4"), "w", ROWS).wish).toEqual(why);
    const asked = keyed({ ...START, list: "drops", view: "why", why: ["12 times, last 2 s ago: refused"] });
    expect(shown(asked).slice(6, 8)).toEqual([" WHY", "12 times, last 2 s ago: refused"]);
    expect(keyed(asked, "q").view).toBe("drops");
    expect(keyed(START, "w").message).toContain("why is asked of a flow or a drop");
  });

  test("^C quits and ^Z stops it, whatever is being typed", () => {
    for (const state of [START, keyed(START, "/"), keyed(START, "?"), keyed(START, "2", "e")]) {
      expect(press(state, "ctrl-c", ROWS).wish).toEqual({ type: "quit" });
      expect(press(state, "ctrl-z", ROWS).wish).toEqual({ type: "suspend" });
    }
  });
});

test("rates are of what came between two answers; a firewall that began anew, and a clock that stands, have none", () => {
  const history = new History();
  history.add(status(4));
  expect(history.forwarded).toEqual([]);
  history.add(status(6));
  expect(history.forwarded).toEqual([1000]);
  expect(history.dropped).toEqual([3]);
  history.add(status(6));
  history.add(status(1));
  expect(history.forwarded).toEqual([1000]);
  for (let uptime = 2; uptime < 1000; uptime++) history.add(status(uptime));
  expect(history.forwarded.length).toBe(240);
  history.add(status(1000, { clients: [] }));
  expect(history.flowsOf("work")).toEqual([]);
});
