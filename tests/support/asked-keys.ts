// One script for whoever asks a running firewall, by whatever way: what `status`, `flows`, `rules`, `why` and `log` answer, as the
// keys that programs rely on.
import { expect } from "bun:test";

/** What is asked: a connection to port 80 is there, one to port 25 was refused, or would be. */
export const QUESTIONS = ["status", "flows proto=tcp", "rules", "why CLIENT 198.51.100.80:25", "log --last 1"];

export type Ask = (...words: readonly string[]) => Promise<{ status: number; stdout: string; stderr: string }>;

/** @param client's name @returns by verb, all keys of the first record of its answer */
export async function askedKeys(ask: Ask, client: string): Promise<Record<string, unknown>> {
  const keys: Record<string, unknown> = {};
  for (const question of QUESTIONS) {
    const words = question.replace("CLIENT", client).split(" ");
    const { status, stdout, stderr } = await ask(...words, "--json");
    expect({ question, status, stderr }).toEqual({ question, status: 0, stderr: "" });
    keys[question] = keysOf(JSON.parse(stdout.split("\n")[0] ?? ""));
  }
  return keys;
}

/** Objects whose keys are slugs, of which those of 0 are left out; and one that depends on where a configuration comes from. */
const COUNTS = ["ring", "frames", "kernel_path"];

/** All keys there are, of objects in objects too. */
function keysOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [keysOf(value[0])];
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(
    Object.entries(value)
      .sort()
      .map(([key, inside]) => [key, COUNTS.includes(key) ? "counts" : keysOf(inside)]),
  );
}
