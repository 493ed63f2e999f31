// The README is held against the program: its configuration is good, and every counter stands in its table.
import { describe, expect, test } from "bun:test";
import { parseConfig } from "../src/control/config.ts";
import { VERDICT_NAMES } from "../src/dataplane/verdict.ts";

const README = await Bun.file(`${import.meta.dir}/../README.md`).text();

describe("the README", () => {
  test("shows a configuration that is good", () => {
    const [, toml = ""] = /```toml\n(.*?)```/s.exec(README) ?? [];
    const result = parseConfig(toml, "README.md");
    expect("errors" in result ? result.errors : []).toEqual([]);
    expect("config" in result ? result.config.clients.map(({ name }) => name) : []).toEqual(["work", "lan"]);
  });

  test("names every verdict in its table, in order", () => {
    const rows = Array.from(README.matchAll(/^\| ([^|]+?) \| [^|]+ \|$/gm), ([, name]) => name).slice(1);
    const named = VERDICT_NAMES.filter((name) => !name.startsWith("dropped: malformed "));
    expect(rows.slice(rows.indexOf("forwarded"))).toEqual([...named, "dropped: malformed *protocol*: *fault*"]);
  });
});
