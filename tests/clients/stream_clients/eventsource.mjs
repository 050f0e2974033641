// Follows a stream with the npm package eventsource and prints each event as a line of JSON.
import { EventSource } from "eventsource";

const source = new EventSource(process.env.STREAM_URL);
const print = ({ type, lastEventId, data }) =>
  console.log(JSON.stringify({ event: type, id: lastEventId, data }));
source.addEventListener("drop", print);
source.addEventListener("message", print);
source.addEventListener("error", (error) => console.error(`eventsource: ${error.message}`));
