// The address book against a plain Map, at random; and what its hash is worth against who chooses addresses.
import { describe, expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { type AddressBook, Addresses, isIpv6, NO_NUMBER, type Number6 } from "../../src/dataplane/address-book.ts";
import type { Address } from "../../src/wire/ipv4.ts";
import { addressBook } from "../support/address-book.ts";

type Words = readonly [number, number, number, number];

/** Few words, so that addresses are met again, and that many differ in one of them alone. */
function anyAddress(random: Random): Words {
  const word = () => random.pick([0, 1, 2, -1, 0x20010db8, -2147483648]);
  return [word(), word(), word(), random.below(3)];
}

const isUnspecified = (words: Words) => words.every((word) => word === 0);

/** @returns the address as it stands in a packet */
function wire(words: Words): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(24));
  for (const [i, word] of words.entries()) view.setInt32(4 + i * 4, word);
  return view;
}

function expectKnown(book: AddressBook, number: Number6, words: Words): void {
  expect(isIpv6(number)).toBe(true);
  expect(book.find(...words)).toBe(number);
  expect(words.map((_, i) => book.word(number, i))).toEqual([...words]);
  expect(book.is(number, ...words)).toBe(true);
  expect(book.sumOf(number)).toBe(book.sum(...words));
}

describe("the address book", () => {
  test("gives each address a number as long as somebody holds it, and no longer", () => {
    const random = new Random(6);
    const book = addressBook(40);
    const model = new Map<string, { readonly number: Number6; readonly words: Words; holds: number }>();
    let full = 0;
    for (let step = 0; step < 30_000; step++) {
      const words = anyAddress(random);
      const key = words.join();
      const known = model.get(key);
      if (random.chance(step % 4000 < 2500 ? 0.6 : 0.3)) {
        const number = book.takeAt(wire(words), 4);
        if (number === NO_NUMBER) {
          if (!isUnspecified(words)) full++;
          expect(isUnspecified(words) || (known === undefined && model.size === 40)).toBe(true);
        } else if (known === undefined) {
          model.set(key, { number, words, holds: 1 });
        } else {
          expect(number).toBe(known.number);
          known.holds++;
        }
      } else if (known !== undefined && random.chance(0.2)) {
        book.retain(known.number);
        known.holds++;
      } else if (known !== undefined) {
        book.release(known.number);
        if (--known.holds === 0) model.delete(key);
      } else {
        expect(book.find(...words)).toBe(NO_NUMBER);
      }
      expect(book.size).toBe(model.size);
      if (step % 50 === 0) for (const { number, words } of model.values()) expectKnown(book, number, words);
    }
    expect(full).toBeGreaterThan(100);
    for (const { number, holds } of model.values()) for (let i = 0; i < holds; i++) book.release(number);
    expect(book.size).toBe(0);
  });

  test("is read by who has its memory alone", () => {
    const book = addressBook(4);
    book.take(1, 1, 1, 1);
    const number = book.take(0x20010db8, 0, -1, 0x00ff0102);
    expect(Buffer.from(new Addresses(book.words).bytes(number)).toString("hex")).toBe(
      "20010db800000000ffffffff00ff0102",
    );
  });

  test("writes an address where it stands in a packet", () => {
    const book = addressBook(4);
    const words = [0x20010db8, 1, -2, 3] as const;
    const view = new DataView(new ArrayBuffer(24));
    book.write(view, 4, book.take(...words));
    expect(new Uint8Array(view.buffer)).toEqual(new Uint8Array(wire(words).buffer));
  });

  test("holds nothing for the unspecified address, which has no number", () => {
    const book = addressBook(4);
    expect(book.take(0, 0, 0, 0)).toBe(NO_NUMBER);
    book.retain(NO_NUMBER);
    book.release(NO_NUMBER);
    expect(book.size).toBe(0);
  });
});

test("IPv4 addresses that packets may carry are no numbers", () => {
  for (const address of [0x0a000001, 0x7f000001, 0xc0000201 | 0, -1, 0x01000000]) {
    expect(isIpv6(address as Address)).toBe(false);
  }
});

test("addresses that differ in few bits have the same sum as seldom as chance has it, whatever the keys", () => {
  const random = new Random(18);
  let same = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const book = addressBook(1, seed);
    const words = Array.from({ length: 4 }, () => random.next() | 0);
    for (let one = 0; one < 128; one++) {
      for (let two = one; two < 128; two += 1 + random.below(3)) {
        const other = words.slice();
        other[one >> 5] ^= 1 << (one & 31);
        other[two >> 5] ^= one === two ? 0 : 1 << (two & 31);
        const [a, b, c, d] = words as unknown as Words;
        if (book.sum(a, b, c, d) === book.sum(...(other as unknown as Words))) same++;
      }
    }
  }
  expect(same).toBeLessThan(20);
});
