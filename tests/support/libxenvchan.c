// Xen for libxenvchan, without Xen: grants are pages of one memory, an event channel is a counter at each end, XenStore is
// a table. Linked with Debian's libxenvchan.a, whose code then runs as it is. One channel at a time, but for threads one
// end may wait while the other works.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xenctrl.h>
#include <xenstore.h>
#include <libxenvchan.h>

#define PAGE 4096
#define PAGES 1024
#define PORTS 8
#define KEYS 8

static int memory = -1;
static uint8_t *whole;
static uint32_t next_page;

static struct { char path[128], value[16]; } keys[KEYS];

/* Signals that an end has sent, and that have come and not been taken. Port 0 is none. */
static struct { uint32_t peer, sent, pending; } ports[PORTS];
static uint32_t next_port;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t signalled = PTHREAD_COND_INITIALIZER;

/* What the test calls. */

/* Forgets everything. Returns the memory that all pages lie in. */
uint8_t *plain_reset(void) {
  if (memory < 0) {
    memory = memfd_create("grants", 0);
    if (memory < 0 || ftruncate(memory, PAGES * PAGE) < 0) abort();
    whole = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (whole == MAP_FAILED) abort();
  }
  memset(whole, 0, (size_t)next_page * PAGE);
  memset(keys, 0, sizeof keys);
  memset(ports, 0, sizeof ports);
  next_page = 1; /* reference 0 is none */
  next_port = 1;
  return whole;
}

/* Returns the number of the first of some new pages, which is its grant reference too. */
uint32_t plain_grant(uint32_t count) {
  uint32_t first = next_page;
  if (first + count > PAGES) abort();
  next_page += count;
  return first;
}

uint32_t plain_bind(uint32_t peer) {
  uint32_t port = next_port++;
  if (port >= PORTS) abort();
  ports[port].peer = peer;
  ports[peer].peer = port;
  return port;
}

void plain_notify(uint32_t port) {
  pthread_mutex_lock(&lock);
  ports[port].sent++;
  ports[ports[port].peer].pending++;
  pthread_cond_broadcast(&signalled);
  pthread_mutex_unlock(&lock);
}

uint32_t plain_sent(uint32_t port) { return ports[port].sent; }

/* Returns how many signals have come since the last time. */
uint32_t plain_take(uint32_t port) {
  pthread_mutex_lock(&lock);
  uint32_t count = ports[port].pending;
  ports[port].pending = 0;
  pthread_mutex_unlock(&lock);
  return count;
}

void plain_publish(const char *path, uint32_t reference, uint32_t port) {
  for (int i = 0; i < 2; i++) {
    snprintf(keys[i].path, sizeof keys[i].path, "%s/%s", path, i ? "event-channel" : "ring-ref");
    snprintf(keys[i].value, sizeof keys[i].value, "%u", i ? port : reference);
  }
}

/* The library leaves these flags as malloc gave it. */
static struct libxenvchan *unblocking(struct libxenvchan *end) {
  if (end != NULL) end->blocking = end->server_persist = 0;
  return end;
}

struct libxenvchan *plain_serve(const char *path, size_t left, size_t right) {
  return unblocking(libxenvchan_server_init(NULL, 0, path, left, right));
}

struct libxenvchan *plain_connect(const char *path) {
  return unblocking(libxenvchan_client_init(NULL, 0, path));
}

uint32_t plain_port(struct libxenvchan *end) { return end->event_port; }

/* Reads all that is there, as a daemon in its event loop does. */
int plain_read_all(struct libxenvchan *end, void *data) {
  int ready = libxenvchan_data_ready(end);
  return ready > 0 ? libxenvchan_recv(end, data, ready) : 0;
}

static volatile int echoing;

/* Sends back what it reads, sleeping and waking as the library does, until the peer goes. */
static void *echo(void *argument) {
  struct libxenvchan *end = argument;
  char data[3000];
  int got;
  end->blocking = 1;
  while ((got = libxenvchan_read(end, data, sizeof data)) > 0)
    if (libxenvchan_write(end, data, got) != got) break;
  libxenvchan_close(end);
  echoing = 0;
  return NULL;
}

void plain_echo(struct libxenvchan *end) {
  pthread_t thread;
  echoing = 1;
  if (pthread_create(&thread, NULL, echo, end) != 0 || pthread_detach(thread) != 0) abort();
}

/* Returns whether that thread still works in the memory. */
int plain_echoes(void) { return echoing; }

/* What the library calls. */

static void *map(uint32_t first, size_t count) {
  void *pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)first * PAGE);
  return pages == MAP_FAILED ? NULL : pages;
}

static char something; /* a handle that nobody looks into */

xengntshr_handle *xengntshr_open(struct xentoollog_logger *logger, unsigned flags) { return (void *)&something; }
int xengntshr_close(xengntshr_handle *handle) { return 0; }

void *xengntshr_share_pages(xengntshr_handle *handle, uint32_t domain, int count, uint32_t *references, int writable) {
  uint32_t first = plain_grant(count);
  for (int i = 0; i < count; i++) references[i] = first + i;
  return map(first, count);
}

void *xengntshr_share_page_notify(xengntshr_handle *handle, uint32_t domain, uint32_t *reference, int writable,
                                  uint32_t offset, evtchn_port_t port) {
  return xengntshr_share_pages(handle, domain, 1, reference, writable);
}

int xengntshr_unshare(xengntshr_handle *handle, void *pages, uint32_t count) {
  return munmap(pages, (size_t)count * PAGE);
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned flags) { return (void *)&something; }
int xengnttab_close(xengnttab_handle *handle) { return 0; }

void *xengnttab_map_grant_ref_notify(xengnttab_handle *handle, uint32_t domain, uint32_t reference, int protection,
                                     uint32_t offset, evtchn_port_t port) {
  return map(reference, 1);
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t domain, uint32_t *references,
                                      int protection) {
  for (uint32_t i = 1; i < count; i++)
    if (references[i] != references[0] + i) abort(); /* all who grant here do so in one piece */
  return map(references[0], count);
}

int xengnttab_unmap(xengnttab_handle *handle, void *pages, uint32_t count) { return munmap(pages, (size_t)count * PAGE); }

struct xenevtchn_handle { uint32_t port; };

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags) {
  return calloc(1, sizeof(struct xenevtchn_handle));
}
int xenevtchn_close(xenevtchn_handle *handle) { free(handle); return 0; }
int xenevtchn_fd(xenevtchn_handle *handle) { return -1; }
int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port) { return 0; }
int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port) { return 0; }
int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port) { plain_notify(port); return 0; }

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *handle, uint32_t domain) {
  return handle->port = plain_bind(0);
}
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domain, evtchn_port_t port) {
  return handle->port = plain_bind(port);
}

/* Waits for a signal. */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle) {
  pthread_mutex_lock(&lock);
  while (ports[handle->port].pending == 0) pthread_cond_wait(&signalled, &lock);
  ports[handle->port].pending = 0;
  pthread_mutex_unlock(&lock);
  return handle->port;
}

struct xs_handle *xs_open(unsigned long flags) { return (void *)&something; }
struct xs_handle *xs_daemon_open(void) { return xs_open(0); }
struct xs_handle *xs_domain_open(void) { return xs_open(0); }
void xs_close(struct xs_handle *handle) {}
void xs_daemon_close(struct xs_handle *handle) {}
xs_transaction_t xs_transaction_start(struct xs_handle *handle) { return 1; }
bool xs_transaction_end(struct xs_handle *handle, xs_transaction_t transaction, bool abort) { return true; }
bool xs_rm(struct xs_handle *handle, xs_transaction_t transaction, const char *path) { return true; }
bool xs_set_permissions(struct xs_handle *handle, xs_transaction_t transaction, const char *path,
                        struct xs_permissions *permissions, unsigned count) {
  return true;
}

bool xs_write(struct xs_handle *handle, xs_transaction_t transaction, const char *path, const void *data, unsigned size) {
  for (int i = 0; i < KEYS; i++) {
    if (keys[i].path[0] != 0 && strcmp(keys[i].path, path) != 0) continue;
    snprintf(keys[i].path, sizeof keys[i].path, "%s", path);
    snprintf(keys[i].value, sizeof keys[i].value, "%.*s", (int)size, (const char *)data);
    return true;
  }
  return false;
}

void *xs_read(struct xs_handle *handle, xs_transaction_t transaction, const char *path, unsigned *size) {
  const char *value = strcmp(path, "domid") == 0 ? "0" : NULL;
  for (int i = 0; i < KEYS; i++)
    if (strcmp(keys[i].path, path) == 0) value = keys[i].value;
  if (value == NULL) return NULL;
  if (size != NULL) *size = strlen(value);
  return strdup(value);
}
