// The kernel path's entries of IPv6. They are like those of IPv4, but for their addresses, which have no room there: these stand in a map
// of their own, by the entries' numbers, and in their place the entry has a keyed sum of each. So both families share one index and one
// look-up; what is found is held against the whole addresses. Of these the entry has a checksum, since they too may change while a program
// reads them. The map is made when the first flow of IPv6 asks for the kernel path: until then it takes no memory.
import { BPF_F_MMAPABLE, createMap, MAP_TYPE, putMap } from "../../linux/bpf/bpf.ts";
import { libc } from "../../linux/libc.ts";
import { type AddressKeys, drawAddressKeys } from "../address-book.ts";
import { drawHashKeys } from "../keyed-hash.ts";
import { ADDRESSES, type KernelKeys } from "./programs/layout.ts";

/** @param next gives numbers of 32 bits from a generator that can't be predicted */
export function drawKernelKeys(next: () => number): KernelKeys {
  return { hash: drawHashKeys(next), addresses: drawAddressKeys(next) };
}

/**
 * The sum that stands for an address, as AddressBook makes it, but of words as this machine reads them: the filter makes the same.
 * @param at of 16 bytes in network order
 * @returns int32
 */
export function sumAddress(keys: AddressKeys, view: DataView, at: number): number {
  let sum = 0;
  for (let i = 0; i < 4; i++) {
    const word = view.getInt32(at + 4 * i, true);
    sum = (sum + Math.imul(word, keys[2 * i] | 1)) | 0;
    sum = (sum + Math.imul(word >>> 16, keys[2 * i + 1] | 1)) | 0;
  }
  return sum;
}

/** A map of the addresses of so many entries, all zero. @returns its descriptor @throws SystemError */
export function createAddressMap(entries: number): number {
  const shape = { type: MAP_TYPE.ARRAY, key: 4, value: ADDRESSES.LENGTH, entries };
  return createMap("addresses", { ...shape, flags: BPF_F_MMAPABLE });
}

/** The place in which the programs find that map: an array of one, empty. @throws SystemError */
export function createAddressMaps(entries: number): number {
  const like = createAddressMap(entries);
  try {
    return createMap("maps of addresses", { type: MAP_TYPE.ARRAY_OF_MAPS, key: 4, value: 4, entries: 1, inner: like });
  } finally {
    libc.close(like);
  }
}

/**
 * Makes the map, for the programs to know.
 * @param maps the place @param entries as it was made for
 * @returns its descriptor
 * @throws SystemError
 */
export function addAddressMap(maps: number, entries: number): number {
  const map = createAddressMap(entries);
  try {
    putMap("maps of addresses", maps, 0, map);
  } catch (error) {
    libc.close(map);
    throw error;
  }
  return map;
}
