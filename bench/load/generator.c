// Sends small UDP frames at an exact rate, for as little CPU time as can be: the generator of `pps` and of `vm`'s flows.
//
// generator INTERFACE DESTINATION-MAC SOURCE DESTINATION FLOWS RATE MILLISECONDS [sleeping [LENGTH]]
//   SOURCE, DESTINATION   addresses, both of IPv4 or both of IPv6
//   FLOWS    flows, told apart by source port and, beyond PORTS of them, by destination port too
//   RATE     frames a second; 0: as many as go
//   sleeping it sleeps until a batch is due, for what is only to happen beside a measurement: its CPU is then free for others
//   LENGTH   bytes of a frame with its Ethernet header; without it the fewest
// Prints as JSON what it sent, in how many seconds, and how many of these it was inside of system calls, sending: whatever the
// kernel does with a frame on this CPU, receiving at the other end of a cable and forwarding included, it does there.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

// Lengths of frames: the least that Ethernet has, and the least that a datagram of IPv6 takes.
enum { FRAME = 60, FRAME6 = 14 + 40 + 8, LONGEST = 1514 };
// Few enough ports that a client can have a mapping for each by both families at a time: Firebreak gives one client three quarters of its
// ports, 43 008 of UDP.
enum { BATCH = 32, FIRST_PORT = 1024, PORTS = 20000, DESTINATION_PORT = 9 };

// What all frames begin with, up to UDP's header.
struct start {
  unsigned char bytes[14 + 40];
  unsigned udp, length; // where UDP's header begins; the frame's length
};

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static unsigned short checksum(const unsigned char *bytes, int length) {
  unsigned sum = 0;
  for (int i = 0; i < length; i += 2) sum += bytes[i] << 8 | bytes[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(~sum & 0xffff);
}

// Puts the header of IPv4 or IPv6 into the start of frames of a length, or of the least. Returns 0 where the addresses are not two of one family.
static int add_addresses(struct start *start, const char *from, const char *to, unsigned length) {
  unsigned length4 = length < FRAME ? FRAME : length, length6 = length < FRAME6 ? FRAME6 : length;
  struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .tot_len = htons(length4 - 14)};
  struct ip6_hdr ip6 = {.ip6_plen = htons(length6 - 14 - 40), .ip6_nxt = IPPROTO_UDP, .ip6_hlim = 64};
  struct ether_header *ethernet = (struct ether_header *)start->bytes;
  if (inet_pton(AF_INET, from, &ip.saddr) == 1 && inet_pton(AF_INET, to, &ip.daddr) == 1) {
    ip.check = checksum((unsigned char *)&ip, sizeof ip);
    memcpy(start->bytes + 14, &ip, sizeof ip);
    ethernet->ether_type = htons(ETHERTYPE_IP);
    start->udp = 14 + sizeof ip;
    start->length = length4;
    return 1;
  }
  if (inet_pton(AF_INET6, from, &ip6.ip6_src) == 1 && inet_pton(AF_INET6, to, &ip6.ip6_dst) == 1) {
    ip6.ip6_vfc = 6 << 4; // not above: it is in a union with what is set there
    memcpy(start->bytes + 14, &ip6, sizeof ip6);
    ethernet->ether_type = htons(ETHERTYPE_IPV6);
    start->udp = 14 + sizeof ip6;
    start->length = length6;
    return 1;
  }
  return 0;
}

// UDP's checksum over IPv6, where it can't be left out, of a datagram whose content is zeros (RFC 8200 section 8.1).
static unsigned short udp6_checksum(const unsigned char *ip6, const struct udphdr *udp) {
  unsigned char summed[40 + sizeof *udp] = {0};
  memcpy(summed, ip6 + 8, 32);
  memcpy(summed + 34, &udp->len, 2);
  summed[39] = IPPROTO_UDP;
  memcpy(summed + 40, udp, sizeof *udp);
  unsigned short sum = checksum(summed, sizeof summed);
  return sum == 0 ? 0xffff : sum;
}

// Bytes from one frame to the next: cache lines.
static size_t slot(const struct start *start) { return (start->length + 63) & ~63; }

// All flows' frames, ready to be sent.
static unsigned char *make_frames(unsigned flows, const struct start *start) {
  unsigned char *frames = mmap(NULL, flows * slot(start), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (frames == MAP_FAILED) die("mmap");
  for (unsigned i = 0; i < flows; i++) {
    unsigned char *frame = frames + i * slot(start);
    struct udphdr udp = {.len = htons(start->length - start->udp)};
    udp.source = htons(FIRST_PORT + i % PORTS);
    udp.dest = htons(DESTINATION_PORT + i / PORTS);
    // None over IPv4: the receiver has none to check either way.
    if (start->udp != 14 + sizeof(struct iphdr)) udp.check = udp6_checksum(start->bytes + 14, &udp);
    memcpy(frame, start->bytes, start->udp);
    memcpy(frame + start->udp, &udp, sizeof udp);
  }
  return frames;
}

static int open_socket(const char *name, struct ether_header *ethernet) {
  struct ifreq request = {0};
  struct sockaddr_ll address = {.sll_family = AF_PACKET};
  int on = 1, buffer = 4 << 20, fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) die("socket");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) die(name);
  memcpy(ethernet->ether_shost, request.ifr_hwaddr.sa_data, 6);
  if (ioctl(fd, SIOCGIFINDEX, &request) < 0) die(name);
  address.sll_ifindex = request.ifr_ifindex;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0) die("PACKET_QDISC_BYPASS");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0) die("SO_SNDBUFFORCE");
  return fd;
}

int main(int argc, char **argv) {
  struct start beginning = {0};
  struct ether_header *ethernet = (struct ether_header *)beginning.bytes;
  unsigned char *mac = ethernet->ether_dhost;
  int sleeps = argc > 8, length = argc > 9 ? atoi(argv[9]) : 0;
  if (argc < 8 || argc > 10 || length < 0 || length > LONGEST ||
      !add_addresses(&beginning, argv[3], argv[4], length) || atoi(argv[5]) < 1 ||
      sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
    fputs("usage: generator INTERFACE DESTINATION-MAC SOURCE DESTINATION FLOWS RATE MILLISECONDS [sleeping [LENGTH]]\n", stderr);
    return 2;
  }
  unsigned flows = atoi(argv[5]), next = 0;
  double rate = atof(argv[6]), seconds = atof(argv[7]) / 1e3;
  int fd = open_socket(argv[1], ethernet);
  unsigned char *frames = make_frames(flows, &beginning);
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  for (int i = 0; i < BATCH; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  unsigned long sent = 0, refused = 0;
  double start = now(), end = start + seconds, time = start, sending = 0;
  if (sleeps && prctl(PR_SET_TIMERSLACK, 1) < 0) die("prctl");
  // It spins until a whole batch is due: a sleep would come back late, and bursts are what the rate is not about.
  for (; time < end; time = now()) {
    double early = rate > 0 ? (sent + refused + BATCH) / rate - (time - start) : 0;
    if (early > 0) {
      if (sleeps) nanosleep(&(struct timespec){.tv_nsec = early < 1 ? early * 1e9 : 999999999}, NULL);
      continue;
    }
    for (int i = 0; i < BATCH; i++) {
      vectors[i] = (struct iovec){frames + next * slot(&beginning), beginning.length};
      if (++next == flows) next = 0;
    }
    double before = now();
    for (int done = 0; done < BATCH;) {
      int count = sendmmsg(fd, messages + done, BATCH - done, MSG_DONTWAIT);
      if (count > 0) sent += count, done += count;
      else if (errno != EINTR) refused++, done++;
    }
    sending += now() - before;
  }
  printf("{\"sent\": %lu, \"refused\": %lu, \"seconds\": %.6f, \"sending\": %.6f}\n", sent, refused, time - start, sending);
}
