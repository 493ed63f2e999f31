// sink.ts PORT: takes one TCP connection, and says how many bytes came and their SHA-256.
import { createHash } from "node:crypto";
import { createServer } from "node:net";

const server = createServer((socket) => {
  const hash = createHash("sha256");
  let length = 0;
  socket.on("data", (chunk) => {
    hash.update(chunk);
    length += chunk.length;
  });
  socket.on("end", () => {
    console.log(JSON.stringify({ length, hash: hash.digest("hex") }));
    process.exit();
  });
});
server.listen(Number(process.argv[2]), "0.0.0.0", () => console.log("listening"));
