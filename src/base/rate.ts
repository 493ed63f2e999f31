// Text of rates, at the edges only: 100 Mbit. Inside the program they are whole bits a second.

const UNITS: readonly (readonly [unit: string, bits: number])[] = [
  ["Gbit", 1e9],
  ["Mbit", 1e6],
  ["kbit", 1e3],
];

/** A number with three decimals at most, and its unit. */
const RATE = /^((?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,3})?) ?([GMk]bit)$/;

/** @returns the whole bits a second that a text like "100 Mbit" means, or undefined. */
export function parseRate(text: string): number | undefined {
  const [, number, unit] = RATE.exec(text) ?? [];
  const [, bits = 0] = UNITS.find(([name]) => name === unit) ?? [];
  return number === undefined ? undefined : Math.round(Number(number) * bits);
}

/** @param rate whole bits a second */
export function formatRate(rate: number): string {
  const [unit, bits] = UNITS.find(([, bits]) => rate >= bits && Number.isInteger((rate * 1000) / bits)) ?? ["bit", 1];
  return `${rate / bits} ${unit}`;
}
