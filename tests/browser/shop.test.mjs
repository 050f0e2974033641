// The shop: holds, purchases and the waitlist, as a buyer uses them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  card,
  close,
  context,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  open,
  openLive,
  remembered,
} from "./lib.mjs";

before(launch);
after(close);

test("two browsers see each other's stock changes during a purchase", async (t) => {
  const drop = await createDrop();
  const [buyer, watcher] = [await openLive(t, "/"), await openLive(t, `/drops/${drop.id}`)];
  await buyer.fill("#display-name", "Ada");
  await expectText(card(buyer, drop).locator(".units"), "5 left of 5");

  await card(buyer, drop).getByRole("button", { name: "Hold it" }).click();
  await card(buyer, drop).getByRole("button", { name: "Buy for €49.00" }).waitFor();
  await expectText(watcher.locator("stock-bar .units"), "4 left of 5 · 1 held");
  await expectText(card(buyer, drop).locator(".units"), "4 left of 5 · 1 held");

  await card(buyer, drop).getByRole("button", { name: "Buy for €49.00" }).click();
  await expectText(
    card(buyer, drop).locator(".outcome"),
    "Purchase complete. 1 unit bought for €49.00.",
  );
  await expectText(watcher.locator(".figures"), /Available\s+4\s+Held\s+0\s+Sold\s+1/);
  await watcher.locator("#purchasers summary").click();
  await expectText(watcher.locator("drop-sheet .columns section").first(), "Ada");
  await expectText(buyer.locator("your-list"), "1 unit bought · €49.00");

  await watcher.locator("hold-panel input").waitFor({ state: "detached" });
  await watcher.getByRole("button", { name: "Hold it" }).click();
  await watcher.getByRole("button", { name: "Release" }).click();
  await expectText(watcher.locator("hold-panel .outcome"), "Released.");
  await expectText(card(buyer, drop).locator(".units"), /4 left\s+of 5$/);
});

test("the timer agrees with the server to the second", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.locator("hold-panel .time").waitFor();
  const [{ hold }] = await remembered(page);
  for (let round = 0; round < 3; round += 1) {
    // The page's countdown, between two reads of the server's clock.
    const left = async () =>
      Date.parse(hold.expires_at) -
      Date.parse((await api("GET", `/v1/holds/${hold.id}`)).server_time);
    const most = await left();
    const [minutes, seconds] = (await page.locator("hold-panel .time").innerText())
      .split(":")
      .map(Number);
    const least = await left();
    const shown = 60 * minutes + seconds;
    // Rounded up, and updated five times a second.
    assert.ok(
      shown >= Math.floor(least / 1000) && shown <= Math.ceil(most / 1000) + 1,
      `${shown} s shown, ${least} to ${most} ms left`,
    );
    await page.waitForTimeout(400);
  }
});

test("an expired hold is shown as expired, and its unit becomes available", async (t) => {
  const drop = await createDrop({ hold_seconds: 3, total_stock: 1 });
  const page = await openLive(t, "/");
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await expectText(card(page, drop).locator(".status"), "All units on hold");
  await expectText(card(page, drop).locator(".outcome"), "Time is up.");
  const [{ hold, stage }] = await remembered(page);
  assert.equal(stage, "expired");
  assert.equal((await api("GET", `/v1/holds/${hold.id}`)).status, "expired");
  await expectText(card(page, drop).locator(".units"), "1 left of 1");
  await expectText(page.locator("toast-list"), "your hold expired");
  await card(page, drop).getByRole("button", { name: "Try again" }).click();
  await card(page, drop).getByRole("button", { name: "Hold it" }).waitFor();
});

test("reloading the page restores a hold, which can be purchased", async (t) => {
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
  await expectText(card(page, drop).locator(".outcome"), "Purchase complete.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, {
    total: 5,
    available: 4,
    held: 0,
    sold: 1,
  });
});

test("reloading the page before the response finds the same hold, and places no second one", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`);
  const keys = [];
  await page.route("**/holds", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    // The request reaches the server, but its response does not reach the page.
    await route.fetch();
    return undefined;
  });
  await page.getByRole("button", { name: "Hold it" }).click();
  await expectText(page.locator(".figures"), /Held\s+1/);
  await expectText(page.locator("hold-panel"), "Placing a hold");
  await page.reload();
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.held, 1);
});

test("a refusal is explained", async (t) => {
  const drop = await createDrop({ max_per_buyer: 1 });
  const page = await openLive(t, "/", { expected: [/status of 409/] });
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await card(page, drop).getByRole("button", { name: "Done" }).click();
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await expectText(
    card(page, drop).locator(".note"),
    "You have reached the limit of 1 unit per buyer.",
  );
  await expectText(page.locator("toast-list"), "You have reached the limit of 1 unit per buyer.");
});

test("several units can be held within the limit; an excessive quantity is an error", async (t) => {
  const drop = await createDrop({ max_per_hold: 3 });
  const page = await openLive(t, `/drops/${drop.id}`);
  const quantity = page.getByLabel("Quantity");
  for (const wrong of ["9", "0", "1.5", ""]) {
    await quantity.fill(wrong);
    await page.getByRole("button", { name: "Hold it" }).click();
    await expectText(page.locator("hold-panel .note"), "Enter a quantity from 1 to 3.");
    assert.equal(await quantity.getAttribute("aria-invalid"), "true");
  }
  assert.deepEqual(await remembered(page), []);
  await quantity.fill("3");
  await expectText(page.locator("hold-panel .note"), "A hold reserves the units for you");
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: "Buy for €147.00" }).waitFor();
  await expectText(page.locator(".figures"), /Held\s+3/);
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

test("a buyer of a sold-out drop joins the waitlist and receives a hold", async (t) => {
  const drop = await createDrop({ total_stock: 2, max_per_hold: 2, hold_seconds: 600 });
  const others = await api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: "another",
    quantity: 2,
  });
  const ahead = await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "ahead" });
  const page = await openLive(t, "/");
  await card(page, drop).getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(card(page, drop), "You are 2nd on the waitlist");
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).waitlist_length, 2);
  await page.reload();
  await expectText(card(page, drop), "You are 2nd on the waitlist");
  await api("DELETE", `/v1/waitlist/${ahead.id}`);
  await expectText(card(page, drop), "You are 1st on the waitlist");
  await api("DELETE", `/v1/holds/${others.id}`);
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await expectText(page.locator("toast-list"), "it is your turn");
  await expectText(card(page, drop).locator(".outcome"), "Purchase complete.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, {
    total: 2,
    available: 1,
    held: 0,
    sold: 1,
  });
});

test("a buyer can leave the waitlist and join again", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600 });
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(page.locator("hold-panel"), "You are 1st on the waitlist");
  await page.getByRole("button", { name: "Leave the waitlist" }).click();
  await page.getByRole("button", { name: "Join the waitlist" }).waitFor();
  assert.equal((await api("GET", `/v1/drops/${drop.id}`)).waitlist_length, 0);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(page.locator("hold-panel"), "You are 1st on the waitlist");
});

test("the shop works by keyboard, with a visible focus", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`);
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  for (let presses = 0; presses < 20 && (await focused()) !== "Hold it"; presses += 1)
    await page.keyboard.press("Tab");
  assert.equal(await focused(), "Hold it");
  const outline = await page.evaluate(
    () => getComputedStyle(/** @type {Element} */ (document.activeElement)).outlineStyle,
  );
  assert.equal(outline, "solid");
  await page.keyboard.press("Enter");
  await eventually("the focus is on the next action", async () =>
    (await focused()).startsWith("Buy for"),
  );
  await page.keyboard.press("Enter");
  await eventually("the focus is on the next action", async () => (await focused()) === "Done");
  await expectText(page.locator("hold-panel .outcome"), "Purchase complete.");
});

test("changing numbers cause no layout shift", async (t) => {
  const drop = await createDrop({ total_stock: 1000, max_per_hold: 100, hold_seconds: 600 });
  const page = await openLive(t, "/");
  await card(page, drop).waitFor();
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => {
    globalThis.shifts = [];
    new PerformanceObserver((list) =>
      list.getEntries().forEach((entry) => globalThis.shifts.push(entry.value)),
    ).observe({ type: "layout-shift" });
  });
  const heights = () =>
    page.evaluate(() =>
      [...document.querySelectorAll("drop-card")].map(
        (element) => element.getBoundingClientRect().height,
      ),
    );
  const before = await heights();
  for (let buyer = 0; buyer < 5; buyer += 1)
    await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: `buyer-${buyer}`, quantity: 100 });
  await expectText(card(page, drop).locator(".units"), "500 left of 1,000 · 500 held");
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).getByRole("button", { name: "Release" }).waitFor();
  assert.deepEqual(await heights(), before);
  assert.deepEqual(await page.evaluate(() => globalThis.shifts), []);
});

test("an upcoming drop counts down and starts automatically", async (t) => {
  const inSeconds = (seconds) => new Date(Date.now() + 1000 * seconds).toISOString();
  const drop = await createDrop({ starts_at: inSeconds(300) });
  const page = await openLive(t, `/drops/${drop.id}`);
  await expectText(page.locator("hold-panel"), /Starts in\s+[45]:\d\d/);
  await edit(drop, { starts_at: inSeconds(4) });
  await expectText(page.locator("hold-panel"), /Starts in\s+0:0\d/);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: /^Buy/ }).waitFor();
});

test("an unknown drop shows an error page", async (t) => {
  const expected = [/status of 404/];
  for (const id of ["00000000-0000-4000-8000-000000000000", "nonsense", "%zz"]) {
    const page = await open(t, `/drops/${id}`, { expected });
    await page.getByRole("heading", { name: "Drop not found" }).waitFor();
  }
});

test("the link to your holds works although the page is still loading", async (t) => {
  const drop = await createDrop();
  const within = await context(t, { viewport: { width: 1280, height: 500 } });
  const page = await openLive(t, `/drops/${drop.id}`, { within });
  await page.getByRole("link", { name: "Your holds" }).click();
  await card(page, drop).waitFor();
  await eventually("the list of holds is visible", () =>
    page.locator("#yours h2").evaluate((heading) => {
      const { top, bottom } = heading.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }),
  );
});

test("sold-out drops are shown after drops on sale", async (t) => {
  const [early, gone] = [await createDrop(), await createDrop({ total_stock: 1 })];
  const sold = await api("POST", `/v1/drops/${gone.id}/holds`, { buyer_id: "another" });
  await api("POST", `/v1/holds/${sold.id}/purchase`);
  const page = await openLive(t, "/");
  const order = () =>
    page.locator("drop-card").evaluateAll((cards) => cards.map((card) => card.dataset.dropId));
  await card(page, gone).waitFor();
  assert.ok((await order()).indexOf(early.id) < (await order()).indexOf(gone.id));
  // A drop that has ended is removed when the page is hidden; until then nothing moves.
  await api("POST", `/v1/drops/${early.id}/cancel`);
  await expectText(card(page, early).locator(".status"), "Cancelled");
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  assert.ok(!(await order()).includes(early.id));
});

test("the remaining allowance is shown if a hold can be placed", async (t) => {
  const drop = await createDrop({ max_per_buyer: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await expectText(page.locator(".standing"), /^You: 1 held\.$/);
  await page.getByRole("button", { name: /^Buy/ }).click();
  await expectText(page.locator(".standing"), /^You: 1 bought\.$/);
  await page.getByRole("button", { name: "Done" }).click();
  await expectText(page.locator(".standing"), "You: 1 bought. You can hold 1 more.");
});

test("the start of a drop in another year includes the year", async (t) => {
  const drop = await createDrop({ starts_at: "2031-05-02T09:30:00.000Z" });
  const page = await openLive(t, `/drops/${drop.id}`, { timezoneId: "UTC" });
  await expectText(page.locator(".when"), "Starts 2 May 2031, 09:30");
});

test("a trailing slash redirects to the page", async (t) => {
  const drop = await createDrop();
  const page = await open(t, "/admin/");
  for (const [from, to] of [
    ["/admin/", "/admin"],
    ["/docs/", "/docs"],
    ["/drops/", "/"],
    ["/drops", "/"],
    ["/cart/", "/cart"],
    ["/orders", "/cart"],
    ["/admin/orders/", "/admin/orders"],
    [`/drops/${drop.id}/`, `/drops/${drop.id}`],
  ]) {
    await page.goto(new URL(from, page.url()).href);
    assert.equal(new URL(page.url()).pathname, to);
  }
});

test("another tab of the same browser shows the same hold", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const [one, other] = [
    await openLive(t, "/", { within }),
    await openLive(t, `/drops/${drop.id}`, { within }),
  ];
  await card(one, drop).getByRole("button", { name: "Hold it" }).click();
  await other.getByRole("button", { name: "Release" }).click();
  await expectText(card(one, drop).locator(".outcome"), "Released.");
});

test("right-to-left text does not reorder the text around it", async (t) => {
  const drop = await createDrop({ name: "כובע ירוק!" });
  const hold = await api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: "dana",
    display_name: "דנה!",
  });
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await openLive(t, `/drops/${drop.id}`);
  const shop = await openLive(t, "/");
  await expectText(page.locator("drop-sheet h1"), "כובע ירוק!");
  await page.locator("#purchasers summary").click();
  await expectText(page.locator("drop-sheet bdi").first(), "דנה!");
  for (const element of [
    page.locator("drop-sheet h1"),
    page.locator("drop-sheet .description"),
    page.locator("drop-sheet bdi").first(),
    card(shop, drop).locator("h2 a"),
  ]) {
    assert.equal(await element.evaluate((node) => getComputedStyle(node).unicodeBidi), "isolate");
  }
  assert.equal(await page.title(), "\u2068כובע ירוק!\u2069 · Holdfast");
  // Names that an older log can contain, and the server rejects now.
  const words = await page.evaluate(async () => {
    const { isolate, nameOrUnnamed } = await import("/assets/lib/foreign.js");
    const sentences = ["A plain “name” – é", "a\u202eb", "x\u2069y", "\u05d0"].map(isolate);
    return [
      ...sentences,
      ...["\u2800", "\u3164", "\u200b\u00ad", "👩\u200d🚀", "x"].map(nameOrUnnamed),
    ];
  });
  const unnamed = "Unnamed";
  assert.deepEqual(words, [
    "A plain “name” – é",
    "\u2068ab\u2069",
    "\u2068xy\u2069",
    "\u2068\u05d0\u2069",
    unnamed,
    unnamed,
    unnamed,
    "👩\u200d🚀",
    "x",
  ]);
});
