// The waitlist on the pages: an offer is seen when it is made, and an entry that nothing can serve says so.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { BASE, api, card, close, context, createDrop, edit, eventually, launch, open, openDashboard, openLive, remembered, says } from "./lib.mjs";

before(launch);
after(close);

const buyIt = (page) => page.getByRole("button", { name: /^Buy for/ });
const panel = (page) => page.locator("hold-panel");

/** A drop that another buyer has all of, and their hold. */
async function soldOut(more = {}) {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, ...more });
  return { drop, hold: await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another", quantity: drop.stock.total }) };
}

/** Joins the waitlist, and waits until the stream carries the entry. `reader`: the page that reads the stream for all tabs. */
async function join(page, quantity = 1, reader = page) {
  const told = reader.waitForResponse((response) => response.url().includes("waitlist=") && response.ok());
  if (quantity > 1) await page.getByLabel("Quantity").fill(String(quantity));
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await page.getByRole("button", { name: "Leave the line" }).waitFor();
  await told;
  return (await remembered(page))[0].waiting.id;
}

/** What a page, or every page of a context, asks the server from now on. */
function requestsOf(page) {
  const asked = [];
  page.on("request", (request) => asked.push(request.url().slice(BASE.length)));
  return asked;
}

/** Makes a page hidden, as far as its scripts can know. */
const hide = (page) => page.evaluate(() => {
  Object.defineProperty(document, "hidden", { value: true, configurable: true });
  Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
});

// Chromium runs the timers of a hidden page once a second at most, and once a minute after five (developer.chrome.com/blog/timer-throttling-in-chrome-88).
// Here they do not run at all: all that shows the offer is the stream.
for (const look of ["in sight", "hidden"]) {
  test(`an offer is seen when it is made, ${look}, without a timer and without a question`, async (t) => {
    const { drop, hold } = await soldOut();
    const page = await openLive(t, `/drops/${drop.id}`);
    const entry = await join(page);
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 1000);
    if (look === "hidden") await hide(page);
    const asked = requestsOf(page);
    await api("DELETE", `/v1/holds/${hold.id}`);
    await page.locator('hold-panel[data-stage="held"]').waitFor();
    assert.equal(await page.title(), `Your turn: ${drop.name} · ${drop.name} · Holdfast`);
    await says(page.locator("toast-list"), `${drop.name}: it is your turn. Held for you until`);
    assert.deepEqual(asked.filter((path) => /^\/v1\/(waitlist|holds)\//.test(path)), []);
    const [offer, seen] = [await api("GET", `/v1/waitlist/${entry}`), (await remembered(page))[0].hold];
    assert.deepEqual([seen.id, seen.placed_at, seen.expires_at, seen.price], [offer.hold_id, offer.offered_at, offer.expires_at, offer.price]);
    await page.clock.resume();
    await buyIt(page).click();
    await says(panel(page).locator(".outcome"), "It is yours.");
  });
}

test("what the line says reaches every tab by one stream, whichever tab reads it", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  // The dashboard knows nothing of buyers, and reads the stream for all.
  const dashboard = await openDashboard(t, { within });
  await dashboard.locator('connection-state[data-state="live"]').waitFor();
  const [shop, page] = [await openLive(t, "/", { within }), await openLive(t, `/drops/${drop.id}`, { within })];
  const ahead = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "ahead" });
  await join(page, 1, dashboard);
  await says(panel(page), "You are 2nd in line");
  await says(shop.locator("your-list"), "2nd in line");
  for (const tab of [dashboard, shop, page]) await hide(tab);
  const asked = requestsOf(within);
  await api("DELETE", `/v1/waitlist/${ahead.id}`);
  await says(shop.locator("your-list"), "1st in line");
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  await shop.locator('your-list li[data-stage="held"]').waitFor();
  assert.deepEqual(asked.filter((path) => path.startsWith("/v1/waitlist/") || path.startsWith("/v1/stream")), []);
});

test("the waitlist is still followed when the tab that reads the stream is closed", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  const reader = await openLive(t, "/", { within });
  const page = await openLive(t, `/drops/${drop.id}`, { within });
  await join(page, 1, reader);
  const again = page.waitForResponse((response) => response.url().includes("waitlist=") && response.ok());
  await reader.close();
  await again;
  const asked = requestsOf(page);
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  assert.deepEqual(asked.filter((path) => path.startsWith("/v1/waitlist/")), []);
});

test("where a browser has no locks, the tab that was looked at last keeps its stream while it waits for an offer", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  await within.addInitScript(() => delete Navigator.prototype.locks);
  const page = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await join(page);
  const gone = [];
  page.on("requestfailed", (request) => request.url().includes("/v1/stream") && gone.push(request));
  await hide(page);
  // Longer than a hidden tab keeps its stream otherwise, and shorter than a silence for which it gives it up.
  await page.clock.runFor(15_000);
  const asked = requestsOf(page);
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  assert.deepEqual([gone.length, asked.filter((path) => path.startsWith("/v1/waitlist/"))], [0, []]);
  // Another tab that is looked at takes over: a browser has six connections to a server.
  await openLive(t, `/drops/${drop.id}`, { within });
  await eventually("the hidden tab gives its connection up", () => gone.length === 1);
});

test("an entry that the server does not know does not stop the stream of the others", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected: [/status of 404/] });
  await join(page);
  await page.evaluate((id) => {
    const entries = JSON.parse(localStorage.getItem("holdfast.yours"));
    localStorage.setItem("holdfast.yours", JSON.stringify([...entries, { ...entries[0], key: id, waiting: { id, place: 1 } }]));
  }, randomUUID());
  await page.reload();
  await eventually("it is forgotten", async () => (await remembered(page)).length === 1);
  await page.locator('connection-state[data-state="live"]').waitFor();
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
});

test("without the stream the server is asked how the line stands", async (t) => {
  const { drop, hold } = await soldOut();
  const page = await openLive(t, `/drops/${drop.id}`, { clock: true, expected: [/ERR_FAILED/] });
  await join(page);
  await page.route("**/v1/stream**", (route) => route.abort());
  await page.reload();
  await api("DELETE", `/v1/holds/${hold.id}`);
  await eventually("the page has asked", async () => {
    await page.clock.runFor(5000);
    return (await remembered(page))[0].stage === "held";
  });
});

test("an entry that nothing can serve says why, at once and after each change", async (t) => {
  const { drop } = await soldOut({ total_stock: 3, max_per_hold: 5 });
  const within = await context(t);
  const [page, shop] = [await openLive(t, `/drops/${drop.id}`, { within }), await openLive(t, "/", { within })];
  await join(page, 4);
  await says(panel(page).locator(".outcome"), "You are in line, and passed over");
  await says(panel(page), "only 3 units are not sold yet, and you wait for 4 units; only more stock can reach you.");
  await says(page.locator("toast-list"), `${drop.name}: you are in line, but fewer units are unsold than you wait for`);
  await says(shop.locator("your-list"), "in line, passed over");
  await api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta: 1, reason: "found" });
  await says(panel(page).locator(".outcome"), "You are 1st in line");
  await says(page.locator("toast-list"), "units that come back can reach you again");
  await edit(drop, { max_per_hold: 2 });
  await says(panel(page), "one hold may have 2 units now, and you wait for 4 units.");
  await edit(drop, { max_per_hold: 5, max_per_buyer: 3 });
  await says(panel(page), "with what you hold and have bought, 4 more would be above what one buyer may have.");
  await edit(drop, { max_per_buyer: null });
  await says(panel(page).locator(".outcome"), "You are 1st in line");
  await page.getByRole("button", { name: "Leave the line" }).click();
  await page.getByRole("button", { name: "Hold it" }).waitFor();
});

test("where every unit is sold, the page does not say that one may come back", async (t) => {
  const { drop, hold } = await soldOut();
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await openLive(t, `/drops/${drop.id}`);
  await says(panel(page), "Every unit is sold. More stock would go to the waitlist first.");
  await join(page);
  await says(panel(page), "every unit is sold; only more stock can reach you.");
  await api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta: 1, reason: "found" });
  await page.locator('hold-panel[data-stage="held"]').waitFor();
});

test("no page says that stock went back on sale that the next in line has", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await buyIt(page).waitFor();
  await edit(drop, { hold_seconds: 600 });
  const next = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "next" });
  await says(page.locator("buy-box, .buy-box"), "What comes back goes to the waitlist");
  await says(panel(page).locator(".outcome"), /^Time is up\. The hold ran out at [\d:]+, and its stock is for others again\.$/);
  await says(page.locator("toast-list"), "and its stock is for others again");
  assert.equal((await api("GET", `/v1/waitlist/${next.id}`)).status, "offered");
  assert.ok(!(await page.locator("body").innerText()).includes("on sale"));
  await page.getByRole("button", { name: "Try again" }).click();
  await says(panel(page), "Join the waitlist");
  await says(panel(page), "Holds that run out come back here by themselves.");
  await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "third" });
  await says(panel(page), "What comes back goes to the waitlist first.");
  const shop = await openLive(t, "/");
  await says(card(shop, drop), "What comes back goes to the waitlist");
});
