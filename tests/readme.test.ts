// The README, and what it links to, is held against the program: configurations are good, every counter stands in its table.
import { describe, expect, test } from "bun:test";
import { ip } from "../lab/frames.ts";
import { parseConfig, parseDocument } from "../src/config/config.ts";
import { VERDICT_NAMES } from "../src/dataplane/verdict.ts";

const QUBES = await Bun.file(`${import.meta.dir}/../docs/QUBES.md`).text();
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

test("docs/QUBES.md shows a configuration of a qube that is good", () => {
  const [, toml = ""] = /```toml\n(.*?)```/s.exec(QUBES) ?? [];
  const qube = { uplinkClient: ip("10.137.0.7"), address: ip("10.137.0.5"), dns: [ip("10.139.1.1"), ip("10.139.1.2")] };
  expect(parseDocument(toml, "QUBES.md")).toEqual({ qube: { ...qube, place: "QUBES.md:1: qubes" } });
});
