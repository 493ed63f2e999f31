// The news: what a page gets first, what comes then, what it is told of those that it lost, and of a firewall that does not answer. The
// firewall is one that only answers.
import { afterEach, expect, test } from "bun:test";
import { Connection } from "../../src/watch/connection.ts";
import type { Sink } from "../../src/watch/http.ts";
import { Feed } from "../../src/web/feed.ts";
import type { News } from "../../src/web/messages.ts";
import { FakeFirewall } from "../support/fake-firewall.ts";

const firewall = new FakeFirewall("feed");
let feed: Feed;

afterEach(() => feed.stop());

/** A page that takes news, or does not. */
class Reader implements Pick<Sink, "offer" | "end" | "onEnd"> {
  readonly news: News[] = [];
  isStalled = false;
  refused = 0;
  hasEnded = false;
  leave = () => {};

  end(): void {
    this.hasEnded = true;
  }

  offer(text: string): boolean {
    if (this.isStalled) {
      this.refused++;
      return false;
    }
    for (const [, json = ""] of text.matchAll(/^data: (.*)\n\n/gm)) this.news.push(JSON.parse(json));
    return true;
  }

  onEnd(ended: () => void): void {
    this.leave = ended;
  }

  /** Waits for so many. */
  async until(isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + 60_000;
    while (!isSo()) {
      if (performance.now() > deadline) throw new Error(`never: ${isSo}, ${JSON.stringify(this.news)}`);
      await Bun.sleep(1);
    }
  }
}

function begin(path = firewall.path): Feed {
  feed = new Feed("home", new Connection(path), 5);
  feed.start();
  return feed;
}

test("a page gets what there has been, then each look with what went on since the last", async () => {
  const reader = new Reader();
  begin().join(reader);
  await reader.until(() => reader.news.length > 4);
  expect(reader.news[0]).toEqual({ type: "begin", firewall: "home", past: [] });
  const looks = reader.news.slice(1).flatMap((news) => (news.type === "look" ? [news] : []));
  expect(looks[0].rates).toBeUndefined(); // there is nothing to compare it with
  const [, up, down, forwarded] = looks[2].rates ?? [];
  expect(Math.abs((up ?? 0) / firewall.up - 1)).toBeLessThan(0.1);
  expect(Math.abs((down ?? 0) / firewall.down - 1)).toBeLessThan(0.1);
  expect(forwarded).toBeGreaterThan(0);
  expect(looks[2].rates?.slice(6)).toEqual([up ?? 0, down ?? 0]); // what the clients have, and the internet
  const other = new Reader();
  feed.join(other);
  const [first, second] = other.news;
  expect(first.type === "begin" && first.past.length).toBeGreaterThan(1);
  expect(second).toMatchObject({ type: "look", lost: 0 });
});

test("a page that takes nothing for a while loses looks, is told how many, and keeps nobody", async () => {
  const [slow, quick] = [new Reader(), new Reader()];
  begin().join(slow);
  feed.join(quick);
  await slow.until(() => slow.news.length > 2);
  slow.isStalled = true;
  const before = quick.news.length;
  await slow.until(() => slow.refused > 3);
  expect(quick.news.length - before).toBeGreaterThan(2);
  const { refused } = slow;
  slow.isStalled = false;
  const known = slow.news.length;
  await slow.until(() => slow.news.length > known + 1);
  const [next, after] = slow.news.slice(known);
  expect(next).toMatchObject({ type: "look", lost: refused });
  expect(after).toMatchObject({ type: "look", lost: 0 });
});

test("who goes is forgotten, and who is there at the end is told", () => {
  const [reader, other] = [new Reader(), new Reader()];
  begin().join(reader);
  feed.join(other);
  expect(feed.readerCount).toBe(2);
  reader.leave();
  expect(feed.readerCount).toBe(1);
  feed.stop();
  expect([reader.hasEnded, other.hasEnded]).toEqual([false, true]);
});

test("a firewall that is not there is told, with the reason, to who comes later too", async () => {
  const reader = new Reader();
  begin("/nowhere/a.sock").join(reader);
  await reader.until(() => reader.news.length > 2);
  const trouble = { type: "trouble", text: "/nowhere/a.sock: no firewall listens there", lost: 0 } as const;
  expect(reader.news[1]).toEqual(trouble);
  const late = new Reader();
  feed.join(late);
  expect(late.news).toEqual([{ type: "begin", firewall: "home", past: [] }, trouble]);
});

test("an uplink that was made anew counts from nothing, and is not told as less than that", async () => {
  const reader = new Reader();
  begin().join(reader);
  await reader.until(() => reader.news.length > 3);
  const interfaces = firewall.status.interfaces.map((device) =>
    device.uplink === undefined ? device : { ...device, received: { frames: 0, bytes: 0 } },
  );
  const known = reader.news.length;
  firewall.change = { interfaces };
  await reader.until(() => reader.news.length > known + 2);
  firewall.change = {};
  const downs = reader.news.flatMap((news) => (news.type === "look" ? (news.rates?.[2] ?? []) : []));
  expect(downs).toContain(0);
  expect(Math.min(...downs)).toBe(0);
});

test("a firewall that began anew has no rates from before", async () => {
  const reader = new Reader();
  begin().join(reader);
  await reader.until(() => reader.news.length > 3);
  const known = reader.news.length;
  firewall.change = { uptime: 1 };
  await reader.until(() => reader.news.length > known + 2);
  firewall.change = {};
  const anew = reader.news.slice(known).find((news) => news.type === "look" && news.status.uptime === 1);
  expect(anew).toMatchObject({ type: "look", lost: 0 });
  expect(anew).not.toHaveProperty("rates");
});
