// A buyer's way through the shop.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, card, close, context, createDrop, edit, eventually, launch, open, openLive, remembered, says } from "./lib.mjs";

before(launch);
after(close);

test("two browsers see each other's stock change, through a whole purchase", async (t) => {
  const drop = await createDrop();
  const [buyer, watcher] = [await openLive(t, "/"), await openLive(t, `/drops/${drop.id}`)];
  await buyer.fill("#display-name", "Ada");
  await says(card(buyer, drop).locator(".units"), "5 left of 5");

  await card(buyer, drop).getByRole("button", { name: "Hold it" }).click();
  await card(buyer, drop).getByRole("button", { name: "Buy for €49.00" }).waitFor();
  await says(watcher.locator("stock-bar .units"), "4 left of 5 · 1 held");
  await says(card(buyer, drop).locator(".units"), "4 left of 5 · 1 held");

  await card(buyer, drop).getByRole("button", { name: "Buy for €49.00" }).click();
  await says(card(buyer, drop).locator(".outcome"), "It is yours. 1 unit bought for €49.00.");
  await says(watcher.locator(".figures"), /Available\s+4\s+Held\s+0\s+Sold\s+1/);
  await says(watcher.locator("drop-sheet .columns section").first(), "Ada");
  await says(card(buyer, drop).locator(".purchasers"), "Ada");
  await says(buyer.locator("your-list"), "1 unit bought · €49.00");

  await watcher.locator("hold-panel input").waitFor({ state: "detached" });
  await watcher.getByRole("button", { name: "Hold it" }).click();
  await watcher.getByRole("button", { name: "Release" }).click();
  await says(watcher.locator("hold-panel .outcome"), "Released.");
  await says(card(buyer, drop).locator(".units"), /4 left\s+of 5$/);
});

test("the timer agrees with the server to the second", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.locator("hold-panel .time").waitFor();
  const [{ hold }] = await remembered(page);
  for (let round = 0; round < 3; round += 1) {
    // The page's words, between two looks at the server's clock.
    const left = async () => Date.parse(hold.expires_at) - Date.parse((await api("GET", `/v1/holds/${hold.id}`)).server_time);
    const most = await left();
    const [minutes, seconds] = (await page.locator("hold-panel .time").innerText()).split(":").map(Number);
    const least = await left();
    const shown = 60 * minutes + seconds;
    // Rounded up, and written five times a second.
    assert.ok(shown >= Math.floor(least / 1000) && shown <= Math.ceil(most / 1000) + 1, `${shown} s shown, ${least} to ${most} ms left`);
    await page.waitForTimeout(400);
  }
});

test("a hold that runs out says so, and its unit comes back", async (t) => {
  const drop = await createDrop({ hold_seconds: 3, total_stock: 1 });
  const page = await openLive(t, "/");
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await says(card(page, drop).locator(".status"), "All held right now");
  await says(card(page, drop).locator(".outcome"), "Time is up.");
  const [{ hold, stage }] = await remembered(page);
  assert.equal(stage, "expired");
  assert.equal((await api("GET", `/v1/holds/${hold.id}`)).status, "expired");
  await says(card(page, drop).locator(".units"), "1 left of 1");
  await says(page.locator("toast-list"), "your hold ran out");
  await card(page, drop).getByRole("button", { name: "Try again" }).click();
  await card(page, drop).getByRole("button", { name: "Hold it" }).waitFor();
});

test("a refresh in mid-hold brings the hold back, and it can be bought", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, "/");
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).locator(".time").waitFor();
  const [before] = await remembered(page);
  await page.reload();
  await card(page, drop).locator(".time").waitFor();
  const [entry, ...others] = await remembered(page);
  assert.deepEqual([entry.hold.id, others], [before.hold.id, []]);
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await says(card(page, drop).locator(".outcome"), "It is yours.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, { total: 5, available: 4, held: 0, sold: 1 });
});

test("a refresh before the answer came finds the same hold, and places no second", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  let keys = [];
  await page.route("**/holds", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    // It reaches the server, and its answer never reaches the page.
    await route.fetch();
    return undefined;
  });
  await page.getByRole("button", { name: "Hold it" }).click();
  await says(page.locator(".figures"), /Held\s+1/);
  await says(page.locator("hold-panel"), "Asking for a hold");
  await page.reload();
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 1);
});

test("a refusal explains itself", async (t) => {
  const drop = await createDrop({ max_per_buyer: 1 });
  const page = await openLive(t, "/", { expected: [/status of 409/] });
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await card(page, drop).getByRole("button", { name: "Done" }).click();
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await says(card(page, drop).locator(".note"), "That is all that one buyer may have here: 1 unit.");
  await says(page.locator("toast-list"), "That is all that one buyer may have here");
});

test("several units can be held at once, within the drop's limit; more are not cut without a word", async (t) => {
  const drop = await createDrop({ max_per_hold: 3 });
  const page = await openLive(t, `/drops/${drop.id}`);
  const quantity = page.getByLabel("Quantity");
  for (const wrong of ["9", "0", "1.5", ""]) {
    await quantity.fill(wrong);
    await page.getByRole("button", { name: "Hold it" }).click();
    await says(page.locator("hold-panel .note"), "From 1 to 3 can be held at once.");
    assert.equal(await quantity.getAttribute("aria-invalid"), "true");
  }
  assert.deepEqual(await remembered(page), []);
  await quantity.fill("3");
  await says(page.locator("hold-panel .note"), "A hold keeps it for you");
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: "Buy for €147.00" }).waitFor();
  await says(page.locator(".figures"), /Held\s+3/);
});

test("the quantity can be chosen as soon as the drop allows more than one", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).waitFor();
  assert.equal(await page.getByLabel("Quantity").count(), 0);
  await edit(drop, { max_per_hold: 4 });
  await page.getByLabel("Quantity").fill("4");
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: "Buy for €196.00" }).waitFor();
});

test("sold out: a place in line, and a hold when it is one's turn", async (t) => {
  const drop = await createDrop({ total_stock: 2, max_per_hold: 2, hold_seconds: 600 });
  const others = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "somebody", quantity: 2 });
  const ahead = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "ahead" });
  const page = await openLive(t, "/");
  await card(page, drop).getByRole("button", { name: "Join the waitlist" }).click();
  await says(card(page, drop), "You are 2nd in line");
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).waitlist_length, 2);
  await page.reload();
  await says(card(page, drop), "You are 2nd in line");
  await api("DELETE", `/v1/waitlist/${ahead.id}`);
  await says(card(page, drop), "You are 1st in line");
  await api("DELETE", `/v1/holds/${others.id}`);
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await says(page.locator("toast-list"), "it is your turn");
  await says(card(page, drop).locator(".outcome"), "It is yours.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, { total: 2, available: 1, held: 0, sold: 1 });
});

test("who leaves the line makes room, and may join again", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600 });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "somebody" });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await says(page.locator("hold-panel"), "You are 1st in line");
  await page.getByRole("button", { name: "Leave the line" }).click();
  await page.getByRole("button", { name: "Join the waitlist" }).waitFor();
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).waitlist_length, 0);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await says(page.locator("hold-panel"), "You are 1st in line");
});

test("the keyboard alone is enough, and shows where it is", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`);
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  for (let presses = 0; presses < 20 && (await focused()) !== "Hold it"; presses += 1) await page.keyboard.press("Tab");
  assert.equal(await focused(), "Hold it");
  const outline = await page.evaluate(() => getComputedStyle(/** @type {Element} */ (document.activeElement)).outlineStyle);
  assert.equal(outline, "solid");
  await page.keyboard.press("Enter");
  await eventually("the focus is on what comes next", async () => (await focused()).startsWith("Buy for"));
  await page.keyboard.press("Enter");
  await eventually("the focus is on what comes next", async () => (await focused()) === "Done");
  await says(page.locator("hold-panel .outcome"), "It is yours.");
});

test("numbers move, the page does not", async (t) => {
  const drop = await createDrop({ total_stock: 1000, max_per_hold: 100, hold_seconds: 600 });
  const page = await openLive(t, "/");
  await card(page, drop).waitFor();
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => {
    const seen = (globalThis.shifts = []);
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => seen.push(entry.value))).observe({ type: "layout-shift" });
  });
  const heights = () => page.evaluate(() => [...document.querySelectorAll("drop-card")].map((element) => element.getBoundingClientRect().height));
  const before = await heights();
  for (let buyer = 0; buyer < 5; buyer += 1) await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: `buyer-${buyer}`, quantity: 100 });
  await says(card(page, drop).locator(".units"), "500 left of 1,000 · 500 held");
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).getByRole("button", { name: "Release" }).waitFor();
  assert.deepEqual(await heights(), before);
  assert.deepEqual(await page.evaluate(() => globalThis.shifts), []);
});

test("a drop that is to come counts down, and starts by itself", async (t) => {
  const drop = await createDrop({ starts_at: new Date(Date.now() + 4000).toISOString() });
  const page = await openLive(t, `/drops/${drop.id}`);
  await says(page.locator("hold-panel"), /Starts in\s+0:0\d/);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
});

test("a drop that is not there is said not to be", async (t) => {
  const expected = [/status of 404/];
  for (const id of ["00000000-0000-4000-8000-000000000000", "nonsense", "%zz"]) {
    const page = await open(t, `/drops/${id}`, { expected });
    await page.getByRole("heading", { name: "There is no such drop." }).waitFor();
  }
});

test("a link to what is yours gets there, though the page is still empty when it is followed", async (t) => {
  const drop = await createDrop();
  const within = await context(t, { viewport: { width: 1280, height: 500 } });
  const page = await openLive(t, `/drops/${drop.id}`, { within });
  await page.getByRole("link", { name: "Yours" }).click();
  await card(page, drop).waitFor();
  await eventually("what is yours is in sight", () => page.locator("#yours h2").evaluate((heading) => {
    const { top, bottom } = heading.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  }));
});

test("what is gone stands behind what can be had", async (t) => {
  const [early, gone] = [await createDrop(), await createDrop({ total_stock: 1 })];
  const sold = await api("POST", `/v1/drops/${gone.id}/holds`, { buyer_id: "somebody" });
  await api("POST", `/v1/holds/${sold.id}/purchase`);
  const page = await openLive(t, "/");
  const order = () => page.locator("drop-card").evaluateAll((cards) => cards.map((card) => card.dataset.dropId));
  await card(page, gone).waitFor();
  assert.ok((await order()).indexOf(early.id) < (await order()).indexOf(gone.id));
  // What is over goes once nobody looks; until then nothing moves.
  await api("POST", `/v1/drops/${early.id}/cancel`);
  await says(card(page, early).locator(".status"), "Called off");
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  assert.ok(!(await order()).includes(early.id));
});

test("what more may be held is said where it can be", async (t) => {
  const drop = await createDrop({ max_per_buyer: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await says(page.locator(".standing"), /^You: 1 held\.$/);
  await page.getByRole("button", { name: /^Buy/ }).click();
  await says(page.locator(".standing"), /^You: 1 bought\.$/);
  await page.getByRole("button", { name: "Done" }).click();
  await says(page.locator(".standing"), "You: 1 bought. You may hold 1 more.");
});

test("a drop that starts in another year says which", async (t) => {
  const drop = await createDrop({ starts_at: "2031-05-02T09:30:00.000Z" });
  const page = await openLive(t, `/drops/${drop.id}`, { timezoneId: "UTC" });
  await says(page.locator(".when"), "Starts 2 May 2031, 09:30");
});

test("a slash too many leads to the page that was meant", async (t) => {
  const drop = await createDrop();
  const page = await open(t, "/admin/");
  for (const [from, to] of [["/admin/", "/admin"], ["/docs/", "/docs"], ["/drops/", "/"], ["/drops", "/"], [`/drops/${drop.id}/`, `/drops/${drop.id}`]]) {
    await page.goto(new URL(from, page.url()).href);
    assert.equal(new URL(page.url()).pathname, to);
  }
});

test("another tab of the same browser shows the same hold", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const [one, other] = [await openLive(t, "/", { within }), await openLive(t, `/drops/${drop.id}`, { within })];
  await card(one, drop).getByRole("button", { name: "Hold it" }).click();
  await other.getByRole("button", { name: "Release" }).click();
  await says(card(one, drop).locator(".outcome"), "Released.");
});

test("what somebody else wrote turns nothing around it", async (t) => {
  const drop = await createDrop({ name: "כובע ירוק!" });
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "dana", display_name: "דנה!" });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await openLive(t, `/drops/${drop.id}`);
  const shop = await openLive(t, "/");
  await says(page.locator("drop-sheet h1"), "כובע ירוק!");
  await says(page.locator("drop-sheet bdi").first(), "דנה!");
  for (const place of [page.locator("drop-sheet h1"), page.locator("drop-sheet .description"), page.locator("drop-sheet bdi").first(), card(shop, drop).locator("h2 a")]) {
    assert.equal(await place.evaluate((element) => getComputedStyle(element).unicodeBidi), "isolate");
  }
  assert.equal(await page.title(), "\u2068כובע ירוק!\u2069 · Holdfast");
  await says(card(shop, drop).locator(".purchasers"), "\u2068דנה!\u2069");
  // Names that a log of before has, and the server would refuse now.
  const words = await page.evaluate(async () => {
    const { foreign, named } = await import("/assets/lib/foreign.js");
    const sentences = ["A plain “name” – é", "a\u202eb", "x\u2069y", "\u05d0"].map(foreign);
    return [...sentences, ...["\u2800", "\u3164", "\u200b\u00ad", "👩\u200d🚀", "x"].map(named)];
  });
  const unnamed = "Without a name";
  assert.deepEqual(words, ["A plain “name” – é", "\u2068ab\u2069", "\u2068xy\u2069", "\u2068\u05d0\u2069", unnamed, unnamed, unnamed, "👩\u200d🚀", "x"]);
});
