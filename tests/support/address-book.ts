// The dataplane's address book, with keys from a seed.
import { Random } from "../../lab/random.ts";
import { AddressBook, drawAddressKeys } from "../../src/dataplane/address-book.ts";

export function addressBook(capacity: number, seed = 1): AddressBook {
  const random = new Random(seed);
  return new AddressBook(
    capacity,
    drawAddressKeys(() => random.next()),
  );
}
