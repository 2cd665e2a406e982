// Listens with the ws package, and says what happens, a JSON line each. A line of standard input is what to do.
//
// Usage: node ws.cjs URL [mute]     (mute: answers no ping)

const { createInterface } = require("node:readline");
const { WebSocket } = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const socket = new WebSocket(process.argv[2], { autoPong: process.argv[3] !== "mute" });

socket.on("open", () => say({ open: true }));
socket.on("message", (data, isBinary) => say(isBinary ? { binary: data.toString("base64") } : { text: data.toString() }));
socket.on("ping", () => say({ ping: true }));
socket.on("pong", (data) => say({ pong: data.toString() }));
socket.on("error", (error) => say({ error: error.message }));
socket.on("unexpected-response", (request, response) => {
  say({ refused: response.statusCode });
  request.destroy();
});
socket.on("close", (code, reason) => {
  say({ closed: code, reason: reason.toString() });
  process.exit();
});

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "ping") socket.ping("are you there");
  else if (line === "close") socket.close(1000, "enough");
  else socket.send(line);
});
