// Memory shared between Xen's domains: pages that another domain granted to us (/dev/xen/gntdev, xen/gntdev.h), and pages of
// ours that we grant to another (/dev/xen/gntalloc, xen/gntalloc.h).
import { toArrayBuffer } from "bun:ffi";
import { deviceControl, ioctlNumber, openDevice } from "../linux/device.ts";
import { mapDevice, pointer, releaseAddresses } from "../linux/libc.ts";

const PAGE = 4096;

const MAP_GRANT_REF = ioctlNumber("G", 0, 24); // u32 count, u32 padding, u64 index out, count of { u32 domain, u32 reference }
const ALLOC_GREF = ioctlNumber("G", 5, 24); // u16 domain, u16 flags, u32 count, u64 index out, u32 references out …
const UNMAP_GRANT_REF = ioctlNumber("G", 1, 16); // u64 index, u32 count, u32 padding
const DEALLOC_GREF = ioctlNumber("G", 6, 16); // u64 index, u32 count, u32 padding
/** The same for both: u64 index, u32 action, u32 event channel's port. */
const SET_UNMAP_NOTIFY = ioctlNumber("G", 7, 16);

const GNTALLOC_FLAG_WRITABLE = 1;
const CLEAR_BYTE_AND_SEND_EVENT = 1 | 2;

/** Shared pages in our address space. After `release` nobody may touch `bytes`. */
export interface SharedPages {
  readonly bytes: Uint8Array;
  /** Lets the kernel clear a byte and fire a port once the pages are released, by us or because we died. */
  clearAtEnd(offset: number, port: number): void;
  release(): void;
}

export class Grants {
  private readonly gntdev = openDevice("/dev/xen/gntdev");
  private readonly gntalloc = openDevice("/dev/xen/gntalloc");

  /** @returns the pages that the domain granted to us under these references, one behind the other */
  map(domain: number, references: readonly number[]): SharedPages {
    const count = references.length;
    const argument = new DataView(new ArrayBuffer(16 + 8 * count));
    argument.setUint32(0, count, true);
    for (const [i, reference] of references.entries()) {
      argument.setUint32(16 + i * 8, domain, true);
      argument.setUint32(20 + i * 8, reference, true);
    }
    deviceControl(this.gntdev, MAP_GRANT_REF, argument, "map grants");
    return share(this.gntdev, argument.getBigUint64(8, true), count, UNMAP_GRANT_REF);
  }

  /** @returns empty pages of ours that the domain may write, and the references that it maps them by */
  grant(domain: number, count: number): { pages: SharedPages; references: number[] } {
    const argument = new DataView(new ArrayBuffer(16 + 4 * Math.max(count, 2)));
    argument.setUint16(0, domain, true);
    argument.setUint16(2, GNTALLOC_FLAG_WRITABLE, true);
    argument.setUint32(4, count, true);
    deviceControl(this.gntalloc, ALLOC_GREF, argument, "grant pages");
    const references = Array.from({ length: count }, (_, i) => argument.getUint32(16 + i * 4, true));
    return { pages: share(this.gntalloc, argument.getBigUint64(8, true), count, DEALLOC_GREF), references };
  }
}

/** @param index where the pages are in the device's file; @param giveBack ioctl that ends the grants */
function share(fd: number, index: bigint, count: number, giveBack: number): SharedPages {
  const forget = () => {
    const argument = new DataView(new ArrayBuffer(16));
    argument.setBigUint64(0, index, true);
    argument.setUint32(8, count, true);
    deviceControl(fd, giveBack, argument, "give grants back");
  };
  let address: number;
  try {
    address = mapDevice(fd, Number(index), count * PAGE);
  } catch (error) {
    forget();
    throw error;
  }
  return {
    bytes: new Uint8Array(toArrayBuffer(pointer(address), 0, count * PAGE)),
    clearAtEnd(offset, port) {
      const argument = new DataView(new ArrayBuffer(16));
      argument.setBigUint64(0, index + BigInt(offset), true);
      argument.setUint32(8, CLEAR_BYTE_AND_SEND_EVENT, true);
      argument.setUint32(12, port, true);
      deviceControl(fd, SET_UNMAP_NOTIFY, argument, "set unmap notification");
    },
    release() {
      releaseAddresses(address, count * PAGE);
      forget();
    },
  };
}
