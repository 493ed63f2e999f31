// The operation `log`: what is kept, what comes, and what a reader who is too slow has lost.
import { expect, test } from "bun:test";
import { KeptLog } from "../../../src/base/log.ts";
import type { Fields } from "../../../src/channel/cbor.ts";
import { logOperation } from "../../../src/channel/operations/log-operation.ts";

const KEPT = 512;

function filled(lines: number): KeptLog {
  const kept = new KeptLog();
  say(kept, lines);
  return kept;
}

function say(kept: KeptLog, lines: number): void {
  for (let i = 0; i < lines; i++) kept.add({ time: 1, uptime: 2, text: `line ${kept.end}` });
}

function read(kept: KeptLog, args: Partial<Fields> = {}) {
  const abort = new AbortController();
  const records = logOperation(kept)(args, abort.signal);
  return {
    abort,
    next: async () => {
      const { done, value } = await records.next();
      return done === true ? "end" : `${(value.data as Fields).text}${value.lost ? `, ${value.lost} lost` : ""}`;
    },
  };
}

test("without an argument, what is kept, and then the end, though more comes meanwhile", async () => {
  const kept = filled(3);
  const { next } = read(kept);
  expect(await next()).toBe("line 0");
  say(kept, 5);
  expect([await next(), await next(), await next()]).toEqual(["line 1", "line 2", "end"]);
});

test("the last few of what is kept", async () => {
  const { next } = read(filled(KEPT + 10), { last: 2 });
  expect([await next(), await next(), await next()]).toEqual([`line ${KEPT + 8}`, `line ${KEPT + 9}`, "end"]);
  expect(await read(filled(KEPT + 10)).next()).toBe("line 10");
});

test("who follows gets each line when it comes, until nobody waits for it", async () => {
  const kept = filled(1);
  const { next, abort } = read(kept, { follow: true, last: 0 });
  for (let i = 1; i < 5; i++) {
    const waiting = next();
    say(kept, 1);
    expect(await waiting).toBe(`line ${i}`);
  }
  const waiting = next();
  abort.abort();
  expect(await waiting).toBe("end");
});

test("who reads too slowly is told how many lines are gone, where they are missing", async () => {
  const kept = filled(2);
  const { next } = read(kept, { follow: true });
  expect(await next()).toBe("line 0");
  say(kept, KEPT + 3);
  expect(await next()).toBe(`line 5, 4 lost`);
  expect(await next()).toBe("line 6");
});

test.each([[{ last: "2" }], [{ follow: 1 }], [{ lines: 3 }]])("arguments are checked: %j", async (args) => {
  let text = "";
  await read(filled(1), args)
    .next()
    .catch((error) => {
      text = error.message;
    });
  expect(text).toMatch(/is not|there is no argument/);
});
