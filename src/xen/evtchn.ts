// /dev/xen/evtchn (xen/evtchn.h): event channels, the interrupts between Xen's domains. A port that fired stays masked
// until it is written back.
import { deviceControl, ioctlNumber, openDevice, readDevice, writeDevice } from "../linux/device.ts";
import type { Polled } from "../linux/poller.ts";

const EVTCHN = "/dev/xen/evtchn";

const BIND_INTERDOMAIN = ioctlNumber("E", 1, 8); // u32 remote domain, remote port; returns ours
const BIND_UNBOUND_PORT = ioctlNumber("E", 2, 4); // u32 remote domain; returns ours
const UNBIND = ioctlNumber("E", 3, 4); // u32 port
const NOTIFY = ioctlNumber("E", 4, 4); // u32 port

export class EventChannels implements Polled {
  readonly fd = openDevice(EVTCHN);
  private readonly fired = new Map<number, () => void>();
  private readonly buffer = new Uint32Array(64);

  /** @param fired is called after one or more events. @returns our port, connected to the remote domain's */
  bindInterdomain(domain: number, remotePort: number, fired: () => void): number {
    return this.bind(BIND_INTERDOMAIN, "bind event channel", [domain, remotePort], fired);
  }

  /** @returns a port of ours that the remote domain may connect to */
  bindUnbound(domain: number, fired: () => void): number {
    return this.bind(BIND_UNBOUND_PORT, "allocate event channel", [domain], fired);
  }

  /** Fires the other end. One that is gone hears nothing. */
  notify(port: number): void {
    deviceControl(this.fd, NOTIFY, words(port), "notify event channel");
  }

  unbind(port: number): void {
    this.fired.delete(port);
    deviceControl(this.fd, UNBIND, words(port), "unbind event channel");
  }

  ready(): void {
    for (;;) {
      const bytes = new Uint8Array(this.buffer.buffer);
      const length = readDevice(this.fd, bytes, EVTCHN);
      if (length === 0) return;
      // Unmasked first: what happens while a callback looks fires again.
      writeDevice(this.fd, bytes.subarray(0, length), EVTCHN);
      for (const port of this.buffer.slice(0, length / 4)) this.fired.get(port)?.();
    }
  }

  private bind(request: number, name: string, args: readonly number[], fired: () => void): number {
    const port = deviceControl(this.fd, request, words(...args), name);
    this.fired.set(port, fired);
    return port;
  }
}

function words(...values: readonly number[]): DataView<ArrayBuffer> {
  return new DataView(Uint32Array.from(values).buffer);
}
