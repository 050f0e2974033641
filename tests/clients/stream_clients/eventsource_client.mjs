// Follows a stream with the npm package eventsource-client, which is built on fetch, and prints
// each event as a line of JSON.
import { createEventSource } from "eventsource-client";

createEventSource({
  url: process.env.STREAM_URL,
  onMessage: ({ event, id, data }) => console.log(JSON.stringify({ event, id, data })),
  onDisconnect: () => console.error("eventsource-client: disconnected"),
});
