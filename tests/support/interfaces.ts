// Interfaces by their names, as PacketSockets takes them.
import { interfaceIndex } from "../../src/linux/net/interfaces.ts";

export function interfacesNamed(...names: readonly string[]): { name: string; index: number }[] {
  return names.map((name) => ({ name, index: interfaceIndex(name) }));
}
