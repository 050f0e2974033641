// The first state of the shop's pages: without JavaScript, and how the script takes it over.

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
  eventually,
  expectText,
  fits,
  launch,
  LOOKS,
  open,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

/** The texts of a drop that a reader sees. */
const seen = (one) =>
  one.evaluate((element) =>
    ["h2, h1", ".price", ".status", ".units"].map((selector) =>
      (element.querySelector(selector)?.textContent ?? "").replaceAll(/\s+/g, " ").trim(),
    ),
  );

/** The terms of drops whose texts the server and the script must write alike. */
const TERMS = [
  { total_stock: 1234, price: { amount: 123_456, currency: "EUR" } },
  { total_stock: 20, price: { amount: 1999, currency: "JPY" } },
  { total_stock: 20, price: { amount: 12_345, currency: "BHD" } },
  { total_stock: 3, price: { amount: 99, currency: "USD" } },
  { show_stock: "level", price: { amount: 5, currency: "GBP" } },
  { name: "</script><b>Lamp</b>", starts_at: "2099-12-05T13:05:00Z" },
];

for (const locale of ["en", "de", "he"])
  test(`server and script write the same texts in ${locale}`, async (t) => {
    const drops = [];
    for (const terms of TERMS) drops.push(await createDrop(terms));
    const within = await context(t, { javaScriptEnabled: false, locale });
    const still = await open(t, "/", { within });
    const page = await openLive(t, "/", { locale });
    for (const [index, drop] of drops.entries()) {
      const before = await seen(card(still, drop));
      await card(page, drop).locator("hold-panel").waitFor();
      assert.deepEqual(await seen(card(page, drop)), before, JSON.stringify(TERMS[index]));
    }
    const [, , , , , upcoming] = drops;
    // The browser's zone is the server's: UTC.
    const when = (one, drop) => card(one, drop).locator(".when").innerText();
    const zoned = await openLive(t, "/", { locale, timezoneId: "UTC" });
    assert.equal(await when(zoned, upcoming), await when(still, upcoming));
    assert.equal(await still.locator("b").count(), 0, "a name is text");
  });

test("a reader without JavaScript sees the drops, and the footer", async (t) => {
  const drop = await createDrop({ total_stock: 7, description: "Brass, numbered." });
  const within = await context(t, { ...LOOKS.phone, javaScriptEnabled: false });
  const page = await open(t, "/", { within });
  await expectText(card(page, drop), "7 left");
  await expectText(page.locator(".foot"), "For developers");
  await expectText(page.locator(".empty").last(), "A hold requires JavaScript.");
  assert.equal(await page.locator("#yours").isVisible(), false);
  assert.ok(await fits(page));
  await card(page, drop).getByRole("link").click();
  await page.waitForURL(`${BASE}/drops/${drop.id}`);
  await expectText(page.locator("drop-sheet"), "Brass, numbered.");
  await expectText(page.locator("drop-sheet"), "On sale");
  await page.locator(".languages").getByText("Deutsch").click();
  await expectText(page.locator("drop-sheet"), "Im Verkauf");
  await page.goto(`${BASE}/`);
  await expectText(page.locator("h1"), "Limitiert und live.");
});

test("the script takes the first state over without a second layout", async (t) => {
  const picture = "/assets/mark.svg";
  const drops = [];
  for (let index = 0; index < 3; index += 1)
    drops.push(await createDrop({ image_url: picture, hold_seconds: 600 }));
  const page = await open(t, "about:blank");
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shifts.push(entry.value);
    }).observe({ type: "layout-shift", buffered: true });
    // The card of the first state, and its picture.
    new MutationObserver((_, observer) => {
      const first = document.querySelector("drop-card");
      if (!first?.querySelector("img")) return;
      window.first = { card: first, picture: first.querySelector("img") };
      observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  });
  for (const path of ["/", `/drops/${drops[0].id}`]) {
    await page.goto(BASE + path);
    await page.locator('connection-state[data-state="live"]').waitFor();
    await page.locator("hold-panel button").first().waitFor();
    await page.evaluate(() => new Promise(requestAnimationFrame));
    const shift = await page.evaluate(() => window.shifts.reduce((sum, one) => sum + one, 0));
    // Google calls a page good up to 0.1.
    assert.ok(shift < 0.1, `${path}: ${shift}`);
    assert.equal(await page.locator("[data-first]").count(), 0);
    if (path === "/")
      assert.ok(
        await page.evaluate(
          () => window.first.card.isConnected && window.first.picture.isConnected,
        ),
        "the same card with the same picture",
      );
  }
});

test("pages of products and creators have a first state, in each language", async (t) => {
  const [creator, product] = [`nord-${randomUUID()}`, `coat-${randomUUID()}`];
  const image_url = "/assets/mark.svg";
  const description = "Coats </script><b>by hand</b>.";
  await api("PUT", `/v1/creators/${creator}`, { name: "Atelier Nord", description, image_url });
  const variants = [
    { id: "m", name: "Size M", sku: "HC-M" },
    { id: "l", name: "Size L" },
  ];
  const body = { title: "Harbour coat", creator_id: creator, description, variants };
  await api("PUT", `/v1/products/${product}`, body);
  const of = { creator_id: creator, product_id: product, hold_seconds: 600, image_url };
  const l = await createDrop({ ...of, variant_id: "l", total_stock: 3 });
  const m = await createDrop({ ...of, variant_id: "m", total_stock: 7 });
  await createDrop({ ...of, visibility: "unlisted" });
  for (const [locale, left] of [
    ["en", "7 left"],
    ["de", "7 übrig"],
    ["he", "7"],
  ]) {
    const within = await context(t, { javaScriptEnabled: false, locale });
    const still = await open(t, `/products/${product}`, { within });
    await expectText(still.locator("h1"), "Harbour coat");
    assert.deepEqual(await still.locator(".size h3").allTextContents(), ["Size M", "Size L"]);
    await expectText(card(still, m).locator(".units"), left);
    assert.equal(await still.locator("drop-card").count(), 2, "an unlisted drop is not shown");
    assert.match(await still.title(), /^Harbour coat · /);
    assert.equal(
      await still.getByRole("link", { name: "Atelier Nord" }).getAttribute("href"),
      `/creators/${creator}`,
    );
    const data = JSON.parse(
      await still.locator('script[type="application/ld+json"]').textContent(),
    );
    assert.deepEqual(
      data.hasVariant.map(({ productID, sku }) => [productID, sku]),
      [
        [m.id, "HC-M"],
        [l.id, undefined],
      ],
    );
    const before = [await seen(card(still, m)), await seen(card(still, l))];
    await still.goto(`${BASE}/creators/${creator}`);
    await expectText(still.locator("h1"), "Atelier Nord");
    await expectText(still.locator("#description"), description);
    assert.equal(await still.locator("b").count(), 0, "a description is text");
    const page = await openLive(t, `/products/${product}`, { locale });
    await card(page, l).locator("hold-panel button").first().waitFor();
    assert.deepEqual([await seen(card(page, m)), await seen(card(page, l))], before);
  }
  const page = await open(t, "about:blank");
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shifts.push(entry.value);
    }).observe({ type: "layout-shift", buffered: true });
  });
  for (const path of [`/products/${product}`, `/creators/${creator}`]) {
    await page.goto(BASE + path);
    await page.locator("hold-panel button, #products li").first().waitFor();
    await page.evaluate(() => new Promise(requestAnimationFrame));
    const shift = await page.evaluate(() => window.shifts.reduce((sum, one) => sum + one, 0));
    assert.ok(shift < 0.02, `${path}: ${shift}`);
    assert.equal(await page.locator("[data-first]").count(), 0);
  }
});

test("cards of the first state that are outdated disappear", async (t) => {
  const drop = await createDrop();
  const other = await createDrop();
  const page = await open(t, "about:blank");
  let isOver = false;
  await page.route(/\/v1\/drops\?status=live/, async (route) => {
    if (!isOver) await api("POST", `/v1/drops/${drop.id}/cancel`);
    isOver = true;
    await route.continue();
  });
  await page.goto(BASE);
  await eventually("the card is removed", async () => (await card(page, drop).count()) === 0);
  await card(page, other).locator("hold-panel").waitFor();
});
