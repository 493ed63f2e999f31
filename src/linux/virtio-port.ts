// A port of a virtual machine's, by its name: bytes to and from whoever the host has at the other end (virtio-serial;
// drivers/char/virtio_console.c). A port can be open once.
import { constants, openSync, readdirSync, readFileSync } from "node:fs";
import { libc, must } from "./libc.ts";

const PORTS = "/sys/class/virtio-ports";
/** Bytes of one read. */
const MOST_READ = 32 * 1024;

/** @returns a descriptor that execve(2) leaves open; undefined where the machine has no port of that name */
export function openVirtioPort(name: string): number | undefined {
  const device = findPort(name);
  if (device === undefined) return undefined;
  const fd = openSync(`/dev/${device}`, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    return must(libc.dup(fd), "dup");
  } finally {
    libc.close(fd);
  }
}

function findPort(name: string): string | undefined {
  try {
    return readdirSync(PORTS).find((device) => readFileSync(`${PORTS}/${device}/name`, "utf8").trim() === name);
  } catch {
    return undefined; // no such class: no port
  }
}

export class VirtioPort {
  private readonly bytes = new Uint8Array(MOST_READ);

  /** @param fd as `openVirtioPort` gives it */
  constructor(private readonly fd: number) {}

  /** @returns the bytes that have come, whole until the next call; none yet: undefined; nobody at the other end: "away" */
  read(): Uint8Array | undefined | "away" {
    const length = libc.read(this.fd, this.bytes, this.bytes.length);
    if (length > 0) return this.bytes.subarray(0, length);
    return length === 0 ? "away" : undefined;
  }

  /** @returns how many bytes the other end takes now */
  write(bytes: Uint8Array): number {
    return Math.max(0, libc.write(this.fd, bytes, bytes.length));
  }
}
