// What keeps a page's numbers and its clock true: the server's time, the stream, and tabs that share it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BASE, api, card, close, context, createDrop, eventually, launch, open, openLive, remembered, says, shownSeconds } from "./lib.mjs";

before(launch);
after(close);

const MINUTE_MS = 60_000;

/** Lets a page have answers that tell the time of a minute ago, as one from a cache does. */
async function ageAnswers(page, pattern) {
  await page.route(pattern, async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    body.server_time = new Date(Date.parse(body.server_time) - MINUTE_MS).toISOString();
    await route.fulfill({ response, json: body });
  });
}

test("an answer that is older than it looks does not turn the timer back", async (t) => {
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
  const left = Date.parse(hold.expires_at) - Date.parse((await api("GET", `/v1/holds/${hold.id}`)).server_time);
  const shown = await shownSeconds(page.locator("hold-panel .time"));
  assert.ok(Math.abs(shown - left / 1000) < 30, `${shown} s shown, ${left} ms left`);
});

test("nothing that the API answers is taken from the browser's cache", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.locator("hold-panel .time").waitFor();
  const asked = [];
  page.on("request", (request) => request.url().includes("/v1/") && asked.push(request));
  for (let load = 0; load < 2; load += 1) {
    const answered = page.waitForResponse("**/v1/holds/*");
    await page.reload();
    await (await answered).finished();
  }
  const headers = await Promise.all(asked.map((request) => request.allHeaders()));
  assert.deepEqual(headers.filter((all) => "if-none-match" in all), []);
  assert.ok(headers.length >= 4);
});

test("one sample that is far ahead of the others does not set the clock, and late ones never do", async (t) => {
  const page = await open(t, "/docs");
  const offsets = await page.evaluate(async () => {
    const { learn, now } = await import("/assets/lib/clock.js");
    return [0, 60_000, 20, -60_000, -3000].map((ahead) => {
      learn(new Date(Date.now() + ahead).toISOString());
      // Zero has no sign here.
      return Math.round((now() - Date.now()) / 1000) + 0;
    });
  });
  assert.deepEqual(offsets, [0, 60, 0, 0, 0], "of two that disagree the later may be right; three tell");
});

test("eight tabs of a browser watch by one stream, and each can buy", async (t) => {
  const drops = [await createDrop(), await createDrop()];
  const within = await context(t);
  const streams = [];
  within.on("request", (request) => request.url().includes("/v1/stream") && streams.push(request));
  const pages = [await openLive(t, "/", { within })];
  for (let tab = 1; tab < 8; tab += 1) pages.push(await openLive(t, tab % 3 ? `/drops/${drops[tab % 2].id}` : "/", { within }));
  const [last] = pages.slice(-1);
  await last.getByRole("button", { name: "Hold it" }).click();
  await last.getByRole("button", { name: /^Buy/ }).waitFor();
  for (const [tab, page] of pages.entries()) {
    const stock = tab % 3 ? page.locator("stock-bar .units") : card(page, drops[1]).locator(".units");
    await says(stock, tab % 3 && tab % 2 === 0 ? "5 left of 5" : "4 left of 5 · 1 held");
  }
  assert.equal(streams.length, 1);
});

test("the stream falls to another tab when the one that reads it is closed", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const reader = await openLive(t, `/drops/${drop.id}`, { within });
  const other = await openLive(t, "/", { within });
  await says(card(other, drop).locator(".units"), "5 left of 5");
  const again = other.waitForRequest("**/v1/stream?*");
  await reader.close();
  await again;
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "somebody" });
  await says(card(other, drop).locator(".units"), "4 left of 5 · 1 held");
});

test("the stream is taken from a tab that is frozen", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const reader = await openLive(t, "/", { within });
  const other = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await says(other.locator("stock-bar .units"), "5 left of 5");
  const session = await within.newCDPSession(reader);
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  const taken = other.waitForRequest("**/v1/stream**");
  await eventually("the tab that hears nothing reads for itself", async () => {
    await other.clock.runFor(5000);
    return Promise.race([taken, new Promise((resolve) => setTimeout(resolve, 100))]);
  });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "somebody" });
  await says(other.locator("stock-bar .units"), "4 left of 5 · 1 held");
  await session.send("Page.setWebLifecycleState", { state: "active" });
  await says(card(reader, drop).locator(".units"), "4 left of 5 · 1 held");
});

test("a further tab is told of all drops by the first, and asks for none by itself", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  await says(card(await openLive(t, "/", { within }), drop).locator(".units"), "5 left of 5");
  const asked = [];
  within.on("request", (request) => asked.push(request.url().slice(BASE.length)));
  const page = await openLive(t, "/", { within, clock: true });
  await says(card(page, drop).locator(".units"), "5 left of 5");
  // Past the time after which it asked for what was not told, once.
  await page.clock.runFor(5000);
  await page.evaluate(() => fetch("/assets/mark.svg?last"));
  await eventually("the last request", () => asked.includes("/assets/mark.svg?last"));
  assert.deepEqual(asked.filter((path) => /^\/v1\/drops\/[^/]+$/.test(path)), []);
});

test("where a browser has no locks, a tab reads for itself while it is looked at", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  await within.addInitScript(() => {
    delete Navigator.prototype.locks;
    globalThis.look = (isHidden) => {
      Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
  });
  const gone = [];
  within.on("requestfailed", (request) => request.url().includes("/v1/stream") && gone.push(request));
  const page = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await says(page.locator("stock-bar .units"), "5 left of 5");
  await page.evaluate(() => globalThis.look(true));
  await page.clock.runFor(15_000);
  await eventually("the stream is closed", () => gone.length === 1);
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "somebody" });
  const back = page.waitForRequest("**/v1/stream**");
  await page.evaluate(() => globalThis.look(false));
  await back;
  await says(page.locator("stock-bar .units"), "4 left of 5 · 1 held");
});

test("a request that is not answered in time is sent again under the same key", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`, { expected: [/ERR_/] });
  await page.clock.install();
  const keys = [];
  await page.route("**/holds", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    // The first never reaches anybody, and nobody says so.
    return keys.length > 1 ? route.continue() : undefined;
  });
  await page.getByRole("button", { name: "Hold it" }).click();
  await eventually("it is asked", () => keys.length === 1);
  await page.clock.runFor(12_000);
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 1);
});

for (const path of ["/", "its page"]) {
  test(`after a time without the stream, what was called off meanwhile is not on sale: ${path}`, async (t) => {
    const [drop, other] = [await createDrop(), await createDrop()];
    const within = await context(t);
    const page = await openLive(t, path === "/" ? "/" : `/drops/${drop.id}`, { within, clock: true, expected: [/ERR_INTERNET_DISCONNECTED/] });
    const panel = path === "/" ? card(page, drop) : page.locator("drop-sheet");
    await panel.getByRole("button", { name: "Hold it" }).waitFor();
    await within.setOffline(true);
    await eventually("the page hears nothing", async () => {
      await page.clock.runFor(10_000);
      return (await page.locator("connection-state").innerText()).includes("Reconnecting");
    });
    await api("POST", `/v1/drops/${drop.id}/cancel`);
    await api("POST", `/v1/drops/${other.id}/holds`, { buyer_id: "somebody" });
    await within.setOffline(false);
    await eventually("the page knows", async () => {
      await page.clock.runFor(1000);
      return (await panel.locator(".status").innerText()) === "Called off";
    });
    await says(panel.locator("hold-panel"), "This drop was called off.");
    if (path === "/") await says(card(page, other).locator(".units"), "4 left of 5 · 1 held");
  });
}

test("one drop in quarantine does not keep the others from being followed", async (t) => {
  const [ill, well] = [await createDrop(), await createDrop()];
  const page = await open(t, "about:blank", { expected: [/status of 503/] });
  const asked = [];
  await page.route("**/v1/stream?*", (route) => {
    asked.push(route.request().url());
    const problem = { code: "drop_quarantined", drop_id: ill.id };
    return asked.at(-1).includes(ill.id) ? route.fulfill({ status: 503, json: problem }) : route.continue();
  });
  await page.goto(BASE);
  await page.locator('connection-state[data-state="live"]').waitFor();
  await api("POST", `/v1/drops/${well.id}/holds`, { buyer_id: "somebody" });
  await says(card(page, well).locator(".units"), "4 left of 5 · 1 held");
  assert.deepEqual(asked.map((url) => url.includes(ill.id)), [true, false]);
});

test("more drops than one stream may name are followed by two, and new ones by the first", async (t) => {
  const page = await open(t, "/docs");
  const asked = [];
  await page.route("**/v1/stream?*", (route) => {
    asked.push(route.request());
    return route.fulfill({ contentType: "text/event-stream", body: ": nothing yet\n\n" });
  });
  await page.evaluate(async () => {
    const { Live } = await import("/assets/lib/live.js");
    const ids = Array.from({ length: 250 }, () => crypto.randomUUID());
    new Live(`?drops=${ids.join()}&new=true`, 17).follow();
  });
  await eventually("both are asked for", () => asked.length >= 2);
  const told = asked.slice(0, 2).map((request) => {
    const query = new URL(request.url()).searchParams;
    return [query.get("drops").split(",").length, query.get("new"), request.headers()["last-event-id"]];
  });
  assert.deepEqual(told, [[200, "true", "17"], [50, null, undefined]]);
});
