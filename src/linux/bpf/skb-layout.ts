// Where the kernel has what it knows of a frame's checksum: offsets in its struct sk_buff (linux/skbuff.h), which are other ones
// in other kernels. The kernel tells them itself, by BTF; our own, which has none, tells them in a file that was made with it
// (build/kernel.sh).
import { existsSync, readFileSync, statSync } from "node:fs";
import { Btf, KERNEL_BTF, type Member } from "./btf.ts";

/** Made with the appliance's kernel: a line for each member, `NAME OFFSET SIZE`, both in bits. */
export const LAYOUT_FILE = "/etc/skb-layout";

/** In bits. Members with these names, and no others, are looked for. */
const SIZES = { ip_summed: 2, csum_start: 16, csum_offset: 16, head: 64, data: 64 } as const;
type Name = keyof typeof SIZES;
const NAMES = Object.keys(SIZES) as Name[];

/** Offsets: that of ip_summed, a bit field, in bits, the others in bytes. */
export type SkbLayout = Readonly<Record<Name, number>>;

const LONGEST_BTF = 64 * 1024 * 1024;

/** Larger than any kernel's sk_buff, in bits. */
const FURTHEST = 8 * 4096;

/** @throws Error that says why it can't be had */
export function readSkbLayout(btf = KERNEL_BTF, file = LAYOUT_FILE): SkbLayout {
  if (existsSync(btf)) return layoutOfBtf(btf);
  if (existsSync(file)) return layoutOfText(readFileSync(file, "utf8"), file);
  throw new Error(
    `the kernel does not tell how it keeps frames: there is no ${btf} (build it with CONFIG_DEBUG_INFO_BTF)`,
  );
}

function layoutOfBtf(path: string): SkbLayout {
  const { size } = statSync(path);
  if (size > LONGEST_BTF) throw new Error(`${path}: ${size} bytes, more than any kernel has`);
  const btf = new Btf(readFileSync(path));
  const structure = btf.structure("sk_buff");
  return layoutOf((name) => btf.member(structure, name), path);
}

/** @param file its name, for errors */
export function layoutOfText(text: string, file: string): SkbLayout {
  const lines = text.split("\n").filter((line) => line !== "");
  return layoutOf((name) => {
    const fields = lines.flatMap((line) => new RegExp(`^${name} (\\d{1,6}) (\\d{1,3})$`).exec(line) ?? []);
    if (fields.length !== 3) throw new Error(`${file}: there is no one line "${name} OFFSET SIZE"`);
    return { offset: Number(fields[1]), size: Number(fields[2]) };
  }, file);
}

function layoutOf(find: (name: Name) => Member, source: string): SkbLayout {
  const offsets = NAMES.map((name) => [name, offsetOf(name, find(name), source)] as const);
  return Object.fromEntries(offsets) as SkbLayout;
}

function offsetOf(name: Name, { offset, size }: Member, source: string): number {
  const isBits = name === "ip_summed";
  if (size !== SIZES[name])
    throw new Error(`${source}: ${name} of struct sk_buff has ${size} bits, not ${SIZES[name]}`);
  const isWhole = isBits ? (offset & 7) + size <= 8 : (offset & 7) === 0;
  if (!isWhole || offset > FURTHEST) throw new Error(`${source}: ${name} of struct sk_buff can't be at bit ${offset}`);
  return isBits ? offset : offset / 8;
}
