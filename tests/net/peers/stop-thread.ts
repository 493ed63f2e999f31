// stop-thread.ts TASK: stops one thread of a process, and no other, as a fault might; says "stopped", and ends when the thread does.
import { dlopen, ptr } from "bun:ffi";
import { must } from "../../../src/linux/libc.ts";

// linux/ptrace.h, linux/wait.h
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const WALL = 0x40000000;

const { ptrace, waitpid } = dlopen("libc.so.6", {
  ptrace: { args: ["i64", "i32", "ptr", "ptr"], returns: "i64" },
  waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
}).symbols;

const task = Number(process.argv[2]);
const status = new Int32Array(1);
must(Number(ptrace(PTRACE_SEIZE, task, null, null)), `ptrace ${task}`);
must(Number(ptrace(PTRACE_INTERRUPT, task, null, null)), `ptrace ${task}`);
must(waitpid(task, ptr(status), WALL), `waitpid ${task}`);
await Bun.write(Bun.stdout, "stopped\n");
while ((status[0] & 0xff) === 0x7f) must(waitpid(task, ptr(status), WALL), `waitpid ${task}`); // until it has ended
process.exit();
