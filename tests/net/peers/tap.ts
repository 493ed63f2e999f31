// tap.ts NAME: has a tap open, as a virtual machine has, until it is ended: so long the tap has a link.
import { deviceControl, openDevice } from "../../../src/linux/device.ts";

const TUNSETIFF = 0x400454ca; // linux/if_tun.h
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;

const [name = ""] = process.argv.slice(2);
const request = new DataView(new ArrayBuffer(40)); // struct ifreq (linux/if.h)
new TextEncoder().encodeInto(name, new Uint8Array(request.buffer));
request.setUint16(16, IFF_TAP | IFF_NO_PI, true);
deviceControl(openDevice("/dev/net/tun"), TUNSETIFF, request, `TUNSETIFF ${name}`);
console.log("open");
setInterval(() => {}, 1 << 30);
