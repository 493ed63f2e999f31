// What a promise is rejected with. In place of bun:test's `expect(…).rejects`, which runs the event loop by itself while it waits, and
// so may sit for minutes until some timer fires.

/** @returns the message of the error that it is rejected with. @throws Error where it is fulfilled */
export async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("it was fulfilled");
}
