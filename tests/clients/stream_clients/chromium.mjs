// Follows a stream with the EventSource of Chromium, on a page of the same server, and prints each
// event as a line of JSON.
import { chromium } from "playwright-core";

const url = new URL(process.env.STREAM_URL);
// As root and in containers, Chromium's own sandbox cannot start.
const browser = await chromium.launch({
  executablePath: process.env.HOLDFAST_CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const page = await browser.newPage();
await page.exposeFunction("print", (event) => console.log(JSON.stringify(event)));
await page.goto(`${url.origin}/docs`);
await page.evaluate((path) => {
  const source = new EventSource(path);
  const print = ({ type, lastEventId, data }) =>
    globalThis.print({ event: type, id: lastEventId, data });
  source.addEventListener("drop", print);
  source.addEventListener("message", print);
}, url.pathname);
