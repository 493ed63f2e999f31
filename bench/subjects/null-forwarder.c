// The least that a forwarder over AF_PACKET can do: frames go from each of two interfaces to the other by the same technique
// as the firewall's ring (src/dataplane/packet-ring.ts: TPACKET_V2 receive rings, sendmmsg out of their slots, virtio_net_hdr,
// PACKET_COPY_THRESH), with nothing changed but the MAC addresses. No NAT, no table, no checks: the limit of the design.
//
// null-forwarder INTERFACE DESTINATION-MAC INTERFACE DESTINATION-MAC
//   what goes out of an interface gets its own MAC address as source, and the address after its name as destination.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

// As src/dataplane/packet-ring.ts and packet-socket.ts have them.
enum { SLOT_SIZE = 2048, SLOTS = 512, BLOCK_SIZE = 32768, BATCH = 64, SPIN = 50, VNET_LENGTH = 10 };
enum { LONG_LENGTH = 68 * 1024, LONG_FRAMES = 16, SOCKET_BUFFER = 4 << 20, LONGEST_SLEEP = 100 };

struct port {
  int fd;
  unsigned char *ring;
  unsigned cursor, held;
  unsigned char own_mac[6], next_mac[6];
};

static unsigned char long_frames[LONG_FRAMES][LONG_LENGTH];
static unsigned long_used;
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void set(int fd, int level, int name, int value, const char *what) {
  if (setsockopt(fd, level, name, &value, sizeof value) < 0) die(what);
}

static void open_port(struct port *port, const char *name, const char *mac) {
  struct ifreq request = {0};
  struct tpacket_req ring = {BLOCK_SIZE, SLOT_SIZE * SLOTS / BLOCK_SIZE, SLOT_SIZE, SLOTS};
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  struct packet_mreq membership = {.mr_type = PACKET_MR_PROMISC};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) die("socket");
  set(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2, "PACKET_VERSION");
  set(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
  set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
  set(fd, SOL_PACKET, PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH");
  set(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER, "SO_RCVBUFFORCE");
  set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER, "SO_SNDBUFFORCE");
  if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) < 0) die("PACKET_RX_RING");
  port->ring = mmap(NULL, SLOT_SIZE * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (port->ring == MAP_FAILED) die("mmap");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) die(name);
  memcpy(port->own_mac, request.ifr_hwaddr.sa_data, 6);
  if (ioctl(fd, SIOCGIFINDEX, &request) < 0) die(name);
  address.sll_ifindex = membership.mr_ifindex = request.ifr_ifindex;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0) die("PACKET_MR_PROMISC");
  unsigned char *next = port->next_mac;
  if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", next, next + 1, next + 2, next + 3, next + 4, next + 5) != 6) {
    fprintf(stderr, "%s is not a MAC address\n", mac);
    exit(2);
  }
  port->fd = fd;
}

static struct tpacket2_hdr *slot_of(const struct port *port, unsigned index) {
  return (struct tpacket2_hdr *)(port->ring + (index & (SLOTS - 1)) * SLOT_SIZE);
}

static void transmit(const struct port *port, unsigned count) {
  for (unsigned done = 0; done < count;) {
    int sent = sendmmsg(port->fd, messages + done, count - done, MSG_DONTWAIT);
    if (sent > 0) done += sent;
    else if (errno != EINTR) done++;
  }
}

// Moves up to BATCH frames from one port to the other. Returns how many.
static unsigned forward_batch(struct port *in, const struct port *out) {
  unsigned count = 0;
  for (; count < BATCH && in->held < SLOTS; in->held++, in->cursor++) {
    struct tpacket2_hdr *slot = slot_of(in, in->cursor);
    unsigned status = __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
    if (status == TP_STATUS_KERNEL) break;
    unsigned char *frame = (unsigned char *)slot + slot->tp_mac;
    unsigned length = slot->tp_len;
    if (status & TP_STATUS_COPY) {
      if (long_used == LONG_FRAMES) break;
      unsigned char *fetched = long_frames[long_used++];
      if (recv(in->fd, fetched, LONG_LENGTH, MSG_DONTWAIT | MSG_TRUNC) != (int)length + VNET_LENGTH) continue;
      frame = fetched + VNET_LENGTH;
    }
    memcpy(frame, out->next_mac, 6);
    memcpy(frame + 6, out->own_mac, 6);
    frame[-VNET_LENGTH] &= 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
    vectors[count] = (struct iovec){frame - VNET_LENGTH, length + VNET_LENGTH};
    count++;
  }
  transmit(out, count);
  for (; in->held > 0; in->held--)
    __atomic_store_n(&slot_of(in, in->cursor - in->held)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  long_used = 0;
  return count;
}

int main(int argc, char **argv) {
  struct port ports[2] = {0};
  if (argc != 5) {
    fputs("usage: null-forwarder INTERFACE DESTINATION-MAC INTERFACE DESTINATION-MAC\n", stderr);
    return 2;
  }
  for (int i = 0; i < 2; i++) open_port(&ports[i], argv[1 + 2 * i], argv[2 + 2 * i]);
  for (int i = 0; i < BATCH; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  puts("ready");
  fflush(stdout);
  struct pollfd set[2] = {{ports[0].fd, POLLIN, 0}, {ports[1].fd, POLLIN, 0}};
  for (unsigned idle = 0;;) {
    unsigned frames = forward_batch(&ports[0], &ports[1]);
    frames += forward_batch(&ports[1], &ports[0]);
    if (frames > 0) idle = 0;
    else if (++idle >= SPIN) {
      poll(set, 2, LONGEST_SLEEP);
      idle = 0;
    }
  }
}
