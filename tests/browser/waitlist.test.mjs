// The waitlist on the pages: offers are shown immediately, and an entry that cannot be served shows
// the reason.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  card,
  close,
  context,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  openLive,
  remembered,
} from "./lib.mjs";

before(launch);
after(close);

const buyIt = (page) => page.getByRole("button", { name: /^Buy for/ });
const panel = (page) => page.locator("hold-panel");

/** Creates a drop whose units are all held by another buyer, and returns it with that hold. */
async function soldOut(more = {}) {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, ...more });
  return {
    drop,
    hold: await api("POST", `/v1/drops/${drop.id}/holds`, {
      buyer_id: "another",
      quantity: drop.stock.total,
    }),
  };
}

/**
 * Joins the waitlist, and waits until the stream carries the entry. `reader`: the page that reads
 * the stream for all tabs.
 */
async function join(page, quantity = 1, reader = page) {
  const streamed = reader.waitForResponse(
    (response) => response.url().includes("waitlist=") && response.ok(),
  );
  if (quantity > 1) await page.getByLabel("Quantity").fill(String(quantity));
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await page.getByRole("button", { name: "Leave the waitlist" }).waitFor();
  await streamed;
  return (await remembered(page))[0].waiting.id;
}

/** Records the requests of a page, or of all pages of a context, from now on. */
function requestsOf(page) {
  const requests = [];
  page.on("request", (request) => requests.push(request.url().slice(BASE.length)));
  return requests;
}

/** Makes a page hidden for its scripts. */
const hide = (page) =>
  page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });

// Chromium runs the timers of a hidden page at most once a second, and after five minutes once a
// minute (developer.chrome.com/blog/timer-throttling-in-chrome-88). Here they do not run at all, so
// only the stream can show the offer.
for (const visibility of ["visible", "hidden"]) {
  test(`a ${visibility} page shows an offer immediately, without a timer and without a request`, async (t) => {
    const { drop, hold } = await soldOut();
    const page = await openLive(t, `/drops/${drop.id}`);
    const entry = await join(page);
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 1000);
    if (visibility === "hidden") await hide(page);
    const requests = requestsOf(page);
    await api("DELETE", `/v1/holds/${hold.id}`);
    await page.locator('hold-panel[data-stage="held"]').waitFor();
    assert.equal(await page.title(), `Your turn: ${drop.name} · ${drop.name} · Holdfast`);
    await expectText(
      page.locator("toast-list"),
      `${drop.name}: it is your turn. Reserved for you until`,
    );
    assert.deepEqual(
      requests.filter((path) => /^\/v1\/(waitlist|holds)\//.test(path)),
      [],
    );
    const [offer, seen] = [
      await api("GET", `/v1/waitlist/${entry}`),
      (await remembered(page))[0].hold,
    ];
    assert.deepEqual(
      [seen.id, seen.placed_at, seen.expires_at, seen.price],
      [offer.hold_id, offer.offered_at, offer.expires_at, offer.price],
    );
    await page.clock.resume();
    await buyIt(page).click();
    await expectText(panel(page).locator(".outcome"), "Purchase complete.");
  });
}

test("waitlist changes reach every tab through one stream, whichever tab reads it", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  // The first tab reads the stream for all of them.
  const shop = await openLive(t, "/", { within });
  const page = await openLive(t, `/drops/${drop.id}`, { within });
  const ahead = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "ahead" });
  await join(page, 1, shop);
  await expectText(panel(page), "You are 2nd on the waitlist");
  await expectText(shop.locator("your-list"), "2nd on the waitlist");
  for (const tab of [shop, page]) await hide(tab);
  const requests = requestsOf(within);
  await api("DELETE", `/v1/waitlist/${ahead.id}`);
  await expectText(shop.locator("your-list"), "1st on the waitlist");
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  await shop.locator('your-list li[data-stage="held"]').waitFor();
  assert.deepEqual(
    requests.filter((path) => path.startsWith("/v1/waitlist/") || path.startsWith("/v1/stream")),
    [],
  );
});

test("another tab takes over the waitlist when the leader is closed", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  const reader = await openLive(t, "/", { within });
  const page = await openLive(t, `/drops/${drop.id}`, { within });
  await join(page, 1, reader);
  const again = page.waitForResponse(
    (response) => response.url().includes("waitlist=") && response.ok(),
  );
  await reader.close();
  await again;
  const requests = requestsOf(page);
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  assert.deepEqual(
    requests.filter((path) => path.startsWith("/v1/waitlist/")),
    [],
  );
});

test("without locks, the last visible tab keeps its stream while it waits for an offer", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  await within.addInitScript(() => delete Navigator.prototype.locks);
  const page = await openLive(t, `/drops/${drop.id}`, { within, clock: true });
  await join(page);
  const gone = [];
  page.on("requestfailed", (request) => request.url().includes("/v1/stream") && gone.push(request));
  await hide(page);
  // Longer than a hidden tab normally keeps its stream, and shorter than the silence after which it
  // closes it.
  await page.clock.runFor(15_000);
  const requests = requestsOf(page);
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
  assert.deepEqual(
    [gone.length, requests.filter((path) => path.startsWith("/v1/waitlist/"))],
    [0, []],
  );
  // Another visible tab takes over, because a browser opens only six connections to a server.
  await openLive(t, `/drops/${drop.id}`, { within });
  await eventually("the hidden tab closes its connection", () => gone.length === 1);
});

test("an unknown waitlist entry does not stop the stream of the others", async (t) => {
  const { drop, hold } = await soldOut();
  const within = await context(t);
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected: [/status of 404/] });
  await join(page);
  await page.evaluate((id) => {
    const entries = JSON.parse(localStorage.getItem("holdfast.yours"));
    localStorage.setItem(
      "holdfast.yours",
      JSON.stringify([...entries, { ...entries[0], key: id, waiting: { id, place: 1 } }]),
    );
  }, randomUUID());
  await page.reload();
  await eventually(
    "the unknown entry is removed",
    async () => (await remembered(page)).length === 1,
  );
  await page.locator('connection-state[data-state="live"]').waitFor();
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.locator('hold-panel[data-stage="held"]').waitFor();
});

test("without the stream the waitlist entry is polled", async (t) => {
  const { drop, hold } = await soldOut();
  const page = await openLive(t, `/drops/${drop.id}`, { clock: true, expected: [/ERR_FAILED/] });
  await join(page);
  await page.route("**/v1/stream**", (route) => route.abort());
  await page.reload();
  await api("DELETE", `/v1/holds/${hold.id}`);
  await eventually("the page has polled the entry", async () => {
    await page.clock.runFor(5000);
    return (await remembered(page))[0].stage === "held";
  });
});

test("an entry that cannot be served shows the reason, and updates it", async (t) => {
  const { drop } = await soldOut({ total_stock: 3, max_per_hold: 5 });
  const within = await context(t);
  const [page, shop] = [
    await openLive(t, `/drops/${drop.id}`, { within }),
    await openLive(t, "/", { within }),
  ];
  await join(page, 4);
  await expectText(
    panel(page).locator(".outcome"),
    "You are on the waitlist, but cannot be served",
  );
  await expectText(
    panel(page),
    "only 3 units are unsold, and you requested 4 units; you can be served only if stock is added.",
  );
  await expectText(
    page.locator("toast-list"),
    `${drop.name}: you are on the waitlist, but cannot be served: fewer units are unsold than you requested`,
  );
  await expectText(shop.locator("your-list"), "on the waitlist, cannot be served");
  await api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta: 1, reason: "found" });
  await expectText(panel(page).locator(".outcome"), "You are 1st on the waitlist");
  await expectText(page.locator("toast-list"), "you can be served from the waitlist again");
  await edit(drop, { max_per_hold: 2 });
  await expectText(panel(page), "the limit per hold is 2 units, and you requested 4 units.");
  await edit(drop, { max_per_hold: 5, max_per_buyer: 3 });
  await expectText(
    panel(page),
    "with the units that you hold and have bought, 4 more would exceed the limit per buyer.",
  );
  await edit(drop, { max_per_buyer: null });
  await expectText(panel(page).locator(".outcome"), "You are 1st on the waitlist");
  await page.getByRole("button", { name: "Leave the waitlist" }).click();
  await page.getByRole("button", { name: "Hold it" }).waitFor();
});

test("if all units are sold, the page does not promise returned units", async (t) => {
  const { drop, hold } = await soldOut();
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await openLive(t, `/drops/${drop.id}`);
  await expectText(
    panel(page),
    "All units are sold. Added stock is offered to the waitlist first.",
  );
  await join(page);
  await expectText(panel(page), "all units are sold; you can be served only if stock is added.");
  await api("POST", `/v1/drops/${drop.id}/stock-adjustments`, { delta: 1, reason: "found" });
  await page.locator('hold-panel[data-stage="held"]').waitFor();
});

test("no page claims that units are on sale if the waitlist received them", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await buyIt(page).waitFor();
  await edit(drop, { hold_seconds: 600 });
  const next = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "next" });
  await expectText(page.locator("buy-box, .buy-box"), "Returned units go to the waitlist");
  await expectText(
    panel(page).locator(".outcome"),
    /^Time is up\. The hold expired at [\d:]+\. The units are no longer reserved for you\.$/,
  );
  await expectText(page.locator("toast-list"), "The units are no longer reserved for you.");
  assert.equal((await api("GET", `/v1/waitlist/${next.id}`)).status, "offered");
  assert.doesNotMatch(await page.locator("body").innerText(), /on sale/i);
  await page.getByRole("button", { name: "Try again" }).click();
  await expectText(panel(page), "Join the waitlist");
  await expectText(panel(page), "Units of expired holds become available here automatically.");
  await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "third" });
  await expectText(panel(page), "Returned units are offered to the waitlist first.");
  const shop = await openLive(t, "/");
  await expectText(card(shop, drop), "Returned units go to the waitlist");
});
