// packet(7): one socket that receives every frame of one interface into a ring of slots in shared memory, and transmits.
// Constants and structures are those of linux/if_packet.h.
import { libc, mapFile } from "../libc.ts";
import {
  bindToInterface,
  getOption,
  openRawPacketSocket,
  SO_ATTACH_BPF,
  SO_ERROR,
  SO_RCVBUFFORCE,
  SO_SNDBUFFORCE,
  SOL_PACKET,
  SOL_SOCKET,
  setOption,
} from "./socket.ts";

const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_COPY_THRESH = 7;
const PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_PROMISC = 1;
const TPACKET_V2 = 1;

/** Bits of a slot's status. Zero: the kernel's. */
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_COPY = 0x02; // the whole frame waits in the socket's queue
export const TP_STATUS_VLAN_VALID = 0x10; // a VLAN tag was taken off the frame

/** Offsets of struct tpacket2_hdr, at the beginning of each slot. */
export const SLOT_STATUS = 0; // u32
export const SLOT_LENGTH = 4; // u32: bytes the frame has
export const SLOT_CAPTURED = 8; // u32: bytes of it that are in the slot
export const SLOT_FRAME = 12; // u16: where in the slot it begins
export const SLOT_VLAN_TAG = 24; // u16: priority and identifier of a tag that was taken off
export const SLOT_VLAN_TYPE = 26; // u16: that tag's EtherType

/** A receive ring. `slotSize` is a multiple of 16, `slotSize * slots` one of BLOCK_SIZE, and both are powers of two. */
export interface RingShape {
  readonly slotSize: number;
  readonly slots: number;
}

const BLOCK_SIZE = 32 * 1024; // contiguous memory that the kernel is asked for at a time

/**
 * Opens the socket and binds it: from then on its slots fill, in a ring that is to be mapped. The kernel takes its time.
 * Frames have a virtio_net_hdr before them, in slots and in both directions of the socket: segmentation and checksum
 * offload pass through. A frame longer than a slot is queued whole for recv(2), its slot has TP_STATUS_COPY.
 * @param shape of its ring; without one, all frames are queued for recv(2)
 * @param filter descriptor of a BPF program; frames for which it returns 0 do not come to the socket
 * @returns the file descriptor
 * @throws SystemError, with nothing left open
 */
export function openPacketSocket(ifindex: number, shape?: RingShape, filter?: number): number {
  const fd = openRawPacketSocket();
  try {
    const on = Uint32Array.of(1);
    setOption(fd, SOL_PACKET, PACKET_VERSION, Uint32Array.of(TPACKET_V2), "PACKET_VERSION");
    setOption(fd, SOL_PACKET, PACKET_VNET_HDR, on, "PACKET_VNET_HDR");
    setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, on, "PACKET_IGNORE_OUTGOING");
    setOption(fd, SOL_PACKET, PACKET_COPY_THRESH, on, "PACKET_COPY_THRESH");
    if (filter !== undefined) setOption(fd, SOL_SOCKET, SO_ATTACH_BPF, Uint32Array.of(filter), "SO_ATTACH_BPF");

    if (shape !== undefined) {
      const blocks = ringLength(shape) / BLOCK_SIZE;
      const request = Uint32Array.of(BLOCK_SIZE, blocks, shape.slotSize, shape.slots); // struct tpacket_req
      setOption(fd, SOL_PACKET, PACKET_RX_RING, request, "PACKET_RX_RING");
    }

    bindToInterface(fd, ifindex);
    // struct packet_mreq: index, type, address length, address
    const membership = Uint32Array.of(ifindex, PACKET_MR_PROMISC, 0, 0);
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership, "PACKET_MR_PROMISC");
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * Maps the ring of an open socket. The socket is not gone, though closed, before what is mapped is unmapped.
 * @param address page-aligned, in a reservation, with room for the whole ring
 */
export function mapPacketRing(fd: number, address: number, shape: RingShape): void {
  mapFile(address, ringLength(shape), fd);
}

/**
 * Says how much memory of the kernel's frames may take that wait, each way: those that do not fit a slot and are not fetched yet, and
 * those that the interface does not take. One frame more may always wait.
 * @param received, sent bytes as the kernel counts them, its own share included: it makes twice of what it is told (socket(7))
 */
export function setBuffers(fd: number, received: number, sent: number): void {
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, Uint32Array.of(told(received)), "SO_RCVBUFFORCE");
  setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, Uint32Array.of(told(sent)), "SO_SNDBUFFORCE");
}

/** Up to the most that the kernel does not take for a negative number. */
function told(bytes: number): number {
  return Math.min(bytes / 2, 0x3fffffff);
}

function ringLength({ slotSize, slots }: RingShape): number {
  return slotSize * slots;
}

const error = new Uint32Array(1);
const statistics = new Uint32Array(2); // struct tpacket_stats: packets, drops

/** Takes the socket's pending error (ENETDOWN once its interface is down or gone), which poll(2) reports until then. */
export function takeSocketError(fd: number): number {
  error[0] = 0;
  getOption(fd, SOL_SOCKET, SO_ERROR, error);
  return error[0];
}

/** Of the frames that have come to a socket: how many got a slot of its ring, and how many found it full. */
export interface Arrivals {
  placed: number;
  dropped: number;
}

/** Adds what has come since the last call. A frame that a filter lets through becomes either. */
export function addArrivals(fd: number, arrivals: Arrivals): void {
  statistics.fill(0);
  getOption(fd, SOL_PACKET, PACKET_STATISTICS, statistics);
  arrivals.placed += statistics[0] - statistics[1]; // the kernel counts those that it drops among its packets
  arrivals.dropped += statistics[1];
}
