// What somebody who means harm would call a thing that others see: on terminals, in pages, in shells.

export const HOSTILE: readonly string[] = [
  "\x1b[2J\x1b]0;owned\x07",
  "\x9b31mred",
  "<script>alert(1)</script>",
  "</script><img src=x onerror=alert(1)>",
  `"><svg onload='alert(1)'>`,
  "&lt;b&gt;&amp;",
  "$(touch /tmp/owned)`id`",
  "'; rm -rf ~; '",
  "two\nlines\r\nand\u2028three",
  "\u202egnp.exe\u2066\u200f",
  "zero\u200bwidth\ufeff",
  "\ud800 alone",
  "nul\0end",
];
