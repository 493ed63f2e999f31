// ingress-hooks.ts INTERFACE: keeps what comes in there from the kernel, and has a BPF program look at it, as a running
// firewall does, until a line comes on standard input; says what it does.
import { once } from "node:events";
import { Assembler, R0 } from "../../../src/linux/bpf/assembler.ts";
import { loadProgram, PROGRAM_TYPE } from "../../../src/linux/bpf/bpf.ts";
import { interfaceIndex } from "../../../src/linux/net/interfaces.ts";
import { dropIngress } from "../../../src/linux/net/nftables.ts";
import { attachAtIngress, detachFromIngress } from "../../../src/linux/net/tc.ts";

const TC_ACT_OK = 0; // linux/pkt_cls.h
const name = process.argv[2] ?? "";
const program = loadProgram(
  "test",
  PROGRAM_TYPE.SCHED_CLS,
  new Assembler().do("move", R0, TC_ACT_OK).exit().assemble(),
);
const ingress = attachAtIngress(interfaceIndex(name), program);
const undo = [() => detachFromIngress(ingress), dropIngress(name)];
console.log("attached");
await once(process.stdin, "data");
for (const each of undo) each();
console.log("detached");
await once(process.stdin, "data");
process.exit();
