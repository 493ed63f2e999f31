// shape.ts INTERFACE RATE MTU SHARES MEMORY [NETWORK…]: puts the firewall's queue before an interface; shape.ts INTERFACE: takes it away.
import { HOST_SHIFT, LINE_HOSTS } from "../../../src/dataplane/line-shares.ts";
import { interfaceIndex } from "../../../src/linux/net/interfaces.ts";
import { shapeInterface, unshapeInterface } from "../../../src/linux/net/shaping.ts";

const [name = "", ...numbers] = process.argv.slice(2);
const [rate, mtu, shares, memory, ...networks] = numbers.map(Number);
const index = interfaceIndex(name);
if (rate === undefined) unshapeInterface(index);
else {
  const hosts = { shares: networks, hosts: LINE_HOSTS, shift: HOST_SHIFT };
  shapeInterface(name, index, { rate, mtu: mtu ?? 0, shares: shares ?? 0, memory: memory ?? 0, networks: hosts });
}
