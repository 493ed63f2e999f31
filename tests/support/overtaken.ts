// Segments that were overtaken by others of their flow and direction, by captures of what came into a router and of what left it.
// A segment is known by what a NAT leaves as it is: its numbers, its length, and the IP header's identification, which its sender
// counts up with each, sent again or not.

/** One segment of a capture. */
interface Captured {
  /** Which way, of which flow: the client's port is to be its own on both sides. */
  readonly direction: string;
  readonly identity: string;
}

/** @returns TCP segments of a classic pcap file, to or from a server's port, in their order */
export function segmentsOf(pcap: Uint8Array, port: number): Captured[] {
  const view = new DataView(pcap.buffer, pcap.byteOffset, pcap.byteLength);
  const segments: Captured[] = [];
  for (let at = 24; at + 16 <= view.byteLength; ) {
    const length = view.getUint32(at + 8, true);
    const frame = at + 16;
    at = frame + length;
    if (at > view.byteLength || length < 54 || view.getUint16(frame + 12) !== 0x0800) continue;
    const segment = readSegment(view, frame, port);
    if (segment !== undefined) segments.push(segment);
  }
  return segments;
}

function readSegment(view: DataView, frame: number, port: number): Captured | undefined {
  const ports = [view.getUint16(frame + 34), view.getUint16(frame + 36)];
  const end = ports.indexOf(port);
  if (view.getUint8(frame + 23) !== 6 || end < 0) return undefined;
  const direction = `${end === 0 ? "to" : "from"} ${ports[1 - end]}`;
  const numbers = [view.getUint32(frame + 38), view.getUint32(frame + 42), view.getUint16(frame + 16)];
  return { direction, identity: [view.getUint16(frame + 18), ...numbers].join() };
}

/** @returns how many left after one that had come in after them, and of how many that could be told */
export function countOvertaken(
  came: readonly Captured[],
  left: readonly Captured[],
): { overtaken: number; of: number } {
  const places = new Map<string, number>();
  const doubtful = new Set<string>();
  for (const [place, { direction, identity }] of came.entries()) {
    const key = `${direction} ${identity}`;
    if (places.has(key)) doubtful.add(key);
    places.set(key, place);
  }
  const latest = new Map<string, number>();
  let count = 0;
  let of = 0;
  for (const { direction, identity } of left) {
    const key = `${direction} ${identity}`;
    const place = places.get(key);
    if (place === undefined || doubtful.has(key)) continue;
    of++;
    if (place < (latest.get(direction) ?? -1)) count++;
    else latest.set(direction, place);
  }
  return { overtaken: count, of };
}
