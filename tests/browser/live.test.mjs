// The live updates of a page: the server's clock, the stream, and tabs that share it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  card,
  close,
  context,
  createDrop,
  eventually,
  expectText,
  launch,
  open,
  openLive,
  remembered,
  shownSeconds,
} from "./lib.mjs";

before(launch);
after(close);

const MINUTE_MS = 60_000;

/** Makes responses one minute older, as if they came from a cache. */
async function ageAnswers(page, pattern) {
  await page.route(pattern, async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    body.server_time = new Date(Date.parse(body.server_time) - MINUTE_MS).toISOString();
    await route.fulfill({ response, json: body });
  });
}

test("an outdated response does not set the timer back", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.locator("hold-panel .time").waitFor();
  const [{ hold }] = await remembered(page);
  await ageAnswers(page, `**/v1/holds/${hold.id}`);
  const old = page.waitForResponse(`**/v1/holds/${hold.id}`);
  await page.reload();
  await (await old).finished();
  await page.locator("hold-panel .time").waitFor();
  const left =
    Date.parse(hold.expires_at) -
    Date.parse((await api("GET", `/v1/holds/${hold.id}`)).server_time);
  const shown = await shownSeconds(page.locator("hold-panel .time"));
  assert.ok(Math.abs(shown - left / 1000) < 30, `${shown} s shown, ${left} ms left`);
});

test("responses of the API are not taken from the browser's cache", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.locator("hold-panel .time").waitFor();
  const requests = [];
  page.on("request", (request) => request.url().includes("/v1/") && requests.push(request));
  for (let load = 0; load < 2; load += 1) {
    const answered = page.waitForResponse("**/v1/holds/*");
    await page.reload();
    await (await answered).finished();
  }
  const headers = await Promise.all(requests.map((request) => request.allHeaders()));
  assert.deepEqual(
    headers.filter((all) => "if-none-match" in all),
    [],
  );
  assert.ok(headers.length >= 4);
});

test("neither a single sample far ahead nor late samples set the clock", async (t) => {
  const page = await open(t, "/docs");
  const offsets = await page.evaluate(async () => {
    const { learn, now } = await import("/assets/lib/clock.js");
    return [0, 60_000, 20, -60_000, -3000].map((ahead) => {
      learn(new Date(Date.now() + ahead).toISOString());
      // Adding zero turns -0 into 0.
      return Math.round((now() - Date.now()) / 1000) + 0;
    });
  });
  assert.deepEqual(
    offsets,
    [0, 60, 0, 0, 0],
    "of two samples that disagree the larger one counts, until a third one decides",
  );
});

test("eight tabs of a browser share one stream, and each can buy", async (t) => {
  const drops = [await createDrop(), await createDrop()];
  const within = await context(t);
  const streams = [];
  within.on("request", (request) => request.url().includes("/v1/stream") && streams.push(request));
  const pages = [await openLive(t, "/", { within })];
  for (let tab = 1; tab < 8; tab += 1)
    pages.push(await openLive(t, tab % 3 ? `/drops/${drops[tab % 2].id}` : "/", { within }));
  const [last] = pages.slice(-1);
  await last.getByRole("button", { name: "Hold it" }).click();
  await last.getByRole("button", { name: /^Buy/ }).waitFor();
  for (const [tab, page] of pages.entries()) {
    const stock =
      tab % 3 ? page.locator("stock-bar .units") : card(page, drops[1]).locator(".units");
    await expectText(stock, tab % 3 && tab % 2 === 0 ? "5 left of 5" : "4 left of 5 · 1 held");
  }
  assert.equal(streams.length, 1);
});

test("another tab becomes the leader when the leader is closed", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const reader = await openLive(t, `/drops/${drop.id}`, { within });
  const other = await openLive(t, "/", { within });
  await expectText(card(other, drop).locator(".units"), "5 left of 5");
  const again = other.waitForRequest("**/v1/stream?*");
  await reader.close();
  await again;
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(card(other, drop).locator(".units"), "4 left of 5 · 1 held");
});

test("another tab takes the stream from a frozen leader", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const reader = await openLive(t, "/", { within });
  const other = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await expectText(other.locator("stock-bar .units"), "5 left of 5");
  const session = await within.newCDPSession(reader);
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  const taken = other.waitForRequest("**/v1/stream**");
  await eventually("the silent tab opens its own stream", async () => {
    await other.clock.runFor(5000);
    return Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 100))]);
  });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(other.locator("stock-bar .units"), "4 left of 5 · 1 held");
  await session.send("Page.setWebLifecycleState", { state: "active" });
  await expectText(card(reader, drop).locator(".units"), "4 left of 5 · 1 held");
});

test("another tab receives all drops from the leader, and requests none itself", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  await expectText(card(await openLive(t, "/", { within }), drop).locator(".units"), "5 left of 5");
  const requests = [];
  within.on("request", (request) => requests.push(request.url().slice(BASE.length)));
  const page = await openLive(t, "/", { within, clock: true });
  await expectText(card(page, drop).locator(".units"), "5 left of 5");
  // Longer than the pause after which an earlier version requested missing drops.
  await page.clock.runFor(5000);
  await page.evaluate(() => fetch("/assets/mark.svg?last"));
  await eventually("the last request", () => requests.includes("/assets/mark.svg?last"));
  assert.deepEqual(
    requests.filter((path) => /^\/v1\/drops\/[^/]+$/.test(path)),
    [],
  );
});

test("without locks, each visible tab reads its own stream", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  await within.addInitScript(() => {
    delete Navigator.prototype.locks;
    globalThis.setHidden = (isHidden) => {
      Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
  });
  const gone = [];
  within.on(
    "requestfailed",
    (request) => request.url().includes("/v1/stream") && gone.push(request),
  );
  const page = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await expectText(page.locator("stock-bar .units"), "5 left of 5");
  await page.evaluate(() => globalThis.setHidden(true));
  await page.clock.runFor(15_000);
  await eventually("the stream is closed", () => gone.length === 1);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  const back = page.waitForRequest("**/v1/stream**");
  await page.evaluate(() => globalThis.setHidden(false));
  await back;
  await expectText(page.locator("stock-bar .units"), "4 left of 5 · 1 held");
});

test("a request without a response in time is repeated with the same key", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`, { expected: [/ERR_/] });
  await page.clock.install();
  const keys = [];
  await page.route("**/holds", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    // The first request is lost without an error.
    return keys.length > 1 ? route.continue() : undefined;
  });
  await page.getByRole("button", { name: "Hold it" }).click();
  await eventually("the request is sent", () => keys.length === 1);
  await page.clock.runFor(12_000);
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 1);
});

for (const path of ["/", "its page"]) {
  test(`after an interruption of the stream, a drop cancelled meanwhile is not on sale: ${path}`, async (t) => {
    const [drop, other] = [await createDrop(), await createDrop()];
    const within = await context(t);
    const page = await openLive(t, path === "/" ? "/" : `/drops/${drop.id}`, {
      within,
      clock: true,
      expected: [/ERR_INTERNET_DISCONNECTED/],
    });
    const panel = path === "/" ? card(page, drop) : page.locator("drop-sheet");
    await panel.getByRole("button", { name: "Hold it" }).waitFor();
    await within.setOffline(true);
    await eventually("the page has lost the stream", async () => {
      await page.clock.runFor(10_000);
      return (await page.locator("connection-state").innerText()).includes("Reconnecting");
    });
    await api("POST", `/v1/drops/${drop.id}/cancel`);
    await api("POST", `/v1/drops/${other.id}/holds`, { buyer_id: "another" });
    await within.setOffline(false);
    await eventually("the page shows the cancellation", async () => {
      await page.clock.runFor(1000);
      return (await panel.locator(".status").innerText()) === "Cancelled";
    });
    await expectText(panel.locator("hold-panel"), "This drop was cancelled.");
    if (path === "/") await expectText(card(page, other).locator(".units"), "4 left of 5 · 1 held");
  });
}

test("a drop in quarantine does not prevent following the others", async (t) => {
  const [quarantined, healthy] = [await createDrop(), await createDrop()];
  const page = await open(t, "about:blank", { expected: [/status of 503/] });
  const requests = [];
  await page.route("**/v1/stream?*", (route) => {
    requests.push(route.request().url());
    const problem = { code: "drop_quarantined", drop_id: quarantined.id };
    return requests.at(-1).includes(quarantined.id)
      ? route.fulfill({ status: 503, json: problem })
      : route.continue();
  });
  await page.goto(BASE);
  await page.locator('connection-state[data-state="live"]').waitFor();
  await api("POST", `/v1/drops/${healthy.id}/holds`, { buyer_id: "another" });
  await expectText(card(page, healthy).locator(".units"), "4 left of 5 · 1 held");
  assert.deepEqual(
    requests.map((url) => url.includes(quarantined.id)),
    [true, false],
  );
});

test("more drops than one stream can name need two, and the first carries new drops", async (t) => {
  const page = await open(t, "/docs");
  const requests = [];
  await page.route("**/v1/stream?*", (route) => {
    requests.push(route.request());
    return route.fulfill({ contentType: "text/event-stream", body: ": nothing yet\n\n" });
  });
  await page.evaluate(async () => {
    const { Live } = await import("/assets/lib/live.js");
    const ids = Array.from({ length: 250 }, () => crypto.randomUUID());
    new Live(`?drops=${ids.join()}&new=true`, 17).follow();
  });
  await eventually("both streams are requested", () => requests.length >= 2);
  const parameters = requests.slice(0, 2).map((request) => {
    const query = new URL(request.url()).searchParams;
    return [
      query.get("drops").split(",").length,
      query.get("new"),
      request.headers()["last-event-id"],
    ];
  });
  assert.deepEqual(parameters, [
    [200, "true", "17"],
    [50, null, undefined],
  ]);
});
