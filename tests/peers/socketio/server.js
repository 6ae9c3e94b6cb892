// One node of a Socket.IO system, set up as its documentation says: the sharded Redis adapter, WebSocket only. It does what
// an edge does for the works of `beeline bench`, and nothing else. README.md, one folder up, has the reason of each setting.
// Where it listens is a line of JSON on standard output. It ends with its standard input.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

process.stdin.on("close", () => process.exit(0)).resume();

const publisher = new Redis(process.env.REDIS_URL);
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) {
  client.on("error", (err) => {
    console.error(`redis: ${err.message}`);
    process.exit(1);
  });
}

const http = createServer();
const io = new Server(http, {
  adapter: createShardedAdapter(publisher, subscriber),
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});
// What the documentation tells to do to save memory.
io.engine.on("connection", (raw) => {
  raw.request = null;
});

const answerTime = 5000; // ms until emitWithAck gives up

io.on("connection", async (socket) => {
  const { client, group, subscribed } = socket.handshake.auth;
  socket.join(group ? [client, group] : client);

  // To a client, which confirms it by an event that finds the sender as any message finds its recipient.
  socket.on("send", (to, data, id) => {
    io.to(to).emit("msg", client, data, id);
  });
  socket.on("got", (from, id) => {
    io.to(from).emit("got", id);
  });
  // To a client, whose acknowledgement the adapter collects.
  socket.on("ask", async (to, data, answer) => {
    try {
      const answers = await io.timeout(answerTime).to(to).emitWithAck("msg", client, data);
      answer(answers.length > 0 ? "delivered" : "offline");
    } catch {
      answer("unknown");
    }
  });
  // To a client. The answer says that Redis will be told, and nothing of the recipient.
  socket.on("post", (to, data, answer) => {
    io.to(to).emit("msg", client, data);
    answer("posted");
  });
  // To a group.
  socket.on("publish", (to, data, answer) => {
    io.to(to).emit("msg", client, data);
    answer("sent");
  });

  if (subscribed) {
    await subscriber.ping(); // Redis has taken the subscriptions that came before it
    socket.emit("subscribed");
  }
});

const require = createRequire(import.meta.url);
const version = (name) => `${name} ${require(`${name}/package.json`).version}`;
const about = [version("socket.io"), `${version("@socket.io/redis-adapter")} (sharded)`, version("ioredis"), `Node ${process.version.slice(1)}`];
if (!String(require("bufferutil").mask).includes("[native code]")) about.push("without the native add-ons of ws");

http.listen(0, "127.0.0.1", async () => {
  await subscriber.ping(); // so that it has those of the adapter
  const { port } = http.address();
  console.log(JSON.stringify({ url: `ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, about: about.join(", ") }));
});
