// What `pauses` and its thread tell each other in shared memory, and how times are counted.

/** Words of `Start.now`: the kind of command that comes next, whether it is over, and ms of the router's clock. */
export const NOW = { KIND: 0, IS_OVER: 1, MS: 2 } as const;

/** ns of one bucket of `Pauses.counts`. */
export const BUCKET = 5000;
