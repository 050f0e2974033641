// Measures the cost of the shop's front page in CPU time: until the first card, and until a press
// on it.
//
//   node pages.mjs CHROMIUM ROUNDS TIMEOUT_MS SERVER…       SERVER: PID,ADDRESS,NAME
//
// Each round opens the page of each server once, in a new browser context, and presses the first
// card's button. Prints one line per load:
//
//   load NAME {"card": {"browser": MS, "server": MS, "wall": MS}, "press": {…},
//     "requests": N, "bytes": N}   (on one line)
//
// The browser's time is that of all its processes (CDP, SystemInfo.getProcessInfo), the server's
// that of all its threads (/proc/PID/task/*/schedstat, in nanoseconds; the time of a thread that
// ends is lost). A measurement ends when this program is notified, a few milliseconds late for
// every server. Run it in the folder whose node_modules has playwright-core.

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [executablePath, rounds, timeoutMs, ...named] = process.argv.slice(2);
const servers = named.map((text) => {
  const [pid, address, name] = text.split(",");
  return { pid, address, name };
});

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const session = await browser.newBrowserCDPSession();

async function browserTime() {
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return processInfo.reduce((sum, { cpuTime }) => sum + 1000 * cpuTime, 0);
}

function serverTime(pid) {
  const times = readdirSync(`/proc/${pid}/task`).map((thread) => {
    try {
      return (
        Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]) / 1e6
      );
    } catch {
      return 0;
    }
  });
  return times.reduce((sum, time) => sum + time, 0);
}

/** Starts three clocks, and returns a function that reads the time passed on each. */
async function stopwatch(pid) {
  const [browser0, server0, wall0] = [await browserTime(), serverTime(pid), performance.now()];
  return async () => ({
    server: serverTime(pid) - server0,
    wall: performance.now() - wall0,
    browser: (await browserTime()) - browser0,
  });
}

async function load({ pid, address }) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(Number(timeoutMs));
  const page = await context.newPage();
  const seen = { requests: 0, bytes: 0 };
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  network.on("Network.requestWillBeSent", ({ request }) => {
    seen.requests += request.url.includes("/v1/") ? 1 : 0;
  });
  network.on("Network.dataReceived", ({ dataLength }) => {
    seen.bytes += dataLength;
  });
  // The page itself sends the notification, because polling would be counted.
  let tell = () => {};
  await context.exposeBinding("benchSees", (_source, what) => tell(what));
  const sees = (what) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${what} did not arrive`)),
        Number(timeoutMs),
      );
      tell = (seen) => {
        if (seen !== what) return;
        clearTimeout(timer);
        resolve();
      };
    });
  await context.addInitScript(() => {
    const button = () => document.querySelector('drop-card hold-panel[data-stage="live"] button');
    const whenPainted = (what) =>
      requestAnimationFrame(() => setTimeout(() => globalThis.benchSees(what)));
    const look = () => {
      if (!button()) return;
      watcher.disconnect();
      whenPainted("card");
      button().addEventListener("click", () => whenPainted("press"), { once: true });
    };
    const watcher = new MutationObserver(look);
    watcher.observe(document, { childList: true, subtree: true });
  });
  try {
    const since = await stopwatch(pid);
    const card = sees("card");
    const gone = page.goto(`http://${address}/`, { waitUntil: "commit" });
    await card;
    const toCard = await since();
    await gone;
    // A press is dispatched to the button's coordinates, after any work that the page still does.
    const place = await page.evaluate(() => {
      const { x, y, width, height } = document
        .querySelector('drop-card hold-panel[data-stage="live"] button')
        .getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2, isInSight: y + height < innerHeight };
    });
    if (!place.isInSight) throw new Error("the first button is out of sight");
    const press = sees("press");
    await page.mouse.click(place.x, place.y);
    await press;
    const toPress = await since();
    return { card: toCard, press: toPress, ...seen };
  } finally {
    await context.close();
  }
}

// The first load warms up the browser and the server.
for (const server of servers) await load(server);
for (let round = 0; round < Number(rounds); round += 1) {
  for (const server of servers)
    console.log(`load ${server.name} ${JSON.stringify(await load(server))}`);
}
console.log("done");
await browser.close();
