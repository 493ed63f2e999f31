// Where the kernel keeps what it knows of a frame's checksum: as this kernel tells it, and as a file does.
import { expect, test } from "bun:test";
import { layoutOfText, readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";

const LINES = ["ip_summed 965 2", "csum_start 1024 16", "csum_offset 1040 16", "head 1472 64", "data 1536 64"];

test("a file made with the kernel is read, in any order", () => {
  const layout = { ip_summed: 965, csum_start: 128, csum_offset: 130, head: 184, data: 192 };
  expect(layoutOfText(`${LINES.join("\n")}\n`, "file")).toEqual(layout);
  expect(layoutOfText(LINES.toReversed().join("\n"), "file")).toEqual(layout);
});

test("what is missing, twice, of another size or in two bytes is an error", () => {
  const changed = (from: string, to: string) => () => layoutOfText(LINES.join("\n").replace(from, to), "file");
  expect(changed("head 1472 64", "")).toThrow('file: there is no one line "head OFFSET SIZE"');
  expect(changed("head 1472 64", "head 1472 64\nhead 1480 64")).toThrow(
    'file: there is no one line "head OFFSET SIZE"',
  );
  expect(changed("head 1472 64", "head 1472 64 1")).toThrow('file: there is no one line "head OFFSET SIZE"');
  expect(changed("1024 16", "1024 32")).toThrow("file: csum_start of struct sk_buff has 32 bits, not 16");
  expect(changed("965 2", "967 2")).toThrow("file: ip_summed of struct sk_buff can't be at bit 967");
  expect(changed("1472", "1473")).toThrow("file: head of struct sk_buff can't be at bit 1473");
  expect(changed("1472", "147200")).toThrow("file: head of struct sk_buff can't be at bit 147200");
});

test("without BTF and file it says so; with BTF the file is not asked", () => {
  expect(() => readSkbLayout("/nowhere/btf", "/nowhere/layout")).toThrow(
    "the kernel does not tell how it keeps frames: there is no /nowhere/btf (build it with CONFIG_DEBUG_INFO_BTF)",
  );
  expect(readSkbLayout(undefined, "/nowhere/layout").data).toBeGreaterThan(0);
});
