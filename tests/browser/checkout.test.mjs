// The cart and the order, as a buyer uses them: several drops in one order, its payment, its
// receipt, and requests without a response.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  boxOf,
  card,
  close,
  context,
  createDrop,
  edit,
  eventually,
  expectText,
  fillCart,
  launch,
  openLive,
  shownSeconds,
} from "./lib.mjs";

before(launch);
after(close);

const line = (page, drop) => page.locator(`cart-sheet li[data-drop-id="${drop.id}"]`);
const stockOf = async (drop) => (await api("GET", `/v1/drops/${drop.id}`)).stock;
const place = (page) => page.getByRole("button", { name: "Place the order" }).click();
/** The number of orders of a drop. */
const ordersOf = async (drop) => (await api("GET", `/v1/orders?drop_id=${drop.id}`)).data;

/** Waits for the page of an order and returns its id. */
async function orderPage(page) {
  await page.waitForURL(/\/orders\/[0-9a-f-]{36}$/);
  await page.locator("order-sheet h1").waitFor();
  return page.url().split("/").at(-1);
}

/** Two drops of one currency. */
async function twoDrops(more = {}) {
  const terms = { hold_seconds: 600, ...more };
  return [
    await createDrop(terms),
    await createDrop({ ...terms, price: { amount: 1050, currency: "EUR" } }),
  ];
}

test("a cart over two drops becomes one order, and its receipt survives a reload", async (t) => {
  const [one, other] = await twoDrops({ max_per_hold: 3 });
  const page = await fillCart(t, [one, other]);
  await page.fill("#display-name", "Ada");
  await page.keyboard.press("Tab");
  await line(page, other)
    .getByLabel(/^Quantity/)
    .fill("2");
  await expectText(line(page, other), "€21.00");
  await expectText(page.locator(".cart-sum"), "€70.00");
  await expectText(page.locator("cart-count"), "3");
  assert.equal((await stockOf(one)).held, 0, "units in the cart are not reserved");

  await place(page);
  const id = await orderPage(page);
  await expectText(page.locator("h1"), "Reserved for you");
  assert.ok((await shownSeconds(page.locator("order-sheet .time"))) > 500);
  const placed = await api("GET", `/v1/orders/${id}`);
  assert.deepEqual(
    placed.items.map(({ drop_id, quantity }) => [drop_id, quantity]),
    [
      [one.id, 1],
      [other.id, 2],
    ],
  );
  assert.deepEqual([(await stockOf(one)).held, (await stockOf(other)).held], [1, 2]);
  await expectText(page.locator("order-sheet"), `${other.name} 2 × €10.50 = €21.00`);
  assert.equal(await page.locator("cart-count").innerText(), "", "the cart is empty again");

  await page.reload();
  await expectText(page.locator("h1"), "Reserved for you");
  // The shop took the money.
  await api("POST", `/v1/orders/${id}/purchase`);
  await expectText(page.locator("h1"), "Thank you");
  await page.reload();
  await expectText(page.locator("h1"), "Thank you");
  await expectText(page.locator("order-sheet .pairs"), /Status Paid .* Total €70.00/);
  await page.goto(`${BASE}/cart`);
  await expectText(page.locator("order-list"), /and 1 more Paid · €70.00/);
  const { data } = await api("GET", `/v1/drops/${one.id}/purchasers`);
  assert.deepEqual(data[0].buyer, "Ada");
});

test("an order that is paid, shipped and refunded elsewhere is shown without reading it", async (t) => {
  const [drop] = await twoDrops();
  const page = await fillCart(t, [drop], { expected: [/ERR_FAILED/] });
  const followed = page.waitForRequest((request) => request.url().includes("orders="));
  await place(page);
  const id = await orderPage(page);
  assert.match((await followed).url(), new RegExp(`/v1/stream\\?drops=${drop.id}&orders=${id}`));
  await page.route(`**/v1/orders/${id}`, (route) => route.abort());
  await api("POST", `/v1/orders/${id}/purchase`);
  await expectText(page.locator("h1"), "Thank you");
  await api("PATCH", `/v1/orders/${id}`, { fulfilment: "shipped", tracking: "parcel 7" });
  await expectText(page.locator("order-sheet .pairs"), /Delivery Shipped Tracking parcel 7/);
  await api("POST", `/v1/orders/${id}/refunds`, { reason: "Returned" });
  await expectText(page.locator("h1"), "Refunded");
});

test("an order holds all of its items or none, and names the line that is missing", async (t) => {
  const [one, other] = await twoDrops({ total_stock: 1 });
  const page = await fillCart(t, [one, other], { expected: [/status of 409/] });
  await api("POST", `/v1/drops/${other.id}/holds`, { buyer_id: "faster" });
  await expectText(line(page, other), "All units on hold");
  await place(page);
  await expectText(line(page, other).locator(".refusal"), "No units are available right now.");
  assert.equal(await line(page, one).locator(".refusal").count(), 0);
  assert.deepEqual([(await stockOf(one)).held, await ordersOf(one)], [0, []]);
  await line(page, other).getByRole("button", { name: "Remove" }).click();
  await line(page, other).waitFor({ state: "detached" });
  await place(page);
  await orderPage(page);
  assert.equal((await stockOf(one)).held, 1);
});

test("reloading the page before the response finds the same order, and places no second one", async (t) => {
  const drops = await twoDrops();
  const page = await fillCart(t, drops);
  const keys = [];
  await page.route("**/v1/orders", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    // The request reaches the server, but its response does not reach the page.
    await route.fetch();
    return undefined;
  });
  await place(page);
  await expectText(page.locator("cart-sheet"), "Placing the order");
  await eventually("the order is placed", async () => (await ordersOf(drops[0])).length === 1);
  await page.reload();
  const id = await orderPage(page);
  assert.deepEqual(
    (await ordersOf(drops[0])).map((order) => order.id),
    [id],
  );
  assert.deepEqual([keys.length, keys[0]], [2, keys[1]]);
});

test("an order without a response for long is asked about, and can be discarded", async (t) => {
  const [drop] = await twoDrops();
  const within = await context(t);
  const page = await openLive(t, `/drops/${drop.id}`, { within, expected: [/ERR_FAILED/] });
  await page.getByRole("button", { name: "Add to cart" }).click();
  const key = "an-old-attempt";
  const lines = [{ drop_id: drop.id, drop_name: drop.name, price: drop.price, quantity: 1 }];
  await page.evaluate(
    (open) =>
      localStorage.setItem("holdfast.orders", JSON.stringify({ checkouts: [open], payments: [] })),
    { key, lines, asked_at: Date.now() - 120_000, stage: "placing" },
  );
  await page.goto(`${BASE}/cart`);
  await expectText(page.locator("cart-sheet"), "It is unknown whether your order was placed.");
  assert.equal(await page.getByRole("button", { name: "Place the order" }).count(), 0);
  const sent = page.waitForRequest("**/v1/orders");
  await page.getByRole("button", { name: "Retry" }).click();
  assert.equal((await sent).headers()["idempotency-key"], key);
  await orderPage(page);
});

test("an order without a payment expires, and its items return to the cart", async (t) => {
  const drops = await twoDrops({ hold_seconds: 2 });
  const page = await fillCart(t, drops);
  await place(page);
  await orderPage(page);
  await expectText(page.locator("h1"), "Order expired");
  await expectText(page.locator(".pay"), "You were not charged.");
  // An order is over at its deadline, also before the expiries of its holds are recorded.
  await eventually("both holds are over", async () => {
    const stocks = await Promise.all(drops.map(stockOf));
    return stocks.every(({ held }) => held === 0);
  });
  await page.getByRole("button", { name: "Back to the cart with these items" }).click();
  await page.waitForURL("**/cart");
  for (const drop of drops) await expectText(line(page, drop), drop.name);
  await expectText(page.locator("order-list"), "Expired");
});

test("a cancelled order releases its units", async (t) => {
  const [drop] = await twoDrops();
  const page = await fillCart(t, [drop]);
  await place(page);
  const id = await orderPage(page);
  await page.getByRole("button", { name: "Cancel the order" }).click();
  await expectText(page.locator("h1"), "Order cancelled");
  await expectText(page.locator(".pay"), "You were not charged.");
  assert.equal((await stockOf(drop)).held, 0);
  assert.equal((await api("GET", `/v1/orders/${id}`)).status, "cancelled");
});

test("the receipt shows refunds, late payments and the delivery", async (t) => {
  const [drop] = await twoDrops({ max_per_hold: 2 });
  const page = await fillCart(t, [drop]);
  await line(page, drop)
    .getByLabel(/^Quantity/)
    .fill("2");
  await place(page);
  const id = await orderPage(page);
  const order = await api("POST", `/v1/orders/${id}/purchase`);
  await api("PATCH", `/v1/orders/${id}`, { fulfilment: "shipped", tracking: "1Z-999" });
  const [{ purchase_id }] = order.items;
  await api("POST", `/v1/purchases/${purchase_id}/refunds`, { quantity: 1, reason: "Bent" });
  await expectText(page.locator("h1"), "Partly refunded");
  await expectText(
    page.locator("order-sheet .pairs"),
    /Refunded €49.00 for 1 unit Refund €49.00 for 1 unit, requested .+, returned .+ You paid €49.00 Delivery Shipped Tracking 1Z-999/,
  );
});

test("quantities and currencies that an order cannot have are explained", async (t) => {
  const euro = await createDrop({ max_per_hold: 2, hold_seconds: 600 });
  const yen = await createDrop({ price: { amount: 7200, currency: "JPY" }, hold_seconds: 600 });
  const page = await fillCart(t, [euro, yen], { expected: [/status of 422/] });
  await expectText(page.locator(".cart-sum"), "€49.00 + ¥7,200");
  await expectText(page.locator("cart-sheet"), "One order has one currency.");
  const quantity = line(page, euro).getByLabel(/^Quantity/);
  await expectText(line(page, euro), "5 units left");
  for (const wrong of ["3", "0", "1.5", ""]) {
    await quantity.fill(wrong);
    await expectText(line(page, euro).locator(".refusal"), "Enter a quantity from 1 to 2.");
    assert.equal(await quantity.getAttribute("aria-invalid"), "true");
  }
  await place(page);
  assert.ok(await quantity.evaluate((input) => input === document.activeElement));
  await quantity.fill("2");
  await place(page);
  await expectText(line(page, yen).locator(".refusal"), "must have the same currency");
  assert.deepEqual(await ordersOf(euro), []);
});

test("the cart is one for all tabs, and shows the current price", async (t) => {
  const drop = await createDrop({ max_per_hold: 2 });
  const within = await context(t);
  const [shop, cart] = [await openLive(t, "/", { within }), await openLive(t, "/", { within })];
  await card(shop, drop).getByRole("button", { name: "Add to cart" }).click();
  await expectText(shop.locator("toast-list"), "1 unit in the cart, not reserved yet.");
  await expectText(cart.locator("cart-count"), "1");
  await cart.goto(`${BASE}/cart`);
  await expectText(line(cart, drop), "€49.00");
  await card(shop, drop).getByRole("button", { name: "Add to cart" }).click();
  await eventually(
    "the other tab has the quantity",
    async () =>
      (await line(cart, drop)
        .getByLabel(/^Quantity/)
        .inputValue()) === "2",
  );
  // More than one hold may have.
  await card(shop, drop).getByRole("button", { name: "Add to cart" }).click();
  await expectText(shop.locator("toast-list"), "2 units in the cart");
  await edit(drop, { price: { amount: 5000, currency: "EUR" } });
  await expectText(cart.locator(".cart-sum"), "€100.00");
});

test("an unknown order is reported, and the page works with the keyboard on a phone", async (t) => {
  const page = await openLive(t, "/", {
    expected: [/404/],
    viewport: { width: 360, height: 740 },
    isMobile: true,
    hasTouch: true,
  });
  await page.goto(`${BASE}/orders/0197d3f4-1122-4a6b-9c8d-0e1f2a3b4c5d`);
  await expectText(page.locator("#missing"), "Order not found");
  const drop = await createDrop({ hold_seconds: 600 });
  await page.goto(`${BASE}/drops/${drop.id}`);
  await page.getByRole("button", { name: "Add to cart" }).focus();
  await page.keyboard.press("Enter");
  await expectText(page.locator("cart-count"), "1");
  await page.goto(`${BASE}/cart`);
  const button = page.getByRole("button", { name: "Place the order" });
  await button.waitFor();
  assert.ok((await boxOf(button)).height >= 44, "large enough for a finger");
  await button.focus();
  await page.keyboard.press("Enter");
  await orderPage(page);
  await page.getByRole("button", { name: "Cancel the order" }).focus();
  await page.keyboard.press("Enter");
  await expectText(page.locator("h1"), "Order cancelled");
  await eventually("the focus is on the next action", () =>
    page
      .getByRole("button", { name: /^Back to the cart/ })
      .evaluate((next) => next === document.activeElement),
  );
});

/** Pays on the page of an order. */
async function pay(page, scenario) {
  await page.getByLabel(scenario).check();
  await page.getByRole("button", { name: /^Pay €/ }).click();
}

test("a demo payment pays the order", async (t) => {
  const drops = await twoDrops();
  const page = await fillCart(t, drops);
  await place(page);
  const id = await orderPage(page);
  await pay(page, "Pays The money arrives at once.");
  await expectText(page.locator("h1"), "Thank you");
  await expectText(page.locator("order-sheet .pairs"), "Demo payment: €59.50, received");
  const order = await api("GET", `/v1/orders/${id}`);
  assert.deepEqual([order.status, order.payment.status], ["paid", "succeeded"]);
  assert.equal((await stockOf(drops[0])).sold, 1);
});

test("a declined payment can be tried again", async (t) => {
  const [drop] = await twoDrops();
  const page = await fillCart(t, [drop]);
  await place(page);
  const id = await orderPage(page);
  await pay(page, "Is declined");
  await expectText(page.locator(".pay"), "The payment was declined. You were not charged.");
  assert.equal((await api("GET", `/v1/orders/${id}`)).status, "pending");
  await pay(page, "Pays The money arrives at once.");
  await expectText(page.locator("h1"), "Thank you");
});

test("money that arrives after the deadline buys units that are free, and is returned otherwise", async (t) => {
  const [free, taken] = await twoDrops({ total_stock: 1, hold_seconds: 4 });
  const pages = [];
  for (const drop of [free, taken]) {
    const page = await fillCart(t, [drop]);
    await place(page);
    await orderPage(page);
    await pay(page, "Pays late");
    pages.push(page);
  }
  const [honoured, refunded] = pages;
  await expectText(refunded.locator(".pay"), "Your payment is still in progress.");
  await api("POST", `/v1/drops/${taken.id}/holds`, { buyer_id: "faster" });
  await expectText(honoured.locator("h1"), "Paid, after the deadline");
  await expectText(honoured.locator("order-sheet .pairs"), /Status Paid, late .*received, late/);
  await expectText(refunded.locator(".pay"), "and its money is returned to you.");
  assert.equal((await stockOf(free)).sold, 1);
  assert.equal((await stockOf(taken)).sold, 0);
});

test("a payment that arrives twice buys once", async (t) => {
  const [drop] = await twoDrops();
  const page = await fillCart(t, [drop]);
  await place(page);
  const id = await orderPage(page);
  await pay(page, "Pays twice");
  await expectText(page.locator("h1"), "Thank you");
  assert.equal((await stockOf(drop)).sold, 1);
  const jobs = () => api("GET", "/v1/admin/jobs?kind=refund");
  await eventually("the second payment is refunded", async () =>
    (await jobs()).data.some(({ subject }) => subject === `/v1/orders/${id}`),
  );
});

test("reloading the page before the response to a payment starts no second one", async (t) => {
  const [drop] = await twoDrops();
  const page = await fillCart(t, [drop]);
  await place(page);
  const id = await orderPage(page);
  const keys = [];
  await page.route("**/payments", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 1) return route.continue();
    await route.fetch();
    return undefined;
  });
  await pay(page, "Is declined");
  await expectText(page.locator(".pay"), "Starting the payment");
  await eventually(
    "the payment is started",
    async () => (await api("GET", `/v1/orders/${id}`)).payment !== null,
  );
  await page.reload();
  await expectText(page.locator(".pay"), "The payment was declined.");
  await eventually("the request is repeated", () => keys.length === 2);
  assert.equal(keys[0], keys[1]);
});
