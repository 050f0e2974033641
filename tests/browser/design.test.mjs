// The appearance of the shop: one picture of the stock, quantities on cards, the time that is left
// of a hold, the waitlist, and messages that cover no control.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  BASE,
  LOOKS,
  api,
  boxOf,
  card,
  close,
  context,
  createDrop,
  eventually,
  expectText,
  launch,
  open,
  openLive,
  openRoom,
  remembered,
  shownSeconds,
} from "./lib.mjs";

before(launch);
after(close);

/** Places a hold for another buyer. */
function holdFor(drop, buyer, quantity = 1) {
  return api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: buyer,
    display_name: buyer,
    quantity,
  });
}

/** The widths of the parts of a stock bar, as shares of the bar. The held part begins with it. */
function sharesOf(stockBar) {
  return stockBar.evaluate((element) => {
    const width = (selector) =>
      element.querySelector(selector)?.getBoundingClientRect().width ?? null;
    const whole = width(".bar");
    const share = (selector) => {
      const part = width(selector);
      return part === null ? null : Math.round((1000 * part) / whole) / 1000;
    };
    return { available: share(".available"), held: share(".held"), sold: share(".sold") };
  });
}

test("the bar and the number show the units that are left, or the sold ones of a drop that has ended", async (t) => {
  const drop = await createDrop({ total_stock: 8, max_per_hold: 3 });
  const hold = await holdFor(drop, "ada", 2);
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  await holdFor(drop, "bo", 1);
  const page = await openLive(t, "/", { reducedMotion: "reduce" });
  const bar = card(page, drop).locator("stock-bar");
  await expectText(bar, "5 left of 8 · 1 held");
  assert.deepEqual(await sharesOf(bar), { available: 5 / 8, held: 6 / 8, sold: null });
  await holdFor(drop, "cleo", 3);
  await expectText(bar, "2 left of 8 · 4 held");
  await eventually("the bar follows", async () => (await sharesOf(bar)).available === 2 / 8);
  assert.equal(await bar.evaluate((element) => element.hasAttribute("data-low")), true);

  await api("POST", `/v1/drops/${drop.id}/cancel`);
  await expectText(bar, "2 sold of 8");
  await eventually("the bar shows sold units", async () => (await sharesOf(bar)).sold === 2 / 8);
});

test("the quantity is chosen on the card, up to the allowed and available units", async (t) => {
  const drop = await createDrop({ total_stock: 5, max_per_hold: 4, max_per_buyer: 3 });
  const page = await openLive(t, "/", LOOKS.phone);
  const own = card(page, drop);
  const [less, more] = ["One unit fewer", "One unit more"].map((name) =>
    own.getByRole("button", { name }),
  );
  const quantity = own.getByLabel("Quantity");
  assert.equal(await less.getAttribute("aria-disabled"), "true");
  for (const expected of ["2", "3"]) {
    await more.click();
    assert.equal(await quantity.inputValue(), expected);
  }
  assert.equal(await more.getAttribute("aria-disabled"), "true", "the limit per buyer is 3");
  await more.click({ force: true });
  assert.equal(await quantity.inputValue(), "3");
  for (const button of [less, more]) {
    const { width, height } = await boxOf(button);
    assert.ok(width >= 44 && height >= 44, `${width} × ${height}`);
  }
  await holdFor(drop, "ada", 3);
  await expectText(own.locator(".units"), "2 left of 5");
  await less.click();
  assert.equal(await quantity.inputValue(), "2");
  assert.equal(await more.getAttribute("aria-disabled"), "true", "two are available");
  await own.getByRole("button", { name: "Hold it" }).click();
  await own.getByRole("button", { name: "Buy for €98.00" }).waitFor();
  const [{ hold }] = await remembered(page);
  assert.equal((await api("GET", `/v1/holds/${hold.id}`)).quantity, 2);
});

test("a complete purchase looks like a success, and its button enabled", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, "/");
  const own = card(page, drop);
  await own.getByRole("button", { name: "Hold it" }).click();
  await own.getByRole("button", { name: /^Buy for/ }).click();
  const outcome = own.locator(".outcome");
  await expectText(outcome, "Purchase complete. 1 unit bought for €49.00.");
  const mark = await outcome.evaluate((element) => getComputedStyle(element, "::before").content);
  assert.match(mark, /✓/);
  const done = own.locator('button:not([aria-disabled]):has-text("Done")');
  await done.waitFor();
  const looks = () =>
    done.evaluate((button) => {
      const { opacity, filter } = getComputedStyle(button);
      return `${opacity} ${filter}`;
    });
  await eventually("the button is not pale", async () => (await looks()) === "1 none");
});

test("the time that is left of a hold is on every page, and leads to the hold", async (t) => {
  const [long, short] = [
    await createDrop({ hold_seconds: 1200 }),
    await createDrop({ hold_seconds: 900 }),
  ];
  const within = await context(t, LOOKS.phone);
  const page = await openLive(t, "/", { within });
  const timer = page.locator("hold-timer a");
  assert.equal(await timer.count(), 0);
  await card(page, long).getByRole("button", { name: "Hold it" }).click();
  await expectText(timer, `left to buy 1 unit of ${long.name}`);
  assert.equal(await timer.getAttribute("href"), `/drops/${long.id}`);
  await card(page, short).getByRole("button", { name: "Hold it" }).click();
  await expectText(timer, `1 unit of ${short.name}, the first of 2 holds to expire`);

  await page.goto(`${BASE}/cart`);
  await expectText(timer, short.name);
  const { height } = await boxOf(timer);
  assert.ok(height >= 44, `${height} px`);
  const seconds = await shownSeconds(timer.locator(".left"));
  assert.ok(seconds > 0 && seconds <= 900, `${seconds} s`);
  await timer.click();
  await page.waitForURL(`**/drops/${short.id}`);
  await page.getByRole("button", { name: "Release" }).click();
  await expectText(timer, long.name);
  assert.doesNotMatch(await timer.innerText(), /holds to expire/);
});

test("names of buyers are on no card, and are requested only when they are opened", async (t) => {
  const drop = await createDrop();
  const hold = await holdFor(drop, "Wilhelmina");
  await api("POST", `/v1/holds/${hold.id}/purchase`);
  const page = await open(t, "about:blank");
  const requests = [];
  page.on("request", (request) => requests.push(request.url().slice(BASE.length)));
  await page.goto(BASE);
  await expectText(card(page, drop).locator(".units"), "4 left of 5");
  assert.doesNotMatch(await page.locator("body").innerText(), /Wilhelmina/);
  await page.goto(`${BASE}/drops/${drop.id}`);
  await page.locator('connection-state[data-state="live"]').waitFor();
  const purchasers = page.locator("#purchasers");
  assert.equal(await purchasers.evaluate((details) => details.open), false);
  const named = () => requests.filter((path) => /purchasers/.test(path) && path.startsWith("/v1/"));
  assert.deepEqual(named(), []);
  await purchasers.locator("summary").click();
  await expectText(purchasers, /Wilhelmina .* Wilhelmina/);
  assert.equal(named().length, 2);
});

test("the waitlist shows its length, one's own position, and how long an offer lasts", async (t) => {
  const drop = await createDrop({ total_stock: 1, hold_seconds: 600, offer_seconds: 300 });
  await holdFor(drop, "ada");
  for (const buyer of ["bo", "cleo"])
    await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: buyer });
  const page = await openLive(t, "/");
  const panel = card(page, drop).locator("hold-panel");
  await expectText(panel, "2 waiting");
  await expectText(panel, "An offer is a hold for 5 minutes.");
  await panel.getByRole("button", { name: "Join the waitlist" }).click();
  await expectText(panel, /You are 3rd on the waitlist\s+3 waiting/);
  await expectText(
    panel,
    "Your offer will last 5 minutes: buy within that time, or it goes to the next.",
  );
});

test("the time zone of the shown times is named", async (t) => {
  const drop = await createDrop({ starts_at: "2031-05-02T00:30:00Z" });
  const page = await openLive(t, "/", { timezoneId: "Asia/Tokyo" });
  await expectText(page.locator(".foot"), "Times are in Asia/Tokyo (UTC+9).");
  await expectText(card(page, drop).locator(".when"), "Starts 2 May 2031, 09:30 UTC+9");
  const dashboard = await openRoom(t, "/admin", { timezoneId: "Asia/Tokyo" });
  await dashboard.getByRole("button", { name: "New drop" }).click();
  await expectText(
    dashboard.locator('dialog fieldset:has-text("Sale window")'),
    "Times are in Asia/Tokyo (UTC+9).",
  );
});

test("the whole card leads to its drop, except for its actions", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, "/");
  const own = card(page, drop);
  await own.scrollIntoViewIfNeeded();
  for (const part of [".frame", "stock-bar", ".when"]) {
    const { x, y, width, height } = await boxOf(own.locator(part));
    const target = await page.evaluate(
      ([x, y]) => document.elementFromPoint(x, y)?.closest("a")?.getAttribute("href") ?? "",
      [x + width / 2, y + height / 2],
    );
    assert.equal(target, `/drops/${drop.id}`, part);
  }
  const { x, y } = await boxOf(own.locator("hold-panel"));
  const target = await page.evaluate(
    ([x, y]) => Boolean(document.elementFromPoint(x, y)?.closest("a")),
    [x + 4, y + 4],
  );
  assert.equal(target, false, "a press next to a button leads nowhere");
});

/** The controls that a message overlaps now, and the number of visible messages. */
function overlaps(page) {
  return page.evaluate(() => {
    const boxes = [...document.querySelectorAll(".toast:not([data-waiting])")].map((toast) =>
      toast.getBoundingClientRect(),
    );
    const controls = [
      ...document.querySelectorAll("main button, main input, main select, main summary, .top"),
    ];
    const isCovered = (element) => {
      const box = element.getBoundingClientRect();
      return boxes.some(
        (toast) =>
          toast.left < box.right &&
          toast.right > box.left &&
          toast.top < box.bottom &&
          toast.bottom > box.top,
      );
    };
    return {
      visible: boxes.length,
      covered: controls.filter(isCovered).map(({ textContent }) => textContent),
    };
  });
}

test("messages cover no control of a small phone; without a place they wait for one", async (t) => {
  const drop = await createDrop({ max_per_hold: 9, hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`, {
    ...LOOKS.phone,
    viewport: { width: 360, height: 420 },
    reducedMotion: "reduce",
  });
  const add = page.getByRole("button", { name: "Add to cart" });
  for (let units = 1; units <= 3; units += 1) {
    await add.click();
    await expectText(page.locator("cart-count"), String(units));
  }
  assert.equal(await page.locator(".toast").count(), 3);
  const { scrollHeight } = await page.evaluate(() => ({
    scrollHeight: document.documentElement.scrollHeight - innerHeight,
  }));
  let seen = 0;
  for (let top = 0; top <= scrollHeight; top += 60) {
    await page.evaluate((top) => scrollTo(0, top), top);
    // The page places its messages in the frame after a scroll.
    await page.waitForFunction((top) => Math.abs(scrollY - top) < 1, top);
    const now = await eventually("nothing is covered", async () => {
      const { covered, visible } = await overlaps(page);
      return covered.length === 0 && { visible };
    });
    seen += now.visible;
  }
  assert.ok(seen > 0, "messages were visible");

  // A page that is full of buttons has no place at all.
  await page.evaluate(() => {
    const wall = document.createElement("div");
    wall.id = "wall";
    wall.style.cssText = "position: fixed; inset: 0; z-index: 4";
    for (let top = 0; top < innerHeight; top += 40) {
      const button = document.createElement("button");
      button.style.cssText = `position: absolute; top: ${top}px; width: 100%`;
      wall.append(button);
    }
    document.querySelector("main").append(wall);
  });
  await eventually("every message waits", async () => (await overlaps(page)).visible === 0);
  assert.ok((await page.locator(".toast").count()) > 0);
  await page.evaluate(() => document.getElementById("wall").remove());
  await eventually("the messages are back", async () => (await overlaps(page)).visible > 0);
});

test("every page has an icon, and a footer for developers", async (t) => {
  for (const path of ["/", "/cart", "/admin", "/docs"]) {
    const page = await open(t, path);
    const icon = await page.locator('link[rel="icon"]').getAttribute("href");
    const { status, headers } = await fetch(BASE + icon);
    assert.deepEqual([status, headers.get("content-type")], [200, "image/svg+xml"], path);
    assert.equal(await page.locator('.foot a[href="/docs"]').count(), 1, path);
  }
});

test("a room is inert until its script runs, so that no press is lost", async (t) => {
  const within = await context(t);
  await openRoom(t, "/admin/orders", { within });
  const page = await open(t, "about:blank", { within });
  let release = () => {};
  const released = new Promise((resolve) => {
    release = resolve;
  });
  await page.route("**/assets/pages/webhooks.js", async (route) => {
    await released;
    return route.continue();
  });
  await page.goto(`${BASE}/admin/webhooks`, { waitUntil: "commit" });
  const main = page.locator("main");
  await main.waitFor();
  assert.equal(await main.evaluate((element) => element.inert), true);
  const button = page.getByRole("button", { name: "New endpoint", includeHidden: true });
  assert.equal(
    await button.evaluate((element) => {
      element.focus();
      return document.activeElement === element;
    }),
    false,
  );
  release();
  await button.click();
  await page.getByRole("dialog").waitFor();
  assert.equal(await main.evaluate((element) => element.inert), false);
});
