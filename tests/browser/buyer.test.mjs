// Protection of buyers: no accidental purchase, no unseen price, no lost hold, no missed offer, no
// unexplained refusal.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  boxOf,
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

/** Opens the page of a drop with a stopped clock, which the test advances. */
async function openStill(t, drop, { expected } = {}) {
  const within = await context(t);
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected });
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 1000);
  return page;
}

const holdIt = (page) => page.getByRole("button", { name: "Hold it" });
const buyIt = (page) => page.getByRole("button", { name: /^Buy for/ });
const stock = async (drop) => (await api("GET", `/v1/drops/${drop.id}`)).stock;

/** Creates a drop whose only unit is held by another buyer, and returns it with that hold. */
async function soldOut(more = {}) {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, ...more });
  return { drop, hold: await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" }) };
}

test("a token is taken out of the address and not used where buyers need none", async (t) => {
  const drop = await createDrop();
  const within = await context(t);
  const sent = [];
  within.on("request", (request) => sent.push(request));
  const page = await openLive(t, `/drops/${drop.id}#token=e30.eyJzdWIiOiJhbm4ifQ.AAAA`, { within });
  assert.equal(new URL(page.url()).hash, "");
  await holdIt(page).click();
  await buyIt(page).waitFor();
  for (const request of sent)
    assert.equal((await request.allHeaders()).authorization, undefined, request.url());
  const [{ hold }] = await remembered(page);
  assert.match(hold.buyer_id, /^guest-/);
  assert.ok(await page.locator("sign-in-button").isHidden());
  assert.equal(await page.evaluate(() => localStorage.getItem("holdfast.session")), null);
});

test("a double click places a hold, and does not purchase it", async (t) => {
  const drop = await createDrop();
  const page = await openStill(t, drop);
  await holdIt(page).click();
  const { x, y, width, height } = await boxOf(buyIt(page));
  for (let click = 0; click < 3; click += 1) await page.mouse.click(x + width / 2, y + height / 2);
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.clock.runFor(2000);
  await page.mouse.up();
  assert.equal((await remembered(page))[0].stage, "held");
  assert.equal(await buyIt(page).getAttribute("aria-disabled"), "true");
  await page.clock.runFor(2000);
  await buyIt(page).click();
  await expectText(page.locator("hold-panel .outcome"), "Purchase complete.");
  assert.equal((await stock(drop)).sold, 1);
});

test("a key that is held down places a hold, and does not purchase it", async (t) => {
  const drop = await createDrop();
  const page = await openStill(t, drop);
  await holdIt(page).focus();
  for (let repeat = 0; repeat < 3; repeat += 1) await page.keyboard.down("Enter");
  await buyIt(page).waitFor();
  for (let repeat = 0; repeat < 20; repeat += 1) {
    await page.clock.runFor(400);
    await page.keyboard.down("Enter");
  }
  await page.keyboard.up("Enter");
  assert.equal((await remembered(page))[0].stage, "held");
  await page.clock.runFor(2000);
  await eventually("the focus is on the next action", () =>
    buyIt(page).evaluate((button) => button === document.activeElement),
  );
  await page.keyboard.press("Enter");
  await expectText(page.locator("hold-panel .outcome"), "Purchase complete.");
  assert.deepEqual(await stock(drop), { total: 5, available: 4, held: 0, sold: 1 });
});

test("the button shows the charged price, even if it changed before the hold was placed", async (t) => {
  const drop = await createDrop({ max_per_hold: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.route("**/holds", async (route) => {
    await edit(drop, { price: { amount: 2500, currency: "EUR" } });
    await route.continue();
  });
  await page.getByLabel("Quantity").fill("2");
  await holdIt(page).click();
  await page.getByRole("button", { name: "Buy for €50.00" }).waitFor();
  await expectText(
    page.locator("hold-panel .note"),
    "The price changed before the hold was placed: from €49.00 to €25.00 per unit.",
  );
  await edit(drop, { price: { amount: 9900, currency: "EUR" } });
  await expectText(page.locator(".price"), "€99.00");
  await page.reload();
  await page.getByRole("button", { name: "Buy for €50.00" }).click();
  await expectText(page.locator("hold-panel .outcome"), "2 units bought for €50.00.");
});

test("amounts have the decimals of ISO 4217 everywhere, independent of Intl", async (t) => {
  const within = await context(t);
  await within.addInitScript(() => {
    // Simulates a browser with different decimals for every currency.
    const Original = Intl.NumberFormat;
    Intl.NumberFormat = class extends Original {
      constructor(locale, options = {}) {
        const isMoney = options.style === "currency";
        const own = { minimumFractionDigits: 1, maximumFractionDigits: 1, ...options };
        super(locale, isMoney ? own : options);
      }
    };
  });
  for (const [amount, currency, each, both] of [
    [1_234_567, "HUF", "HUF 12,345.67", "HUF 24,691.34"],
    [4_950, "JPY", "¥4,950", "¥9,900"],
    [1_999, "KWD", "KWD 1.999", "KWD 3.998"],
    [15_000, "CLF", "CLF 1.5000", "CLF 3.0000"],
    [125, "RSD", "RSD 1.25", "RSD 2.50"],
  ]) {
    const drop = await createDrop({ max_per_hold: 2, price: { amount, currency } });
    const shop = await openLive(t, "/", { within });
    await expectText(card(shop, drop).locator(".price"), each);
    const page = await openLive(t, `/drops/${drop.id}`, { within });
    await expectText(page.locator(".price"), each);
    await page.getByLabel("Quantity").fill("2");
    await holdIt(page).click();
    await page.getByRole("button", { name: `Buy for ${both}` }).click();
    await expectText(page.locator("hold-panel .outcome"), `2 units bought for ${both}.`);
    await shop.close();
    await page.close();
  }
});

test("an offer has the price of the drop at the time of the offer", async (t) => {
  const { drop, hold } = await soldOut();
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(page.locator("hold-panel"), "You are 1st on the waitlist");
  await edit(drop, { price: { amount: 2500, currency: "EUR" } });
  await api("DELETE", `/v1/holds/${hold.id}`);
  await page.getByRole("button", { name: "Buy for €25.00" }).click();
  await expectText(page.locator("hold-panel .outcome"), "1 unit bought for €25.00.");
});

test("the holder of a cancelled drop is informed, and offered no impossible action", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const within = await context(t);
  const [page, shop] = [
    await openLive(t, `/drops/${drop.id}`, { within }),
    await openLive(t, "/", { within }),
  ];
  await holdIt(page).click();
  await buyIt(page).waitFor();
  await api("POST", `/v1/drops/${drop.id}/cancel`);
  await expectText(
    page.locator("hold-panel .outcome"),
    "Cancelled. The drop was cancelled, and your hold was released. You were not charged.",
  );
  await expectText(
    page.locator("toast-list"),
    "was cancelled, and your hold was released. You were not charged.",
  );
  await expectText(shop.locator("your-list"), "cancelled, not purchased");
  assert.deepEqual(await page.locator("hold-panel button").allInnerTexts(), ["Done"]);
  await page.getByRole("button", { name: "Done" }).click();
  await expectText(page.locator("hold-panel .outcome"), "This drop was cancelled.");
  await shop.reload();
  await expectText(shop.locator("your-list"), "cancelled, not purchased");
});

test("an expired hold of an ended drop offers no new attempt", async (t) => {
  const drop = await createDrop({ hold_seconds: 2 });
  const page = await openLive(t, `/drops/${drop.id}`);
  await holdIt(page).click();
  await eventually("the hold is placed", async () => (await remembered(page))[0]?.hold);
  await edit(drop, { ends_at: new Date(Date.now() + 500).toISOString() });
  await expectText(page.locator("hold-panel .outcome"), /Time is up\. .* The drop has ended\./);
  assert.deepEqual(await page.locator("hold-panel button").allInnerTexts(), ["Done"]);
});

for (const [subject, drop, words] of [
  ["a hold", () => createDrop(), "Hold it"],
  ["a waitlist entry", async () => (await soldOut()).drop, "Join the waitlist"],
]) {
  test(`a lost response does not lose ${subject}: the buyer can retry`, async (t) => {
    const target = await drop();
    const page = await openLive(t, `/drops/${target.id}`, { expected: [/ERR_FAILED/] });
    await page.clock.install();
    const keys = [];
    let isBroken = true;
    await page.route(/\/(holds|waitlist)$/, async (route) => {
      keys.push(route.request().headers()["idempotency-key"]);
      if (!isBroken) return route.continue();
      // The request reaches the server, but its response does not reach the page.
      await route.fetch();
      return route.abort();
    });
    await page.getByRole("button", { name: words }).click();
    await expectText(page.locator("hold-panel"), "No response yet, retrying.");
    await eventually("the page stops retrying automatically", async () => {
      await page.clock.runFor(5000);
      return (await page.locator("hold-panel").innerText()).includes("No response. It is unknown");
    });
    await page.reload();
    await expectText(page.locator("hold-panel"), "No response. It is unknown");
    isBroken = false;
    await page.getByRole("button", { name: "Retry" }).click();
    await page
      .getByRole("button", { name: words === "Hold it" ? /^Buy for/ : "Leave the waitlist" })
      .waitFor();
    assert.equal(new Set(keys).size, 1);
    const { held } = await stock(target);
    assert.equal(held, 1);
    assert.equal((await remembered(page)).length, 1);
  });
}

test("an offer is reported on the page that the buyer is looking at, with a link", async (t) => {
  const [{ drop, hold }, other] = [await soldOut(), await createDrop()];
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(page.locator("hold-panel"), "You are 1st on the waitlist");
  await page.goto(new URL(`/drops/${other.id}`, page.url()).href);
  await holdIt(page).waitFor();
  await api("DELETE", `/v1/holds/${hold.id}`);
  await expectText(page.locator("toast-list"), `${drop.name}: it is your turn.`);
  assert.equal(await page.title(), `Your turn: ${drop.name} · ${other.name} · Holdfast`);
  await page.locator("toast-list").getByRole("link").click();
  await page.waitForURL(`**/drops/${drop.id}`);
  await buyIt(page).waitFor();
  await page.goto(new URL("/", page.url()).href);
  await page.locator("your-list").getByRole("button", { name: "Buy for €49.00" }).click();
  await expectText(page.locator("your-list"), "1 unit bought · €49.00");
  assert.equal(await page.title(), "Holdfast");
});

test("all holds can be purchased from the list, whatever their number", async (t) => {
  const page = await openLive(t, "/");
  const drops = [];
  for (let number = 0; number < 10; number += 1)
    drops.push(await createDrop({ hold_seconds: 600 }));
  for (const drop of drops) await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  const rows = page.locator('your-list li[data-stage="held"]');
  await eventually("every hold has a row", async () => (await rows.count()) === 10);
  const first = page.locator("your-list li", { hasText: drops[0].name });
  await first.getByRole("button", { name: "Buy for" }).click();
  await expectText(first, "1 unit bought · €49.00");
  assert.equal((await stock(drops[0])).sold, 1);
});

test("the closing of a waitlist is shown with its reason", async (t) => {
  const within = await context(t);
  const [ended, cancelled] = [await soldOut(), await soldOut()];
  const pages = [];
  for (const { drop } of [ended, cancelled]) {
    const page = await openLive(t, `/drops/${drop.id}`, { within });
    await page.getByRole("button", { name: "Join the waitlist" }).click();
    await expectText(page.locator("hold-panel"), "You are 1st on the waitlist");
    pages.push(page);
  }
  await edit(ended.drop, { ends_at: new Date(Date.now() + 500).toISOString() });
  await api("POST", `/v1/drops/${cancelled.drop.id}/cancel`);
  await expectText(
    pages[0].locator("hold-panel .outcome"),
    "The waitlist is closed. The drop ended before your turn came.",
  );
  await expectText(
    pages[1].locator("hold-panel .outcome"),
    "The waitlist is closed. The drop was cancelled before your turn came.",
  );
  const shop = await openLive(t, "/", { within });
  await expectText(shop.locator("your-list"), "ended, waitlist closed");
  await expectText(shop.locator("your-list"), "cancelled, waitlist closed");
});

test("a refusal disappears when it no longer applies", async (t) => {
  const expected = [/status of (409|429)/];
  const [scarce, throttled] = [
    await createDrop({ total_stock: 2, max_per_hold: 2 }),
    await createDrop({ throttle: { holds: 1, window_seconds: 20 } }),
  ];
  const other = await api("POST", `/v1/drops/${scarce.id}/holds`, { buyer_id: "another" });
  const page = await openLive(t, `/drops/${scarce.id}`, { expected });
  await page.getByLabel("Quantity").fill("2");
  await holdIt(page).click();
  await expectText(page.locator(".note.refusal"), "Only 1 unit is available right now.");
  await api("DELETE", `/v1/holds/${other.id}`);
  await expectText(page.locator(".note:not(.refusal)"), "A hold reserves the units for you");

  // The throttle is long enough for three clicks on a slow machine, and short enough to wait for.
  const quick = await openLive(t, `/drops/${throttled.id}`, { expected });
  await holdIt(quick).click();
  await quick.getByRole("button", { name: "Release" }).click();
  await quick.getByRole("button", { name: "Hold again" }).click();
  await holdIt(quick).click();
  await expectText(quick.locator(".note.refusal"), "Too many holds in a short time.");
  await expectText(quick.locator(".note:not(.refusal)"), "A hold reserves the units for you");
  await holdIt(quick).click();
  await buyIt(quick).waitFor();
});

test("with full storage, entries are kept while the page is open", async (t) => {
  const [first, second] = [await createDrop(), await createDrop()];
  const within = await context(t);
  const page = await openLive(t, "/", { within });
  await card(page, first).getByRole("button", { name: "Hold it" }).click();
  await card(page, first).getByRole("button", { name: /^Buy/ }).waitFor();
  await page.evaluate(() => {
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  await card(page, second).getByRole("button", { name: "Hold it" }).click();
  await card(page, second).getByRole("button", { name: /^Buy/ }).click();
  await expectText(card(page, second).locator(".outcome"), "Purchase complete.");
  assert.equal((await stock(second)).sold, 1);
});
