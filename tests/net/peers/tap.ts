// tap.ts NAME [vnet]: has a tap open, as a virtual machine has, until it is ended: so long the tap has a link. With vnet it sends each
// line of standard input, the bytes of a virtio_net_hdr and of a frame in hex, as that machine would, and says "sent", or what the
// kernel has against them.
import { deviceControl, openDevice, writeDevice } from "../../../src/linux/device.ts";

const TUNSETIFF = 0x400454ca; // linux/if_tun.h
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const DEVICE = "/dev/net/tun";

const [name = "", word] = process.argv.slice(2);
const request = new DataView(new ArrayBuffer(40)); // struct ifreq (linux/if.h)
new TextEncoder().encodeInto(name, new Uint8Array(request.buffer));
request.setUint16(16, IFF_TAP | IFF_NO_PI | (word === "vnet" ? IFF_VNET_HDR : 0), true);
const tap = openDevice(DEVICE);
deviceControl(tap, TUNSETIFF, request, `TUNSETIFF ${name}`);
console.log("open");
if (word === "vnet") for await (const line of console) send(Uint8Array.fromHex(line));
setInterval(() => {}, 1 << 30);

function send(bytes: Uint8Array): void {
  try {
    writeDevice(tap, bytes, DEVICE);
    console.log("sent");
  } catch (error) {
    console.log(String(error));
  }
}
