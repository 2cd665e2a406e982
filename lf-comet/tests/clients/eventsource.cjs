// Listens with the eventsource package, and says what happens, a JSON line each.
//
// Usage: node eventsource.cjs URL

const { EventSource } = require("eventsource");

const say = (what) => console.log(JSON.stringify(what));
const source = new EventSource(process.argv[2]);

source.onopen = () => say({ open: true });
source.onmessage = (event) => say({ text: event.data, id: event.lastEventId });
source.onerror = (event) => say({ error: source.readyState === source.CLOSED ? "closed" : "reconnecting", code: event.code });
source.addEventListener("base64", (event) => say({ binary: event.data, id: event.lastEventId }));
source.addEventListener("lost", (event) => say({ lost: true, id: event.lastEventId }));
