// shape.ts INTERFACE RATE MTU SHARES MEMORY: puts the firewall's queue in front of an interface; shape.ts INTERFACE: takes it away.
import { interfaceIndex } from "../../../src/linux/net/interfaces.ts";
import { shapeInterface, unshapeInterface } from "../../../src/linux/net/shaping.ts";

const [name = "", ...numbers] = process.argv.slice(2);
const [rate, mtu, shares, memory] = numbers.map(Number);
const index = interfaceIndex(name);
if (rate === undefined) unshapeInterface(index);
else shapeInterface(name, index, { rate, mtu: mtu ?? 0, shares: shares ?? 0, memory: memory ?? 0 });
