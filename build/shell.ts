// Runs what is easiest said as a command.

/** @throws Error when it fails */
export async function shell(command: string): Promise<void> {
  const child = Bun.spawn(["sh", "-ec", command], { stdout: "ignore" });
  if ((await child.exited) !== 0) throw new Error(`failed: ${command}`);
}
