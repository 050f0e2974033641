// Drops in the dashboard: the form of a new one, its preview and its copy, the search and the order
// of the table, and the room of one drop.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  api,
  boxOf,
  close,
  createDrop,
  eventually,
  expectText,
  launch,
  openDashboard,
  openRoom,
} from "./lib.mjs";

before(launch);
after(close);

const row = (page, drop) => page.locator(`tr[data-drop-id="${drop.id}"]`);

function holdFor(drop, buyer, quantity = 1) {
  return api("POST", `/v1/drops/${drop.id}/holds`, {
    buyer_id: buyer,
    display_name: buyer,
    quantity,
  });
}

test("the button of a new drop is visible without scrolling, next to a preview of its card", async (t) => {
  const page = await openDashboard(t, { viewport: { width: 1280, height: 720 } });
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = page.getByRole("dialog");
  const { y, height } = await boxOf(dialog.getByRole("button", { name: "Create the drop" }));
  assert.ok(y >= 0 && y + height <= 720, `the button ends at ${y + height}`);
  assert.equal(await page.evaluate(() => scrollY), 0);
  assert.deepEqual(await dialog.locator("legend, summary").allInnerTexts(), [
    "Basics",
    "Sale window",
    "Limits",
    "Waitlist and payment",
    "More",
  ]);
  const codes = await page
    .locator("#currencies option")
    .evaluateAll((options) => options.map(({ value, label }) => [value, label]));
  assert.ok(codes.length > 150, `${codes.length} currencies`);
  assert.deepEqual(
    codes.find(([code]) => code === "JPY"),
    ["JPY", "Japanese Yen"],
  );
  assert.equal(await dialog.getByLabel("Currency").getAttribute("list"), "currencies");

  const preview = dialog.locator(".form-preview");
  await dialog.getByLabel("Name").fill("Field lamp");
  await dialog.getByLabel("Price").fill("4900");
  await dialog.getByLabel("Currency").fill("jpy");
  await dialog.getByLabel("Units", { exact: true }).fill("40");
  await dialog.getByLabel("Maximum units per hold").fill("3");
  await expectText(preview, /Field lamp ¥4,900 40 left of 40/);
  await expectText(preview, "Quantity");
  await dialog.getByLabel("Starts").fill("2031-05-02T09:30");
  await expectText(preview, "Upcoming");
  assert.equal(await preview.locator("[inert]").count(), 1, "its buttons hold nothing");
  await dialog.getByLabel("Hold duration").fill("600");
  await expectText(dialog.locator('.field:has(label:has-text("Hold duration"))'), "= 10 minutes");
});

test("a refused value in a closed group opens the group", async (t) => {
  const page = await openDashboard(t);
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("Closed group");
  await dialog.getByLabel("Price").fill("1");
  await dialog.getByText("More", { exact: true }).click();
  await dialog.getByLabel("Report low stock").fill("0");
  await dialog.getByText("More", { exact: true }).click();
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await expectText(dialog.locator("details"), "Enter a number from 1 to 10000000.");
});

test("the catalogue's entries are offered for the ids of a drop, and others are accepted", async (t) => {
  const [creator, product] = [`nord-${randomUUID()}`, `coat-${randomUUID()}`];
  await api("PUT", `/v1/creators/${creator}`, { name: "Atelier Nord" });
  const variants = [{ id: "m", name: "Size M" }];
  await api("PUT", `/v1/products/${product}`, { title: "Harbour coat", variants });
  const page = await openDashboard(t);
  await page.getByRole("button", { name: "New drop" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("More", { exact: true }).click();
  const offered = async (label) => {
    const list = await dialog.getByLabel(label, { exact: true }).getAttribute("list");
    return await page
      .locator(`#${list} option`)
      .evaluateAll((options) => options.map(({ value, label }) => [value, label]));
  };
  const has = (options, id, words) => options.some((one) => one[0] === id && one[1] === words);
  await eventually("the products", async () =>
    has(await offered("Product"), product, `Harbour coat (${product})`),
  );
  await eventually("the creators", async () =>
    has(await offered("Creator"), creator, `Atelier Nord (${creator})`),
  );
  assert.deepEqual(await offered("Variant"), []);
  await dialog.getByLabel("Product", { exact: true }).fill(product);
  assert.deepEqual(await offered("Variant"), [["m", "Size M (m)"]]);
  await dialog.getByLabel("Variant", { exact: true }).fill("m");
  await dialog.getByLabel("Creator", { exact: true }).fill("of-another-shop");
  await dialog.getByLabel("Name").fill("Harbour coat, M");
  await dialog.getByLabel("Price").fill("1");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  const [{ id }] = (await api("GET", "/v1/admin/metrics?limit=1")).drops;
  const made = await api("GET", `/v1/drops/${id}`);
  assert.deepEqual(
    [made.product_id, made.variant_id, made.creator_id],
    [product, "m", "of-another-shop"],
  );
  await api("POST", `/v1/drops/${id}/cancel`);
});

test("a drop is duplicated: the form has its terms, without its past sale window", async (t) => {
  const drop = await createDrop({
    description: "Numbered",
    price: { amount: 1250, currency: "KWD" },
    total_stock: 7,
    hold_seconds: 90,
    offer_seconds: 3600,
    max_hold_seconds: 900,
    max_per_hold: 2,
    max_per_buyer: 4,
    low_stock_at: 3,
    throttle: { holds: 3, window_seconds: 60 },
    limit_group: "lanterns",
    visibility: "unlisted",
    product_id: "lantern",
  });
  const page = await openDashboard(t);
  await row(page, drop).getByRole("button", { name: "Duplicate" }).click();
  const dialog = page.getByRole("dialog");
  assert.equal(await dialog.getByLabel("Name").inputValue(), `${drop.name} (copy)`);
  assert.equal(await dialog.getByLabel("Price").inputValue(), "1.250");
  assert.equal(await dialog.getByLabel("Starts").inputValue(), "");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  const [{ id }] = (await api("GET", "/v1/admin/metrics?limit=1")).drops;
  const copy = await api("GET", `/v1/drops/${id}`);
  const terms = (of) => [
    of.description,
    of.price,
    of.hold_seconds,
    of.offer_seconds,
    of.max_hold_seconds,
    of.max_per_hold,
    of.max_per_buyer,
    of.low_stock_at,
    of.throttle,
    of.limit_group,
    of.visibility,
    of.product_id,
    of.stock.total,
  ];
  assert.notEqual(copy.id, drop.id);
  assert.equal(copy.name, `${drop.name} (copy)`);
  assert.deepEqual(terms(copy), terms(drop));
  await api("POST", `/v1/drops/${copy.id}/cancel`);
});

test("drops are found by their id, and sorted", async (t) => {
  const series = `Series ${Date.now()}`;
  const drops = [];
  for (const [name, total_stock, held] of [
    ["B", 5, 1],
    ["C", 9, 4],
    ["A", 7, 0],
  ]) {
    const drop = await createDrop({ name: `${series} ${name}`, total_stock, max_per_hold: 4 });
    if (held > 0) await holdFor(drop, "ada", held);
    drops.push(drop);
  }
  const page = await openDashboard(t);
  const names = () => page.locator("drop-table tbody th").allInnerTexts();
  const shows = (letters) =>
    eventually(`the table shows ${letters}`, async () => {
      const shown = (await names()).map((name) => name.trim().slice(-1)).join("");
      return shown === letters;
    });
  await page.getByLabel("Search by name or id").fill(series);
  await shows("ACB");
  for (const [label, letters] of [
    ["Name", "ABC"],
    ["Most held", "CBA"],
    ["Fewest available", "BCA"],
    ["Newest", "ACB"],
  ]) {
    await page.getByLabel("Sort by").selectOption({ label });
    await shows(letters);
  }
  await page.getByLabel("Search by name or id").fill(drops[1].id);
  await shows("C");
});

test("a button for an action that cannot be undone looks so, and its dialog names the effect", async (t) => {
  const drop = await createDrop({ total_stock: 3 });
  await holdFor(drop, "ada");
  const page = await openRoom(t, `/admin/drops/${drop.id}`);
  const cancel = page.getByRole("button", { name: "Cancel the drop" });
  const edit = page.getByRole("button", { name: "Edit" });
  const colorOf = (button) => button.evaluate((element) => getComputedStyle(element).color);
  assert.notEqual(await colorOf(cancel), await colorOf(edit));
  await cancel.click();
  const dialog = page.getByRole("dialog");
  await expectText(dialog, "1 unit is on hold: these holds will be released.");
  await expectText(dialog, "This cannot be undone.");
  await dialog.getByRole("button", { name: "Cancel the drop" }).click();
  await expectText(page.locator("#state"), "Cancelled");
  await eventually("it cannot be cancelled again", () => cancel.isDisabled());
});

test("the room of a drop shows the numbers of its report", async (t) => {
  const drop = await createDrop({ total_stock: 4, max_per_hold: 2, hold_seconds: 600 });
  const page = await openRoom(t, `/admin/drops/${drop.id}`);
  await expectText(page.locator("#drop h1"), `${drop.name} On sale`);
  await expectText(page.locator("opening-chart"), "No hold has been placed yet.");

  const first = await holdFor(drop, "Ada", 2);
  const second = await holdFor(drop, "Bo", 1);
  await api("DELETE", `/v1/holds/${second.id}`);
  const third = await holdFor(drop, "Cleo", 2);
  const refused = await fetch(`${process.env.HOLDFAST_URL}/v1/drops/${drop.id}/holds`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": `room-${drop.id}` },
    body: JSON.stringify({ buyer_id: "dora" }),
  });
  assert.equal(refused.status, 409);
  const purchase = await api("POST", `/v1/holds/${first.id}/purchase`);
  await api("POST", `/v1/holds/${third.id}/purchase`);
  await api("POST", `/v1/purchases/${purchase.id}/refunds`, { quantity: 1, reason: "Bent" });
  await api("POST", `/v1/drops/${drop.id}/waitlist`, { buyer_id: "emil" }).catch(() => null);

  const report = await api("GET", `/v1/admin/drops/${drop.id}/report`);
  assert.deepEqual(report.funnel.placed, { count: 3, units: 5 });
  const { funnel, refusals, stock } = report;
  const units = ({ count, units }, one) =>
    `${units} ${units === 1 ? "unit" : "units"} in ${count} ${count === 1 ? one : `${one}s`}`;
  for (const words of [
    `Placed ${units(funnel.placed, "hold")}`,
    `Purchased ${units(funnel.purchased, "purchase")}`,
    `Refunded ${units(funnel.refunded, "refund")}`,
    `Expired ${units(funnel.expired, "hold")}`,
    `Released ${units(funnel.released, "hold")}`,
    `On hold now ${units(funnel.open, "hold")}`,
  ])
    await expectText(page.locator("#funnel"), words);
  await expectText(page.locator("#refusals"), `Sold out ${refusals.sold_out}`);
  await expectText(page.locator("#sell-through"), `${stock.sold} of ${stock.total} units sold`);
  const seconds = (Date.parse(report.sold_out_at) - Date.parse(report.starts_at)) / 1000;
  const shown = seconds.toLocaleString("en", { maximumFractionDigits: seconds < 10 ? 2 : 1 });
  if (seconds < 60) await expectText(page.locator("#milestones"), `Sold out ${shown} s`);

  const held = report.opening.buckets.filter((bucket) => bucket.held > 0).length;
  await eventually(
    "a bar for each bucket with holds",
    async () => (await page.locator("opening-chart rect.held").count()) === held,
  );
  const words = await page.locator("opening-chart svg").getAttribute("aria-label");
  assert.match(words, /^3 holds of 5 units within /);
  await page.getByLabel("Interval").selectOption("250");
  await eventually(
    "longer intervals, the same sum",
    async () =>
      (await page.locator("opening-chart svg").getAttribute("aria-label"))?.startsWith(
        "3 holds of 5 units within ",
      ) && (await page.locator("opening-chart rect.held").count()) <= held,
  );
  const latest = page.locator("record-table tbody tr");
  assert.equal(await latest.count(), report.latest.length);
  await expectText(latest.first(), new RegExp(`${report.latest[0].position}$`));

  const purchasers = page.locator("#purchasers");
  assert.doesNotMatch(await page.locator("main").innerText(), /Ada|Cleo/);
  await purchasers.locator("summary").click();
  await expectText(purchasers, /Cleo 2 units Ada 1 unit/);

  // Access codes and their uses, and the administrator who created them.
  const access = page.locator("#access-codes");
  await access.locator("summary").click();
  await expectText(access, "No codes yet.");
  const { codes } = await api("POST", `/v1/drops/${drop.id}/codes`, { count: 21, uses: 3 });
  const made = latest.filter({ hasText: "Codes created" });
  await expectText(made, /Codes created admin/);
  await eventually("a page of codes", async () => (await access.locator("li").count()) === 20);
  await expectText(access.locator("li").first(), "0 of 3 uses taken");
  await access.getByRole("button", { name: "Show more" }).click();
  await eventually("all codes", async () => (await access.locator("li").count()) === 21);
  assert.equal(await access.getByRole("button", { name: "Show more" }).isVisible(), false);
  const text = await page.locator("main").innerText();
  assert.ok(codes.every((code) => !text.includes(code)));
});

test("an unknown drop has no room", async (t) => {
  const page = await openRoom(t, "/admin/drops/0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4", {
    expected: [/status of 404/],
  });
  await expectText(page.locator("#missing"), "Drop not found");
});
