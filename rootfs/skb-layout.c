// Where this kernel's struct sk_buff has what the kernel path asks of it: of each of these one member is all ones, and all else is
// zero. build/kernel.sh compiles it with the kernel's own settings and looks where the ones are.
#include <linux/skbuff.h>

const struct sk_buff skb_layout[] __section(".skb_layout") = {
	{ .ip_summed = 3 },
	{ .csum_start = 0xffff },
	{ .csum_offset = 0xffff },
	{ .head = (unsigned char *)-1L },
	{ .data = (unsigned char *)-1L },
};
